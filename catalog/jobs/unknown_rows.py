"""Imports of lists of which Soundcharts knows nothing: they ask once, before spending more."""

from catalog.models import FailureCount, JobEvent, MetadataFetchTask

FIRST_ROWS_UNKNOWN = "first_rows_unknown"
# Unknown rows, with nothing found before them, after which an import pauses.
FIRST_ROWS = 30


def count_until_asked(job: MetadataFetchTask) -> int | None:
    """Return how many more unknown rows pause an import; None once it has found something, or has asked.

    What tries the rows of another import again does not ask: whoever wanted it knows that they are unknown.
    """
    if job.successful_tracks or job.parent_id is not None:
        return None
    job.refresh_from_db(fields=["successful_tracks"])
    if job.successful_tracks or _has_asked(job):
        return None
    return max(1, FIRST_ROWS - _count_unknown(job))


def are_all_unknown(job: MetadataFetchTask) -> bool:
    """Return whether an import is to pause now; in the transaction that has locked its row."""
    if job.parent_id is not None or _count_unknown(job) < FIRST_ROWS:
        return False
    return MetadataFetchTask.objects.filter(pk=job.pk, successful_tracks=0).exists() and not _has_asked(job)


def _count_unknown(job: MetadataFetchTask) -> int:
    found = FailureCount.objects.filter(job_id=job.pk, code="not_found").values_list("count", flat=True)
    return found.first() or 0


def _has_asked(job: MetadataFetchTask) -> bool:
    return JobEvent.objects.filter(job_id=job.pk, kind=JobEvent.Kind.PAUSED, code=FIRST_ROWS_UNKNOWN).exists()
