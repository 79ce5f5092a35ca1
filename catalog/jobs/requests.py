"""Asking for a job. The rows are committed first; then a worker is told."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now

from catalog.explanations import explain
from catalog.jobs import events, states
from catalog.jobs.events import Kind, User
from catalog.jobs.planning import add_chunks, add_item_chunks
from catalog.jobs.states import IllegalTransition
from catalog.models import FetchChunk, ImportRow, MetadataFetchTask, Track, read_refresh_days
from catalog.models.import_rows import SHOWN_LENGTH
from catalog.selection import TrackFilter
from catalog.song_lists import Entry, identifier_in
from catalog.words import plural

logger = logging.getLogger(__name__)

Type = MetadataFetchTask.Type

# Soundcharts lists go no further by offset (API notes: past 50,000 a cursor is needed).
LAST_OFFSET = 50_000
# One selection is frozen into rows while the person waits.
LARGEST_SELECTION = 10_000
# Tries at creating a job while one with its key comes and goes.
REQUEST_TRIES = 5

WAITS = "It starts by itself within a minute of the broker's return."


@dataclass(slots=True)
class Requested:
    """What became of a request: its job, whether that was there before, whether a worker was told."""

    job: MetadataFetchTask
    is_joined: bool
    is_rung: bool = True

    @property
    def sentence(self) -> str:
        """What happened and what to do next, for the person who asked."""
        job = self.job
        if self.is_joined and not job.is_active:
            return f"Task #{job.pk} was made of this already, and is {job.get_status_display().lower()}."
        if self.is_joined and job.status == job.Status.PAUSED:
            return f"Task #{job.pk} for exactly this is paused: resume it. No second task was made."
        if self.is_joined:
            return f"Task #{job.pk} for exactly this is already under way. No second task was made."
        if not self.is_rung:
            return f"Task #{job.pk} is saved and waits: the message broker (Redis) cannot be reached. {WAITS}"
        return f"Task #{job.pk} is queued."


def request_metadata(
    track_ids: Iterable[int],
    *,
    requested_by: User = None,
    only_stale: bool = False,
    parent: MetadataFetchTask | None = None,
    title: str = "",
    fresh_after: datetime | None = None,
    is_rung: bool = True,
) -> Requested:
    """Ask for the metadata of chosen tracks.

    With `only_stale`, those that are fresh are skipped when their turn comes; else all are fetched,
    but for any that is fetched between now (or `fresh_after`) and then. `is_rung` False leaves it to the
    caller to do the work in this process. Raises ValueError for none, or for more than LARGEST_SELECTION.
    """
    ids = sorted(set(track_ids))
    if not ids:
        raise ValueError("No track is selected.")
    if len(ids) > LARGEST_SELECTION:
        raise ValueError(
            f"{len(ids):,} tracks are more than one selection can hold ({LARGEST_SELECTION:,}). "
            "Narrow the list, or fetch everything that is stale."
        )
    is_single = len(ids) == 1
    digest = hashlib.sha256(repr(ids).encode()).hexdigest()[:32]
    return _request(
        task_type=Type.METADATA if is_single else Type.BULK_METADATA,
        title=title
        or (str(Track.objects.get(pk=ids[0]))[:200] if is_single else f"{len(ids):,} chosen tracks"),
        request={"what": "tracks"},
        dedupe_key=f"track:{ids[0]}" if is_single else f"tracks:{digest}:{'stale' if only_stale else 'all'}",
        only_stale=only_stale,
        total=len(ids),
        add_plan=lambda job: add_chunks(job, ids),
        requested_by=requested_by,
        parent=parent,
        fresh_after=fresh_after,
        is_rung=is_rung,
    )


def jobs_of_track(track_id: int) -> QuerySet[MetadataFetchTask]:
    """Return the jobs that were about this one track alone, the latest first."""
    return MetadataFetchTask.objects.filter(dedupe_key=f"track:{track_id}").order_by("-pk")


def request_stale_metadata(
    *, requested_by: User = None, limit: int | None = None, never_fetched_only: bool = False
) -> Requested:
    """Ask for the metadata of everything stale, or of what was never fetched; planned by a worker.

    Raises ValueError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError("The limit must be at least 1.")
    what = "never_fetched" if never_fetched_only else "stale"
    title = "Tracks never fetched" if never_fetched_only else "All stale tracks"
    return _request(
        task_type=Type.BULK_METADATA,
        title=title if limit is None else f"{title}, at most {limit:,}",
        request={"what": what, "limit": limit},
        dedupe_key=what if limit is None else f"{what}:{limit}",
        only_stale=True,
        requested_by=requested_by,
    )


def request_filtered_metadata(
    selection: TrackFilter, *, only_stale: bool = False, requested_by: User = None
) -> Requested:
    """Ask for the metadata of all tracks that a filter selects now; planned by a worker.

    With `only_stale`, of those that are due alone: stale, and not put off because Soundcharts did not know
    them. Tracks that are added later are not part of it.
    """
    asked = selection.as_parameters()
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
    return _request(
        task_type=Type.BULK_METADATA,
        title=f"{selection}{', what is due of them' if only_stale else ''}"[:200],
        request={
            "what": "filtered",
            "filter": asked,
            "only_stale": only_stale,
            "last_id": Track.objects.aggregate(last=Max("pk"))["last"] or 0,
        },
        dedupe_key=f"filtered:{digest}:{'stale' if only_stale else 'all'}",
        only_stale=only_stale,
        requested_by=requested_by,
    )


def request_import(
    *,
    limit: int,
    offset: int = 0,
    artist_uuid: UUID | None = None,
    artist_name: str = "",
    calls: int = 0,
    requested_by: User = None,
    parent: MetadataFetchTask | None = None,
) -> Requested:
    """Ask for the import of an artist's songs, or of the top songs; their metadata is queued as they come.

    `artist_name` is for the title. The first page of a draft that leads to this job is not bought again;
    `calls` are those that it has cost, and are in their day already.

    Raises ValueError for a limit or offset outside what Soundcharts lists.
    """
    if limit < 1 or offset < 0 or offset + limit > LAST_OFFSET:
        raise ValueError(
            f"The limit must be at least 1, the offset at least 0, and both together at most {LAST_OFFSET:,}."
        )
    source = (artist_name[:80] or f"artist {artist_uuid}") if artist_uuid else "top songs"
    return _request(
        task_type=Type.IMPORT,
        title=f"Import of {source}, {limit:,} from position {offset:,}",
        request={
            "what": "import",
            "artist_uuid": str(artist_uuid) if artist_uuid else None,
            "offset": offset,
            "limit": limit,
        },
        dedupe_key=f"import:{artist_uuid or 'top'}:{offset}:{limit}",
        only_stale=True,
        total=limit,
        add_plan=lambda job: FetchChunk.objects.create(job=job, size=limit),
        calls=calls,
        requested_by=requested_by,
        parent=parent,
    )


def request_list_import(
    entries: Sequence[Entry],
    *,
    requested_by: User = None,
    title: str = "",
    parent: MetadataFetchTask | None = None,
) -> Requested:
    """Ask for the import of a list of UUIDs and ISRCs that somebody brought.

    What is invalid or stands twice has its outcome at once; the others are looked up by workers. Raises
    ValueError for a list without a single identifier.
    """
    rows = list(enumerate(entries, start=1))
    wanted = [
        [number, entry.line, entry.value, entry.given[:SHOWN_LENGTH]]
        for number, entry in rows
        if entry.is_wanted
    ]
    if not wanted:
        raise ValueError("There is not a single UUID or ISRC in the list.")
    uuids = sum(entry.is_uuid for entry in entries if entry.is_wanted)
    values = sorted(str(value) for _, _, value, _ in wanted)

    def add_plan(job: MetadataFetchTask) -> None:
        add_item_chunks(job, wanted)
        ImportRow.objects.bulk_create(
            ImportRow(
                job=job,
                number=number,
                line=entry.line,
                item=entry.given[:SHOWN_LENGTH],
                outcome=ImportRow.Outcome.DUPLICATE if entry.value else ImportRow.Outcome.INVALID,
                message=f"The same as in line {entry.same_as}." if entry.value else entry.problem,
            )
            for number, entry in rows
            if not entry.is_wanted
        )

    return _request(
        task_type=Type.IMPORT,
        title=title or f"Import of a list, {plural(len(wanted), 'song')}",
        request={"what": "import", "list": {"uuids": uuids, "isrcs": len(wanted) - uuids}},
        dedupe_key=f"import:list:{hashlib.sha256(repr(values).encode()).hexdigest()[:32]}",
        only_stale=True,
        total=len(wanted),
        add_plan=add_plan,
        requested_by=requested_by,
        parent=parent,
    )


def request_retry(job: MetadataFetchTask, *, code: str = "", requested_by: User = None) -> Requested:
    """Ask again for the failures of an ended job, or those of one code, or for a whole import that failed.

    Tracks that were fetched after the job had ended are skipped and cost nothing. More failures than a
    selection can hold are divided by a worker. Raises IllegalTransition while the job is active and
    ValueError where nothing can be tried again.
    """
    if job.is_active:
        raise IllegalTransition(job, MetadataFetchTask.Status.PENDING)
    failures = job.failures.filter(track__isnull=False)
    title = f"Failures of task #{job.pk}"
    if code:
        failures = failures.filter(code=code)
        title = f"{title}: {explain(code).title}"[:200]
    found = failures.values_list("track_id", flat=True)[: LARGEST_SELECTION + 1]
    track_ids = [pk for pk in found if pk is not None]
    if len(track_ids) > LARGEST_SELECTION:
        return _request(
            task_type=Type.BULK_METADATA,
            title=title,
            request={"what": "failures", "of": job.pk, "code": code},
            dedupe_key=f"failures:{job.pk}:{code}",
            only_stale=False,
            requested_by=requested_by,
            parent=job,
            fresh_after=job.completed_at,
        )
    if track_ids:
        return request_metadata(
            track_ids,
            requested_by=requested_by,
            parent=job,
            title=title,
            fresh_after=job.completed_at,
        )
    if job.is_list_import and job.failed_tracks:
        failures = job.failures.filter(code=code) if code else job.failures.all()
        items = failures.order_by("pk").values_list("item", flat=True)
        return request_list_import(
            [Entry(line, item, identifier_in(item)) for line, item in enumerate(items, start=1)],
            requested_by=requested_by,
            parent=job,
            title=f"Failures of import #{job.pk}",
        )
    if job.is_import and not job.is_list_import and job.status == job.Status.FAILED and not code:
        asked = job.request
        return request_import(
            limit=asked["limit"],
            offset=asked["offset"],
            artist_uuid=UUID(asked["artist_uuid"]) if asked["artist_uuid"] else None,
            requested_by=requested_by,
            parent=job,
        )
    raise ValueError(f"Task #{job.pk} has no failed track that could be tried again.")


def _request(
    *,
    task_type: str,
    title: str,
    request: dict[str, Any],
    dedupe_key: str,
    only_stale: bool,
    requested_by: User,
    total: int | None = None,
    add_plan: Callable[[MetadataFetchTask], object] | None = None,
    parent: MetadataFetchTask | None = None,
    fresh_after: datetime | None = None,
    calls: int = 0,
    is_rung: bool = True,
) -> Requested:
    """Create the job, or join the active one with the same key.

    With `total`, all of it is planned at once, by `add_plan` in the same transaction.
    """
    user_id = requested_by.pk if requested_by is not None else None
    for tries_left in reversed(range(REQUEST_TRIES)):
        job = MetadataFetchTask(
            task_type=task_type,
            title=title,
            request=request,
            dedupe_key=dedupe_key,
            fresh_after=fresh_after or Now() - timedelta(days=read_refresh_days() if only_stale else 0),
            requested_by_id=user_id,
            api_calls=calls,
            parent=parent,
            retry_count=parent.retry_count + 1 if parent else 0,
        )
        try:
            with transaction.atomic():
                if total is not None:
                    job.total_tracks, job.planned_at = total, Now()
                job.save(force_insert=True)
                if add_plan is not None:
                    add_plan(job)
                events.note(job.pk, Kind.REQUESTED, by=requested_by, text=_asker(requested_by))
                if parent is not None:
                    events.note(parent.pk, Kind.RETRIED, by=requested_by, text=f"As task #{job.pk}.")
                job.refresh_from_db()
        except IntegrityError:
            # The database refuses a second active job with this key.
            active = MetadataFetchTask.objects.filter(
                dedupe_key=dedupe_key, status__in=MetadataFetchTask.ACTIVE
            ).first()
            if active is None:
                if tries_left:
                    continue  # It ended in between.
                raise  # It was about something else, such as a user who was deleted.
            logger.info("job %s: joined by a second request", active.pk)
            return Requested(active, is_joined=True)
        logger.info("job %s: asked for: %s", job.pk, title)
        requested = Requested(job, is_joined=False)
        if is_rung:
            _ring_on_commit(requested)
        return requested
    raise AssertionError("unreachable")


def _asker(requested_by: User) -> str:
    return "" if requested_by is not None else "By a command, or at its time of the day."


def _ring_on_commit(requested: Requested) -> None:
    def ring() -> None:
        requested.is_rung = states.ring(requested.job.pk)
        requested.job.refresh_from_db()

    transaction.on_commit(ring, robust=True)
