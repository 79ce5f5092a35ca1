"""What is kept: tracks, the jobs that fetch for them, each job's chunks and failures, and what was seen."""

from catalog.models.accounts import ApiAccount, ApiUsage
from catalog.models.aliases import TrackAlias, note_aliases, tracks_by_identifier
from catalog.models.audience import (
    FIRST_DAYS,
    TREND_DAYS,
    AudienceDay,
    AudienceRecording,
    TrackAudience,
    audience_stale_before,
    platform_names,
)
from catalog.models.fetch_tasks import FetchChunk, FetchFailure, MetadataFetchTask
from catalog.models.import_rows import ImportDraft, ImportRow
from catalog.models.job_events import FailureCount, JobEvent
from catalog.models.processes import Heartbeat
from catalog.models.refresh import RefreshPolicy, read_refresh_days, refresh_days
from catalog.models.shared_answers import SharedAnswer
from catalog.models.snapshots import CatalogueSnapshot
from catalog.models.track_changes import TrackChange, TrackChangeQuerySet
from catalog.models.tracks import (
    METADATA_FIELDS,
    SortKey,
    Track,
    TrackQuerySet,
    check_web_address,
    is_stale,
    stale_before,
)

__all__ = [
    "FIRST_DAYS",
    "METADATA_FIELDS",
    "TREND_DAYS",
    "ApiAccount",
    "ApiUsage",
    "AudienceDay",
    "AudienceRecording",
    "CatalogueSnapshot",
    "FailureCount",
    "FetchChunk",
    "FetchFailure",
    "Heartbeat",
    "ImportDraft",
    "ImportRow",
    "JobEvent",
    "MetadataFetchTask",
    "RefreshPolicy",
    "SharedAnswer",
    "SortKey",
    "Track",
    "TrackAlias",
    "TrackAudience",
    "TrackChange",
    "TrackChangeQuerySet",
    "TrackQuerySet",
    "audience_stale_before",
    "check_web_address",
    "is_stale",
    "note_aliases",
    "platform_names",
    "read_refresh_days",
    "refresh_days",
    "stale_before",
    "tracks_by_identifier",
]
