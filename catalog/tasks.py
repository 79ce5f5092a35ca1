"""Celery tasks: each parses its arguments, calls one function, and is done."""

import logging
import mmap
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.signals import (
    after_task_publish,
    beat_init,
    heartbeat_sent,
    worker_init,
    worker_shutting_down,
)
from django.conf import settings

from catalog import checks, heartbeats, jobs, schedule, snapshots
from catalog.fetching import work_on_job
from catalog.models import MetadataFetchTask, Track

logger = logging.getLogger(__name__)

# The progress of a job as JSON.
Result = dict[str, Any] | None

# One byte that the worker's main process shares with the children it forks: set, it asks them to
# finish their batch and give their chunk back, well within a deploy's grace period.
_stop_flag = mmap.mmap(-1, 1)


@worker_init.connect
def _look_at_database(**kwargs: Any) -> None:
    checks.exit_unless_in_utf8()


@worker_shutting_down.connect
def _ask_children_to_stop(**kwargs: Any) -> None:
    _stop_flag[0] = 1


def _is_stopping() -> bool:
    return _stop_flag[0] == 1


@heartbeat_sent.connect
def _note_worker(sender: Any = None, **kwargs: Any) -> None:
    """Note that this worker is alive: its main process says so, whatever its children are at."""
    heartbeats.note_seen_from_outside(heartbeats.Kind.WORKER, getattr(sender.eventer, "hostname", "") or "")


@beat_init.connect
def _watch_beat(**kwargs: Any) -> None:
    """In beat's own process: that it starts, and whatever it sends, shows that it is alive."""
    after_task_publish.connect(_note_beat)
    _note_beat()


def _note_beat(**kwargs: Any) -> None:
    heartbeats.note_seen_from_outside(heartbeats.Kind.BEAT)


@shared_task(bind=True)
def fetch_track_metadata(self: "Task[Any, Any]", track_uuid: str) -> Result:
    """Fetch one track's metadata, as a job of its own or as part of the active one."""
    return _fetch_track(self, track_uuid, jobs.request_metadata)


@shared_task(bind=True)
def fetch_bulk_track_metadata(self: "Task[Any, Any]", task_id: int) -> Result:
    """Work on a job for one slice of time: the answer to the doorbell."""
    return _work_on(self, task_id)


@shared_task(bind=True)
def fetch_track_audience(self: "Task[Any, Any]", track_uuid: str) -> Result:
    """Fetch one track's audience, as a job of its own or as part of the active one."""
    return _fetch_track(self, track_uuid, jobs.request_audience)


@shared_task(bind=True)
def fetch_bulk_audience(self: "Task[Any, Any]", task_id: int) -> Result:
    """Work on a job for one slice of time: another name of the doorbell, which is one for all kinds."""
    return _work_on(self, task_id)


@shared_task
def fetch_all_tracks_audience() -> Result:
    """Find every stale audience and make the bulk job for it, as the page Schedule says."""
    return _run(schedule.BY_KIND[schedule.Kind.AUDIENCE])


@shared_task
def fetch_all_tracks_metadata() -> Result:
    """Find every stale track and make the bulk job for them, as the page Schedule says."""
    return _run(schedule.BY_KIND[schedule.Kind.METADATA])


@shared_task
def sweep_jobs() -> None:
    """Revive what has lost its worker, and count what pages show."""
    steps = jobs.Steps("housekeeping")
    steps.take(lambda: heartbeats.note_seen(heartbeats.Kind.SWEEP))
    jobs.sweep(steps)
    steps.take(heartbeats.forget_old)
    steps.take(snapshots.take_snapshot)
    reference = steps.error.reference if steps.error else ""
    heartbeats.note_outcome(heartbeats.Kind.SWEEP, reference=reference)


def _fetch_track(task: "Task[Any, Any]", track_uuid: str, request: Callable[..., jobs.Requested]) -> Result:
    uuid = _uuid(track_uuid)
    track_id = Track.objects.filter(uuid=uuid).values_list("pk", flat=True).first() if uuid else None
    if track_id is None:
        logger.warning("task %s: no track has the uuid %s", task.request.id, track_uuid)
        return None
    return _work_on(task, request([track_id], is_rung=False).job.pk)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _work_on(task: "Task[Any, Any]", job_id: int) -> Result:
    work_on_job(job_id, celery_task_id=task.request.id or "", is_stopping=_is_stopping)
    return _result_of(job_id)


def _run(refresh: schedule.Refresh) -> Result:
    requested = schedule.run(refresh)
    return _result_of(requested.job.pk) if requested is not None else None


def _result_of(job_id: int) -> Result:
    """Return a job's progress for the result backend; None without a backend or without the job."""
    if not settings.CELERY_RESULT_BACKEND:
        return None
    names = ("status", "total_tracks", "processed_tracks", "failed_tracks", "api_calls", "error_code")
    job = MetadataFetchTask.objects.filter(pk=job_id).values(*names).first()
    return {"task": job_id, **job} if job is not None else None
