"""Fetching: working on a job's chunks, batch by batch, from the API to committed rows."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from catalog import doorbell, jobs
from catalog.mapping import TrackReport, apply_error, apply_song, new_track
from catalog.models import METADATA_FIELDS, FetchChunk, MetadataFetchTask, Track
from soundcharts.errors import RateLimited, SoundchartsError
from soundcharts.payloads import Page, Song, SongSummary
from soundcharts.service import SoundchartsService, get_service

logger = logging.getLogger(__name__)
T = TypeVar("T")

# After so many leases that ended without a word, the batch's first track is taken to kill workers.
MAX_LEASES = 3
# Tries at committing a batch that is paid for, while the database is away: about half a minute.
COMMIT_TRIES = 6
# Songs that a call of an upstream list returns at most (API notes).
LIST_PAGE = 100
WRITTEN_FIELDS = (
    *METADATA_FIELDS,
    "metadata_fetched_at",
    "metadata_warnings",
    "metadata_error",
    "metadata_absences",
    "metadata_retry_at",
    "updated_at",
)


class WorkerKilled(SoundchartsError):
    """Say that the workers which tried to fetch this track died."""

    code = "worker_lost"
    default_message = "Every worker that tried this track died. Look into the workers' logs before retrying."


class NotSaved(SoundchartsError):
    """Say that the database refused what Soundcharts answered."""

    code = "not_saved"
    default_message = "The database refused what Soundcharts answered. The log has the reason."


@dataclass(frozen=True, slots=True)
class Result:
    """A track's part in a batch: a song, an error, or neither when it need not be fetched."""

    track_id: int
    answer: Song | SoundchartsError | None
    item: str = ""


def estimate_calls(track_count: int) -> int:
    """Return how many calls of the quota fetching so many tracks will spend."""
    return math.ceil(track_count / get_service().effective_batch_size)


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
    jobs.plan_job(job_id, budget=settings.WORK_SLICE_SECONDS)
    while time.monotonic() < deadline and not is_stopping():
        chunk = jobs.claim_chunk(job_id, owner=uuid4().hex, celery_task_id=celery_task_id)
        if chunk is None:
            return
        if jobs.has_claimable_chunk(job_id) and doorbell.count_waiting() == 0:
            # Nobody is queueing, so another worker may be free.
            jobs.ring(job_id)
        run_chunk(
            chunk, service=get_service(), should_stop=lambda: time.monotonic() > deadline or is_stopping()
        )
    if jobs.has_claimable_chunk(job_id):
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
    run_batch = _run_page if job.is_import else _run_track_batch
    reports: list[TrackReport] = []
    try:
        while chunk.finished_at is None:
            if should_stop() or not jobs.is_wanted(chunk):
                jobs.release_chunk(chunk)
                break
            try:
                reports += run_batch(job, chunk, service)
            except SoundchartsError as error:
                if not _go_on_after(
                    error, job, chunk, service, is_interactive=is_interactive, reports=reports
                ):
                    break
    except jobs.LeaseLost as error:
        logger.warning("job %s: %s; nothing of the last batch was saved", job.pk, error)
        # It is still ours where only the answer to our own COMMIT was lost.
        jobs.release_chunk(chunk)
    return reports


def _go_on_after(
    error: SoundchartsError,
    job: MetadataFetchTask,
    chunk: FetchChunk,
    service: SoundchartsService,
    *,
    is_interactive: bool,
    reports: list[TrackReport],
) -> bool:
    """Deal with an error that left a batch undone; return whether to go on with the chunk now."""
    if not is_interactive:
        if error.stops_all and not (job.is_import and error.code == "forbidden"):
            logger.error("job %s: paused: %s", job.pk, error)
            try:
                jobs.pause_job(job, code=error.code, reason=str(error))
            except jobs.IllegalTransition:
                logger.info("job %s: was no longer running", job.pk)
            jobs.release_chunk(chunk)
            return False
        if isinstance(error, RateLimited):
            jobs.postpone_chunk(chunk, seconds=error.retry_after or 60, error=error, is_attempt=False)
            return False
        delays = settings.BATCH_RETRY_DELAYS
        if error.is_temporary and chunk.error_count < len(delays):
            delay = delays[chunk.error_count]
            logger.warning("job %s: chunk %s tries again in %s s: %s", job.pk, chunk.pk, delay, error)
            jobs.postpone_chunk(chunk, seconds=delay, error=error, is_attempt=True)
            return False
    if job.is_import:
        try:
            jobs.fail_job(job, code=error.code, reason=_why_import_failed(job, error))
        except jobs.IllegalTransition:
            logger.info("job %s: had ended already", job.pk)
        # Last: while the job runs, another worker would make the same call again.
        jobs.release_chunk(chunk)
        return False
    # Given up: what this batch could not get has failed, the rest of the chunk has its own chance.
    batch = _next_batch(job, chunk, size=_batch_size(chunk, service))
    reports += _save(
        chunk, [Result(r.track_id, r.answer or error, r.item) if r.item else r for r in batch], calls=0
    )
    return True


def _why_import_failed(job: MetadataFetchTask, error: SoundchartsError) -> str:
    if error.code == "forbidden" and not job.request["artist_uuid"]:
        return "The Soundcharts plan does not include top songs. Give an artist's UUID to import their songs."
    if error.code == "not_found" and job.request["artist_uuid"]:
        return f"Soundcharts knows no artist {job.request['artist_uuid']}. Check the UUID."
    return str(error)


# --- Tracks ---------------------------------------------------------------------------------------


def _batch_size(chunk: FetchChunk, service: SoundchartsService) -> int:
    # Somewhere in this batch workers died: one by one, the culprit is found and the others saved.
    return 1 if chunk.lease_count >= MAX_LEASES else service.effective_batch_size


def _next_batch(job: MetadataFetchTask, chunk: FetchChunk, *, size: int) -> list[Result]:
    """Return the next tracks of a chunk: up to `size` to fetch, and the ones to skip among them.

    Those to fetch carry their uuid as `item`; a track that is fresh or gone has none.
    """
    window = chunk.track_ids[chunk.position :]
    known = {
        pk: (uuid, fetched_at)
        for pk, uuid, fetched_at in Track.objects.filter(pk__in=window).values_list(
            "pk", "uuid", "metadata_fetched_at"
        )
    }
    batch: list[Result] = []
    wanted = 0
    for track_id in window:
        uuid, fetched_at = known.get(track_id, (None, None))
        is_needed = uuid is not None and (fetched_at is None or fetched_at < job.fresh_after)
        if is_needed and wanted == size:
            break
        wanted += is_needed
        batch.append(Result(track_id, None, str(uuid) if is_needed else ""))
    return batch


def _run_track_batch(
    job: MetadataFetchTask, chunk: FetchChunk, service: SoundchartsService
) -> list[TrackReport]:
    """Fetch and save the next batch; raise what left some of it without an answer."""
    batch = _next_batch(job, chunk, size=_batch_size(chunk, service))
    if chunk.lease_count > MAX_LEASES:
        culprit = next((r for r in batch if r.item), batch[0])
        doomed = batch[: batch.index(culprit) + 1]
        return _save(
            chunk,
            [Result(r.track_id, WorkerKilled() if r is culprit else None, r.item) for r in doomed],
            calls=0,
        )
    wanted = [UUID(result.item) for result in batch if result.item]
    if not wanted:
        return _save(chunk, batch, calls=0)
    with service.count_calls() as meter:
        answer = service.get_songs(wanted)
    results: list[Result] = []
    for result in batch:
        found: Song | SoundchartsError | None = None
        if result.item:
            uuid = UUID(result.item)
            found = answer.songs.get(uuid) or answer.errors.get(uuid)
            if found is None:
                break  # In order, so that the position says all: what comes after is asked for again.
        results.append(Result(result.track_id, found, result.item))
    if results:
        reports = _save(chunk, results, calls=meter.spent)
    else:
        reports = []
        jobs.record_calls(job.pk, meter.spent)
    if answer.interrupted_by is not None:
        raise answer.interrupted_by
    return reports


def _save(chunk: FetchChunk, results: Sequence[Result], *, calls: int) -> list[TrackReport]:
    """Commit a batch: tracks, position, counters and failures in one transaction, or nothing of it."""
    try:
        return _with_database_back(lambda: _commit_tracks(chunk, results, calls=calls), chunk, calls=calls)
    except (DatabaseError, ValueError) as error:
        if isinstance(error, OperationalError | InterfaceError):
            raise
        logger.exception("job %s: a batch was refused by the database", chunk.job_id)
        if len(results) == 1:
            refused = Result(results[0].track_id, NotSaved(), results[0].item)
            return _with_database_back(
                lambda: _commit_tracks(chunk, [refused], calls=calls), chunk, calls=calls
            )
    # One by one, so that only the track at fault fails. The calls are counted once.
    reports = []
    for index, result in enumerate(results):
        reports += _save(chunk, [result], calls=calls if index == 0 else 0)
    return reports


def _with_database_back(commit: Callable[[], T], chunk: FetchChunk, *, calls: int) -> T:
    """Call `commit` again on a new connection while the database is away; raise when it stays away.

    Safe even where the first COMMIT went through and only its answer was lost: the position has then
    moved, and the lease's guard refuses the second. Calls that were spent on a lost lease are recorded.
    """
    for attempt in range(COMMIT_TRIES):
        try:
            return commit()
        except jobs.LeaseLost:
            # Not after a redo: the COMMIT before it may have recorded them.
            if attempt == 0:
                jobs.record_calls(chunk.job_id, calls)
            raise
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or attempt == COMMIT_TRIES - 1:
                raise
            logger.warning("the database failed (%s); the batch is saved again", type(error).__name__)
            connection.close()
            time.sleep(min(2**attempt, 10))
    raise AssertionError("unreachable")


def _commit_tracks(chunk: FetchChunk, results: Sequence[Result], *, calls: int) -> list[TrackReport]:
    counts = jobs.Counts()
    failures: list[jobs.Failure] = []
    reports: list[TrackReport] = []
    changed: list[Track] = []
    unchanged: list[int] = []
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=len(results))
        # In key order, so that two jobs with the same tracks never wait for each other in a ring.
        locked = (
            Track.objects.select_for_update()
            .filter(pk__in=[result.track_id for result in results if result.item])
            .order_by("pk")
            .annotate(database_now=Now())
        )
        tracks = {track.pk: track for track in locked}
        # One clock for everything that is compared with it: the database's.
        now: Any = getattr(next(iter(tracks.values()), None), "database_now", None)
        for result in results:
            track = tracks.get(result.track_id)
            if track is None or result.answer is None:
                report = TrackReport("skipped")
            elif isinstance(result.answer, Song):
                report, needs_write = apply_song(track, result.answer, fetched_at=now)
                if needs_write:
                    changed.append(track)
                else:
                    unchanged.append(track.pk)
            else:
                report = apply_error(track, result.answer, failed_at=now)
                changed.append(track)
                failures.append(jobs.Failure(result.item, report.code, report.message, track.pk))
            setattr(counts, report.outcome, getattr(counts, report.outcome) + 1)
            reports.append(report)
        if changed:
            Track.objects.bulk_create(
                changed, update_conflicts=True, unique_fields=("id",), update_fields=WRITTEN_FIELDS
            )
        if unchanged:
            Track.objects.filter(pk__in=unchanged).update(metadata_fetched_at=Now())
        jobs.record_outcomes(chunk, counts=counts, failures=failures, calls=calls)
    _has_moved(chunk, count=len(results))
    logger.info(
        "job %s: chunk %s at %s of %s: %s updated, %s unchanged, %s skipped, %s failed, %s calls",
        *(chunk.job_id, chunk.pk, chunk.position, chunk.size),
        *(counts.updated, counts.unchanged, counts.skipped, counts.failed, calls),
    )
    return reports


def _has_moved(chunk: FetchChunk, *, count: int, size: int | None = None) -> None:
    """Bring the chunk in memory up to what was committed."""
    chunk.position += count
    chunk.size = chunk.size if size is None else size
    chunk.lease_count = chunk.error_count = 0
    if chunk.position >= chunk.size:
        chunk.finished_at = timezone.now()


# --- Imports --------------------------------------------------------------------------------------


def _run_page(job: MetadataFetchTask, chunk: FetchChunk, service: SoundchartsService) -> list[TrackReport]:
    """List and save the next page of an import; raise what prevented it."""
    offset = job.request["offset"] + chunk.position
    limit = min(LIST_PAGE, chunk.size - chunk.position)
    with service.count_calls() as meter:
        try:
            if job.request["artist_uuid"]:
                page = service.get_artist_songs(UUID(job.request["artist_uuid"]), offset=offset, limit=limit)
            else:
                page = service.get_top_songs(offset=offset, limit=limit)
        except SoundchartsError:
            jobs.record_calls(job.pk, meter.spent)
            raise
    _with_database_back(lambda: _commit_page(job, chunk, page, calls=meter.spent), chunk, calls=meter.spent)
    return []


def _commit_page(job: MetadataFetchTask, chunk: FetchChunk, page: Page[SongSummary], *, calls: int) -> None:
    listed = len(page.items) + len(page.warnings)
    size = chunk.size if page.has_next and listed else chunk.position + listed
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=listed, size=size)
        uuids = {song.uuid for song in page.items}
        here_before = set(Track.objects.filter(uuid__in=uuids).values_list("uuid", flat=True))
        added = {song.uuid: new_track(song) for song in page.items if song.uuid not in here_before}
        # In the list's order, most wanted first. Two imports that add the same songs in another order can
        # wait for each other in a ring: the database ends one's transaction, which is then done again.
        Track.objects.bulk_create(added.values(), ignore_conflicts=True)
        jobs.add_imported_tracks(job, list(Track.objects.filter(uuid__in=uuids).values_list("pk", flat=True)))
        failures = [
            jobs.Failure(
                f"position {job.request['offset'] + chunk.position} #{number}", "invalid_response", warning
            )
            for number, warning in enumerate(page.warnings, start=1)
        ]
        counts = jobs.Counts(updated=len(added), unchanged=len(page.items) - len(added), failed=len(failures))
        jobs.record_outcomes(chunk, counts=counts, failures=failures, calls=calls, size=size)
    _has_moved(chunk, count=listed, size=size)
    logger.info(
        "job %s: %s songs listed: %s added, %s already here", job.pk, listed, counts.updated, counts.unchanged
    )


# --- One track, at once ---------------------------------------------------------------------------


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
