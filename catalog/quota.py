"""The quota: what is left of it, what work will cost, and what is kept for people."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from catalog.models import ApiAccount, Track, TrackAudience, audience_stale_before
from soundcharts.errors import SoundchartsError
from soundcharts.service import SoundchartsService, get_service

logger = logging.getLogger(__name__)

# Seconds between two notes of the quota by one process while it works.
NOTE_EVERY = 2.0
# Seconds between two looks whether a used-up quota is back. Looking is free, and hammering is useless.
CHECK_EVERY = 900

# Days that one call for an audience covers, and as many are asked for at first (API notes).
PERIOD_DAYS = 90
FIRST_DAYS = 90
# Days back that can be asked for: longer than any platform has counted.
LONGEST_DAYS = 3650

_noted_at: dict[str, float] = {}


class QuotaReserved(SoundchartsError):
    """Say that the calls that are left are kept for people."""

    code = "quota_reserved"
    default_message = (
        "The calls that are left of the Soundcharts plan are kept for people (SOUNDCHARTS_QUOTA_RESERVE). "
        "Bulk work goes on by itself when the quota is renewed."
    )
    stops_all = True


# The reasons for a pause that end by themselves.
QUOTA_CODES = ("quota_exhausted", QuotaReserved.code)


@dataclass(frozen=True, slots=True)
class Price:
    """What a piece of work will spend, and what is left of the quota as far as is known, in calls."""

    calls: int
    remaining: int | None

    @property
    def sentence(self) -> str:
        """The price in words: "about 124 API calls, 876 left after"."""
        words = f"about {self.calls:,} API call{'' if self.calls == 1 else 's'}"
        if self.remaining is None:
            return words
        if self.remaining < self.calls:
            return f"{words}, but only {max(self.remaining, 0):,} are left: it pauses until there are more"
        return f"{words}, {self.remaining - self.calls:,} left after"


def estimate_calls(track_count: int) -> int:
    """Return how many calls of the quota fetching the metadata of so many tracks will spend."""
    return math.ceil(track_count / get_service().effective_batch_size)


def estimate_audience_calls(
    track_count: int, *, platforms: Sequence[str] | None = None, days: int | None = None
) -> int:
    """Return how many calls the audience of so many tracks will spend: platforms times periods.

    Platforms that the plan is known to lack are not asked for.
    """
    service = get_service()
    wanted = platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS
    asked = [platform for platform in wanted if service.has_audience(platform) is not False]
    return track_count * len(asked) * math.ceil((days or FIRST_DAYS) / PERIOD_DAYS)


def count_due_audiences(
    *, platforms: Sequence[str] | None = None, days: int | None = None, never_fetched_only: bool = False
) -> dict[str, int]:
    """Return for how many tracks each platform is to be asked: those that are stale and not waited for.

    With `days`, also those that are not known so far back.
    """
    now = timezone.now()
    tracks = Track.objects.awaited(now=now).count()
    counts = {}
    for platform in platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS:
        known = TrackAudience.objects.filter(platform=platform)
        is_stale = Q(fetched_at=None)
        if not never_fetched_only:
            is_stale |= Q(fetched_at__lt=audience_stale_before(now))
            if days is not None:
                is_stale |= Q(fetched_from__gt=now.date() - timedelta(days=days - 1))
        not_due = known.exclude(is_stale).count() + known.filter(is_stale, retry_at__gt=now).count()
        counts[platform] = max(0, tracks - not_due)
    return counts


def count_audience_gaps(*, platforms: Sequence[str] | None = None) -> dict[str, int]:
    """Return how many tracks lack days in between on each platform."""
    wanted = platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS
    with_gaps = TrackAudience.objects.filter(missing_days__gt=0)
    return {platform: with_gaps.filter(platform=platform).count() for platform in wanted}


def price_of(calls: int) -> Price:
    """Return what so many calls mean for the quota."""
    return Price(calls, remaining_calls())


def remaining_calls() -> int | None:
    """Return what Soundcharts last said is left of the plan, None if it never has."""
    account = ApiAccount.objects.filter(fingerprint=get_service().account).first()
    return account.quota_remaining if account else None


def note_quota(service: SoundchartsService, *, is_last: bool = False) -> None:
    """Write down what the latest answer said is left, now and then, and when work ends (`is_last`)."""
    remaining = service.quota_remaining
    now = time.monotonic()
    if remaining is None or (not is_last and now - _noted_at.get(service.account, -math.inf) < NOTE_EVERY):
        return
    _noted_at[service.account] = now
    _write(service.account, remaining)


def leaves_reserve(service: SoundchartsService, *, calls: int) -> bool:
    """Return whether so many more calls leave the reserve untouched, as far as this process knows."""
    remaining = service.quota_remaining
    return remaining is None or remaining - calls >= settings.SOUNDCHARTS_QUOTA_RESERVE


def is_back() -> bool | None:
    """Ask, free of charge and not too often, whether there are calls for bulk work again.

    Returns None when it is too early to ask, or when Soundcharts does not tell.
    """
    service = get_service()
    ApiAccount.objects.get_or_create(fingerprint=service.account)
    due = Q(checked_at=None) | Q(checked_at__lt=Now() - timedelta(seconds=CHECK_EVERY))
    if not ApiAccount.objects.filter(due, fingerprint=service.account).update(checked_at=Now()):
        return None
    try:
        remaining = service.get_usage().quota_remaining
    except SoundchartsError as error:
        logger.warning("the quota could not be asked for: %s", error)
        return None
    if remaining is None:
        return None
    _write(service.account, remaining)
    return remaining > settings.SOUNDCHARTS_QUOTA_RESERVE


def _write(account: str, remaining: int) -> None:
    values = {"quota_remaining": remaining, "observed_at": Now()}
    if not ApiAccount.objects.filter(fingerprint=account).update(**values):
        ApiAccount.objects.get_or_create(fingerprint=account, defaults={"quota_remaining": remaining})
