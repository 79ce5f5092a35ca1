"""Pause an import once if none of its first rows are found, before it uses more calls."""

from catalog.models import FailureCount, JobEvent, MetadataFetchTask

FIRST_ROWS_UNKNOWN = "first_rows_unknown"
# An import pauses after this many unknown rows if nothing was found before.
FIRST_ROWS = 30


def count_until_asked(job: MetadataFetchTask) -> int | None:
    """Return how many more unknown rows pause an import; None once it has found a row, or has paused for it.

    A retry of another import's rows never pauses for this: they are known to be unknown.
    """
    if job.successful_tracks or job.parent_id is not None:
        return None
    job.refresh_from_db(fields=["successful_tracks"])
    if job.successful_tracks or _has_asked(job):
        return None
    return max(1, FIRST_ROWS - _count_unknown(job))


def are_all_unknown(job: MetadataFetchTask) -> bool:
    """Return whether an import must pause now. Call it in the transaction that locked the job's row."""
    if job.parent_id is not None or _count_unknown(job) < FIRST_ROWS:
        return False
    return MetadataFetchTask.objects.filter(pk=job.pk, successful_tracks=0).exists() and not _has_asked(job)


def _count_unknown(job: MetadataFetchTask) -> int:
    found = FailureCount.objects.filter(job_id=job.pk, code="not_found").values_list("count", flat=True)
    return found.first() or 0


def _has_asked(job: MetadataFetchTask) -> bool:
    return JobEvent.objects.filter(job_id=job.pk, kind=JobEvent.Kind.PAUSED, code=FIRST_ROWS_UNKNOWN).exists()
