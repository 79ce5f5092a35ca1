"""Counting the catalogue: the only writer of CatalogueSnapshot.

A million tracks take a tenth of a second and more to count, which is too long for every look at a page.
So the sweep counts, and pages show what it counted and when; a catalogue that is quick to count is counted
for every look.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count
from django.utils import timezone

from catalog.models import CatalogueSnapshot, FetchFailure, Track

# Tracks and failures that are quick to count.
FEW = 50_000
# A snapshot that is newer than this need not be taken again ...
NOT_AGAIN_FOR = timedelta(seconds=30)
# ... nor one that is newer than so many times what it took. Where a job has rewritten the rows and PostgreSQL
# has not tidied up behind it, a million tracks take seconds: workers have better things to do.
SHARE_OF_TIME = 100
# Failures of the last days that are counted.
FAILURE_DAYS = 7
# The one row.
_KEY = 1


def count_catalogue() -> CatalogueSnapshot:
    """Count tracks by freshness and recent failures by code, as they are now; the snapshot is not saved.

    Each count is of a range of an index, and only that is read.
    """
    now, began = timezone.now(), time.monotonic()
    counts = {
        "never_fetched": Track.objects.never_fetched().count(),
        "aged": Track.objects.aged(now=now).count(),
        "fresh": Track.objects.fresh(now=now).count(),
        "failing": Track.objects.failing().count(),
        "failures": _count_failures(now),
    }
    return CatalogueSnapshot(pk=_KEY, taken_at=now, seconds=time.monotonic() - began, **counts)


def take_snapshot() -> None:
    """Count the catalogue and keep the counts, unless it was done not long ago."""
    last = CatalogueSnapshot.objects.first()
    if last is not None and not is_small(last):
        good_for = max(NOT_AGAIN_FOR, timedelta(seconds=SHARE_OF_TIME * last.seconds))
        # One from the future was taken by a wrong clock.
        if timedelta(0) <= timezone.now() - last.taken_at < good_for:
            return
    # Two workers may do it at once: the second replaces what the first has kept.
    fields = [field.name for field in CatalogueSnapshot._meta.concrete_fields if not field.primary_key]
    CatalogueSnapshot.objects.bulk_create(
        [count_catalogue()], update_conflicts=True, unique_fields=("id",), update_fields=fields
    )


def current_counts() -> CatalogueSnapshot:
    """Return the counts to show: the snapshot, or of a catalogue that is quick to count those of now.

    `taken_at` says as of when: where nobody sweeps any more, that is long ago.
    """
    last = CatalogueSnapshot.objects.first()
    return count_catalogue() if last is None or is_small(last) else last


def is_small(snapshot: CatalogueSnapshot) -> bool:
    """Return whether the catalogue had so few tracks and failures that it is counted for every look."""
    return snapshot.total + snapshot.failure_count < FEW


def failures_since(now: datetime) -> datetime:
    """Return when the days began whose failures are counted, that of `now` included: at midnight, UTC."""
    day = now.astimezone(UTC) - timedelta(days=FAILURE_DAYS - 1)
    return day.replace(hour=0, minute=0, second=0, microsecond=0)


def _count_failures(now: datetime) -> dict[str, int]:
    rows: Any = (
        FetchFailure.objects.filter(created_at__gte=failures_since(now))
        .order_by()
        .values("code")
        .annotate(count=Count("pk"))
    )
    return {row["code"]: row["count"] for row in rows}
