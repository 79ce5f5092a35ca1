"""Unexpected errors: record them on the job with a reference, retry after a delay, then pause the job.

The reference also stands in the log line with the traceback, so that operators find it.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now

from catalog.jobs import events
from catalog.jobs.leases import give_back_suspect, release_chunk
from catalog.jobs.states import IllegalTransition, Status, move, pause_job
from catalog.models import FetchChunk, MetadataFetchTask
from soundcharts.errors import SoundchartsError

logger = logging.getLogger(__name__)
T = TypeVar("T")

INTERNAL_ERROR = "internal_error"
# Unexpected errors in a row, without any outcome between them, after which a job pauses.
INTERNAL_TRIES = 3
# Seconds until the next try where BATCH_RETRY_DELAYS is empty.
DEFAULT_DELAY = 30

# Database errors that an operator can fix, by SQLSTATE (PostgreSQL) and by text (SQLite).
_BY_STATE = {
    "40P01": "The database ended a deadlock.",
    "53100": "The database's disk is full.",
    "53200": "The database is out of memory.",
    "55P03": "The database waited too long for a lock.",
    "57014": "The database stopped a statement that took too long.",
}
_BY_TEXT = {
    "disk is full": "The database's disk is full.",
    "is locked": "The database was locked for too long.",
    "readonly database": "The database is read-only.",
}


class InternalError(SoundchartsError):
    """An unexpected error, with the reference of its traceback in the log."""

    code = INTERNAL_ERROR
    default_message = "An unexpected error occurred."

    def __init__(self, reason: str, *, reference: str) -> None:
        super().__init__(f"{reason} Reference for the logs: {reference}.")
        self.reference = reference
        # Whether no chunk of the job can be worked on, rather than this one.
        self.is_about_job = False


def internal_error(error: BaseException, *, during: str) -> InternalError:
    """Log an unexpected error with a new reference; return the error to show on a job or to a person.

    The returned message never quotes the error, which may hold anything.
    """
    if isinstance(error, InternalError):
        return error
    reference = uuid4().hex[:8]
    logger.error("%s: unexpected error, reference %s", during, reference, exc_info=error)
    return InternalError(_reason_of(error), reference=reference)


def note_internal_error(
    job_id: int, error: InternalError, *, chunk: FetchChunk | None = None, seen: int | None = None
) -> None:
    """Count an unexpected error on its job and delay the job; pause it after the third in a row.

    Gives `chunk` back, to be worked on with care. The first time only this chunk waits, since the error may
    be about its tracks alone; without a chunk, or from the second time on, the job does. `seen` is the job's
    count when the work began, by default the present one: of workers that fail at the same time one counts.
    """
    job = MetadataFetchTask.objects.filter(pk=job_id).first()
    if job is None:
        return
    counted = job.internal_errors
    is_new = seen is None or counted <= seen
    tries = counted + 1 if is_new else counted
    try:
        _note(job, error, chunk, tries)
    except (DatabaseError, InterfaceError):
        # On a full disk an update may still succeed where an insert fails.
        logger.warning("job %s: noted without an event, reference %s", job_id, error.reference)
        _note(job, error, chunk, tries, has_event=False)


def _note(
    job: MetadataFetchTask,
    error: InternalError,
    chunk: FetchChunk | None,
    tries: int,
    *,
    has_event: bool = True,
) -> None:
    delays = settings.BATCH_RETRY_DELAYS or [DEFAULT_DELAY]
    seconds = delays[min(tries, len(delays)) - 1]
    wanted = MetadataFetchTask.objects.filter(pk=job.pk, status__in=(Status.PENDING, Status.RUNNING))
    with transaction.atomic():
        # Lock the chunk before its job, in the same order as a worker that saves a batch.
        if chunk is not None and error.is_about_job:
            release_chunk(chunk)
        elif chunk is not None:
            give_back_suspect(chunk, seconds=seconds)
        wanted.update(internal_errors=tries)
        if tries >= INTERNAL_TRIES:
            logger.error("job %s: paused, reference %s", job.pk, error.reference)
            reason = f"{error} It failed {INTERNAL_TRIES} times."
            if has_event:
                with suppress(IllegalTransition):
                    pause_job(job, code=INTERNAL_ERROR, reason=reason)
            else:
                move(wanted, Status.PAUSED, error_code=INTERNAL_ERROR, error_message=reason)
            return
        is_whole_job = chunk is None or error.is_about_job or tries > 1
        what = "This task" if is_whole_job else "Part of this task"
        text = f"{error} {what} will be retried in {seconds:,} s."
        logger.warning("job %s: tried again in %s s, reference %s", job.pk, seconds, error.reference)
        values: dict[str, Any] = {"error_code": INTERNAL_ERROR, "error_message": text}
        if is_whole_job:
            values["not_before"] = Now() + timedelta(seconds=seconds)
        if wanted.update(**values) and has_event:
            wait = float(seconds)
            events.note(job.pk, events.Kind.WAITING, code=INTERNAL_ERROR, text=text, wait_seconds=wait)


def note_put_aside(job_id: int, error: InternalError) -> None:
    """Note an unexpected error whose tracks already wait in a separate chunk; the others continue."""
    text = f"{error} The affected tracks will be retried later."
    with transaction.atomic():
        waits = MetadataFetchTask.objects.filter(
            pk=job_id, status__in=(Status.PENDING, Status.RUNNING)
        ).update(error_code=INTERNAL_ERROR, error_message=text)
        if waits:
            events.note(job_id, events.Kind.WAITING, code=INTERNAL_ERROR, text=text)


class Steps:
    """Independent housekeeping steps: a failed step does not stop the others."""

    def __init__(self, during: str) -> None:
        self._during = during
        self.error: InternalError | None = None

    def take(self, step: Callable[[], T]) -> T | None:
        """Return the result of a step, None if it fails; keep the last error."""
        try:
            return step()
        except SoftTimeLimitExceeded:
            raise
        except Exception as unexpected:
            self.error = internal_error(unexpected, during=self._during)
            if isinstance(unexpected, OperationalError | InterfaceError) and not connection.in_atomic_block:
                connection.close()  # The next step gets a new one.
            return None

    def take_for_job(self, job_id: int, step: Callable[[], T]) -> T | None:
        """Run a step for one job; an unexpected error is also noted on the job."""
        before = self.error
        result = self.take(step)
        if (error := self.error) is not None and error is not before:
            self.take(lambda: note_internal_error(job_id, error))
        return result


def _reason_of(error: BaseException) -> str:
    """Return a sentence about the error that does not quote its text."""
    if isinstance(error, SoftTimeLimitExceeded):
        return "A worker did not finish in time."
    if isinstance(error, OperationalError | InterfaceError):
        state = getattr(error.__cause__, "sqlstate", None) or ""
        by_text = (reason for text, reason in _BY_TEXT.items() if text in str(error))
        return _BY_STATE.get(state) or next(by_text, "The database failed.")
    return InternalError.default_message
