"""What a worker does with a job: plan it, claim its chunks, run them, and what follows from an error."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import uuid4

from django.conf import settings

from catalog import doorbell, jobs, quota
from catalog.fetching.ahead import Answers, BatchesAhead
from catalog.fetching.imports import import_page, why_import_failed
from catalog.fetching.saving import again_on_a_new_connection, save_results
from catalog.mapping import TrackReport
from catalog.models import FetchChunk, MetadataFetchTask, Track
from soundcharts.errors import RateLimited, SoundchartsError
from soundcharts.service import SoundchartsService, get_service

logger = logging.getLogger(__name__)


class WorkerKilled(SoundchartsError):
    """Say that the workers which tried to fetch this track died."""

    code = "worker_lost"
    default_message = "Every worker that tried this track died. Look into the workers' logs before retrying."


def work_on_job(
    job_id: int,
    *,
    celery_task_id: str = "",
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Plan and fetch a job for about one slice of time, then let a next message carry on.

    Loses nothing wherever it is stopped: what is done is committed with its position, and what is
    leased comes back when the lease runs out.
    """
    deadline = time.monotonic() + settings.WORK_SLICE_SECONDS
    while time.monotonic() < deadline and not is_stopping():
        # A step of the plan, thousands of tracks, before each chunk: fetching begins at once, and the
        # plan is always far ahead of it.
        jobs.plan_job(job_id, budget=0)
        chunk = jobs.claim_chunk(job_id, owner=uuid4().hex, celery_task_id=celery_task_id)
        if chunk is None:
            if jobs.has_work(job_id):
                continue  # A step of the plan may find nothing, and the next one much.
            return
        if jobs.has_claimable_chunk(job_id) and doorbell.count_waiting() == 0:
            # Nobody is queueing, so another worker may be free.
            jobs.ring(job_id)
        run_chunk(
            chunk, service=get_service(), should_stop=lambda: time.monotonic() > deadline or is_stopping()
        )
    if jobs.has_work(job_id):
        jobs.ring(job_id)


def run_chunk(
    chunk: FetchChunk,
    *,
    service: SoundchartsService,
    should_stop: Callable[[], bool] = lambda: False,
    is_interactive: bool = False,
) -> list[TrackReport]:
    """Work on a leased chunk until it is done, stopped, paused, postponed or lost.

    Returns the reports of the tracks done here. With `is_interactive` somebody is waiting: an error is
    final and becomes the track's outcome, rather than something to try again in a minute.
    """
    job = MetadataFetchTask.objects.get(pk=chunk.job_id)
    run = _run_pages if job.is_import else _run_tracks
    reports: list[TrackReport] = []
    try:
        while chunk.finished_at is None:
            try:
                run(job, chunk, service, lambda: should_stop() or not jobs.is_wanted(chunk), reports)
                break
            except SoundchartsError as error:
                if not is_interactive and _is_put_off(error, job, chunk):
                    return reports
                if job.is_import:
                    _fail_import(error, job)
                    break
                reports += _give_up(error, job, chunk, service)
        if chunk.finished_at is None:
            jobs.release_chunk(chunk)
    except jobs.LeaseLost as error:
        logger.warning("job %s: %s; nothing of the last batch was saved", job.pk, error)
        # It is still ours where only the answer to our own COMMIT was lost.
        jobs.release_chunk(chunk)
    finally:
        quota.note_quota(service, is_last=True)
    return reports


def _run_pages(
    job: MetadataFetchTask,
    chunk: FetchChunk,
    service: SoundchartsService,
    should_stop: Callable[[], bool],
    reports: list[TrackReport],
) -> None:
    while chunk.finished_at is None and not should_stop():
        import_page(job, chunk, service)


def _run_tracks(
    job: MetadataFetchTask,
    chunk: FetchChunk,
    service: SoundchartsService,
    should_stop: Callable[[], bool],
    reports: list[TrackReport],
) -> None:
    """Fetch and save a chunk's tracks; raise what left the next of them without an answer."""
    if chunk.lease_count > jobs.MAX_LEASES:
        reports += _give_up(WorkerKilled(), job, chunk, service, size=1)
    if chunk.lease_count == jobs.MAX_LEASES:
        # Somewhere in the next batch workers die: one by one, the culprit is found, the others are saved.
        suspected = BatchesAhead(job, chunk, service, batch_size=service.effective_batch_size).peek()
        suspects = BatchesAhead(job, chunk, service, batch_size=1, depth=1, limit=len(suspected))
        _run_ahead(suspects, job, chunk, service, should_stop, reports)
        chunk.lease_count = 0
        if chunk.finished_at is None:
            # Written before the next call, or the next death would be held against the track after them.
            jobs.renew_lease(chunk)
    depth = 1 if chunk.lease_count >= jobs.SUSPICIOUS_LEASES else None
    ahead = BatchesAhead(
        job,
        chunk,
        service,
        batch_size=service.effective_batch_size,
        depth=depth,
        workers=jobs.count_living_leases(),
    )
    _run_ahead(ahead, job, chunk, service, should_stop, reports)


def _run_ahead(
    ahead: BatchesAhead,
    job: MetadataFetchTask,
    chunk: FetchChunk,
    service: SoundchartsService,
    should_stop: Callable[[], bool],
    reports: list[TrackReport],
) -> None:
    try:
        while True:
            if again_on_a_new_connection(should_stop):
                ahead.start_nothing_more()
            else:
                again_on_a_new_connection(ahead.fill)
            if not ahead.is_busy:
                break
            keep_lease = partial(again_on_a_new_connection, lambda: jobs.renew_lease(chunk))
            _save(ahead.take(keep_waiting=keep_lease), chunk, reports)
            again_on_a_new_connection(lambda: quota.note_quota(service))
    finally:
        calls = ahead.abandon()
        again_on_a_new_connection(lambda: jobs.record_calls(job.pk, calls))


def _save(answers: Answers, chunk: FetchChunk, reports: list[TrackReport]) -> None:
    """Save what was answered, and raise what left the tracks after that without an answer.

    Tracks without an answer that have answered ones behind them are put off into a chunk of their own.
    So nothing that is paid for is lost, and the position still says all.
    """
    results = answers.results
    while results and results[-1].is_unanswered and not results[-1].is_elsewhere:
        results = results[:-1]
    if results:
        reports += save_results(chunk, results, calls=answers.calls, delay=_delay_after(answers.error))
    else:
        jobs.record_calls(chunk.job_id, answers.calls)
    if answers.error is not None and (answers.error.stops_all or len(results) < len(answers.results)):
        raise answers.error


def _delay_after(error: SoundchartsError | None) -> jobs.Delay:
    if error is None:
        # For tracks that are under way elsewhere. By chance, so that two jobs do not give way to each
        # other for ever.
        return jobs.Delay(random.uniform(5, 20), is_attempt=False)  # noqa: S311
    if error.stops_all:
        return jobs.Delay(0, is_attempt=False)
    if isinstance(error, RateLimited):
        return jobs.Delay(error.retry_after or 60, is_attempt=False)
    return jobs.Delay(next(iter(settings.BATCH_RETRY_DELAYS), 0), is_attempt=True)


def _is_put_off(error: SoundchartsError, job: MetadataFetchTask, chunk: FetchChunk) -> bool:
    """Pause the job or postpone the chunk if that is what an error asks for; return whether it was."""
    if error.stops_all and not (job.is_import and error.code == "forbidden"):
        logger.error("job %s: paused: %s", job.pk, error)
        try:
            jobs.pause_job(job, code=error.code, reason=str(error))
        except jobs.IllegalTransition:
            logger.info("job %s: was no longer running", job.pk)
        jobs.release_chunk(chunk)
        return True
    if isinstance(error, RateLimited):
        jobs.postpone_chunk(chunk, delay=jobs.Delay(error.retry_after or 60, is_attempt=False), error=error)
        return True
    delays = settings.BATCH_RETRY_DELAYS
    if error.is_temporary and chunk.error_count < len(delays):
        seconds = delays[chunk.error_count]
        logger.warning("job %s: chunk %s tries again in %s s: %s", job.pk, chunk.pk, seconds, error)
        jobs.postpone_chunk(chunk, delay=jobs.Delay(seconds, is_attempt=True), error=error)
        return True
    return False


def _fail_import(error: SoundchartsError, job: MetadataFetchTask) -> None:
    # Before its chunk is given back: while the job runs, another worker would make the same call again.
    try:
        jobs.fail_job(job, code=error.code, reason=why_import_failed(job, error))
    except jobs.IllegalTransition:
        logger.info("job %s: had ended already", job.pk)


def _give_up(
    error: SoundchartsError,
    job: MetadataFetchTask,
    chunk: FetchChunk,
    service: SoundchartsService,
    *,
    size: int | None = None,
) -> list[TrackReport]:
    """Fail the next batch with an error; the rest of the chunk has its own chance."""
    batch = BatchesAhead(job, chunk, service, batch_size=size or service.effective_batch_size).peek()
    failed = [replace(result, answer=error) if result.item else result for result in batch]
    return save_results(chunk, failed, calls=0)


def fetch_track_now(track: Track, *, requested_by: jobs.User = None) -> tuple[MetadataFetchTask, TrackReport]:
    """Fetch one track while somebody waits; return its job and what happened.

    The same way as every other fetch: a job, a chunk, a lease, so that a crash loses nothing and a
    second click joins the first. The report's outcome is `busy` when somebody else is at it right now.
    """
    requested = jobs.request_metadata([track.pk], requested_by=requested_by, is_rung=False)
    job = requested.job
    if job.status == job.Status.PAUSED:
        jobs.resume_job(job)
    chunk = jobs.claim_chunk(job.pk, owner=uuid4().hex)
    reports: list[TrackReport] = []
    if chunk is not None:
        reports = run_chunk(chunk, service=get_service(interactive=True), is_interactive=True)
    job.refresh_from_db()
    if not reports:
        return job, TrackReport("busy", message=f"Task #{job.pk} is fetching this track right now.")
    return job, reports[-1]
