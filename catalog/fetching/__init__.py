"""Fetching: working on a job's chunks, from the API to committed rows.

chunks     what a worker does with a job: run its chunks
setbacks   what follows from an error
kinds      what differs between metadata and audience, which are these two:
metadata   ten tracks a call
audience   a call a track and platform, only for days that are not known; figures saves them
shift      which chunk is next, its calls begun while the one before it ends
ahead      batches of a chunk, several under way at once, handed out in order
results    what comes of a batch
saving     one transaction: tracks, position, counters, failures
imports    pages of an upstream list, which become tracks
lists      UUIDs and ISRCs that somebody brought, which become tracks
"""

from catalog.fetching.chunks import fetch_audience_now, fetch_track_now, run_chunk, work_on_job
from catalog.fetching.imports import LIST_PAGE, count_import_calls, count_songs_to_follow

__all__ = [
    "LIST_PAGE",
    "count_import_calls",
    "count_songs_to_follow",
    "fetch_audience_now",
    "fetch_track_now",
    "run_chunk",
    "work_on_job",
]
