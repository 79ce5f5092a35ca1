"""What is kept: tracks, the jobs that fetch for them, and each job's chunks and failures."""

from catalog.models.accounts import ApiAccount
from catalog.models.audience import (
    TREND_DAYS,
    AudienceDay,
    AudienceRecording,
    TrackAudience,
    audience_stale_before,
    platform_names,
)
from catalog.models.fetch_tasks import FetchChunk, FetchFailure, MetadataFetchTask
from catalog.models.tracks import METADATA_FIELDS, Track, TrackQuerySet, check_web_address, stale_before

__all__ = [
    "METADATA_FIELDS",
    "TREND_DAYS",
    "ApiAccount",
    "AudienceDay",
    "AudienceRecording",
    "FetchChunk",
    "FetchFailure",
    "MetadataFetchTask",
    "Track",
    "TrackAudience",
    "TrackQuerySet",
    "audience_stale_before",
    "check_web_address",
    "platform_names",
    "stale_before",
]
