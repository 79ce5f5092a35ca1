"""Chunks and who works on them: claim, advance, release.

A lease is a row's owner and expiry. Every write here is one conditional UPDATE whose row count says
whether it happened, and all its times come from the database's clock.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from catalog.jobs import events, pace
from catalog.jobs.missing import Missing
from catalog.jobs.states import Status, finish_if_done, start_job
from catalog.jobs.unreadable import READABLE_FAILURES
from catalog.models import FailureCount, FetchChunk, FetchFailure, MetadataFetchTask
from catalog.spending import add_spending
from soundcharts.errors import IncompleteResponse, SoundchartsError

logger = logging.getLogger(__name__)

# Leases since a chunk last moved, the present one included: in the second, it is worked on with care; in the
# third, its next batch track by track; beyond that its next track is taken to kill workers.
SUSPICIOUS_LEASES = 2
MAX_LEASES = 3

# Chunks looked at before giving up: others may claim the first few at the same moment.
CANDIDATES = 10


class LeaseLost(Exception):
    """Somebody else owns this chunk now: nothing of this batch may be saved."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A track's failure within a batch; `item` is its uuid or what stood in its place."""

    item: str
    code: str
    message: str
    track_id: int | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds until something is tried again, and whether trying it counts as one of its attempts.

    Waiting that the server asked for does not. What `is_suspect` is then tried track by track.
    """

    seconds: float
    is_attempt: bool
    is_suspect: bool = False


@dataclass(slots=True)
class Counts:
    """Outcomes of one batch, in tracks."""

    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    moved: int = 0
    failed: int = 0


def _is_unleased() -> Q:
    return Q(finished_at=None) & (Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now()))


def _is_free() -> Q:
    return _is_unleased() & (Q(not_before=None) | Q(not_before__lte=Now()))


def _may_get_work() -> Q:
    return Q(status__in=(Status.PENDING, Status.RUNNING))


def _wants_work() -> Q:
    return _may_get_work() & (Q(not_before=None) | Q(not_before__lte=Now()))


def has_claimable_chunk(job_id: int) -> bool:
    """Return whether some chunk of a job waits for a worker now."""
    return FetchChunk.objects.filter(_is_free(), job_id=job_id).exists()


def has_work(job_id: int) -> bool:
    """Return whether a worker would find something to plan or to fetch in a job now."""
    job = MetadataFetchTask.objects.filter(_wants_work(), pk=job_id).first()
    if job is None:
        return False
    is_to_be_planned = job.planned_at is None and job.request["what"] != "imported"
    return is_to_be_planned or has_claimable_chunk(job_id)


def is_under_way(job_id: int) -> bool:
    """Return whether somebody works on a chunk of a job now: after it was stopped, what is still saved."""
    return FetchChunk.objects.filter(job_id=job_id, finished_at=None, lease_expires_at__gte=Now()).exists()


def tracks_under_way(*, except_job: int, task_types: Sequence[str]) -> set[int]:
    """Return the tracks that workers of other jobs of these types have leased and not yet saved."""
    leased = FetchChunk.objects.filter(
        finished_at=None, lease_expires_at__gte=Now(), job__task_type__in=task_types
    ).exclude(job=except_job)
    return {
        track_id
        for track_ids, position in leased.values_list("track_ids", "position")
        for track_id in track_ids[position:]
    }


def claim_chunk(
    job_id: int, *, owner: str, celery_task_id: str = "", is_at_once: bool = False
) -> FetchChunk | None:
    """Lease the first free chunk of a job to `owner`, or return None when there is none.

    The job must be pending or running; it is running afterwards. With `is_at_once` a chunk or a job that
    was put off does not wait any longer: somebody wants it now.
    """
    # Not a join: Django would move every condition into a subquery, which PostgreSQL does not
    # evaluate again when it had to wait for the row, and two workers would both succeed.
    wants_work = _may_get_work() if is_at_once else _wants_work()
    is_free = _is_unleased() if is_at_once else _is_free()
    is_wanted = Exists(MetadataFetchTask.objects.filter(wants_work, pk=OuterRef("job_id")))
    candidates = FetchChunk.objects.filter(is_free, job_id=job_id).values_list("pk", flat=True)
    for chunk_id in list(candidates[:CANDIDATES]):
        with transaction.atomic():
            claimed = FetchChunk.objects.filter(is_free, is_wanted, pk=chunk_id).update(
                lease_owner=owner,
                lease_expires_at=Now() + timedelta(seconds=settings.CHUNK_LEASE_SECONDS),
                lease_count=F("lease_count") + 1,
                not_before=None,
            )
            if claimed:
                start_job(job_id, celery_task_id=celery_task_id)
                chunk = FetchChunk.objects.get(pk=chunk_id)
                logger.info("job %s: chunk %s claimed at position %s", job_id, chunk_id, chunk.position)
                return chunk
    return None


def is_wanted(chunk: FetchChunk) -> bool:
    """Return whether the chunk's job still wants work done: false once paused, cancelled or ended."""
    return MetadataFetchTask.objects.filter(
        pk=chunk.job_id, status__in=(Status.PENDING, Status.RUNNING)
    ).exists()


def advance_chunk(chunk: FetchChunk, *, count: int, size: int | None = None) -> bool:
    """Move a leased chunk on by `count` items and renew its lease; return whether that finished it.

    The first statement of the transaction that saves the batch. `size` replaces the chunk's size where
    an import has learnt how long the list really is. Raises LeaseLost when the chunk has another owner
    or another position: the caller's transaction must roll back.
    """
    position = chunk.position + count
    new_size = chunk.size if size is None else size
    is_done = position >= new_size
    moved = FetchChunk.objects.filter(
        pk=chunk.pk, lease_owner=chunk.lease_owner, position=chunk.position, finished_at=None
    ).update(
        position=position,
        size=new_size,
        lease_owner="" if is_done else chunk.lease_owner,
        lease_expires_at=None if is_done else Now() + timedelta(seconds=settings.CHUNK_LEASE_SECONDS),
        lease_count=lease_count_after_advance(chunk),
        error_count=0,
        asks_singly=False,
        finished_at=Now() if is_done else None,
    )
    if not moved:
        raise LeaseLost(f"{chunk} is no longer leased to {chunk.lease_owner}")
    return is_done


def has_moved(chunk: FetchChunk, *, count: int) -> bool:
    """Return whether a chunk is where an advance by `count` of its owner has left it, or finished."""
    ours = Q(lease_owner=chunk.lease_owner) | Q(finished_at__isnull=False)
    return FetchChunk.objects.filter(ours, pk=chunk.pk, position=chunk.position + count).exists()


def lease_count_after_advance(chunk: FetchChunk) -> int:
    """Return the leases that still count against a chunk once it has moved.

    Under suspicion they stay: what moves then is what stands before the culprit. A page of an import has
    nothing before it.
    """
    if not chunk.track_ids and chunk.items is None:
        return 0
    is_suspicious = SUSPICIOUS_LEASES <= chunk.lease_count <= MAX_LEASES
    return chunk.lease_count if is_suspicious else 0


def record_outcomes(
    chunk: FetchChunk,
    *,
    counts: Counts,
    failures: Iterable[Failure] = (),
    calls: int,
    is_done: bool = True,
    size: int | None = None,
    is_read: bool | None = None,
    missing: Missing | None = None,
) -> None:
    """Add a batch's outcomes to its job, the last statements of the batch's transaction.

    `is_done` says that this batch finished its chunk, and so perhaps its job; `is_read` whether an answer
    came that could be read, where the outcomes do not tell; `missing` which known tracks were not found.

    The job's row comes late, so that its lock, which all workers of the job share, is held shortest, and
    the day's calls, which all jobs share, come after it.
    """
    failures = list(failures)
    codes = _write_failures(chunk.job_id, failures)
    if is_read is None:
        has_answer = counts.updated or counts.unchanged or counts.moved
        is_read = bool(has_answer) or any(failure.code in READABLE_FAILURES for failure in failures)
    successful = counts.updated + counts.unchanged + counts.skipped + counts.moved
    MetadataFetchTask.objects.filter(pk=chunk.job_id).update(
        processed_tracks=F("processed_tracks") + successful + counts.failed,
        successful_tracks=F("successful_tracks") + successful,
        failed_tracks=F("failed_tracks") + counts.failed,
        updated_tracks=F("updated_tracks") + counts.updated,
        unchanged_tracks=F("unchanged_tracks") + counts.unchanged,
        skipped_tracks=F("skipped_tracks") + counts.skipped,
        moved_tracks=F("moved_tracks") + counts.moved,
        api_calls=F("api_calls") + calls,
        total_tracks=F("total_tracks") + ((size - chunk.size) if size is not None else 0),
        **({"unreadable_tries": 0} if is_read else {}),
        **({"internal_errors": 0} if successful + counts.failed else {}),
        **(missing.as_update if missing is not None else {}),
    )
    # After the job's row, which whoever notes something on the job may have locked already.
    _count_failures(chunk.job_id, codes)
    pace.mark(chunk.job_id)
    if is_done:
        finish_if_done(chunk.job_id)
    add_spending(calls)


def _write_failures(job_id: int, failures: Sequence[Failure]) -> Counter[str]:
    """Save failures, the latest of each item; return by how much the number of rows with each code grew.

    An item can fail twice in a job: it stands twice in a list, or a list shifted while it was read.
    """
    latest = {failure.item: failure for failure in failures}
    if not latest:
        return Counter()
    known = FetchFailure.objects.filter(job_id=job_id, item__in=latest).values_list("item", "code")
    codes = Counter(failure.code for failure in latest.values())
    codes.subtract(code for _, code in known)
    FetchFailure.objects.bulk_create(
        (
            FetchFailure(
                job_id=job_id,
                track_id=failure.track_id,
                item=failure.item,
                code=failure.code,
                message=failure.message,
            )
            for failure in latest.values()
        ),
        update_conflicts=True,
        unique_fields=("job", "item"),
        update_fields=("track", "code", "message"),
    )
    return codes


def _count_failures(job_id: int, codes: Counter[str]) -> None:
    for code, count in codes.items():
        if not count:
            continue
        found = FailureCount.objects.filter(job_id=job_id, code=code)
        if not found.update(count=F("count") + count):
            # Another worker may add the row at the same moment.
            FailureCount.objects.bulk_create([FailureCount(job_id=job_id, code=code)], ignore_conflicts=True)
            found.update(count=F("count") + count)
        if count < 0:
            found.filter(count=0).delete()


def record_calls(job_id: int, calls: int) -> None:
    """Add calls that were spent without saving anything."""
    if calls:
        with transaction.atomic():
            MetadataFetchTask.objects.filter(pk=job_id).update(api_calls=F("api_calls") + calls)
            add_spending(calls)


def release_chunk(chunk: FetchChunk) -> None:
    """Give a leased chunk back at once, for whoever comes next; a lost lease is left alone."""
    FetchChunk.objects.filter(pk=chunk.pk, lease_owner=chunk.lease_owner, finished_at=None).update(
        lease_owner="", lease_expires_at=None, lease_count=_leases_without_a_word(chunk)
    )


def give_back_suspect(chunk: FetchChunk, *, seconds: float) -> None:
    """Give a leased chunk back after an unexpected error, to be tried track by track in `seconds`.

    A lost lease is left alone.
    """
    FetchChunk.objects.filter(pk=chunk.pk, lease_owner=chunk.lease_owner, finished_at=None).update(
        lease_owner="",
        lease_expires_at=None,
        lease_count=MAX_LEASES - 1,
        error_count=F("error_count") + 1,
        not_before=Now() + timedelta(seconds=seconds),
    )


def _leases_without_a_word(chunk: FetchChunk) -> int:
    """Return the leases that count against a chunk which is given back: all but this one.

    Neither a deploy nor a pause adds to a suspicion, and neither makes it forgotten.
    """
    return max(0, chunk.lease_count - 1)


def renew_lease(chunk: FetchChunk) -> None:
    """Keep a chunk while its answers are waited for, with the leases that count against it.

    Raises LeaseLost when it has another owner.
    """
    renewed = FetchChunk.objects.filter(
        pk=chunk.pk, lease_owner=chunk.lease_owner, position=chunk.position, finished_at=None
    ).update(
        lease_expires_at=Now() + timedelta(seconds=settings.CHUNK_LEASE_SECONDS),
        lease_count=chunk.lease_count,
    )
    if not renewed:
        raise LeaseLost(f"{chunk} is no longer leased to {chunk.lease_owner}")


def split_chunk(
    chunk: FetchChunk, track_ids: list[int], *, delay: Delay, items: list[Any] | None = None
) -> None:
    """Put tracks of a chunk off into a chunk of their own; or `items`, in an import of a list.

    Part of the transaction that moves the chunk beyond them, after `advance_chunk`. Their tries so far count
    on: what is put off again and again comes to an end.
    """
    FetchChunk.objects.create(
        job_id=chunk.job_id,
        track_ids=track_ids,
        items=items,
        size=len(track_ids if items is None else items),
        error_count=chunk.error_count + (1 if delay.is_attempt else 0),
        lease_count=MAX_LEASES - 1 if delay.is_suspect else 0,
        not_before=Now() + timedelta(seconds=delay.seconds),
    )


def postpone_chunk(
    chunk: FetchChunk, *, delay: Delay, error: SoundchartsError, is_whole_job: bool = False
) -> None:
    """Give a leased chunk back, not to be claimed before the delay is over, and say why on its job.

    With `is_whole_job` none of the job's chunks is handed out before that. A lost lease is left alone. Tracks
    that a batch has left out twice are asked for one by one.
    """
    asks_singly = isinstance(error, IncompleteResponse) and chunk.error_count > 0
    until = Now() + timedelta(seconds=delay.seconds)
    what = "This task" if is_whole_job else "Part of this task"
    text = f"{error} {what} waits {delay.seconds:,.0f} s and is then tried again."
    with transaction.atomic():
        FetchChunk.objects.filter(pk=chunk.pk, lease_owner=chunk.lease_owner, finished_at=None).update(
            lease_owner="",
            lease_expires_at=None,
            lease_count=_leases_without_a_word(chunk),
            error_count=F("error_count") + (1 if delay.is_attempt else 0),
            asks_singly=asks_singly or chunk.asks_singly,
            not_before=until,
        )
        waits = MetadataFetchTask.objects.filter(
            pk=chunk.job_id, status__in=(Status.PENDING, Status.RUNNING)
        ).update(error_code=error.code, error_message=text, **({"not_before": until} if is_whole_job else {}))
        if waits:
            events.note(
                chunk.job_id,
                events.Kind.WAITING,
                code=error.code,
                text=text,
                wait_seconds=delay.seconds,
            )
