"""Fetching: working on a job's chunks, from the API to committed rows.

chunks     what a worker does with a job: run its chunks, and what follows from an error
shift      which chunk is next, its calls begun while the one before it ends
ahead      batches of a chunk, several under way at once, handed out in order
saving     one transaction: tracks, position, counters, failures
imports    pages of an upstream list, which become tracks
lists      UUIDs and ISRCs that somebody brought, which become tracks
"""

from catalog.fetching.chunks import fetch_track_now, run_chunk, work_on_job
from catalog.fetching.imports import LIST_PAGE, count_import_calls

__all__ = ["LIST_PAGE", "count_import_calls", "fetch_track_now", "run_chunk", "work_on_job"]
