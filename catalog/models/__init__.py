"""What is kept: tracks, the jobs that fetch for them, and each job's chunks, failures and imported rows."""

from catalog.models.accounts import ApiAccount
from catalog.models.fetch_tasks import FetchChunk, FetchFailure, MetadataFetchTask
from catalog.models.import_rows import ImportDraft, ImportRow
from catalog.models.tracks import METADATA_FIELDS, Track, TrackQuerySet, check_web_address, stale_before

__all__ = [
    "METADATA_FIELDS",
    "ApiAccount",
    "FetchChunk",
    "FetchFailure",
    "ImportDraft",
    "ImportRow",
    "MetadataFetchTask",
    "Track",
    "TrackQuerySet",
    "check_web_address",
    "stale_before",
]
