"""Saving a batch: tracks, the chunk's position, the job's counters and failures, or nothing of it."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Model
from django.db.models.functions import Now
from django.utils import timezone

from catalog import jobs
from catalog.fetching.results import Result
from catalog.mapping import TrackReport, apply_error, apply_song
from catalog.models import METADATA_FIELDS, FetchChunk, Track
from soundcharts.errors import SoundchartsError
from soundcharts.payloads import Song

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Tries at committing what is paid for, while the database is away: about half a minute.
COMMIT_TRIES = 6
WRITTEN_FIELDS = (
    *METADATA_FIELDS,
    "metadata_fetched_at",
    "metadata_warnings",
    "metadata_error",
    "metadata_absences",
    "metadata_retry_at",
    "updated_at",
)


class NotSaved(SoundchartsError):
    """Say that the database refused what Soundcharts answered."""

    code = "not_saved"
    default_message = "The database refused what Soundcharts answered. The log has the reason."


def save_results(
    chunk: FetchChunk,
    results: Sequence[Result],
    *,
    calls: int,
    delay: jobs.Delay | None = None,
    save: "Save | None" = None,
) -> list[TrackReport]:
    """Commit the next results of a chunk, and bring the chunk in memory up to them.

    Results without an answer are put off into a chunk of their own, by `delay`. `save` writes what the job
    is about: metadata unless another is given. Raises LeaseLost when somebody else owns the chunk. Where
    the database refuses the values of a track, that one fails.
    """
    save = save or SavesMetadata().save
    try:
        return with_database_back(lambda: _commit(chunk, results, calls, delay, save), chunk, calls=calls)
    except (DatabaseError, ValueError) as error:
        if isinstance(error, OperationalError | InterfaceError):
            raise
        logger.exception("job %s: a batch was refused by the database", chunk.job_id)
        if len(results) == 1:
            refused = [Result(results[0].track_id, results[0].item, NotSaved())]
            return with_database_back(lambda: _commit(chunk, refused, calls, delay, save), chunk, calls=calls)
    # One by one, so that only the track at fault fails. The calls are counted once.
    reports = []
    for index, result in enumerate(results):
        reports += save_results(chunk, [result], calls=calls if index == 0 else 0, delay=delay, save=save)
    return reports


def with_database_back(commit: Callable[[], T], chunk: FetchChunk, *, calls: int) -> T:
    """Commit what is paid for, again on a new connection while the database is away.

    Safe even where the first COMMIT went through and only its answer was lost: the position has then
    moved, and the lease's guard refuses the second. Calls that were spent on a lost lease are recorded.
    """
    attempts = 0

    def count_and_commit() -> T:
        nonlocal attempts
        attempts += 1
        return commit()

    try:
        return again_on_a_new_connection(count_and_commit)
    except jobs.LeaseLost:
        # Not after a redo: the COMMIT before it may have recorded them.
        if attempts == 1:
            jobs.record_calls(chunk.job_id, calls)
        raise


def again_on_a_new_connection(query: Callable[[], T]) -> T:
    """Return what `query` does, trying again while the database is away; raise when it stays away.

    For queries that may run twice. Celery renews connections between tasks, not inside of one.
    """
    for attempt in range(COMMIT_TRIES):
        try:
            return query()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or attempt == COMMIT_TRIES - 1:
                raise
            logger.warning("the database failed (%s): trying again", type(error).__name__)
            connection.close()
            time.sleep(min(2**attempt, 10))
    raise AssertionError("unreachable")


def move_on(chunk: FetchChunk, *, count: int, size: int | None = None) -> None:
    """Bring the chunk in memory up to what was committed."""
    chunk.position += count
    chunk.size = chunk.size if size is None else size
    chunk.lease_count = jobs.lease_count_after_advance(chunk)
    chunk.error_count = 0
    if chunk.position >= chunk.size:
        chunk.finished_at = timezone.now()


# Writes what came of some results, adds it to the counts and failures, and returns a report of each outcome.
Save = Callable[[int, Sequence[Result], jobs.Counts, list[jobs.Failure]], list[TrackReport]]


class SavesMetadata:
    """Write the songs and errors that came onto their tracks."""

    def save(
        self, job_id: int, results: Sequence[Result], counts: jobs.Counts, failures: list[jobs.Failure]
    ) -> list[TrackReport]:
        """Write them in the transaction that moves the chunk on; count them, and report each outcome."""
        reports: list[TrackReport] = []
        changed: list[Track] = []
        unchanged: list[int] = []
        # In key order, so that two jobs with the same tracks never wait for each other in a ring.
        locked = (
            Track.objects.select_for_update()
            .filter(pk__in=[result.track_id for result in results if result.answer is not None])
            .order_by("pk")
            .annotate(database_now=Now())
        )
        tracks = {track.pk: track for track in locked}
        # One clock for everything that is compared with it: the database's.
        now: Any = getattr(next(iter(tracks.values()), None), "database_now", None)
        for result in results:
            if result.is_unanswered:
                continue
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
            update_each(changed, WRITTEN_FIELDS)
        if unchanged:
            # The value and not Now(): SQLite would store it in another form, and the planner compares text.
            Track.objects.filter(pk__in=unchanged).update(metadata_fetched_at=now)
        return reports


def _commit(
    chunk: FetchChunk, results: Sequence[Result], calls: int, delay: jobs.Delay | None, save: Save
) -> list[TrackReport]:
    counts = jobs.Counts()
    failures: list[jobs.Failure] = []
    with transaction.atomic():
        is_done = jobs.advance_chunk(chunk, count=len(results))
        reports = save(chunk.job_id, results, counts, failures)
        put_off = [result.track_id for result in results if result.is_unanswered]
        if put_off and delay is not None:
            jobs.split_chunk(chunk, put_off, delay=delay)
        jobs.record_outcomes(chunk, counts=counts, failures=failures, calls=calls, is_done=is_done)
    move_on(chunk, count=len(results))
    logger.info(
        "job %s: chunk %s at %s of %s: %s updated, %s unchanged, %s skipped, %s failed, %s put off, %s calls",
        *(chunk.job_id, chunk.pk, chunk.position, chunk.size),
        *(counts.updated, counts.unchanged, counts.skipped, counts.failed, len(put_off), calls),
    )
    return reports


def update_each(rows: Sequence[Model], names: Collection[str]) -> None:
    """Write some fields of many rows of a table, each with its own values.

    Not bulk_create with update_conflicts or bulk_update, which cost a worker 20 % more processor time in
    all, and the first of which brings a deleted track back.
    """
    table = rows[0]._meta
    fields = [field for field in table.concrete_fields if field.name in names]
    quote = connection.ops.quote_name
    assignments = ", ".join(f"{quote(str(field.column))} = %s" for field in fields)
    values = [
        [*(field.get_db_prep_save(field.pre_save(row, False), connection) for field in fields), row.pk]
        for row in rows
    ]
    with connection.cursor() as cursor:
        # Only names of our own columns are put into the text.
        cursor.executemany(
            f"UPDATE {quote(table.db_table)} SET {assignments} WHERE id = %s",  # noqa: S608
            values,
        )
