"""React to errors: the chunk or the job waits, pauses or fails."""

import logging
import random

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection

from catalog import jobs, quota
from catalog.fetching.imports import why_listing_failed
from catalog.models import FetchChunk, MetadataFetchTask
from soundcharts.audience import PlatformForbidden
from soundcharts.errors import CalledOff, InvalidResponse, RateLimited, SoundchartsError

logger = logging.getLogger(__name__)


def known(error: Exception, job: MetadataFetchTask) -> SoundchartsError:
    """Return the error itself, or an InternalError in place of an unexpected one."""
    if isinstance(error, SoundchartsError):
        return error
    if isinstance(error, SoftTimeLimitExceeded):
        connection.close()  # Whatever it was interrupted in.
    return jobs.internal_error(error, during=f"job {job.pk}")


def delay_after(error: SoundchartsError | None) -> jobs.Delay:
    """Return when tracks that an error left without an answer are fetched again."""
    if isinstance(error, jobs.InternalError):
        return jobs.Delay(next(iter(settings.BATCH_RETRY_DELAYS), 0), is_attempt=True, is_suspect=True)
    if error is None:
        # For tracks that are under way elsewhere. By chance, so that two jobs do not give way to each
        # other for ever.
        return jobs.Delay(random.uniform(5, 20), is_attempt=False)  # noqa: S311
    if error.stops_all or isinstance(error, CalledOff):
        return jobs.Delay(0, is_attempt=False)
    if isinstance(error, RateLimited):
        return jobs.Delay(error.retry_after or 60, is_attempt=False)
    return jobs.Delay(next(iter(settings.BATCH_RETRY_DELAYS), 0), is_attempt=True)


def is_put_off(error: SoundchartsError, job: MetadataFetchTask, chunk: FetchChunk) -> bool:
    """Pause the job or postpone the chunk if the error requires it; return whether it did."""
    if isinstance(error, jobs.InternalError):
        jobs.note_internal_error(job.pk, error, chunk=chunk, seen=job.internal_errors)
        return True
    if error.stops_all and not ends_job(error, job):
        _pause(job, chunk, code=error.code, reason=str(error))
        if error.code in quota.CREDENTIAL_CODES and quota.is_account_refused():
            jobs.note_usage_refused(job)
        return True
    if isinstance(error, RateLimited):
        delay = jobs.Delay(error.retry_after or 60, is_attempt=False)
        # All chunks of the job would fail in the same way, so none of them is tried.
        jobs.postpone_chunk(chunk, delay=delay, error=error, is_whole_job=True)
        return True
    delays = settings.BATCH_RETRY_DELAYS
    tries = jobs.note_unreadable(job) if isinstance(error, InvalidResponse) else 0
    # A page of an import is not given up for the next one: the songs on it would be missing without a word.
    given_up = 1 if _is_listing(job) else jobs.UNREADABLE_BATCHES
    if tries >= len(delays) + given_up:
        _pause(job, chunk, code=jobs.UNREADABLE, reason=jobs.WHY_UNREADABLE)
        return True
    # The patience is the job's as a whole: a batch that comes after one that was given up gets no more of it.
    attempt = max(chunk.error_count, tries - 1)
    if job.is_list_import:
        attempt = min(attempt, len(delays) - 1)
    if error.is_temporary and 0 <= attempt < len(delays):
        seconds = delays[attempt]
        logger.warning("job %s: chunk %s tries again in %s s: %s", job.pk, chunk.pk, seconds, error)
        delay = jobs.Delay(seconds, is_attempt=True)
        # The first time it may be about these tracks alone, and the job's others should not wait for them.
        jobs.postpone_chunk(chunk, delay=delay, error=error, is_whole_job=tries > 1)
        return True
    return False


def _pause(job: MetadataFetchTask, chunk: FetchChunk, *, code: str, reason: str) -> None:
    logger.error("job %s: paused: %s", job.pk, reason)
    try:
        jobs.pause_job(job, code=code, reason=reason)
    except jobs.IllegalTransition:
        logger.info("job %s: was no longer running", job.pk)
    jobs.release_chunk(chunk)


def ends_job(error: SoundchartsError, job: MetadataFetchTask) -> bool:
    """Return whether an error means that a job can do none of its work."""
    return isinstance(error, PlatformForbidden) or (_is_listing(job) and error.code == "forbidden")


def _is_listing(job: MetadataFetchTask) -> bool:
    return job.is_import and not job.is_list_import


def fail(error: SoundchartsError, job: MetadataFetchTask) -> None:
    """End a job because an error prevents all of its work."""
    reason = why_listing_failed(job.request["artist_uuid"], error) if job.is_import else str(error)
    # Before its chunk is given back: while the job runs, another worker would make the same call again.
    try:
        jobs.fail_job(job, code=error.code, reason=reason)
    except jobs.IllegalTransition:
        logger.info("job %s: had ended already", job.pk)
