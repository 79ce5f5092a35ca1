"""Imports of lists that people bring: UUIDs and ISRCs are looked up, and what is found becomes tracks.

A track is made only once its song has come, with all that Soundcharts says of it. So an unknown uuid leaves
nothing but its row in the report, and no second call is spent on what an ISRC has brought.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from catalog import jobs, quota
from catalog.fetching.ahead import SAVED_TOGETHER, Look
from catalog.fetching.imports import count_import_calls
from catalog.fetching.lookups import Lookups, look_up
from catalog.fetching.saving import (
    NotSaved,
    again_on_a_new_connection,
    database_now,
    insert_tracks,
    is_set_apart,
    move_on,
    save_answers,
    save_apart,
    with_database_back,
)
from catalog.jobs import unknown_rows
from catalog.mapping import apply_song
from catalog.models import (
    FetchChunk,
    ImportRow,
    MetadataFetchTask,
    Track,
    note_aliases,
    tracks_by_identifier,
)
from catalog.song_lists import is_uuid
from catalog.words import plural
from soundcharts.errors import Moved, SoundchartsError
from soundcharts.payloads import Song
from soundcharts.service import SoundchartsService

logger = logging.getLogger(__name__)

Outcome = ImportRow.Outcome
# Most attempts of a row before it fails; BATCH_RETRY_DELAYS may allow fewer.
ROW_TRIES = 3
DelayAfter = Callable[[SoundchartsError | None], jobs.Delay]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a list, and what is known of it: the track that is here, or what Soundcharts said.

    `tries` is how often it was asked for without an answer.
    """

    number: int
    line: int
    value: str
    given: str
    tries: int = 0
    track_id: int | None = None
    answer: Song | SoundchartsError | None = None

    @property
    def is_unanswered(self) -> bool:
        return self.track_id is None and self.answer is None

    @property
    def as_json(self) -> list[Any]:
        return [self.number, self.line, self.value, self.given, self.tries]


@dataclass(frozen=True, slots=True)
class ItemsRun:
    """What `import_items` needs to know of the worker's run of a chunk."""

    job: MetadataFetchTask
    chunk: FetchChunk
    service: SoundchartsService
    look: Look
    delay_after: DelayAfter


def import_items(run: ItemsRun, *, given_up: SoundchartsError | None = None, is_first: bool = False) -> None:
    """Look up and save the next rows of a list; raise the error that left rows without an answer.

    As many calls are made at once as fit under the rate limit in a second, at most FETCH_AHEAD; the next
    ones begin when these are saved. The first one of a run (`is_first`) is made alone: it finds out how
    Soundcharts answers. With `given_up`, the next call's rows fail with that error, unasked.

    A row that was asked for in vain is put off into a chunk of its own, and fails at the last of its tries.
    So no list costs more than a few calls a row, whatever is answered. Where nothing at all could be read
    the error is raised, so that the job waits or pauses; unless it is only about rows that had failed before,
    while others were answered.
    """
    items, batches = again_on_a_new_connection(
        lambda: _next_items(run, is_one_call=is_first or given_up is not None)
    )
    if given_up is not None:
        answers = Lookups({value: given_up for batch in batches for value in batch})
    else:
        answers = look_up(batches, service=run.service, look=run.look, job_id=run.job.pk)
    is_about_others = any(item.value in answers.failed and not item.tries for item in items)
    items = [_with_answer(item, answers) for item in items]
    settled = list(items)
    is_apart = isinstance(answers.error, jobs.InternalError) and is_set_apart(run.chunk, len(items))
    while not is_apart and settled and settled[-1].is_unanswered and settled[-1].value not in answers.failed:
        settled.pop()
    if settled:
        _save(run, settled, calls=answers.calls, delay=_delay(run, settled, answers))
    else:
        jobs.record_calls(run.job.pk, answers.calls)
    again_on_a_new_connection(lambda: quota.note_quota(run.service))
    if answers.error is None:
        return
    is_trouble = not answers.found and (is_about_others or bool(run.job.unreadable_tries))
    is_left = is_apart or len(settled) < len(items)
    if answers.error.stops_all or is_left or is_trouble:
        raise answers.error
    if isinstance(answers.error, jobs.InternalError):
        jobs.note_put_aside(run.job.pk, answers.error)


def _with_answer(item: Item, answers: Lookups) -> Item:
    if item.value not in answers.failed:
        return replace(item, answer=answers.found.get(item.value))
    tries = item.tries + 1
    is_last = tries >= min(ROW_TRIES, len(settings.BATCH_RETRY_DELAYS) + 1)
    return replace(item, tries=tries, answer=answers.failed[item.value] if is_last else None)


def _delay(run: ItemsRun, items: list[Item], answers: Lookups) -> jobs.Delay:
    """Return when the rows without an answer are fetched again."""
    delays = settings.BATCH_RETRY_DELAYS
    tries = max((item.tries for item in items if item.value in answers.failed), default=0)
    if not tries or not delays:
        return run.delay_after(answers.error)
    return jobs.Delay(delays[min(tries, len(delays)) - 1], is_attempt=True)


def _next_items(run: ItemsRun, *, is_one_call: bool) -> tuple[list[Item], list[list[str]]]:
    """Return the next rows, and what to ask for those that are not here: a call for each list."""
    chunk, service = run.chunk, run.service
    window = [Item(*row) for row in chunk.items[chunk.position : chunk.position + SAVED_TOGETHER]]
    # Unreadable answers are paid for, so a single call tests whether they are readable again.
    is_careful = is_one_call or _is_suspicious(chunk) or bool(run.job.unreadable_tries)
    depth = 1 if is_careful else _calls_at_once()
    batch_size = 1 if _is_suspicious(chunk) else service.effective_batch_size
    # One call, alone, finds out whether the account has batch calls.
    is_one_batch = not service.knows_batches
    here = tracks_by_identifier([item.value for item in window])
    most = unknown_rows.count_until_asked(run.job)
    items: list[Item] = []
    batches: list[list[str]] = []
    uuids: list[str] = []
    for item in window:
        item = replace(item, track_id=here.get(item.value))
        if item.is_unanswered:
            if most is not None and sum(map(len, batches)) >= most:
                break
            if is_uuid(item.value) and uuids and len(uuids) < batch_size:
                uuids.append(item.value)
            elif len(batches) == depth or (is_one_batch and uuids and is_uuid(item.value)):
                break
            else:
                batch = [item.value]
                batches.append(batch)
                uuids = batch if is_uuid(item.value) else uuids
        items.append(item)
    return items, batches


def _calls_at_once() -> int:
    # No more than may start within a second: others would only wait for their turn.
    return max(1, min(settings.FETCH_AHEAD, math.ceil(settings.SOUNDCHARTS_CALLS_PER_MINUTE / 60)))


def _is_suspicious(chunk: FetchChunk) -> bool:
    # Somewhere in it workers die: one row at a time, so that only the one that kills is given up.
    return chunk.lease_count >= jobs.SUSPICIOUS_LEASES


def _save(run: ItemsRun, items: list[Item], *, calls: int, delay: jobs.Delay) -> None:
    """Commit rows, as `save_apart` does."""

    def commit(some: Sequence[Item], spent: int) -> None:
        with_database_back(
            lambda: commit_items(run, list(some), calls=spent, delay=delay), run.chunk, calls=spent
        )

    save_apart(
        items,
        commit,
        chunk=run.chunk,
        calls=calls,
        refused=lambda item: replace(item, answer=NotSaved()),
        unanswered=lambda item: replace(item, answer=None, track_id=None),
    )


def commit_items(run: ItemsRun, items: list[Item], *, calls: int, delay: jobs.Delay) -> None:
    """Save rows of a list: tracks, the position, counters, failures and report, or nothing of it.

    Rows without an answer, and those whose track was deleted since it was seen, are put off into a chunk of
    their own, by `delay`.
    """
    job, chunk = run.job, run.chunk
    with transaction.atomic():
        is_done = jobs.advance_chunk(chunk, count=len(items))
        items = _without_deleted(items)
        songs = {item.answer.uuid: item.answer for item in items if isinstance(item.answer, Song)}
        now = database_now(chunk)
        added, here = _save_songs(songs, job_id=job.pk, now=now)
        keys = added | here
        # The next import of the same list finds them here without a call.
        note_aliases({item.value: keys[item.answer.uuid] for item in items if isinstance(item.answer, Song)})
        rows = list(_rows_of(job, items, added, here, now=now))
        jobs.add_imported_tracks(job, [row.track_id for row in rows if row.track_id is not None])
        ImportRow.objects.bulk_create(rows)
        if "recheck_of" in job.request:
            jobs.note_rechecked(job, {row.item: row.track_id for row in rows if row.track_id is not None})
        put_off = [item for item in items if item.is_unanswered]
        if put_off:
            jobs.split_chunk(chunk, [], items=[item.as_json for item in put_off], delay=delay)
        failures = [
            jobs.Failure(item.value, item.answer.code, str(item.answer))
            for item in items
            if isinstance(item.answer, SoundchartsError)
        ]
        outcomes = [row.outcome for row in rows]
        counts = jobs.Counts(
            updated=outcomes.count(Outcome.ADDED),
            unchanged=outcomes.count(Outcome.HERE),
            skipped=outcomes.count(Outcome.DUPLICATE),
            failed=outcomes.count(Outcome.NOT_FOUND) + outcomes.count(Outcome.FAILED),
        )
        is_read = any(map(_is_readable, items))
        jobs.record_outcomes(
            chunk, counts=counts, failures=failures, calls=calls, is_done=is_done, is_read=is_read
        )
        if counts.failed:
            _pause_if_all_unknown(job)
    if is_read:
        job.unreadable_tries = 0
    move_on(chunk, count=len(items))
    logger.info(
        "job %s: chunk %s at %s of %s: %s added, %s already here, %s listed twice, %s failed, %s calls",
        *(job.pk, chunk.pk, chunk.position, chunk.size),
        *(counts.updated, counts.unchanged, counts.skipped, counts.failed, calls),
    )


def _is_readable(item: Item) -> bool:
    """Return whether Soundcharts gave a readable answer for a row."""
    if isinstance(item.answer, SoundchartsError):
        return item.answer.code in jobs.READABLE_FAILURES
    return item.answer is not None


def _pause_if_all_unknown(job: MetadataFetchTask) -> None:
    """Pause an import once if none of its first rows are found."""
    if not unknown_rows.are_all_unknown(job):
        return
    job.refresh_from_db()
    left = job.remaining_tracks
    reason = (
        f"None of the first {job.processed_tracks:,} rows were found. Check that the list uses the right "
        "column, with ISRCs or Soundcharts UUIDs. "
        f"{plural(job.api_calls, 'API call')} used so far; "
        f"the other {plural(left, 'row')} would use about {count_import_calls(job, left):,} more."
    )
    with suppress(jobs.IllegalTransition):
        jobs.pause_job(job, code=unknown_rows.FIRST_ROWS_UNKNOWN, reason=reason)


def _without_deleted(items: list[Item]) -> list[Item]:
    mentioned = {item.track_id for item in items if item.track_id is not None}
    here = set(Track.objects.filter(pk__in=mentioned).values_list("pk", flat=True)) if mentioned else set()
    return [item if item.track_id in here else replace(item, track_id=None) for item in items]


def _save_songs(
    songs: dict[UUID, Song], *, job_id: int, now: datetime
) -> tuple[dict[UUID, int], dict[UUID, int]]:
    """Put songs onto the tracks that are here and make the others; return the keys of new and old tracks."""
    if not songs:
        return {}, {}
    # In key order, so that two jobs with the same tracks never wait for each other in a ring.
    known = list(Track.objects.select_for_update().filter(uuid__in=songs).order_by("pk"))
    save_answers([(track, songs[track.uuid]) for track in known], job_id=job_id, now=now)
    here = {track.uuid: track.pk for track in known}
    new = [Track(uuid=uuid, metadata_job_id=job_id) for uuid in songs if uuid not in here]
    for track in new:
        apply_song(track, songs[track.uuid], fetched_at=now)
    added = insert_tracks(new, now=now)
    if len(added) < len(new):
        # Somebody else added them since we looked.
        lost = [track.uuid for track in new if track.uuid not in added]
        here |= dict(Track.objects.filter(uuid__in=lost).values_list("uuid", "pk"))
    return added, here


def _rows_of(
    job: MetadataFetchTask,
    items: list[Item],
    added: dict[UUID, int],
    here: dict[UUID, int],
    *,
    now: datetime,
) -> Iterator[ImportRow]:
    """Yield the report's rows of all items that have their outcome."""
    keys = added | here
    mentioned = {item.track_id for item in items if item.track_id is not None}
    # Several ISRCs can lead to the same song.
    lines = dict(
        ImportRow.objects.filter(job=job, track_id__in=mentioned | set(keys.values()))
        .order_by("-number")
        .values_list("track_id", "line")
    )
    fresh = set(added.values())
    for item in items:
        row = ImportRow(job=job, number=item.number, line=item.line, item=item.given)
        if isinstance(item.answer, SoundchartsError):
            row.outcome = Outcome.NOT_FOUND if item.answer.code == "not_found" else Outcome.FAILED
            row.message = str(item.answer)
            if row.outcome == Outcome.NOT_FOUND:
                row.recheck_at = jobs.first_recheck(job, item.value, now=now)
            yield row
            continue
        track_id = keys[item.answer.uuid] if item.answer is not None else item.track_id
        if track_id is None:
            continue  # It has no outcome yet.
        row.track_id = track_id
        if track_id in lines:
            row.outcome = Outcome.DUPLICATE
            row.message = f"The same song as in line {lines[track_id]}."
        else:
            row.outcome = Outcome.ADDED if track_id in fresh else Outcome.HERE
            lines[track_id] = item.line
            if item.answer is not None and is_uuid(item.value) and item.value != str(item.answer.uuid):
                row.message = str(Moved(new_uuid=item.answer.uuid))
        yield row
