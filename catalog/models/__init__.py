"""What is kept: tracks, the jobs that fetch for them, and each job's chunks and failures."""

from catalog.models.accounts import ApiAccount
from catalog.models.fetch_tasks import FetchChunk, FetchFailure, MetadataFetchTask
from catalog.models.job_events import FailureCount, JobEvent
from catalog.models.tracks import METADATA_FIELDS, Track, TrackQuerySet, check_web_address, stale_before

__all__ = [
    "METADATA_FIELDS",
    "ApiAccount",
    "FailureCount",
    "FetchChunk",
    "FetchFailure",
    "JobEvent",
    "MetadataFetchTask",
    "Track",
    "TrackQuerySet",
    "check_web_address",
    "stale_before",
]
