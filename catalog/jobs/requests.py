"""Asking for metadata: of chosen tracks, of everything stale, of what a filter selects."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Expression, Max, QuerySet
from django.db.models.functions import Now

from catalog.jobs.events import User
from catalog.jobs.making import Requested, checked_selection, make_job
from catalog.jobs.planning import add_chunks
from catalog.models import MetadataFetchTask, Track, read_refresh_days
from catalog.selection import TrackFilter

Type = MetadataFetchTask.Type


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

    With `only_stale`, those that are fresh, or put off because Soundcharts did not know them, are skipped
    when their turn comes. Else all are fetched, but for any that is fetched between now (or `fresh_after`)
    and then. `is_rung` False leaves it to the caller to do the work in this process. Raises ValueError for
    none, or for more than LARGEST_SELECTION.
    """
    ids = checked_selection(track_ids)
    is_single = len(ids) == 1
    digest = hashlib.sha256(repr(ids).encode()).hexdigest()[:32]
    return make_job(
        task_type=Type.METADATA if is_single else Type.BULK_METADATA,
        title=title
        or (str(Track.objects.get(pk=ids[0]))[:200] if is_single else f"{len(ids):,} chosen tracks"),
        request={"what": "tracks", "only_stale": only_stale},
        dedupe_key=f"track:{ids[0]}" if is_single else f"tracks:{digest}:{'stale' if only_stale else 'all'}",
        total=len(ids),
        add_plan=lambda job: add_chunks(job, ids),
        requested_by=requested_by,
        parent=parent,
        fresh_after=fresh_after or (metadata_fresh_after() if only_stale else None),
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
    return make_job(
        task_type=Type.BULK_METADATA,
        title=title if limit is None else f"{title}, at most {limit:,}",
        request={"what": what, "limit": limit},
        dedupe_key=what if limit is None else f"{what}:{limit}",
        fresh_after=metadata_fresh_after(),
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
    return make_job(
        task_type=Type.BULK_METADATA,
        title=f"{selection}{', what is due of them' if only_stale else ''}"[:200],
        request={
            "what": "filtered",
            "filter": asked,
            "only_stale": only_stale,
            "last_id": Track.objects.aggregate(last=Max("pk"))["last"] or 0,
        },
        dedupe_key=f"filtered:{digest}:{'stale' if only_stale else 'all'}",
        fresh_after=metadata_fresh_after() if only_stale else None,
        requested_by=requested_by,
    )


def metadata_fresh_after() -> Expression:
    """Return since when metadata must have been fetched to be fresh, by the database's clock."""
    return Now() - timedelta(days=read_refresh_days())
