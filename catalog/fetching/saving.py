"""Saving a batch: tracks, the chunk's position, the job's counters and failures, or nothing of it."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from catalog import jobs
from catalog.fetching.results import Result
from catalog.mapping import TrackReport, apply_error, apply_move, apply_song
from catalog.models import METADATA_FIELDS, FetchChunk, Track, TrackChange
from soundcharts.errors import Moved, SoundchartsError
from soundcharts.payloads import Song

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
# Writes the answers among some results, in the transaction that moves the chunk on; returns what that did to
# each track that is here.
Save = Callable[[FetchChunk, Sequence[Result]], dict[int, TrackReport]]

# Tries at committing what is paid for, while the database is away: about half a minute.
COMMIT_TRIES = 6
# Errors that affect every selection of results.
NOT_ABOUT_VALUES = (jobs.LeaseLost, OperationalError, InterfaceError, SoftTimeLimitExceeded)
# Rows in one statement: SQLite takes 32,766 values.
SQLITE_ROWS = 500
WRITTEN_FIELDS = (
    *METADATA_FIELDS,
    "metadata_fetched_at",
    "metadata_warnings",
    "metadata_error",
    "metadata_absences",
    "metadata_retry_at",
    "metadata_job",
    "updated_at",
)
# Written too where a track is, or was, moved.
MOVE_FIELDS = ("moved_to", "moved_song")


class NotSaved(SoundchartsError):
    """Say that the database refused what Soundcharts answered."""

    code = "not_saved"
    default_message = "The database refused what Soundcharts answered. The log has the reason."


def save_results(
    chunk: FetchChunk,
    results: Sequence[Result],
    *,
    calls: int,
    save: Save,
    delay: jobs.Delay | None = None,
) -> list[TrackReport]:
    """Commit the next results of a chunk, and bring the chunk in memory up to them.

    `save` writes what the job is about, inside the transaction. Results without an answer are put off into
    a chunk of their own, by `delay`. Raises LeaseLost when somebody else owns the chunk. Where the database
    refuses the values of a track, that one fails.
    """
    wait = delay or jobs.Delay(next(iter(settings.BATCH_RETRY_DELAYS), 0), is_attempt=True)

    def commit(some: Sequence[Result], spent: int) -> list[TrackReport]:
        told: list[TrackReport] = []
        try:
            return with_database_back(
                lambda: _commit(chunk, some, spent, wait, save, told), chunk, calls=spent
            )
        except jobs.LeaseLost:
            # Ours all the same where only the answer to our own COMMIT was lost; what is under way is saved.
            if not told or not jobs.has_moved(chunk, count=len(some)):
                raise
            move_on(chunk, count=len(some))
            return told

    saved = save_apart(
        results,
        commit,
        chunk=chunk,
        calls=calls,
        refused=lambda result: Result(result.track_id, result.item, NotSaved()),
        unanswered=lambda result: replace(result, answer=None, part=None),
    )
    return [report for reports in saved for report in reports]


def save_parts(chunk: FetchChunk, results: Sequence[Result], *, save: Save) -> None:
    """Commit partial results of a chunk's next tracks, which stay in the chunk. Raises LeaseLost."""

    def commit() -> None:
        with transaction.atomic():
            jobs.renew_lease(chunk)
            save(chunk, results)

    again_on_a_new_connection(commit)


def save_apart(
    results: Sequence[R],
    commit: Callable[[Sequence[R], int], T],
    *,
    chunk: FetchChunk,
    calls: int,
    refused: Callable[[R], R],
    unanswered: Callable[[R], R],
) -> list[T]:
    """Commit the next results of a chunk together, or one by one if that fails; return what `commit` did.

    Where the database refuses the values of one, that one fails: it is saved as `refused`. One that meets an
    unexpected error is put off as `unanswered`, together with the next that can be saved, so that nothing
    that is paid for waits for it. Raises that error where none behind it can be saved. The calls are
    counted once, whatever happens.
    """
    try:
        return [commit(results, calls)]
    except NOT_ABOUT_VALUES as error:
        count_lost(chunk, calls, error)
        raise
    except Exception:
        logger.exception("job %s: some results could not be saved together", chunk.job_id)
    saved: list[T] = []
    held: list[R] = []
    trouble: Exception | None = None
    try:
        for result in results:
            try:
                saved.append(commit([*held, result], calls))
            except NOT_ABOUT_VALUES:
                raise
            except (DatabaseError, ValueError):
                saved.append(commit([*held, refused(result)], calls))
            except Exception as error:
                trouble = error
                held.append(unanswered(result))
                continue
            held, calls = [], 0
    except Exception as error:
        count_lost(chunk, calls, error)
        raise
    if trouble is None:
        return saved
    if not held:
        put_aside = jobs.internal_error(trouble, during=f"job {chunk.job_id}")
        again_on_a_new_connection(lambda: jobs.note_put_aside(chunk.job_id, put_aside))
        return saved
    try:
        if is_set_apart(chunk, len(held)):
            commit(held, calls)
            calls = 0
    except Exception as error:
        logger.warning("job %s: could not be set apart: %s", chunk.job_id, type(error).__name__)
    count_lost(chunk, calls, trouble)
    raise trouble


def is_set_apart(chunk: FetchChunk, count: int) -> bool:
    """Return whether the next results move to a separate chunk after an unexpected error.

    So they do where each is tried alone, since the error must be about them, and others come after them.
    """
    return chunk.lease_count >= jobs.MAX_LEASES and chunk.position + count < chunk.size


def count_lost(chunk: FetchChunk, calls: int, error: Exception) -> None:
    """Record calls whose answers could not be saved; after a lost lease they are recorded already."""
    if not isinstance(error, jobs.LeaseLost):
        with suppress(DatabaseError, InterfaceError):
            jobs.record_calls(chunk.job_id, calls)


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
    chunk.asks_singly = False
    if chunk.position >= chunk.size:
        chunk.finished_at = timezone.now()


def _commit(
    chunk: FetchChunk,
    results: Sequence[Result],
    calls: int,
    delay: jobs.Delay,
    save: Save,
    reports: list[TrackReport],
) -> list[TrackReport]:
    """Save results, and return their reports, which are in `reports` before the COMMIT."""
    counts = jobs.Counts()
    items = {result.track_id: result.item for result in results}
    with transaction.atomic():
        is_done = jobs.advance_chunk(chunk, count=len(results))
        told = save(chunk, results)
        skipped = TrackReport("skipped")
        reports[:] = [told.get(result.track_id, skipped) for result in results if not result.is_unanswered]
        for report in reports:
            setattr(counts, report.outcome, getattr(counts, report.outcome) + 1)
        failures = [
            jobs.Failure(items[track_id], report.code, report.message, track_id)
            for track_id, report in told.items()
            if report.outcome == "failed"
        ]
        put_off = [result.track_id for result in results if result.is_unanswered]
        if put_off:
            jobs.split_chunk(chunk, put_off, delay=delay)
        jobs.record_outcomes(
            chunk,
            counts=counts,
            failures=failures,
            calls=calls,
            is_done=is_done,
            missing=_missing_among([told[result.track_id] for result in results if result.track_id in told]),
        )
    move_on(chunk, count=len(results))
    logger.info(
        "job %s: chunk %s at %s of %s: %s updated, %s unchanged, %s moved, %s skipped, %s failed, "
        "%s put off, %s calls",
        *(chunk.job_id, chunk.pk, chunk.position, chunk.size),
        *(counts.updated, counts.unchanged, counts.moved, counts.skipped, counts.failed),
        *(len(put_off), calls),
    )
    return reports


def _missing_among(reports: Sequence[TrackReport]) -> jobs.Missing:
    """Return how many known tracks were not found since the last found one, and whether any was found."""
    count, is_any_found = 0, False
    for report in reports:
        if report.outcome in ("updated", "unchanged", "moved"):
            count, is_any_found = 0, True
        elif report.is_missing:
            count += 1
    return jobs.Missing(count, is_any_found)


def save_answers(
    answers: Iterable[tuple[Track, Song | SoundchartsError]], *, job_id: int, now: datetime
) -> dict[int, TrackReport]:
    """Put what Soundcharts answered onto tracks that are locked, and write it; return what it did to each.

    `now` is the database's clock, as is everything that it is compared with. A track of which nothing but
    the stamp differs is stamped together with all others of its kind.
    """
    reports: dict[int, TrackReport] = {}
    changed: list[Track] = []
    unchanged: list[int] = []
    history: list[TrackChange] = []
    is_moved = False
    for track, answer in answers:
        track.metadata_job_id = job_id
        is_moved |= track.moved_to is not None or isinstance(answer, Moved)
        if isinstance(answer, Song):
            report, needs_write = apply_song(track, answer, fetched_at=now)
        elif isinstance(answer, Moved):
            report, needs_write = apply_move(track, answer, fetched_at=now), True
        else:
            report, needs_write = apply_error(track, answer, failed_at=now), True
        if needs_write:
            track.updated_at = now
            changed.append(track)
        else:
            unchanged.append(track.pk)
        if values := report.history:
            history.append(TrackChange(track=track, job_id=job_id, at=now, changes=values))
        reports[track.pk] = report
    if changed:
        update_each(changed, (*WRITTEN_FIELDS, *MOVE_FIELDS) if is_moved else WRITTEN_FIELDS)
    if unchanged:
        # The value and not Now(): SQLite would store it in another form, and the planner compares text.
        Track.objects.filter(pk__in=unchanged).update(metadata_fetched_at=now, metadata_job=job_id)
    if history:
        TrackChange.objects.bulk_create(history)
    return reports


def database_now(chunk: FetchChunk) -> datetime:
    """Return the database's clock; the chunk is a row that is there."""
    now: datetime = FetchChunk.objects.values_list(Now(), flat=True).get(pk=chunk.pk)
    return now


def update_each(rows: Sequence[models.Model], names: Collection[str]) -> None:
    """Write some fields of many rows of a table, each with its own values.

    Not bulk_create with update_conflicts or bulk_update, which cost a worker 20 % more processor time in
    all, and the first of which brings a deleted track back.
    """
    fields = [field for field in rows[0]._meta.concrete_fields if field.name in names]
    quote = connection.ops.quote_name
    table = quote(rows[0]._meta.db_table)
    columns = [_prepared(field, [getattr(row, field.attname) for row in rows]) for field in fields]
    values = list(zip(*columns, [row.pk for row in rows], strict=True))
    quoted = [quote(str(field.column)) for field in fields]
    # Only names of our own columns are put into the texts.
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # One statement: at the end of each, the index of words is written. Half of the time of many.
            told = ", ".join(f"{name} = told.column{number}" for number, name in enumerate(quoted, start=1))
            row = f"({', '.join(['%s'] * (len(quoted) + 1))})"
            for start in range(0, len(values), SQLITE_ROWS):
                some = values[start : start + SQLITE_ROWS]
                cursor.execute(
                    f"UPDATE {table} SET {told} FROM (VALUES {', '.join([row] * len(some))}) AS told "  # noqa: S608
                    f"WHERE {table}.id = told.column{len(quoted) + 1}",
                    [value for each in some for value in each],
                )
        else:
            # Prepared once, and sent together: half of the time of one text with all values in it.
            told = ", ".join(f"{name} = %s" for name in quoted)
            cursor.executemany(f"UPDATE {table} SET {told} WHERE id = %s", values)  # noqa: S608


def _prepared(field: "models.Field[Any, Any]", values: list[Any]) -> list[Any]:
    """Return a column's values as the database takes them, each different one prepared once.

    Field by field of each track this would be a tenth of all that a worker does.
    """
    if isinstance(field, models.CharField | models.IntegerField):
        return values  # Taken as they are.
    if isinstance(field, models.JSONField):
        empty = field.get_db_prep_save([], connection)
        return [empty if value == [] else field.get_db_prep_save(value, connection) for value in values]
    prepared = {value: field.get_db_prep_save(value, connection) for value in set(values)}
    return [prepared[value] for value in values]


def insert_tracks(tracks: Sequence[Track], *, now: datetime) -> dict[UUID, int]:
    """Add those of the tracks whose uuid is not here yet; return the key of each that was added.

    `now` is the database's clock, when they were added and changed.
    In the order of their uuids, so that two imports of the same songs never wait for each other in a ring.
    Not bulk_create with ignore_conflicts, which does not tell what it added: two imports that come to the
    same song at the same moment would both count it.
    """
    if not tracks:
        return {}
    fields = [
        field
        for field in Track._meta.concrete_fields
        if not (field.primary_key or field.has_db_default() or field.generated)
    ]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    row = f"({', '.join(['%s'] * len(fields))})"
    stamps = {"created_at": now, "updated_at": now}
    values = [
        field.get_db_prep_save(stamps.get(field.name) or field.pre_save(track, True), connection)
        for track in sorted(tracks, key=lambda track: track.uuid)
        for field in fields
    ]
    with connection.cursor() as cursor:
        # Only names of our own columns are put into the text.
        cursor.execute(
            f"INSERT INTO {quote(Track._meta.db_table)} ({columns}) VALUES "  # noqa: S608
            f"{', '.join([row] * len(tracks))} ON CONFLICT (uuid) DO NOTHING RETURNING uuid, id",
            values,
        )
        return {UUID(str(uuid)): key for uuid, key in cursor.fetchall()}
