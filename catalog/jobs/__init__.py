"""Jobs: asking for them, planning, leases, states. The only writer of job and chunk state."""

from catalog.jobs.leases import (
    Counts,
    Failure,
    LeaseLost,
    advance_chunk,
    claim_chunk,
    has_claimable_chunk,
    is_wanted,
    postpone_chunk,
    record_calls,
    record_outcomes,
    release_chunk,
)
from catalog.jobs.planning import add_imported_tracks, plan_job
from catalog.jobs.requests import (
    Requested,
    User,
    request_import,
    request_metadata,
    request_retry,
    request_stale_metadata,
)
from catalog.jobs.states import (
    IllegalTransition,
    cancel_job,
    fail_job,
    finish_if_done,
    pause_job,
    resume_job,
    ring,
)
from catalog.jobs.sweep import sweep

__all__ = [
    "Counts",
    "Failure",
    "IllegalTransition",
    "LeaseLost",
    "Requested",
    "User",
    "add_imported_tracks",
    "advance_chunk",
    "cancel_job",
    "claim_chunk",
    "fail_job",
    "finish_if_done",
    "has_claimable_chunk",
    "is_wanted",
    "pause_job",
    "plan_job",
    "postpone_chunk",
    "record_calls",
    "record_outcomes",
    "release_chunk",
    "request_import",
    "request_metadata",
    "request_retry",
    "request_stale_metadata",
    "resume_job",
    "ring",
    "sweep",
]
