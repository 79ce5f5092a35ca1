"""Making jobs: the row is committed first, or the active one joined; then a worker is told."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Expression
from django.db.models.functions import Now

from catalog.jobs import events, states
from catalog.jobs.events import Kind, User
from catalog.models import MetadataFetchTask

logger = logging.getLogger(__name__)

# One selection is frozen into rows while the person waits.
LARGEST_SELECTION = 10_000
# Tries at creating a job while one with its key comes and goes.
REQUEST_TRIES = 5

WAITS = "It starts within a minute once the queue is back."


@dataclass(slots=True)
class Requested:
    """What became of a request: its job, whether that was there before, whether a worker was told."""

    job: MetadataFetchTask
    is_joined: bool
    is_rung: bool = True

    @property
    def sentence(self) -> str:
        """What happened and what to do next, for the person who asked."""
        job = self.job
        if self.is_joined and not job.is_active:
            return f"Task #{job.pk} was made of this already, and is {job.status_label.lower()}."
        if self.is_joined and job.status == job.Status.PAUSED:
            return f"Already requested as task #{job.pk}, which is paused: resume it."
        if self.is_joined:
            return f"Already running as task #{job.pk}."
        if not self.is_rung:
            return f"Task #{job.pk} is saved, but the queue is unavailable. {WAITS}"
        return f"Task #{job.pk} is queued."


def checked_selection(track_ids: Iterable[int]) -> list[int]:
    """Return the tracks of a selection in order. Raises ValueError for none, or for too many."""
    ids = sorted(set(track_ids))
    if not ids:
        raise ValueError("No track is selected.")
    if len(ids) > LARGEST_SELECTION:
        raise ValueError(
            f"{len(ids):,} tracks are more than one selection can hold ({LARGEST_SELECTION:,}). "
            "Narrow the list, or fetch everything that is stale."
        )
    return ids


def make_job(
    *,
    task_type: str,
    title: str,
    request: dict[str, Any],
    dedupe_key: str,
    requested_by: User,
    total: int | None = None,
    add_plan: Callable[[MetadataFetchTask], object] | None = None,
    parent: MetadataFetchTask | None = None,
    fresh_after: datetime | Expression | None = None,
    calls: int = 0,
    is_rung: bool = True,
) -> Requested:
    """Create the job, or join the active one with the same key.

    What was fetched after `fresh_after`, else after now, is not fetched again. With `total`, all of it is
    planned at once, by `add_plan` in the same transaction.
    """
    user_id = requested_by.pk if requested_by is not None else None
    for tries_left in reversed(range(REQUEST_TRIES)):
        job = MetadataFetchTask(
            task_type=task_type,
            title=title,
            request=request,
            dedupe_key=dedupe_key,
            fresh_after=Now() if fresh_after is None else fresh_after,
            requested_by_id=user_id,
            api_calls=calls,
            parent=parent,
            retry_count=parent.retry_count + 1 if parent else 0,
        )
        try:
            with transaction.atomic():
                if total is not None:
                    job.total_tracks, job.planned_at = total, Now()
                job.save(force_insert=True)
                if add_plan is not None:
                    add_plan(job)
                events.note(job.pk, Kind.REQUESTED, by=requested_by, text=_asker(requested_by))
                if parent is not None:
                    events.note(parent.pk, Kind.RETRIED, by=requested_by, text=f"As task #{job.pk}.")
                job.refresh_from_db()
        except IntegrityError:
            # The database refuses a second active job with this key.
            active = MetadataFetchTask.objects.filter(
                dedupe_key=dedupe_key, status__in=MetadataFetchTask.ACTIVE
            ).first()
            if active is None:
                if tries_left:
                    continue  # It ended in between.
                raise  # It was about something else, such as a user who was deleted.
            logger.info("job %s: joined by a second request", active.pk)
            return Requested(active, is_joined=True)
        logger.info("job %s: asked for: %s", job.pk, title)
        requested = Requested(job, is_joined=False)
        if is_rung:
            _ring_on_commit(requested)
        return requested
    raise AssertionError("unreachable")


def _asker(requested_by: User) -> str:
    return "" if requested_by is not None else "By a command, or at its time of the day."


def _ring_on_commit(requested: Requested) -> None:
    def ring() -> None:
        requested.is_rung = states.ring(requested.job.pk)
        requested.job.refresh_from_db()

    transaction.on_commit(ring, robust=True)
