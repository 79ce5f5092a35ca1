"""What is kept: tracks, the jobs that fetch for them, and each job's chunks and failures."""

from catalog.models.accounts import ApiAccount
from catalog.models.fetch_tasks import FetchChunk, FetchFailure, MetadataFetchTask
from catalog.models.track_changes import TrackChange, TrackChangeQuerySet
from catalog.models.tracks import METADATA_FIELDS, Track, TrackQuerySet, check_web_address, stale_before

__all__ = [
    "METADATA_FIELDS",
    "ApiAccount",
    "FetchChunk",
    "FetchFailure",
    "MetadataFetchTask",
    "Track",
    "TrackChange",
    "TrackChangeQuerySet",
    "TrackQuerySet",
    "check_web_address",
    "stale_before",
]
