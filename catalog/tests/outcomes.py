"""What must be true after every fault, whatever went wrong."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Sum
from django.db.models.functions import Now

from catalog.fetching import work_on_job
from catalog.models import ApiUsage, FetchChunk, MetadataFetchTask, Track
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


def finish_here(job: MetadataFetchTask, *, seconds: float = 60) -> None:
    """Work on a job in this process until it has ended."""

    def is_finished() -> bool:
        work_on_job(job.pk)
        return is_over(job)

    wait_until(is_finished, seconds=seconds)


def expire_leases() -> None:
    """Let the time of all leases be over, where how long they take is not what is tested."""
    FetchChunk.objects.exclude(lease_owner="").update(lease_expires_at=Now() - timedelta(seconds=1))


def assert_leases_are_kept(let_time_pass: Callable[[float], None], *, count: int) -> None:
    """Fail unless so many leases are renewed, each time that a third of their time is over."""

    def expiries() -> dict[int, datetime]:
        leased = FetchChunk.objects.exclude(lease_owner="")
        return dict(leased.values_list("pk", "lease_expires_at"))

    wait_until(lambda: len(expiries()) == count)
    for _ in range(2):
        before = expiries()
        let_time_pass(settings.CHUNK_LEASE_SECONDS / 3)
        wait_until(lambda before=before: all(at > before[chunk] for chunk, at in expiries().items()))
        assert len(expiries()) == count


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
