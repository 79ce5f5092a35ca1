"""The schedule: what refreshes by itself, when, and how staff change it.

When something runs stands in django-celery-beat's rows, how much it may take in `RefreshPolicy`. The settings
give the first values; what staff change on the page Schedule holds from then on.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from catalog import jobs
from catalog.jobs import Requested, User
from catalog.models import RefreshPolicy, Track, platform_names
from catalog.models.refresh import forget_refresh_days
from catalog.prices import Price, count_due_audiences, estimate_audience_calls, estimate_calls, price_of
from catalog.timing import Frequency, Timing, timing_of
from catalog.words import plural

logger = logging.getLogger(__name__)

Kind = RefreshPolicy.Kind
Outcome = RefreshPolicy.Outcome

# The row of beat that revives what lost its worker; its interval is a setting.
SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Refresh:
    """Something that refreshes by itself: what the page says about it, and how it is asked for."""

    kind: Kind
    purpose: str
    beat_name: str
    task: str
    first_timing: Callable[[], Timing]
    is_on_at_first: bool
    # Whether there is anything to fetch, and how much there is, for another age in days if one is given.
    has_due: Callable[[], bool]
    count_due: Callable[[int | None], int]
    # How many calls so many tracks spend.
    count_calls: Callable[[int], int]
    # Make the job, given the limit and who asks.
    request: Callable[[int | None, User], Requested]

    @property
    def title(self) -> str:
        return str(self.kind.label)


# The list that the page shows, migrate fills in and beat runs: one item for each.
REFRESHES = (
    Refresh(
        kind=Kind.METADATA,
        purpose="Fetches the metadata of every track that was never fetched, or that has become stale.",
        beat_name="refresh-stale-metadata",
        task="catalog.tasks.fetch_all_tracks_metadata",
        first_timing=lambda: Timing(Frequency.DAY, settings.METADATA_REFRESH_AT),
        is_on_at_first=True,
        has_due=lambda: Track.objects.due().exists(),
        count_due=lambda days: Track.objects.count_due(days=days),
        count_calls=estimate_calls,
        request=lambda limit, user: jobs.request_stale_metadata(limit=limit, requested_by=user),
    ),
    Refresh(
        kind=Kind.AUDIENCE,
        purpose="Fetches the audience figures that are new, for a call a track and platform: "
        f"{platform_names(settings.SOUNDCHARTS_AUDIENCE_PLATFORMS)}.",
        beat_name="refresh-stale-audience",
        task="catalog.tasks.fetch_all_tracks_audience",
        first_timing=lambda: Timing(Frequency.DAY, settings.AUDIENCE_REFRESH_AT),
        is_on_at_first=False,
        has_due=lambda: any(count_due_audiences().values()),
        count_due=lambda days: max(count_due_audiences(age_days=days).values()),
        count_calls=estimate_audience_calls,
        request=lambda limit, user: jobs.request_stale_audience(limit=limit, requested_by=user),
    ),
)
BY_KIND = {refresh.kind.value: refresh for refresh in REFRESHES}
BY_BEAT_NAME = {refresh.beat_name: refresh for refresh in REFRESHES}


@dataclass(frozen=True, slots=True)
class Cost:
    """The tracks that a run would fetch now, and its price."""

    tracks: int
    is_limited: bool
    price: Price
    # Stale, and not asked for again yet: else the dashboard would have more than a run takes.
    waiting: int = 0


def limit_of(refresh: Refresh) -> int | None:
    """Return how many tracks a run may take, None for any number."""
    return RefreshPolicy.objects.filter(pk=refresh.kind).values_list("tracks_per_run", flat=True).first()


def cost_of_a_run(refresh: Refresh, *, limit: int | None, days: int | None = None) -> Cost:
    """Return what a run would cost now, with this limit and, if given, another age in days."""
    due = refresh.count_due(days)
    tracks = due if limit is None else min(due, limit)
    waiting = Track.objects.count_waiting(days=days) if refresh.kind == Kind.METADATA else 0
    return Cost(tracks, tracks < due, price_of(refresh.count_calls(tracks)), waiting)


def ensure_entries() -> None:
    """Make the rows that are missing, and let those follow the settings whose time staff have not set."""
    for refresh in REFRESHES:
        policy, _ = RefreshPolicy.objects.get_or_create(kind=refresh.kind)
        timing = refresh.first_timing()
        task, is_new = PeriodicTask.objects.get_or_create(
            name=refresh.beat_name,
            defaults={
                "task": refresh.task,
                "crontab": timing.crontab(),
                "enabled": refresh.is_on_at_first,
                # The first run is the next one, not one that was missed before there was a schedule.
                "last_run_at": timezone.now(),
                "description": "Changed on the page Schedule.",
            },
        )
        if not is_new and not policy.has_own_timing and timing_of(task) != timing:
            _set(refresh, is_on=None, timing=timing)


def run(refresh: Refresh, *, requested_by: User = None) -> Requested | None:
    """Make the job for what is due now, or join the active one, and write down what came of it.

    Returns None when everything is fresh: then there is no job. The worker is rung for on commit.
    """
    # What staff changed a moment ago counts.
    forget_refresh_days()
    with transaction.atomic():
        policy, _ = RefreshPolicy.objects.get_or_create(kind=refresh.kind)
        requested = None
        outcome = Outcome.FRESH
        if refresh.has_due():
            requested = refresh.request(policy.tracks_per_run, requested_by)
            outcome = Outcome.JOINED if requested.is_joined else Outcome.MADE
        RefreshPolicy.objects.filter(pk=refresh.kind).update(
            last_run_at=Now(),
            last_run_by=requested_by,
            last_run_job=requested.job if requested else None,
            last_run_outcome=outcome,
        )
    logger.info("%s: %s", refresh.beat_name, f"job {requested.job.pk}" if requested else "all is fresh")
    return requested


def change(
    refresh: Refresh, *, is_on: bool, timing: Timing, max_age_days: int, tracks_per_run: int | None
) -> list[str]:
    """Set what staff decide about a refresh; return what that changed, in words.

    What they leave as it is goes on following the settings. A new time counts from now: nothing runs
    because the new time of today is past.
    """
    with transaction.atomic():
        ensure_entries()
        changes = _set(refresh, is_on=is_on, timing=timing)
        policy = RefreshPolicy.objects.select_for_update().get(pk=refresh.kind)
        policy.has_own_timing |= timing.words in changes
        if max_age_days != policy.days:
            policy.max_age_days = max_age_days
            changes.append(f"stale after {plural(max_age_days, 'day')}")
        if tracks_per_run != policy.tracks_per_run:
            policy.tracks_per_run = tracks_per_run
            changes.append(
                f"at most {plural(tracks_per_run, 'track')} a run" if tracks_per_run else "no limit a run"
            )
        policy.save(update_fields=["has_own_timing", "max_age_days", "tracks_per_run"])
    forget_refresh_days()
    return changes


def _set(refresh: Refresh, *, is_on: bool | None, timing: Timing) -> list[str]:
    """Turn a row of beat on or off and set its time; return what that changed, in words."""
    with transaction.atomic():
        task = PeriodicTask.objects.select_for_update().get(name=refresh.beat_name)
        changes = []
        if is_on is not None and is_on != task.enabled:
            task.enabled = is_on
            changes.append("on" if is_on else "off")
        if timing_of(task) != timing:
            task.crontab = timing.crontab()
            task.interval = task.solar = task.clocked = None
            changes.append(timing.words)
        if changes:
            task.last_run_at = timezone.now()
            task.save()
    return changes
