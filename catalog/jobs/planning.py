"""Planning: dividing what was asked for into chunks, step by step, in constant memory."""

import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.dateparse import parse_datetime

from catalog.jobs import events
from catalog.jobs.audience import next_audience_tracks
from catalog.jobs.states import (
    Status,
    finish_if_done,
    note_planned,
    ring,
    ring_on_commit,
)
from catalog.models import FetchChunk, FetchFailure, ImportRow, MetadataFetchTask, Track, TrackQuerySet
from catalog.selection import TrackFilter, Unindexed

logger = logging.getLogger(__name__)

# Chunks a planning step: one transaction, a few thousand tracks.
CHUNKS_PER_STEP = 20
# The first step is small, so that fetching begins at once.
CHUNKS_OF_FIRST_STEP = 2


def add_chunks(job: MetadataFetchTask, track_ids: Sequence[int]) -> None:
    """Divide tracks into chunks of a job. The caller adds them to the job's total."""
    size = settings.CHUNK_SIZE
    FetchChunk.objects.bulk_create(
        FetchChunk(job=job, track_ids=list(part), size=len(part))
        for part in (track_ids[start : start + size] for start in range(0, len(track_ids), size))
    )


def add_item_chunks(job: MetadataFetchTask, items: Sequence[Any]) -> None:
    """Divide the rows of a pasted list into chunks of its import."""
    size = settings.CHUNK_SIZE
    FetchChunk.objects.bulk_create(
        FetchChunk(job=job, items=list(part), size=len(part))
        for part in (items[start : start + size] for start in range(0, len(items), size))
    )


def plan_job(job_id: int, *, budget: float) -> None:
    """Plan a job by one step, and by more for about `budget` seconds; another call goes on from there.

    Several workers may plan the same job at once: the plan's position moves by conditional UPDATE in
    the transaction that adds the chunks, so each chunk is added once.
    """
    deadline = time.monotonic() + budget
    is_shared = False
    while True:
        job = MetadataFetchTask.objects.filter(
            Q(not_before=None) | Q(not_before__lte=Now()),
            pk=job_id,
            planned_at=None,
            status__in=(Status.PENDING, Status.RUNNING),
        ).first()
        # The job of imported tracks is planned by its import, page by page.
        if job is None or job.request["what"] == "imported":
            return
        if not _plan_step(job):
            return
        if time.monotonic() >= deadline:
            return
        if not is_shared:
            # Others fetch what is planned while this worker plans on.
            is_shared = ring(job_id)


def _plan_step(job: MetadataFetchTask) -> bool:
    track_ids, position, is_last = _next_tracks(job)
    with transaction.atomic():
        moved = MetadataFetchTask.objects.filter(
            pk=job.pk, plan_steps=job.plan_steps, planned_at=None, status__in=MetadataFetchTask.ACTIVE
        ).update(
            plan_steps=F("plan_steps") + 1,
            plan_position=position,
            planned_at=Now() if is_last else None,
            total_tracks=F("total_tracks") + len(track_ids),
        )
        if moved:
            add_chunks(job, track_ids)
            if is_last:
                note_planned(job.pk)
                finish_if_done(job.pk)
                logger.info("job %s: planned", job.pk)
    return not is_last


def _next_tracks(job: MetadataFetchTask) -> tuple[list[int], dict[str, Any], bool]:
    """Return the next step's tracks, the plan's position after them, and whether they are the last.

    Never fetched first, then the oldest: if the quota ends the run, it went where it was needed most.
    What counts as stale was fixed when the job was asked for, so a track that is fetched while the
    plan is made cannot come up again.
    """
    position = job.plan_position or {"phase": "never_fetched", "count": 0}
    limit = job.request.get("limit")
    room = settings.CHUNK_SIZE * (CHUNKS_PER_STEP if job.plan_steps else CHUNKS_OF_FIRST_STEP)
    if job.request["what"] == "failures":
        return _next_failures(job, room)
    if limit is not None:
        room = min(room, limit - position["count"])
    if job.is_audience:
        rows = next_audience_tracks(job, position, room)
    else:
        find = _filtered_tracks if job.request["what"] == "filtered" else _stale_tracks
        rows = list(find(job, position).values_list("pk", "metadata_fetched_at")[:room])
    count = position["count"] + len(rows)
    is_last = limit is not None and count >= limit
    after: dict[str, Any] = {"phase": position["phase"], "count": count}
    if rows:
        after_id, after_time = rows[-1]
        after |= {"after_id": after_id, "after_time": after_time.isoformat() if after_time else ""}
    if len(rows) < room:
        if position["phase"] == "never_fetched" and _has_aged(job):
            after = {"phase": "aged", "count": count}
        else:
            is_last = True
    return [pk for pk, _ in rows], after, is_last


def _has_aged(job: MetadataFetchTask) -> bool:
    """Return whether a plan, after what was never fetched, goes on with what was fetched too long ago.

    That of an audience's filter makes no difference between them.
    """
    what = job.request["what"]
    return what == "stale" or (what == "filtered" and not job.is_audience)


def _stale_tracks(job: MetadataFetchTask, position: dict[str, Any]) -> TrackQuerySet:
    """Return what of everything stale comes after a position, oldest first."""
    tracks = Track.objects.awaited(now=job.created_at).order_by("metadata_fetched_at", "pk")
    if position["phase"] == "never_fetched":
        return tracks.never_fetched().filter(pk__gt=position.get("after_id", 0))
    tracks = tracks.filter(metadata_fetched_at__lt=job.fresh_after)
    if "after_id" in position:
        tracks = tracks.after(
            "metadata_fetched_at", parse_datetime(position["after_time"]), position["after_id"]
        )
    return tracks


def _filtered_tracks(job: MetadataFetchTask, position: dict[str, Any]) -> TrackQuerySet:
    """Return what a filter selects after a position: never fetched first, and in the order of their keys.

    What is fetched meanwhile, by this job or another, is newer than `fresh_after`, and so in neither phase.
    """
    asked = job.request
    tracks = TrackFilter.parse(asked["filter"]).walk(
        now=job.created_at, after_id=position.get("after_id", 0), last_id=asked["last_id"]
    )
    tracks = tracks.alias(fetched_at=Unindexed("metadata_fetched_at"))
    if asked["only_stale"]:
        tracks = tracks.awaited(now=job.created_at)
    if position["phase"] == "never_fetched":
        return tracks.filter(Q(fetched_at=None))
    return tracks.filter(Q(fetched_at__lt=job.fresh_after))


def _next_failures(job: MetadataFetchTask, room: int) -> tuple[list[int], dict[str, Any], bool]:
    """Return the next step of a job that tries the failures of another again, as `_next_tracks` does.

    That one has ended, so its failures stay as they are; of a track that is deleted meanwhile, there is
    nothing to fetch.
    """
    position = job.plan_position or {"count": 0, "after_id": 0}
    failures = FetchFailure.objects.filter(job_id=job.request["of"], pk__gt=position["after_id"])
    if job.request["code"]:
        failures = failures.filter(code=job.request["code"])
    rows = list(failures.order_by("pk").values_list("pk", "track_id")[:room])
    track_ids = [track_id for _, track_id in rows if track_id is not None]
    after = {
        "count": position["count"] + len(track_ids),
        "after_id": rows[-1][0] if rows else position["after_id"],
    }
    return track_ids, after, len(rows) < room


def tracks_listed(import_job: MetadataFetchTask, track_ids: Collection[int]) -> set[int]:
    """Return the tracks that an import's report already names, from the index alone."""
    rows = ImportRow.objects.filter(job=import_job, track_id__in=list(track_ids)).order_by()
    return {track_id for track_id in rows.values_list("track_id", flat=True) if track_id is not None}


@transaction.atomic
def add_imported_tracks(import_job: MetadataFetchTask, track_ids: Sequence[int]) -> None:
    """Give the stale ones of freshly listed tracks to the import's metadata job, making it if need be.

    In the order in which they are given: that of the list, most wanted first.

    Runs in the transaction that saves the page of the list and before its rows of the report, so a track
    that was imported is always also queued, once. A metadata job that somebody has ended takes no more.
    """
    stale = set(
        Track.objects.stale_since(import_job.fresh_after)
        .awaited()
        .filter(pk__in=track_ids)
        .values_list("pk", flat=True)
    )
    stale_ids = [track_id for track_id in dict.fromkeys(track_ids) if track_id in stale]
    if not stale_ids:
        return
    # Before its metadata job, as whoever ends the import: the other way round they would wait for each other.
    MetadataFetchTask.objects.select_for_update().get(pk=import_job.pk)
    follow_up, is_new = MetadataFetchTask.objects.get_or_create(
        dedupe_key=f"imported:{import_job.pk}",
        defaults={
            "task_type": MetadataFetchTask.Type.BULK_METADATA,
            "title": f"Metadata of the tracks of import #{import_job.pk}",
            "request": {"what": "imported"},
            "parent": import_job,
            "fresh_after": import_job.fresh_after,
            "requested_by_id": import_job.requested_by_id,
        },
    )
    if is_new:
        events.note(
            follow_up.pk, events.Kind.REQUESTED, text=f"By import #{import_job.pk}, for what it finds."
        )
    else:
        # Lists shift while they are walked, so that a song stands on two pages.
        listed = tracks_listed(import_job, stale_ids)
        stale_ids = [track_id for track_id in stale_ids if track_id not in listed]
    taken = MetadataFetchTask.objects.filter(
        pk=follow_up.pk, planned_at=None, status__in=MetadataFetchTask.ACTIVE
    ).update(total_tracks=F("total_tracks") + len(stale_ids))
    if taken:
        add_chunks(follow_up, stale_ids)
        ring_on_commit(follow_up.pk)
