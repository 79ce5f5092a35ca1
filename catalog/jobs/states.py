"""A job's states, and the only ways from one to the next."""

import logging
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from catalog import doorbell
from catalog.jobs import events, pace
from catalog.jobs.events import Kind, User
from catalog.models import FetchChunk, FetchFailure, MetadataFetchTask
from soundcharts.errors import AuthenticationFailed

logger = logging.getLogger(__name__)

Status = MetadataFetchTask.Status

# From each state to the states that may follow. An ended job stays as it is.
TRANSITIONS: dict[str, frozenset[str]] = {
    Status.PENDING: frozenset(
        {Status.RUNNING, Status.PAUSED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    ),
    Status.RUNNING: frozenset({Status.PAUSED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    # The batch that was under way when it was paused can be its last.
    Status.PAUSED: frozenset({Status.PENDING, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

WAITS_FOR_BROKER = "broker_unreachable"
BY_HAND = "by_hand"


NEEDS_BROKER = "The queue is unavailable. Nothing is lost; the task starts within a minute once it is back."
ALL_FAILED = {"error_code": "all_failed"}


class IllegalTransition(Exception):
    """The job is not in a state from which this can be done."""

    def __init__(self, job: MetadataFetchTask, target: str) -> None:
        self.job = job
        self.target = target
        super().__init__(
            f"Task #{job.pk} is {job.get_status_display().lower()}, so it cannot be made "
            f"{Status(target).label.lower()}."
        )


def sources_of(target: str) -> list[str]:
    """Return the states from which a job may become `target`."""
    return [source for source, targets in TRANSITIONS.items() if target in targets]


def move(jobs: QuerySet[MetadataFetchTask], target: str, **values: Any) -> int:
    """Move those of `jobs` that may become `target` there, and return how many did."""
    return jobs.filter(status__in=sources_of(target)).update(status=target, **values)


def _move_one(
    job: MetadataFetchTask, target: str, *, kind: str, by: User, text: str = "", code: str = "", **values: Any
) -> None:
    with transaction.atomic():
        moved = move(MetadataFetchTask.objects.filter(pk=job.pk), target, **values)
        if moved:
            events.note(job.pk, kind, by=by, text=text, code=code)
    job.refresh_from_db()
    if not moved:
        raise IllegalTransition(job, target)
    logger.info("job %s: %s %s", job.pk, target, values.get("error_message", ""))


def pause_job(
    job: MetadataFetchTask,
    *,
    by: User = None,
    code: str = "by_hand",
    reason: str = "Paused by hand. Resume goes on from here.",
) -> None:
    """Stop handing out work of a job; batches under way are still saved.

    `by` is who wanted it, None when it is for another reason. Raises IllegalTransition when the job is
    neither pending nor running.
    """
    _move_one(
        job,
        Status.PAUSED,
        kind=Kind.PAUSED,
        by=by,
        code=code,
        text="" if code == BY_HAND else reason,
        error_code=code,
        error_message=reason,
        usage_refused=False,
    )


def pause_for_settings(job_id: int, problem: str) -> None:
    """Pause a job because invalid settings prevent every call; the sweep resumes it."""
    job = MetadataFetchTask.objects.filter(pk=job_id, status__in=(Status.PENDING, Status.RUNNING)).first()
    if job is None:
        return
    logger.error("job %s: paused: %s", job_id, problem)
    pause_job(job, code=AuthenticationFailed.code, reason=problem)
    note_usage_refused(job)


def note_usage_refused(job: MetadataFetchTask) -> None:
    """Note that the free usage call is also refused while a job is paused for its credentials.

    The sweep then resumes the job once that call works.
    """
    paused = MetadataFetchTask.objects.filter(pk=job.pk, status=Status.PAUSED, error_code=job.error_code)
    paused.update(usage_refused=True)


def resume_job(job: MetadataFetchTask, *, by: User = None, reason: str = "") -> bool:
    """Let a paused job go on from its positions; return whether a worker could be told at once.

    `by` is who wanted it; `reason` says why it goes on by itself. Raises IllegalTransition when the job is
    not paused.
    """
    with transaction.atomic():
        # Whatever it waited for, somebody has decided that it is worth trying now. Chunks before the job,
        # as in a worker that saves a batch: the other way round they would wait for each other.
        FetchChunk.objects.filter(job=job, finished_at=None).update(not_before=None, error_count=0)
        _move_one(
            job,
            Status.PENDING,
            kind=Kind.RESUMED,
            by=by,
            text=reason,
            error_code="",
            error_message="",
            not_before=None,
            unreadable_tries=0,
            internal_errors=0,
            usage_refused=False,
            known_missing=0,
        )
    return ring(job.pk)


def cancel_job(job: MetadataFetchTask, *, by: User = None) -> None:
    """End a job for good; batches under way are still saved.

    Raises IllegalTransition when the job has ended already.
    """
    with transaction.atomic():
        _move_one(
            job,
            Status.CANCELLED,
            kind=Kind.CANCELLED,
            by=by,
            completed_at=Now(),
            error_code="",
            error_message="",
        )
        close_follow_up(job)
    job.refresh_from_db()


def fail_job(job: MetadataFetchTask, *, code: str, reason: str) -> None:
    """End a job that cannot do its work, with the reason.

    Raises IllegalTransition when the job has ended already.
    """
    with transaction.atomic():
        _move_one(
            job,
            Status.FAILED,
            kind=Kind.FAILED,
            by=None,
            code=code,
            text=reason,
            completed_at=Now(),
            error_code=code,
            error_message=reason,
        )
        close_follow_up(job)
    job.refresh_from_db()


def start_job(job_id: int, *, celery_task_id: str) -> None:
    """Record that a worker is on a job, and which message brought it; what it waited for is over.

    Part of the transaction that claims the job's chunk.
    """
    values: dict[str, Any] = {"error_code": "", "error_message": ""}
    if celery_task_id:
        values["celery_task_id"] = celery_task_id
    job = MetadataFetchTask.objects.filter(pk=job_id)
    if move(job.filter(started_at=None), Status.RUNNING, started_at=Now(), **pace.beginning(), **values):
        events.note(job_id, Kind.STARTED)
    elif move(job, Status.RUNNING, **pace.beginning(), **values):
        events.note(job_id, Kind.WENT_ON)
    else:
        job.filter(status=Status.RUNNING).update(**values)


def finish_if_done(job_id: int) -> bool:
    """Complete a job that is wholly planned and has no unfinished chunk; return whether it ended now.

    Called as the last statement of the transaction that finishes a chunk. Two workers that finish the
    last two chunks at once have both written the job's row, so the second sees the first one's chunk.
    A job of which every track failed has failed.
    """
    unfinished = FetchChunk.objects.filter(job=OuterRef("pk"), finished_at=None)
    done = MetadataFetchTask.objects.filter(pk=job_id, planned_at__isnull=False).filter(~Exists(unfinished))
    ending = {"completed_at": Now(), "started_at": Coalesce(F("started_at"), Now()), "error_code": ""}
    some_worked = ~Q(failed_tracks=F("total_tracks")) | Q(failed_tracks=0)
    # A check of unknown ISRCs that finds nothing has not failed.
    some_worked |= Q(request__has_key="recheck_of")
    with transaction.atomic(savepoint=False):
        if move(done.filter(some_worked), Status.COMPLETED, error_message="", **ending):
            events.note(job_id, Kind.COMPLETED)
            logger.info("job %s: completed", job_id)
        elif move(done, Status.FAILED, error_message=(why := _why_all_failed(job_id)), **ending | ALL_FAILED):
            events.note(job_id, Kind.FAILED, text=why, code=ALL_FAILED["error_code"])
            logger.warning("job %s: failed, none of its tracks could be fetched", job_id)
        else:
            return False
        close_follow_up(MetadataFetchTask(pk=job_id))
    return True


def note_planned(job_id: int) -> None:
    """Note that all tracks of a job are known, in the transaction that says so on its row."""
    events.note(job_id, Kind.PLANNED)


def _why_all_failed(job_id: int) -> str:
    failures = list(FetchFailure.objects.filter(job_id=job_id)[:2])
    if len(failures) == 1:
        return failures[0].message
    return "None of the tracks could be fetched. The failures below say why."


def close_follow_up(job: MetadataFetchTask) -> None:
    """Tell the job that an import plans that no more tracks will come."""
    follow_ups = MetadataFetchTask.objects.filter(dedupe_key=f"imported:{job.pk}", planned_at=None)
    for follow_up_id in follow_ups.values_list("pk", flat=True):
        with transaction.atomic(savepoint=False):
            if follow_ups.filter(pk=follow_up_id).update(planned_at=Now()):
                note_planned(follow_up_id)
                finish_if_done(follow_up_id)


def ring(job_id: int) -> bool:
    """Tell a worker about a job; when the broker cannot, say so on the job and return False."""
    if doorbell.ring(job_id):
        MetadataFetchTask.objects.filter(pk=job_id, error_code=WAITS_FOR_BROKER).update(
            error_code="", error_message=""
        )
        return True
    with transaction.atomic():
        waits = MetadataFetchTask.objects.filter(pk=job_id, status=Status.PENDING, error_code="").update(
            error_code=WAITS_FOR_BROKER, error_message=NEEDS_BROKER
        )
        if waits:
            events.note(job_id, Kind.WAITING, code=WAITS_FOR_BROKER, text=NEEDS_BROKER)
    return False


def ring_on_commit(job_id: int) -> None:
    """Tell a worker about a job once the rows that it is to find are committed."""
    # Not a partial: Django cannot name one in the log when it fails.
    transaction.on_commit(lambda: ring(job_id), robust=True)
