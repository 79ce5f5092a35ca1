"""A job's pace is that of the recent past: no pause and no long wait makes it a lie."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import Value
from django.utils import timezone

from catalog import jobs
from catalog.jobs import leases, pace
from catalog.models import FetchChunk, MetadataFetchTask

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()


@pytest.fixture
def job(make_track, broker, monkeypatch) -> MetadataFetchTask:
    monkeypatch.setattr(pace, "_marked_at", {})
    # The database's clock stands still, but for what a test lets pass.
    monkeypatch.setattr(pace, "Now", lambda: Value(NOW))
    job = jobs.request_metadata([make_track(number).pk for number in range(100)]).job
    jobs.claim_chunk(job.pk, owner="one")
    return job


def tracks_per_second(job: MetadataFetchTask) -> float | None:
    return jobs.tracks_per_second(MetadataFetchTask.objects.get(pk=job.pk), now=NOW)


def let_pass(job: MetadataFetchTask, seconds: float) -> None:
    """Let everything that is remembered be so much older."""
    row = MetadataFetchTask.objects.get(pk=job.pk)
    ago = timedelta(seconds=seconds)
    MetadataFetchTask.objects.filter(pk=job.pk).update(
        pace_at=row.pace_at - ago, earlier_pace_at=row.earlier_pace_at - ago
    )
    pace._marked_at.clear()


def save(job: MetadataFetchTask, count: int) -> None:
    chunk = FetchChunk.objects.get(job=job)
    with transaction.atomic():
        leases.advance_chunk(chunk, count=count)
        leases.record_outcomes(chunk, counts=jobs.Counts(updated=count), calls=1)


def test_the_pace_is_tracks_by_seconds(job):
    let_pass(job, 10)
    save(job, 20)

    assert tracks_per_second(job) == pytest.approx(2)


def test_it_follows_the_recent_past(job):
    let_pass(job, 50)
    save(job, 20)
    let_pass(job, 20)
    save(job, 40)

    assert tracks_per_second(job) == pytest.approx(2)


def test_a_pause_does_not_count_as_slowness(job):
    let_pass(job, 50)
    save(job, 20)
    jobs.pause_job(job)
    let_pass(job, 40)
    jobs.release_chunk(FetchChunk.objects.get(job=job))
    jobs.resume_job(job)
    jobs.claim_chunk(job.pk, owner="one")
    let_pass(job, 10)
    save(job, 50)

    assert tracks_per_second(job) == pytest.approx(5)


def test_a_job_that_has_done_nothing_for_a_minute_says_so(job):
    save(job, 20)
    let_pass(job, 61)

    assert tracks_per_second(job) == 0.0


def test_at_the_beginning_and_when_it_is_not_running_there_is_none(job):
    assert tracks_per_second(job) is None
    let_pass(job, 10)
    save(job, 20)
    jobs.pause_job(job)
    assert tracks_per_second(job) is None


def test_a_slow_first_call_is_no_minute_without_a_track(job):
    let_pass(job, 4)

    assert tracks_per_second(job) is None


# --- suspicion


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_giving_a_chunk_back_neither_adds_to_a_suspicion_nor_forgets_it(job, deaths):
    FetchChunk.objects.update(lease_owner="", lease_expires_at=None, lease_count=deaths)
    for owner in ("a", "b", "c"):
        chunk = jobs.claim_chunk(job.pk, owner=owner)
        assert chunk.lease_count == deaths + 1
        jobs.release_chunk(chunk)

    assert FetchChunk.objects.get().lease_count == deaths
