"""What must be true after every fault, whatever went wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence

from django.db.models import Sum

from catalog.fetching import work_on_job
from catalog.models import ApiUsage, MetadataFetchTask, Track
from catalog.tests.workers import Worker, wait_until
from conftest import API_KEY
from soundcharts.simulator import Simulator

Status = MetadataFetchTask.Status


def keys_of(tracks: Iterable[Track]) -> list[int]:
    return [track.pk for track in tracks]


def is_over(job: MetadataFetchTask) -> bool:
    """Bring the job up to date; return whether it has ended."""
    job.refresh_from_db()
    return job.status in job.ENDED


def run(job: MetadataFetchTask) -> MetadataFetchTask:
    """Work on a job for one slice of time in this process, and return it as it then is."""
    work_on_job(job.pk)
    job.refresh_from_db()
    return job


def finish_here(job: MetadataFetchTask, *, seconds: float = 30) -> None:
    """Work on a job in this process until it has ended."""

    def is_finished() -> bool:
        work_on_job(job.pk)
        return is_over(job)

    wait_until(is_finished, seconds=seconds)


def songs_by_times_asked(simulator: Simulator, count: int) -> dict[int, int]:
    """Return how many of the first `count` songs were asked for once, twice, ..."""
    return dict(Counter(simulator.state.asked(index) for index in range(count)))


def assert_one_outcome_each(
    job: MetadataFetchTask, tracks: Sequence[Track], *, status: str = Status.COMPLETED
) -> None:
    """Fail unless the job has ended with exactly one outcome for each of the tracks, and none skipped."""
    job.refresh_from_db()
    keys = sorted(keys_of(tracks))
    chunks = list(job.chunks.all())
    assert (job.status, job.total_tracks, job.processed_tracks) == (status, len(keys), len(keys))
    assert job.planned_at is not None
    assert job.completed_at is not None
    assert sorted(key for chunk in chunks for key in chunk.track_ids) == keys
    assert {chunk.position - chunk.size for chunk in chunks} == {0}
    assert not any(chunk.lease_owner or chunk.finished_at is None for chunk in chunks)
    failed = sorted(job.failures.values_list("track_id", flat=True))
    answered = sorted(
        Track.objects.filter(pk__in=keys, metadata_fetched_at__gte=job.created_at).values_list(
            "pk", flat=True
        )
    )
    assert sorted(failed + answered) == keys
    assert (job.failed_tracks, job.skipped_tracks) == (len(failed), 0)
    assert job.updated_tracks + job.unchanged_tracks == len(answered)
    assert_days_add_up()


def assert_days_add_up() -> None:
    """Fail unless the days have exactly the calls that all jobs together have."""
    of_jobs = MetadataFetchTask.objects.aggregate(calls=Sum("api_calls", default=0))
    assert ApiUsage.objects.aggregate(calls=Sum("calls", default=0)) == of_jobs


def assert_quiet(*workers: Worker, may_fail: bool = False) -> None:
    """Fail if a worker's log shows the key, a locked database or an exception that nobody handled.

    With `may_fail` the fault is of a kind for which Celery itself writes tracebacks.
    """
    for worker in workers:
        assert API_KEY not in worker.output
        assert "database is locked" not in worker.output
        assert may_fail or "Traceback" not in worker.output, worker.output
