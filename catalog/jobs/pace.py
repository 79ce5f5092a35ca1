"""A job's pace: how many tracks a second it has been doing lately.

The job's row remembers how far it was at two moments, some seconds apart. They are written with a
batch that is saved anyway, and begin anew when a paused job goes on, so that no pause counts as slowness.
"""

import math
import time
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Now

from catalog.models import MetadataFetchTask

# Seconds between the two moments.
MARK_EVERY = 10
# Seconds after which a moment says nothing of the present.
RECENT = 60

_marked_at: dict[int, float] = {}


def beginning() -> dict[str, Any]:
    """Return the values of a job's row with which its pace begins anew."""
    return {
        "pace_at": Now(),
        "pace_tracks": F("processed_tracks"),
        "earlier_pace_at": Now(),
        "earlier_pace_tracks": F("processed_tracks"),
    }


def mark(job_id: int) -> None:
    """Remember how far a job is, now and then. Its row must be locked by the caller's transaction already."""
    now = time.monotonic()
    if now - _marked_at.get(job_id, -math.inf) < MARK_EVERY:
        return
    if len(_marked_at) > 100:
        _marked_at.clear()
    _marked_at[job_id] = now
    is_due = Q(pace_at=None) | Q(pace_at__lt=Now() - timedelta(seconds=MARK_EVERY))
    MetadataFetchTask.objects.filter(is_due, pk=job_id).update(
        earlier_pace_at=F("pace_at"),
        earlier_pace_tracks=F("pace_tracks"),
        pace_at=Now(),
        pace_tracks=F("processed_tracks"),
    )


def tracks_per_second(job: MetadataFetchTask, *, now: datetime) -> float | None:
    """Return a running job's pace at `now` by the database's clock, None while it cannot be told.

    0.0 says that no track has been done for a minute.
    """
    if job.status != job.Status.RUNNING or job.pace_at is None:
        return None
    since, tracks = job.pace_at, job.pace_tracks
    if job.earlier_pace_at is not None and (now - job.earlier_pace_at).total_seconds() <= RECENT:
        since, tracks = job.earlier_pace_at, job.earlier_pace_tracks
    seconds = (now - since).total_seconds()
    if seconds > RECENT:
        return 0.0
    done = job.processed_tracks - tracks
    # Of calls that take their time, the first is still under way: that says nothing about a minute.
    if seconds < 1 or done <= 0:
        return None
    return done / seconds
