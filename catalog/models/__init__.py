"""What is kept: tracks, the jobs that fetch for them, and what staff have decided about refreshing."""

from catalog.models.accounts import ApiAccount
from catalog.models.fetch_tasks import FetchChunk, FetchFailure, MetadataFetchTask
from catalog.models.refresh import RefreshPolicy, read_refresh_days, refresh_days
from catalog.models.tracks import METADATA_FIELDS, Track, TrackQuerySet, check_web_address, stale_before

__all__ = [
    "METADATA_FIELDS",
    "ApiAccount",
    "FetchChunk",
    "FetchFailure",
    "MetadataFetchTask",
    "RefreshPolicy",
    "Track",
    "TrackQuerySet",
    "check_web_address",
    "read_refresh_days",
    "refresh_days",
    "stale_before",
]
