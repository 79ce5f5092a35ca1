"""Asking for a job. The rows are committed first; then a worker is told."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from catalog.jobs import states
from catalog.jobs.audience import audience_request
from catalog.jobs.planning import add_chunks
from catalog.jobs.states import IllegalTransition
from catalog.models import FetchChunk, MetadataFetchTask, Track, platform_names

logger = logging.getLogger(__name__)

Type = MetadataFetchTask.Type
User = AbstractBaseUser | AnonymousUser | None

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
        if self.is_joined and job.status == job.Status.PAUSED:
            return f"Task #{job.pk} for exactly this is paused: resume it. No second task was made."
        if self.is_joined:
            return f"Task #{job.pk} for exactly this is already under way. No second task was made."
        if not self.is_rung:
            return f"Task #{job.pk} is saved and waits: the message broker (Redis) cannot be reached. {WAITS}"
        return f"Task #{job.pk} is queued."


def checked_selection(track_ids: Iterable[int]) -> list[int]:
    """Return the tracks of a selection in order. Raises ValueError for none, or for too many."""
    ids = sorted(set(track_ids))
    if not ids:
        raise ValueError("No track is selected.")
    if len(ids) > LARGEST_SELECTION:
        raise ValueError(
            f"{len(ids):,} tracks are more than one selection can hold ({LARGEST_SELECTION:,}). "
            "Narrow the list, or fetch everything that is stale."
        )
    return ids


def request_metadata(
    track_ids: Iterable[int],
    *,
    requested_by: User = None,
    only_stale: bool = False,
    parent: MetadataFetchTask | None = None,
    title: str = "",
    is_rung: bool = True,
) -> Requested:
    """Ask for the metadata of chosen tracks.

    With `only_stale`, those that are fresh are skipped when their turn comes; else all are fetched,
    but for any that is fetched between now and then. `is_rung` False leaves it to the caller to do the
    work in this process. Raises ValueError for none, or for more than LARGEST_SELECTION.
    """
    ids = checked_selection(track_ids)
    is_single = len(ids) == 1
    digest = hashlib.sha256(repr(ids).encode()).hexdigest()[:32]
    return _request(
        task_type=Type.METADATA if is_single else Type.BULK_METADATA,
        title=title
        or (str(Track.objects.get(pk=ids[0]))[:200] if is_single else f"{len(ids):,} chosen tracks"),
        request={"what": "tracks"},
        dedupe_key=f"track:{ids[0]}" if is_single else f"tracks:{digest}:{'stale' if only_stale else 'all'}",
        only_stale=only_stale,
        track_ids=ids,
        requested_by=requested_by,
        parent=parent,
        is_rung=is_rung,
    )


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


def request_audience(
    track_ids: Iterable[int],
    *,
    platforms: Sequence[str] | None = None,
    days: int | None = None,
    fill_gaps: bool = False,
    requested_by: User = None,
    only_stale: bool = False,
    parent: MetadataFetchTask | None = None,
    title: str = "",
    is_rung: bool = True,
) -> Requested:
    """Ask for the audience of chosen tracks, on these platforms (None: those of the settings).

    With `days`, as far back as that; else only what has come since the last fetch. With `fill_gaps`, only
    the days that are missing in between. Raises ValueError for no tracks, or for more than
    LARGEST_SELECTION.
    """
    ids = checked_selection(track_ids)
    is_single = len(ids) == 1
    request = audience_request(what="tracks", platforms=platforms, days=days, fill_gaps=fill_gaps)
    names = platform_names(request["platforms"])
    whose = str(Track.objects.get(pk=ids[0])) if is_single else f"{len(ids):,} chosen tracks"
    return _request(
        task_type=Type.AUDIENCE if is_single else Type.BULK_AUDIENCE,
        title=(title or f"Audience on {names}: {whose}")[:200],
        request=request,
        dedupe_key=f"audience:{_digest(ids, request)}:{'stale' if only_stale else 'all'}",
        only_stale=only_stale,
        track_ids=ids,
        requested_by=requested_by,
        parent=parent,
        is_rung=is_rung,
    )


def request_stale_audience(
    *,
    platforms: Sequence[str] | None = None,
    days: int | None = None,
    fill_gaps: bool = False,
    never_fetched_only: bool = False,
    limit: int | None = None,
    requested_by: User = None,
) -> Requested:
    """Ask for every audience that is stale, was never fetched, or has gaps; planned by a worker.

    Raises ValueError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError("The limit must be at least 1.")
    what = "gaps" if fill_gaps else "never_fetched" if never_fetched_only else "stale"
    request = audience_request(what=what, platforms=platforms, days=days, fill_gaps=fill_gaps, limit=limit)
    titles = {
        "gaps": "Gaps in the audience",
        "never_fetched": "Audience never fetched",
        "stale": "All stale audience",
    }
    title = f"{titles[what]} on {platform_names(request['platforms'])}"
    return _request(
        task_type=Type.BULK_AUDIENCE,
        title=(title if limit is None else f"{title}, at most {limit:,}")[:200],
        request=request,
        dedupe_key=f"audience_{what}:{_digest([], request)}",
        only_stale=not fill_gaps,
        requested_by=requested_by,
    )


def request_import(
    *, limit: int, offset: int = 0, artist_uuid: UUID | None = None, requested_by: User = None
) -> Requested:
    """Ask for the import of an artist's songs, or of the top songs; their metadata is queued as they come.

    Raises ValueError for a limit or offset outside what Soundcharts lists.
    """
    if limit < 1 or offset < 0 or offset + limit > LAST_OFFSET:
        raise ValueError(
            f"The limit must be at least 1, the offset at least 0, and both together at most {LAST_OFFSET:,}."
        )
    source = f"artist {artist_uuid}" if artist_uuid else "top songs"
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
        requested_by=requested_by,
    )


def request_retry(job: MetadataFetchTask, *, requested_by: User = None) -> Requested:
    """Ask again for the failures of an ended job, or for a whole import that failed.

    Raises IllegalTransition while the job is active and ValueError where nothing can be tried again.
    """
    if job.is_active:
        raise IllegalTransition(job, MetadataFetchTask.Status.PENDING)
    track_ids = set(job.failures.filter(track__isnull=False).values_list("track_id", flat=True))
    if track_ids and job.is_audience:
        return request_audience(
            (pk for pk in track_ids if pk is not None),
            platforms=job.request["platforms"],
            days=job.request["days"],
            fill_gaps=job.request["fill_gaps"],
            requested_by=requested_by,
            parent=job,
            title=f"Failures of task #{job.pk}"[:200],
        )
    if track_ids:
        return request_metadata(
            (pk for pk in track_ids if pk is not None),
            requested_by=requested_by,
            parent=job,
            title=f"Failures of task #{job.pk}"[:200],
        )
    if job.is_import and job.status == job.Status.FAILED:
        asked = job.request
        return request_import(
            limit=asked["limit"],
            offset=asked["offset"],
            artist_uuid=UUID(asked["artist_uuid"]) if asked["artist_uuid"] else None,
            requested_by=requested_by,
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
    track_ids: list[int] | None = None,
    parent: MetadataFetchTask | None = None,
    is_rung: bool = True,
) -> Requested:
    """Create the job with what can be planned at once, or join the active one with the same key."""
    user_id = requested_by.pk if requested_by is not None else None
    for tries_left in reversed(range(REQUEST_TRIES)):
        job = MetadataFetchTask(
            task_type=task_type,
            title=title,
            request=request,
            dedupe_key=dedupe_key,
            fresh_after=Now() - (_refresh_interval(task_type) if only_stale else timedelta(0)),
            requested_by_id=user_id,
            parent=parent,
            retry_count=parent.retry_count + 1 if parent else 0,
        )
        try:
            with transaction.atomic():
                if track_ids is not None:
                    job.total_tracks, job.planned_at = len(track_ids), Now()
                elif request["what"] == "import":
                    job.total_tracks, job.planned_at = request["limit"], Now()
                job.save(force_insert=True)
                if track_ids is not None:
                    add_chunks(job, track_ids)
                elif request["what"] == "import":
                    FetchChunk.objects.create(job=job, size=request["limit"])
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


def _refresh_interval(task_type: str) -> timedelta:
    if task_type in (Type.AUDIENCE, Type.BULK_AUDIENCE):
        return timedelta(hours=settings.AUDIENCE_REFRESH_HOURS)
    return timedelta(days=settings.METADATA_REFRESH_DAYS)


def _digest(ids: list[int], request: dict[str, Any]) -> str:
    """Return what tells a request from others that ask for something else."""
    return hashlib.sha256(repr((ids, sorted(request.items()))).encode()).hexdigest()[:32]


def _ring_on_commit(requested: Requested) -> None:
    def ring() -> None:
        requested.is_rung = states.ring(requested.job.pk)
        requested.job.refresh_from_db()

    transaction.on_commit(ring, robust=True)
