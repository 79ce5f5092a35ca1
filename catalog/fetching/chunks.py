"""Work on a job: run its chunks one after the other."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import uuid4

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from catalog import jobs, quota
from catalog.fetching.ahead import BatchesAhead
from catalog.fetching.imports import import_page
from catalog.fetching.kinds import Kind, kind_of
from catalog.fetching.lists import ItemsRun, import_items
from catalog.fetching.results import Answers
from catalog.fetching.saving import (
    NOT_ABOUT_VALUES,
    again_on_a_new_connection,
    is_set_apart,
    save_parts,
    save_results,
)
from catalog.fetching.setbacks import delay_after, ends_job, fail, is_put_off, known
from catalog.fetching.shift import Shift
from catalog.mapping import TrackReport
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.status import activity_of
from soundcharts.client import INTERACTIVE
from soundcharts.errors import CalledOff, SoundchartsError
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
    try:
        _work_for_a_slice(job_id, celery_task_id=celery_task_id, is_stopping=is_stopping)
    except Exception as unexpected:
        error = jobs.internal_error(unexpected, during=f"job {job_id}")
        if isinstance(unexpected, SoftTimeLimitExceeded):
            connection.close()  # Whatever it was interrupted in.
        try:
            again_on_a_new_connection(lambda: jobs.note_internal_error(job_id, error))
        except (DatabaseError, InterfaceError):
            logger.exception("job %s: not written on the job, reference %s", job_id, error.reference)


def _work_for_a_slice(job_id: int, *, celery_task_id: str, is_stopping: Callable[[], bool]) -> None:
    deadline = time.monotonic() + settings.WORK_SLICE_SECONDS
    if problem := quota.why_unusable():
        jobs.pause_for_settings(job_id, problem)
        return
    service = get_service()
    shift = Shift(job_id, service, celery_task_id=celery_task_id)

    def is_over() -> bool:
        return time.monotonic() > deadline or is_stopping()

    def has_work() -> bool:
        return again_on_a_new_connection(lambda: jobs.has_work(job_id))

    if not has_work():  # A message that came too late, or too soon.
        return
    try:
        while shift.has_begun_next or not is_over():
            if (taken := again_on_a_new_connection(shift.next_chunk)) is not None:
                chunk, ahead = taken
                run_chunk(
                    chunk,
                    service=service,
                    should_stop=is_over,
                    is_stopping=is_stopping,
                    ahead=ahead,
                    shift=shift,
                )
            elif not has_work():  # A step of the plan may find nothing, and the next one much.
                return
    finally:
        shift.end()
    if has_work():
        jobs.ring(job_id)


def run_chunk(
    chunk: FetchChunk,
    *,
    service: SoundchartsService,
    should_stop: Callable[[], bool] = lambda: False,
    is_stopping: Callable[[], bool] = lambda: False,
    is_interactive: bool = False,
    ahead: BatchesAhead | None = None,
    shift: Shift | None = None,
) -> list[TrackReport]:
    """Work on a leased chunk until it is done, stopped, paused, postponed or lost.

    Returns the reports of the tracks done here. When `should_stop()`, no more calls are queued; when
    `is_stopping()`, or when its job is not wanted any more, those that wait for their turn are called off,
    too. With `is_interactive` somebody is waiting: an error is final and becomes the track's outcome, rather
    than something to try again in a minute. `ahead` has the calls that were begun for this chunk; `shift`
    begins those of the next one while this one ends.
    """
    job = again_on_a_new_connection(lambda: MetadataFetchTask.objects.get(pk=chunk.job_id))
    run = _Run(
        job=job,
        kind=kind_of(job),
        chunk=chunk,
        service=service,
        is_over=should_stop,
        is_unwanted=lambda: is_stopping() or not jobs.is_wanted(chunk),
        shift=shift,
    )
    try:
        while chunk.finished_at is None:
            try:
                _run(run, ahead)
                break
            except CalledOff:
                break
            except jobs.LeaseLost:
                raise
            except Exception as raised:
                error = known(raised, job)
                again_on_a_new_connection(partial(quota.note_error, service, error))
                put_off = partial(is_put_off, error, job, chunk)
                if not is_interactive and again_on_a_new_connection(put_off):
                    return run.reports
                if job.is_list_import:
                    continue  # Each row has its own tries, and fails at the last of them.
                if job.is_import or (ends_job(error, job) and not is_interactive):
                    fail(error, job)
                    break
                if chunk.finished_at is None:
                    run.reports.extend(
                        _give_up(error, run, **({"batch_size": 1} if chunk.asks_singly else {}))
                    )
                ahead = None
        if chunk.finished_at is None:
            again_on_a_new_connection(lambda: jobs.release_chunk(chunk))
    except jobs.LeaseLost as error:
        logger.warning("job %s: %s; nothing of the last batch was saved", job.pk, error)
        # It is still ours where only the answer to our own COMMIT was lost.
        jobs.release_chunk(chunk)
    finally:
        again_on_a_new_connection(lambda: quota.note_quota(service, is_last=True))
    return run.reports


@dataclass(slots=True)
class _Run:
    """A chunk that is being worked on, and what has been reported of its tracks."""

    job: MetadataFetchTask
    kind: Kind
    chunk: FetchChunk
    service: SoundchartsService
    is_over: Callable[[], bool]
    is_unwanted: Callable[[], bool]
    shift: Shift | None
    reports: list[TrackReport] = field(default_factory=list)
    kept_at: float = field(default_factory=time.monotonic)

    def should_stop(self) -> bool:
        return self.is_over() or again_on_a_new_connection(self.is_unwanted)

    def batches(self, **options: int) -> BatchesAhead:
        """Return the chunk's batches from its position on, none of them begun."""
        options = {"batch_size": self.kind.batch_size(self.service)} | options
        return BatchesAhead(self.job, self.chunk, self.service, **options)

    @property
    def items_run(self) -> ItemsRun:
        return ItemsRun(self.job, self.chunk, self.service, self.look, delay_after)

    def look(self, call_off: Callable[[], None]) -> None:
        """Call off what waits for its turn if it is not wanted any more, and keep the leases."""

        def look() -> None:
            if self.is_unwanted():
                call_off()
            if time.monotonic() - self.kept_at >= settings.CHUNK_LEASE_SECONDS / 3:
                jobs.renew_lease(self.chunk)
                self.kept_at = time.monotonic()
            if self.shift is not None:
                self.shift.keep_lease()

        again_on_a_new_connection(look)


def _run(run: _Run, ahead: BatchesAhead | None) -> None:
    """Work on a chunk until it is done or stopped; raise the error that prevents this."""
    if run.job.is_list_import:
        _run_items(run)
    elif run.job.is_import:
        _run_pages(run)
    else:
        _run_tracks(run, ahead)


def _run_pages(run: _Run) -> None:
    if run.chunk.lease_count > jobs.MAX_LEASES:
        raise WorkerKilled("Every worker that listed these songs died. Look into the workers' logs.")
    while run.chunk.finished_at is None and not run.should_stop():
        import_page(run.job, run.chunk, run.service, look=run.look)


def _run_items(run: _Run) -> None:
    if run.chunk.lease_count > jobs.MAX_LEASES:
        import_items(run.items_run, given_up=WorkerKilled())
    is_first = True
    while run.chunk.finished_at is None and not run.should_stop():
        import_items(run.items_run, is_first=is_first)
        is_first = False


def _run_tracks(run: _Run, ahead: BatchesAhead | None) -> None:
    """Fetch and save a chunk's tracks; raise what left the next of them without an answer."""
    chunk = run.chunk
    if chunk.lease_count > jobs.MAX_LEASES:
        run.reports.extend(_give_up(WorkerKilled(), run, batch_size=1))
    if chunk.lease_count == jobs.MAX_LEASES:
        # Somewhere in the next batch workers die: one by one, the culprit is found, the others are saved.
        suspects = run.batches(batch_size=1, depth=1, limit=len(run.batches().peek()))
        _run_ahead(suspects, run, is_alone=True)
        chunk.lease_count = 0
        if chunk.finished_at is None:
            # Written before the next call, or the next death would be held against the track after them.
            jobs.renew_lease(chunk)
    if chunk.asks_singly:
        count = len(run.batches().peek())
        _run_ahead(run.batches(batch_size=1, depth=count, limit=count), run, is_alone=True)
    if chunk.lease_count >= jobs.SUSPICIOUS_LEASES:
        _run_ahead(run.batches(depth=1), run, is_alone=True)
    else:
        # Answers that cannot be read are paid for: one call finds out whether they are better now.
        options = {"depth": 1} if run.job.unreadable_tries else {}
        _run_ahead(ahead or run.batches(**options), run)


def _run_ahead(ahead: BatchesAhead, run: _Run, *, is_alone: bool = False) -> None:
    """Fetch and save batches to their end; what workers may die of is worked on with nothing beside it."""
    shift = None if is_alone else run.shift

    def begin_more() -> None:
        room = ahead.fill()
        if shift is not None and room > 0:
            shift.begin_next(run.job, room=room)

    def call_off() -> None:
        ahead.call_off()
        if shift is not None:
            shift.call_off()

    trouble: Exception | None = None
    try:
        while True:
            run.look(call_off)
            if trouble is not None or ahead.is_called_off or run.is_over():
                ahead.start_nothing_more()
                if shift is not None:
                    shift.start_nothing_more()
            else:
                try:
                    again_on_a_new_connection(begin_more)
                except Exception as raised:  # First, what is under way is saved.
                    trouble = raised
                    if isinstance(raised, SoftTimeLimitExceeded):
                        call_off()
                    continue
            if not ahead.is_busy:
                break
            _save_next(ahead, run, look=partial(run.look, call_off))
            again_on_a_new_connection(lambda: quota.note_quota(run.service))
    finally:
        calls = ahead.abandon()
        again_on_a_new_connection(lambda: jobs.record_calls(run.job.pk, calls))
    if trouble is not None:
        error = known(trouble, run.job)
        if isinstance(error, jobs.InternalError):
            error.is_about_job = True
        raise error


def _save_next(ahead: BatchesAhead, run: _Run, *, look: Callable[[], None]) -> None:
    """Save the next answers; after an unexpected error, also save all calls in flight, which are paid for."""
    answers = ahead.take(look=look)
    try:
        _save(answers, run)
    except (SoundchartsError, *NOT_ABOUT_VALUES):
        raise
    except Exception:
        ahead.start_nothing_more()
        if not ahead.is_busy:
            raise
        answers.calls = 0  # They are counted.
        while ahead.is_busy:
            answers.add(ahead.take(look=look))
        _save(answers, run)


def _save(answers: Answers, run: _Run) -> None:
    """Save what was answered, and raise what left the tracks after that without an answer.

    Tracks without an answer that have answered ones behind them are put off into a chunk of their own.
    So nothing that is paid for is lost, and the position still says all. A part of an answer is put off as
    often as the job tries at all.
    """
    results = answers.results
    is_last_try = run.chunk.error_count >= len(settings.BATCH_RETRY_DELAYS)
    is_apart = isinstance(answers.error, jobs.InternalError) and is_set_apart(run.chunk, len(results))
    while (
        not is_apart
        and results
        and results[-1].is_unanswered
        and not (results[-1].is_elsewhere or (results[-1].part and not (results[-1].is_stuck or is_last_try)))
    ):
        results = results[:-1]
    if results:
        delay = delay_after(answers.error)
        run.reports.extend(
            reports := save_results(run.chunk, results, calls=answers.calls, delay=delay, save=run.kind.save)
        )
        if any(report.is_missing for report in reports):
            again_on_a_new_connection(lambda: jobs.ask_about_missing(run.job))
    else:
        again_on_a_new_connection(lambda: jobs.record_calls(run.job.pk, answers.calls))
    if stuck := [result for result in answers.results[len(results) :] if result.is_stuck]:
        save_parts(run.chunk, stuck, save=run.kind.save)
    is_left = is_apart or len(results) < len(answers.results)
    if answers.error is not None and (is_left or answers.error.stops_all or run.service.is_interactive):
        raise answers.error
    if isinstance(answers.error, jobs.InternalError):
        error = answers.error
        again_on_a_new_connection(lambda: jobs.note_put_aside(run.job.pk, error))


def _give_up(error: SoundchartsError, run: _Run, **options: int) -> list[TrackReport]:
    """Fail the next batch with an error; the rest of the chunk has its own chance."""
    failed = [
        replace(result, answer=error) if result.item else result for result in run.batches(**options).peek()
    ]
    return save_results(run.chunk, failed, calls=0, save=run.kind.save)


def fetch_track_now(track: Track, *, requested_by: jobs.User = None) -> tuple[MetadataFetchTask, TrackReport]:
    """Fetch the metadata of one track while somebody waits; return its job and what happened."""
    requested = jobs.request_metadata([track.pk], requested_by=requested_by, is_rung=False)
    return _fetch_now(requested, requested_by)


def fetch_audience_now(
    track: Track,
    *,
    platforms: Sequence[str] | None = None,
    days: int | None = None,
    fill_gaps: bool = False,
    requested_by: jobs.User = None,
) -> tuple[MetadataFetchTask, TrackReport]:
    """Fetch the audience of one track while somebody waits; return its job and what happened."""
    requested = jobs.request_audience(
        [track.pk],
        platforms=platforms,
        days=days,
        fill_gaps=fill_gaps,
        requested_by=requested_by,
        is_rung=False,
    )
    return _fetch_now(requested, requested_by)


def _fetch_now(requested: jobs.Requested, requested_by: jobs.User) -> tuple[MetadataFetchTask, TrackReport]:
    """Do the job of one track here and now, also one that waits for its next try.

    The same way as every other fetch: a job, a chunk, a lease, so that a crash loses nothing and a
    second click joins the first. The report's outcome is `busy` when somebody else is at it, or when the
    rate limit holds all calls back for longer than a person waits: then the job goes on by itself.
    """
    job = requested.job
    service = get_service(interactive=True)
    if job.status == job.Status.PAUSED:
        # Somebody else may resume it at the same moment.
        with suppress(jobs.IllegalTransition):
            jobs.resume_job(job, by=requested_by, reason="The track was asked for again.")
    is_held_back = requested.is_joined and service.pause_left() > INTERACTIVE.max_wait
    chunk = None if is_held_back else jobs.claim_chunk(job.pk, owner=uuid4().hex, is_at_once=True)
    reports: list[TrackReport] = []
    if chunk is not None:
        try:
            reports = run_chunk(chunk, service=service, is_interactive=True)
        except Exception as unexpected:
            error = jobs.internal_error(unexpected, during=f"job {job.pk}")
            jobs.note_internal_error(job.pk, error, chunk=chunk)
            reports = [TrackReport("failed", code=error.code, message=str(error))]
    job.refresh_from_db()
    if not reports:
        return job, TrackReport("busy", message=activity_of(job))
    return job, reports[-1]
