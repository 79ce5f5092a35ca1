"""Asking for audience: of chosen tracks, of everything stale, of what a filter selects."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Expression, Max
from django.db.models.functions import Now, TruncDay

from catalog.jobs.events import User
from catalog.jobs.making import Requested, checked_selection, make_job
from catalog.jobs.planning import add_chunks
from catalog.models import MetadataFetchTask, RefreshPolicy, Track, platform_names, read_refresh_days
from catalog.selection import TrackFilter

Type = MetadataFetchTask.Type


def request_audience(
    track_ids: Iterable[int],
    *,
    platforms: Sequence[str] | None = None,
    days: int | None = None,
    fill_gaps: bool = False,
    only_stale: bool = False,
    requested_by: User = None,
    parent: MetadataFetchTask | None = None,
    title: str = "",
    fresh_after: datetime | None = None,
    is_rung: bool = True,
) -> Requested:
    """Ask for the audience of chosen tracks, on these platforms (None: those of the settings).

    `days` limits how far back to fetch; by default only what has come since the last fetch. `fill_gaps`
    fetches only days that are missing. `only_stale` skips platforms that are fresh, and what is put off
    because Soundcharts did not know it lately; otherwise a platform is skipped if it answered after
    `fresh_after` (default: now). Raises ValueError for no tracks, or for more than LARGEST_SELECTION.
    """
    ids = checked_selection(track_ids)
    is_single = len(ids) == 1
    request = _request("tracks", platforms, days, fill_gaps=fill_gaps, only_due=only_stale)
    whose = str(Track.objects.get(pk=ids[0])) if is_single else f"{len(ids):,} chosen tracks"
    return make_job(
        task_type=Type.AUDIENCE if is_single else Type.BULK_AUDIENCE,
        title=(title or f"{_what(request)}: {whose}")[:200],
        request=request,
        dedupe_key=f"audience:{_digest(request, ids)}",
        total=len(ids),
        add_plan=lambda job: add_chunks(job, ids),
        fresh_after=audience_fresh_after() if only_stale else fresh_after,
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
    request = _request(what, platforms, days, fill_gaps=fill_gaps, only_due=not fill_gaps) | {"limit": limit}
    whose = {"gaps": "all", "never_fetched": "what was never fetched", "stale": "all that is stale"}[what]
    title = f"{_what(request)}: {whose}"
    return make_job(
        task_type=Type.BULK_AUDIENCE,
        title=(title if limit is None else f"{title}, at most {limit:,}")[:200],
        request=request,
        dedupe_key=f"audience:{_digest(request)}",
        fresh_after=None if fill_gaps else audience_fresh_after(),
        requested_by=requested_by,
    )


def request_filtered_audience(
    selection: TrackFilter,
    *,
    platforms: Sequence[str] | None = None,
    days: int | None = None,
    fill_gaps: bool = False,
    only_stale: bool = False,
    requested_by: User = None,
) -> Requested:
    """Ask for the audience of all tracks that a filter selects now; planned by a worker.

    The options are those of `request_audience`. Tracks that are added later are not part of it.
    """
    request = _request("filtered", platforms, days, fill_gaps=fill_gaps, only_due=only_stale)
    request["filter"] = selection.as_parameters()
    return make_job(
        task_type=Type.BULK_AUDIENCE,
        title=f"{_what(request)}: {selection}"[:200],
        request=request | {"last_id": Track.objects.aggregate(last=Max("pk"))["last"] or 0},
        dedupe_key=f"audience:{_digest(request)}",
        fresh_after=audience_fresh_after() if only_stale else None,
        requested_by=requested_by,
    )


def audience_fresh_after() -> Expression:
    """Return since when audience must have been fetched to be fresh, by the database's clock.

    Whole days, since figures come by the day: with an age of a day, what was fetched yesterday at any hour.
    """
    days = read_refresh_days(RefreshPolicy.Kind.AUDIENCE)
    return TruncDay(Now()) - timedelta(days=days - 1)


def _request(
    what: str, platforms: Sequence[str] | None, days: int | None, *, fill_gaps: bool, only_due: bool
) -> dict[str, Any]:
    """Return what a job is asked for, in the form that the job keeps."""
    return {
        "what": what,
        "platforms": list(dict.fromkeys(platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS)),
        "days": days,
        "fill_gaps": fill_gaps,
        "only_due": only_due,
    }


def _what(request: dict[str, Any]) -> str:
    """Return in words what is asked about each track."""
    what = "Missing days of the audience" if request["fill_gaps"] else "Audience"
    reach = f", {request['days']:,} days back" if request["days"] is not None else ""
    return f"{what} on {platform_names(request['platforms'])}{reach}"


def _digest(request: dict[str, Any], track_ids: Sequence[int] = ()) -> str:
    """Return what tells a request from others that ask for something else."""
    asked = json.dumps([request, list(track_ids)], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:32]
