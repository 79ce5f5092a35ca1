"""A long trouble of answers that make no sense: the job waits as a whole, and pauses before many fail."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import MetadataFetchTask
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

FAULTS = pytest.mark.parametrize("fault", ["html_200", "truncated_json", "empty_200"])


@pytest.fixture(autouse=True)
def small_chunks(settings, monkeypatch) -> None:
    settings.BATCH_RETRY_DELAYS = [0, 0]
    settings.CHUNK_SIZE = 20
    monkeypatch.setattr("soundcharts.client.FIRST_RETRY_WAIT", 0.0)


def work_until_paused(job: MetadataFetchTask) -> None:
    for _ in range(30):
        work_on_job(job.pk)
        job.refresh_from_db()
        if job.status == "paused":
            return
    raise AssertionError(f"It is {job.status}.")


@FAULTS
def test_a_long_trouble_pauses_the_job_and_fails_few_tracks(simulator, broker, fault):
    tracks = add_tracks(simulator, 200)
    simulator.faults.set(fault)
    job = jobs.request_metadata(keys_of(tracks)).job

    work_until_paused(job)

    assert job.error_code == "answers_unreadable"
    assert job.failed_tracks == 10 * (jobs.UNREADABLE_BATCHES - 1)
    assert job.api_calls == simulator.state.quota_used
    assert job.events.filter(kind="paused", code="answers_unreadable").count() == 1


@FAULTS
def test_after_the_trouble_a_resumed_job_fetches_the_rest(simulator, broker, fault):
    tracks = add_tracks(simulator, 200)
    simulator.faults.set(fault)
    job = jobs.request_metadata(keys_of(tracks)).job
    work_until_paused(job)
    simulator.faults.clear()

    jobs.resume_job(job)
    finish_here(job)

    assert_one_outcome_each(job, tracks)
    assert (job.updated_tracks, job.unreadable_tries) == (180, 0)


def test_a_short_trouble_pauses_nothing_and_fails_nothing(simulator, broker):
    tracks = add_tracks(simulator, 200)
    simulator.faults.set("html_200", times=3)
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_one_outcome_each(job, tracks)
    assert (job.failed_tracks, job.unreadable_tries) == (0, 0)


def test_the_whole_job_waits_once_two_tries_in_a_row_could_not_be_read(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = [3600, 3600]
    tracks = add_tracks(simulator, 200)
    simulator.faults.set("html_200")
    job = jobs.request_metadata(keys_of(tracks)).job

    work_on_job(job.pk)
    calls = simulator.state.calls.total()
    work_on_job(job.pk)

    job.refresh_from_db()
    assert job.not_before is not None
    assert not jobs.has_work(job.pk)
    assert jobs.claim_chunk(job.pk, owner="one") is None
    # Nothing was asked while it waits, and eight of its ten chunks never were.
    assert simulator.state.calls.total() == calls
    assert job.chunks.filter(not_before=None).count() == 8
    assert job.events.filter(kind="waiting").get().count == 2


def test_a_job_that_waits_is_worked_on_when_the_wait_is_over_or_by_hand(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = [3600, 3600]
    tracks = add_tracks(simulator, 60)
    simulator.faults.set("html_200")
    job = jobs.request_metadata(keys_of(tracks)).job
    work_on_job(job.pk)
    simulator.faults.clear()

    MetadataFetchTask.objects.filter(pk=job.pk).update(not_before=Now() - timedelta(seconds=1))
    assert jobs.has_work(job.pk)
    MetadataFetchTask.objects.filter(pk=job.pk).update(not_before=Now() + timedelta(hours=1))
    jobs.pause_job(job)
    jobs.resume_job(job)
    finish_here(job)

    assert_one_outcome_each(job, tracks)


def test_songs_that_can_never_be_read_fail_alone_and_pause_nothing(simulator, broker):
    tracks = add_tracks(simulator, 60)
    simulator.faults.set("html_200", uuids=[track.uuid for track in tracks[:3]])
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_one_outcome_each(job, tracks)
    assert job.updated_tracks >= 50
    assert set(job.failures.values_list("code", flat=True)) == {"invalid_response"}


def test_of_workers_that_try_at_the_same_time_one_counts(simulator, broker):
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 1))).job
    seen = [MetadataFetchTask.objects.get(pk=job.pk) for _ in range(8)]

    assert {jobs.note_unreadable(each) for each in seen} == {1}
    assert jobs.note_unreadable(seen[0]) == 2
