"""What work will cost: calls of the quota and time, before anything is spent."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from catalog.models import FIRST_DAYS, Track, TrackAudience, TrackQuerySet, audience_stale_before
from catalog.quota import remaining_calls, usable_service
from catalog.words import length_of_time, plural
from soundcharts.audience import SAFE_PERIOD_DAYS

# Days back that can be asked for: longer than any platform has counted.
LONGEST_DAYS = 3650

# Tracks by their keys.
Tracks = TrackQuerySet | Collection[int]


@dataclass(frozen=True, slots=True)
class Price:
    """What a piece of work will spend, and what is left of the quota as far as is known, in calls.

    Bulk work (`is_bulk`) leaves the reserve to people, and pauses where there are too few; a fetch that a
    person waits for fails then.
    """

    calls: int
    remaining: int | None
    is_bulk: bool = True

    @property
    def sentence(self) -> str:
        """The price in words: "about 124 API calls, 876 left after"."""
        return f"about {plural(self.calls, 'API call')}{self.what_is_left}"

    @property
    def what_is_left(self) -> str:
        """What follows the number of calls: ", 876 left after"; empty where nobody knows."""
        if self.remaining is None:
            return ""
        remaining = max(self.remaining, 0)
        kept = min(remaining, settings.SOUNDCHARTS_QUOTA_RESERVE) if self.is_bulk else 0
        if remaining - kept >= self.calls:
            return f", {remaining - self.calls:,} left after"
        if not self.is_bulk:
            return f", but only {remaining:,} remaining: it will fail"
        besides = f" besides the {kept:,} kept for people" if kept else ""
        return f", but only {remaining - kept:,} are left{besides}: it pauses until there are more"


def estimate_calls(track_count: int) -> int:
    """Return how many calls of the quota fetching the metadata of so many tracks will spend."""
    service = usable_service()
    batch_size = service.effective_batch_size if service else settings.SOUNDCHARTS_BATCH_SIZE
    return math.ceil(track_count / batch_size)


def calls_a_platform(days: int | None) -> int:
    """Return how many calls a track on a platform takes, so many days back (None: as at first)."""
    return math.ceil((days or FIRST_DAYS) / _days_a_call())


def _days_a_call() -> int:
    service = usable_service()
    return service.audience_days_a_call if service else SAFE_PERIOD_DAYS


def estimate_audience_calls(
    track_count: int,
    *,
    platforms: Sequence[str] | None = None,
    days: int | None = None,
    tracks: Tracks | None = None,
) -> int:
    """Return how many calls the audience of so many tracks will spend at most: platforms times periods.

    More for what was not fetched for longer than a call reaches: of all `tracks` that can be meant (None:
    of any), those that were asked for longest ago. Platforms that the plan is known to lack are not asked.
    """
    asked = _asked_platforms(platforms)
    at_least = calls_a_platform(days)
    absences = _absences(asked, at_least=at_least, tracks=tracks)
    return sum(_calls_after(absences[name], track_count, at_least=at_least) for name in asked)


def estimate_gap_calls(
    *, platforms: Sequence[str] | None = None, tracks: Tracks | None = None, limit: int | None = None
) -> int:
    """Return the most calls needed to fetch days that were fetched before and are missing."""
    asked = _asked_platforms(platforms)
    gaps = _gaps(asked, tracks=tracks)
    return sum(_dearest(gaps[name], limit) for name in asked)


def estimate_job_calls(asked: dict[str, Any], track_count: int, tracks: Tracks | None = None) -> int:
    """Return how many calls so many tracks of an audience job will spend at most, given what it is asked.

    Of `tracks`, where it is known which; the names are those of the job's request.
    """
    if asked["fill_gaps"]:
        return estimate_gap_calls(platforms=asked["platforms"], tracks=tracks, limit=track_count)
    return estimate_audience_calls(
        track_count, platforms=asked["platforms"], days=asked["days"], tracks=tracks
    )


def estimate_due_calls(
    asked: dict[str, Any], due: dict[str, int], *, limit: int | None = None, tracks: Tracks | None = None
) -> int:
    """Return the same for so many tracks a platform, of each at most the limit."""
    return sum(
        estimate_job_calls(
            asked | {"platforms": [name]}, count if limit is None else min(count, limit), tracks
        )
        for name, count in due.items()
    )


def estimate_all_job_calls(left: Iterable[tuple[dict[str, Any], int]]) -> int:
    """Return the same for many jobs, each given by what it is asked and its tracks.

    In two queries, however many jobs there are.
    """
    fetching: Counter[tuple[str, int]] = Counter()
    filling: Counter[str] = Counter()
    left = list(left)
    wanted = {name for asked, _ in left for name in asked["platforms"]}
    included = set(_asked_platforms(sorted(wanted))) if wanted else set()
    for asked, count in left:
        for name in included.intersection(asked["platforms"]):
            if asked["fill_gaps"]:
                filling[name] += count
            else:
                fetching[name, calls_a_platform(asked["days"])] += count
    gaps = _gaps([*filling])
    shortest = min((at_least for _, at_least in fetching), default=1)
    absences = _absences(list(dict.fromkeys(name for name, _ in fetching)), at_least=shortest)
    calls = sum(_dearest(gaps[name], count) for name, count in filling.items())
    for (name, at_least), count in fetching.items():
        calls += _calls_after(absences[name], count, at_least=at_least)
    return calls


def _absences(
    platforms: Sequence[str], *, at_least: int, tracks: Tracks | None = None
) -> dict[str, list[tuple[date, int]]]:
    """Return for each platform until when tracks are known, where so many calls do not reach that far back.

    With the number of tracks of each day.
    """
    reach = timedelta(days=at_least * _days_a_call())
    # Recently fetched tracks were requested recently, so by the index this usually matches none.
    long_ago = Q(fetched_at=None) | Q(fetched_at__lt=timezone.now() - reach)
    absent = TrackAudience.objects.filter(
        long_ago, platform__in=platforms, fetched_until__lt=timezone.now().date() - reach
    )
    found: dict[str, list[tuple[date, int]]] = {name: [] for name in platforms}
    rows = _of(absent, tracks).values_list("platform", "fetched_until").annotate(Count("pk"))
    for platform, until, count in rows:
        found[platform].append((until, count))
    return found


def _calls_after(absences: list[tuple[date, int]], track_count: int, *, at_least: int) -> int:
    today = timezone.now().date()
    days_a_call = _days_a_call()
    more = ((math.ceil((today - until).days / days_a_call) - at_least, count) for until, count in absences)
    return track_count * at_least + _dearest([row for row in more if row[0] > 0], track_count)


def _gaps(platforms: Sequence[str], *, tracks: Tracks | None = None) -> dict[str, list[tuple[int, int]]]:
    """Return for each platform the calls needed to fill the gaps, and the number of tracks with gaps."""
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in platforms}
    rows = _of(TrackAudience.objects.filter(platform__in=platforms, missing_days__gt=0), tracks)
    days_a_call = _days_a_call()
    columns = ("platform", "missing_days", "first_day", "last_day", "fetched_from")
    for platform, missing, first, last, since, count in rows.values_list(*columns).annotate(Count("pk")):
        calls = min(missing, math.ceil(_span(missing, first, last, since) / days_a_call))
        found[platform].append((calls, count))
    return found


def _asked_platforms(platforms: Sequence[str] | None) -> list[str]:
    service = usable_service()
    wanted = platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS
    return [name for name in wanted if service is None or service.has_audience(name) is not False]


def _of(rows: QuerySet[TrackAudience], tracks: Tracks | None) -> QuerySet[TrackAudience]:
    return rows.order_by() if tracks is None else rows.order_by().filter(track__in=tracks)


def _span(missing: int, first: date | None, last: date | None, fetched_from: date | None) -> int:
    """Return over how many days the missing ones may be spread, of a row of an audience."""
    if first is None or last is None:
        return missing
    return (last - min(first, fetched_from or first)).days


def tracks_in(tracks: Tracks | None) -> TrackQuerySet:
    """Return the tracks that can be meant, as a query."""
    if tracks is None:
        return Track.objects.all()
    return tracks if isinstance(tracks, TrackQuerySet) else Track.objects.filter(pk__in=tracks)


def _dearest(counts: list[tuple[int, int]], limit: int | None) -> int:
    """Return the sum of (calls, tracks), of no more tracks than the limit, the dearest first."""
    total = 0
    for calls, count in sorted(counts, reverse=True):
        count = count if limit is None else min(count, limit)
        limit = None if limit is None else limit - count
        total += calls * count
    return total


def count_due_audiences(
    *,
    platforms: Sequence[str] | None = None,
    days: int | None = None,
    never_fetched_only: bool = False,
    age_days: int | None = None,
    tracks: Tracks | None = None,
) -> dict[str, int]:
    """Return for how many tracks each platform is to be asked: those that are stale and not waited for.

    With `days`, also those that are not known so far back; `age_days` is another age than the schedule's,
    and `tracks` are those that can be meant (None: any).
    Without the platforms that the plan is known to lack, as long as one is left.
    """
    now = timezone.now()
    count = tracks_in(tracks).awaited(now=now).count()
    counts = {}
    wanted = platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS
    for platform in _asked_platforms(wanted) or wanted:
        known = _of(TrackAudience.objects.filter(platform=platform), tracks)
        is_stale = Q(fetched_at=None)
        if not never_fetched_only:
            is_stale |= Q(fetched_at__lt=audience_stale_before(now, days=age_days))
            if days is not None:
                is_stale |= Q(fetched_from__gt=now.date() - timedelta(days=days - 1))
        not_due = ~is_stale | Q(retry_at__gt=now)
        # Two counts, each from an index alone; and what is not among the tracks at all, which is little.
        left_out = known.exclude(is_stale).count() + known.filter(is_stale, retry_at__gt=now).count()
        unknown = known.filter(not_due, track__metadata_retry_at__gt=now).count()
        counts[platform] = max(0, count - left_out + unknown)
    return counts


def count_audience_gaps(*, platforms: Sequence[str] | None = None) -> dict[str, int]:
    """Return for each platform how many tracks have missing days."""
    wanted = platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS
    with_gaps = TrackAudience.objects.filter(missing_days__gt=0)
    return {platform: with_gaps.filter(platform=platform).count() for platform in wanted}


def price_of(calls: int) -> Price:
    """Return what so many calls mean for the quota."""
    return Price(calls, remaining_calls())


def time_for(calls: int) -> str:
    """Return in words how long so many calls take: "about 20 minutes at 5,000 calls a minute"."""
    minutes = math.ceil(calls / settings.SOUNDCHARTS_CALLS_PER_MINUTE)
    time = "less than a minute" if minutes <= 1 else f"about {length_of_time(minutes * 60)}"
    return f"{time} at {plural(settings.SOUNDCHARTS_CALLS_PER_MINUTE, 'call')} a minute"
