"""Jobs about audience: which tracks they are about, and which platforms turned out to be missing."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.dateparse import parse_datetime

from catalog.jobs import events
from catalog.models import MetadataFetchTask, Track, TrackAudience, TrackQuerySet
from catalog.selection import TrackFilter
from soundcharts.service import get_service

logger = logging.getLogger(__name__)


def next_audience_tracks(
    job: MetadataFetchTask, position: dict[str, Any], room: int
) -> list[tuple[int, datetime | None]]:
    """Return the next tracks of a plan after a position, at most `room`, with the moment that orders them.

    First the tracks that were never fetched, then those of which some platform is due, fetched longest ago
    first: a platform that never answers makes all due, and must not keep any from its turn. What was fetched
    since the job was asked for cannot come up again; nor can a track for which that failed, because both
    walks only move on.
    """
    has_audience = get_service().has_audience
    wanted: list[str] = job.request["platforms"]
    # Without any, the first batch says why.
    platforms = [platform for platform in wanted if has_audience(platform) is not False] or wanted
    tracks = Track.objects.awaited(now=job.created_at)
    what, after_id = job.request["what"], position.get("after_id", 0)
    if position["phase"] == "aged":
        aged = _aged(job, tracks, platforms, position)
        return list(aged.values_list("pk", "audience_fetched_at")[:room])
    if what == "gaps":
        keys = _with_gaps(platforms, after_id)
    elif what == "filtered":
        keys = _filtered(job, after_id).values_list("pk", flat=True)
    else:
        found = tracks.filter(_has_never(job, platforms), pk__gt=after_id).order_by("pk")
        if what == "stale":
            found = found.filter(audience_fetched_at=None)
        keys = found.values_list("pk", flat=True)
    return [(pk, None) for pk in keys[:room]]


def note_refused_platforms(job: MetadataFetchTask, platforms: Sequence[str]) -> bool:
    """Say once on a job which of its platforms the plan of the account does not have.

    Returns whether any of its platforms is left.
    """
    if not set(platforms) <= set(job.request.get("refused", ())):
        with transaction.atomic():
            locked = MetadataFetchTask.objects.select_for_update().get(pk=job.pk)
            known = locked.request.get("refused", [])
            if new := [platform for platform in platforms if platform not in known]:
                locked.request = locked.request | {"refused": [*known, *new]}
                MetadataFetchTask.objects.filter(pk=job.pk).update(request=locked.request)
                events.note(job.pk, events.Kind.REFUSED, text=locked.refused_sentence)
                logger.warning("job %s: %s", job.pk, locked.refused_sentence)
        job.request = locked.request
    return not set(job.request["platforms"]) <= set(job.request["refused"])


def _rows(platform: str) -> QuerySet[TrackAudience]:
    return TrackAudience.objects.filter(track=OuterRef("pk"), platform=platform)


def _has_never(job: MetadataFetchTask, platforms: list[str]) -> Q:
    """Return the tracks of which some platform was never fetched and is not waiting for another try."""
    is_settled = ~Q(fetched_at=None) | Q(retry_at__gt=job.created_at)
    settled = (~Exists(_rows(platform).filter(is_settled)) for platform in platforms)
    return Q(*settled, _connector=Q.OR)


def _aged(
    job: MetadataFetchTask, tracks: TrackQuerySet, platforms: list[str], position: dict[str, Any]
) -> TrackQuerySet:
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
        found = found.after(
            "audience_fetched_at", parse_datetime(position["after_time"]), position["after_id"]
        )
    return found


def _with_gaps(platforms: list[str], after_id: int) -> QuerySet[Any, int]:
    found = TrackAudience.objects.filter(platform__in=platforms, missing_days__gt=0, track__gt=after_id)
    # Not by "track", which would be in the order of tracks: newest first.
    return found.order_by("track_id").values_list("track_id", flat=True).distinct()


def _filtered(job: MetadataFetchTask, after_id: int) -> TrackQuerySet:
    """Return all that the filter selects; what is to be asked of a track is seen when its turn comes."""
    asked = job.request
    tracks = TrackFilter.parse(asked["filter"]).walk(
        now=job.created_at, after_id=after_id, last_id=asked["last_id"]
    )
    return tracks.awaited(now=job.created_at) if asked["only_due"] else tracks
