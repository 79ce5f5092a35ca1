"""Jobs about audience: which tracks they are about, and which platforms turned out to be missing."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.dateparse import parse_datetime

from catalog.jobs import events
from catalog.models import MetadataFetchTask, Track, TrackAudience
from catalog.selection import TrackFilter
from soundcharts.service import get_service

logger = logging.getLogger(__name__)


def next_audience_tracks(job: MetadataFetchTask, *, room: int) -> tuple[list[int], dict[str, Any], bool]:
    """Return the next tracks of a plan, its position after them, and whether they are the last.

    First the tracks that were never fetched, then those of which some platform is due, fetched longest ago
    first: a platform that never answers makes all due, and must not keep any from its turn. What was fetched
    since the job was asked for cannot come up again; nor can a track for which that failed, because both
    walks only move on.
    """
    position = job.plan_position or {"phase": "never_fetched", "count": 0}
    if (limit := job.request.get("limit")) is not None:
        room = min(room, limit - position["count"])
    has_audience = get_service().has_audience
    wanted: list[str] = job.request["platforms"]
    # Without any, the first batch says why.
    platforms = [platform for platform in wanted if has_audience(platform) is not False] or wanted
    tracks = Track.objects.awaited(now=job.created_at)
    after_id = position.get("after_id", 0)
    if job.request["what"] == "gaps":
        rows = _with_gaps(platforms, after_id, room)
    elif job.request["what"] == "filtered":
        rows = _filtered(job, after_id, room)
    elif position["phase"] == "never_fetched":
        found = tracks.filter(_has_never(job, platforms), pk__gt=after_id).order_by("pk")
        if job.request["what"] == "stale":
            found = found.filter(audience_fetched_at=None)
        rows = [(pk, "") for pk in found.values_list("pk", flat=True)[:room]]
    else:
        rows = _aged(job, tracks, platforms, position, room)
    count = position["count"] + len(rows)
    after: dict[str, Any] = {"phase": position["phase"], "count": count}
    if rows:
        after |= {"after_id": rows[-1][0], "after_time": rows[-1][1]}
    is_last = limit is not None and count >= limit
    if len(rows) < room:
        if position["phase"] == "never_fetched" and job.request["what"] == "stale":
            after = {"phase": "aged", "count": count}
        else:
            is_last = True
    return [pk for pk, _ in rows], after, is_last


def note_refused_platforms(job: MetadataFetchTask | int, platforms: Sequence[str]) -> bool:
    """Say once on a job which of its platforms the plan of the account does not have.

    Returns whether any of its platforms is left.
    """
    if isinstance(job, MetadataFetchTask) and set(platforms) <= set(job.request.get("refused", ())):
        return _has_platform_left(job)
    job_id = job.pk if isinstance(job, MetadataFetchTask) else job
    with transaction.atomic():
        locked = MetadataFetchTask.objects.select_for_update().get(pk=job_id)
        known = locked.request.get("refused", [])
        if new := [platform for platform in platforms if platform not in known]:
            locked.request = locked.request | {"refused": [*known, *new]}
            MetadataFetchTask.objects.filter(pk=job_id).update(request=locked.request)
            events.note(job_id, events.Kind.REFUSED, text=locked.refused_sentence)
            logger.warning("job %s: %s", job_id, locked.refused_sentence)
    if isinstance(job, MetadataFetchTask):
        job.request = locked.request
    return _has_platform_left(locked)


def _has_platform_left(job: MetadataFetchTask) -> bool:
    return not set(job.request["platforms"]) <= set(job.request["refused"])


def _rows(platform: str) -> QuerySet[TrackAudience]:
    return TrackAudience.objects.filter(track=OuterRef("pk"), platform=platform)


def _has_never(job: MetadataFetchTask, platforms: list[str]) -> Q:
    """Return the tracks of which some platform was never fetched and is not waiting for another try."""
    is_settled = ~Q(fetched_at=None) | Q(retry_at__gt=job.created_at)
    settled = (~Exists(_rows(platform).filter(is_settled)) for platform in platforms)
    return Q(*settled, _connector=Q.OR)


def _aged(
    job: MetadataFetchTask,
    tracks: QuerySet[Track],
    platforms: list[str],
    position: dict[str, Any],
    room: int,
) -> list[tuple[int, str]]:
    is_due = Q(fetched_at__lt=job.fresh_after)
    if (days := job.request["days"]) is not None:
        is_due |= Q(fetched_from__gt=job.created_at.date() - timedelta(days=days - 1))
    is_due &= Q(retry_at=None) | Q(retry_at__lte=job.created_at)
    due = (Exists(_rows(platform).filter(is_due)) for platform in platforms)
    # By the stamp of any platform: whatever this job fetches gets a newer one.
    found = tracks.filter(
        Q(*due, _connector=Q.OR) | _has_never(job, platforms), audience_fetched_at__lt=job.created_at
    ).order_by("audience_fetched_at", "pk")
    if "after_id" in position:
        after_time = parse_datetime(position["after_time"])
        found = found.filter(audience_fetched_at__gte=after_time).exclude(
            audience_fetched_at=after_time, pk__lte=position["after_id"]
        )
    return [
        (pk, fetched_at.isoformat() if fetched_at else "")
        for pk, fetched_at in found.values_list("pk", "audience_fetched_at")[:room]
    ]


def _with_gaps(platforms: list[str], after_id: int, room: int) -> list[tuple[int, str]]:
    found = TrackAudience.objects.filter(platform__in=platforms, missing_days__gt=0, track__gt=after_id)
    ids = found.order_by("track").values_list("track_id", flat=True).distinct()
    return [(pk, "") for pk in ids[:room]]


def _filtered(job: MetadataFetchTask, after_id: int, room: int) -> list[tuple[int, str]]:
    """Return all that the filter selects; what is to be asked of a track is seen when its turn comes."""
    asked = job.request
    tracks = TrackFilter.parse(asked["filter"]).walk(
        now=job.created_at, after_id=after_id, last_id=asked["last_id"]
    )
    if asked["only_due"]:
        tracks = tracks.awaited(now=job.created_at)
    return [(pk, "") for pk in tracks.values_list("pk", flat=True)[:room]]
