"""Jobs: asking for them, planning, leases, states. The only writer of job and chunk state."""

from catalog.jobs.audience import note_refused_platforms
from catalog.jobs.audience_requests import (
    request_audience,
    request_filtered_audience,
    request_stale_audience,
)
from catalog.jobs.events import User
from catalog.jobs.import_requests import LAST_OFFSET, request_import, request_list_import
from catalog.jobs.internal import (
    INTERNAL_ERROR,
    INTERNAL_TRIES,
    InternalError,
    Steps,
    internal_error,
    note_internal_error,
    note_put_aside,
)
from catalog.jobs.leases import (
    MAX_LEASES,
    SUSPICIOUS_LEASES,
    Counts,
    Delay,
    Failure,
    LeaseLost,
    advance_chunk,
    claim_chunk,
    has_claimable_chunk,
    has_moved,
    has_work,
    is_under_way,
    is_wanted,
    lease_count_after_advance,
    postpone_chunk,
    record_calls,
    record_outcomes,
    release_chunk,
    renew_lease,
    split_chunk,
    tracks_under_way,
)
from catalog.jobs.making import LARGEST_SELECTION, Requested
from catalog.jobs.pace import tracks_per_second
from catalog.jobs.planning import add_imported_tracks, plan_job, tracks_listed
from catalog.jobs.pruning import Pruned, prune_ended_jobs
from catalog.jobs.requests import (
    jobs_of_track,
    request_filtered_metadata,
    request_metadata,
    request_stale_metadata,
)
from catalog.jobs.retries import request_retry
from catalog.jobs.states import (
    WAITS_FOR_BROKER,
    IllegalTransition,
    cancel_job,
    fail_job,
    finish_if_done,
    note_usage_refused,
    pause_for_settings,
    pause_job,
    resume_job,
    ring,
)
from catalog.jobs.sweep import sweep
from catalog.jobs.unreadable import PAUSED as WHY_UNREADABLE
from catalog.jobs.unreadable import READABLE_FAILURES, UNREADABLE, UNREADABLE_BATCHES, note_unreadable
from catalog.jobs.waits import Wait, waits_of

__all__ = [
    "INTERNAL_ERROR",
    "INTERNAL_TRIES",
    "LARGEST_SELECTION",
    "LAST_OFFSET",
    "MAX_LEASES",
    "READABLE_FAILURES",
    "SUSPICIOUS_LEASES",
    "UNREADABLE",
    "UNREADABLE_BATCHES",
    "WAITS_FOR_BROKER",
    "WHY_UNREADABLE",
    "Counts",
    "Delay",
    "Failure",
    "IllegalTransition",
    "InternalError",
    "LeaseLost",
    "Pruned",
    "Requested",
    "Steps",
    "User",
    "Wait",
    "add_imported_tracks",
    "advance_chunk",
    "cancel_job",
    "claim_chunk",
    "fail_job",
    "finish_if_done",
    "has_claimable_chunk",
    "has_moved",
    "has_work",
    "internal_error",
    "is_under_way",
    "is_wanted",
    "jobs_of_track",
    "lease_count_after_advance",
    "note_internal_error",
    "note_put_aside",
    "note_refused_platforms",
    "note_unreadable",
    "note_usage_refused",
    "pause_for_settings",
    "pause_job",
    "plan_job",
    "postpone_chunk",
    "prune_ended_jobs",
    "record_calls",
    "record_outcomes",
    "release_chunk",
    "renew_lease",
    "request_audience",
    "request_filtered_audience",
    "request_filtered_metadata",
    "request_import",
    "request_list_import",
    "request_metadata",
    "request_retry",
    "request_stale_audience",
    "request_stale_metadata",
    "resume_job",
    "ring",
    "split_chunk",
    "sweep",
    "tracks_listed",
    "tracks_per_second",
    "tracks_under_way",
    "waits_of",
]
