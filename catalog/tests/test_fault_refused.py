"""Fault 14: the quota runs out, or the key is refused (401, 403), in mid-job."""

import logging

import pytest

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import ApiAccount, FetchFailure, MetadataFetchTask, Track
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of, run
from catalog.tests.together import all_at_once
from catalog.tests.tracks import add_tracks
from conftest import API_KEY

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_call_at_a_time")]

REFUSALS = [
    pytest.param("quota_exhausted", {}, "quota_exhausted", id="quota"),
    pytest.param("error", {"status": 401}, "authentication_failed", id="401"),
    pytest.param("error", {"status": 403}, "forbidden", id="403"),
]


@pytest.fixture
def refused_job(simulator, broker, settings, request) -> tuple[MetadataFetchTask, list[Track]]:
    """A job that two workers at once took up, refused after 20 of its 60 tracks; and its tracks."""
    fault, options, _ = request.param
    settings.CHUNK_SIZE = 10
    tracks = add_tracks(simulator, 60)
    simulator.faults.set(fault, after=2, **options)
    job = jobs.request_metadata(keys_of(tracks)).job
    all_at_once(lambda: work_on_job(job.pk), times=2)
    job.refresh_from_db()
    return job, tracks


@pytest.mark.parametrize(
    ("refused_job", "code"),
    [pytest.param(refusal.values, refusal.values[2], id=refusal.id) for refusal in REFUSALS],
    indirect=["refused_job"],
)
def test_a_refused_job_is_paused_with_the_reason(refused_job, code):
    job, _ = refused_job
    assert (job.status, job.error_code, job.processed_tracks) == ("paused", code, 20)
    assert job.error_message
    assert jobs.sweep() == 0


@pytest.mark.parametrize("refused_job", [refusal.values for refusal in REFUSALS], indirect=True)
def test_what_was_not_tried_is_neither_failed_nor_unknown(refused_job):
    job, _ = refused_job
    assert job.failed_tracks == FetchFailure.objects.count() == 0
    assert not Track.objects.exclude(metadata_error="", metadata_absences=0).exists()


@pytest.mark.parametrize("refused_job", [refusal.values for refusal in REFUSALS], indirect=True)
def test_a_resumed_job_goes_on_where_it_was_refused(simulator, refused_job):
    job, tracks = refused_job
    simulator.faults.clear()
    jobs.resume_job(job)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert simulator.state.answered_more_than_once() == {}


@pytest.mark.parametrize("refused_job", [REFUSALS[0].values], indirect=True)
def test_each_worker_learns_of_the_empty_quota_with_one_call_at_most(simulator, refused_job):
    assert simulator.state.statuses[429] <= 2


def test_a_refused_key_is_in_no_log(simulator, broker, caplog):
    caplog.set_level(logging.DEBUG)
    simulator.faults.set("error", status=401, message=f"The key {API_KEY} is not valid.")
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 10))).job
    work_on_job(job.pk)
    job.refresh_from_db()
    assert job.error_code == "authentication_failed"
    assert API_KEY not in caplog.text + job.error_message


# --- Going on automatically -----------------------------------------------------------------------


@pytest.fixture
def jobs_with_a_wrong_key(simulator, broker, settings) -> list[MetadataFetchTask]:
    """Two jobs that paused while Soundcharts refused the key for everything; it is right again."""
    settings.SOUNDCHARTS_API_KEY = "wrong"
    halves = add_tracks(simulator, 10), add_tracks(simulator, 10, first=10)
    refused = [run(jobs.request_metadata(keys_of(tracks)).job) for tracks in halves]
    assert [job.error_code for job in refused] == ["authentication_failed"] * 2
    settings.SOUNDCHARTS_API_KEY = API_KEY
    return refused


def may_ask_again() -> None:
    ApiAccount.objects.update(checked_at=None)


def test_jobs_go_on_automatically_once_the_account_is_accepted_again(simulator, jobs_with_a_wrong_key):
    calls = simulator.state.calls["usage"]
    jobs.sweep()
    for job in jobs_with_a_wrong_key:
        job.refresh_from_db()
        assert (job.status, job.usage_refused) == ("pending", False)
        assert job.events.get(kind="resumed").text == "Soundcharts accepts the credentials again."
    # One free call has told it for both.
    assert simulator.state.calls["usage"] == calls + 1
    finish_here(jobs_with_a_wrong_key[0])
    assert jobs_with_a_wrong_key[0].updated_tracks == 10


def test_a_key_that_is_still_wrong_is_looked_at_now_and_then_and_resumes_nothing(
    simulator, jobs_with_a_wrong_key, settings
):
    settings.SOUNDCHARTS_API_KEY = "still-wrong"
    refused = simulator.state.statuses[401]
    for _ in range(3):
        jobs.sweep()
    assert simulator.state.statuses[401] == refused + 1
    assert not MetadataFetchTask.objects.exclude(status="paused").exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_which_the_free_call_knows_nothing_is_resumed_by_hand_only(simulator, broker, status):
    tracks = add_tracks(simulator, 10)
    simulator.faults.set("error", status=status, kinds=["songs", "song"])
    job = run(jobs.request_metadata(keys_of(tracks)).job)
    assert (job.status, job.usage_refused) == ("paused", False)
    may_ask_again()
    jobs.sweep()
    job.refresh_from_db()
    assert job.status == "paused"
    simulator.faults.clear()
    jobs.resume_job(job)
    assert run(job).status == "completed"


def test_a_job_that_was_paused_by_hand_after_a_refusal_stays_paused(jobs_with_a_wrong_key):
    job = jobs_with_a_wrong_key[0]
    jobs.resume_job(job)
    jobs.pause_job(job)
    may_ask_again()
    jobs.sweep()
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("paused", "by_hand")


@pytest.mark.parametrize(
    "wrong", [{"SOUNDCHARTS_API_KEY": "two words"}, {"SOUNDCHARTS_API_URL": "https://user:pw@host"}]
)
def test_a_job_whose_settings_make_no_sense_pauses_and_goes_on_once_they_do(
    simulator, broker, settings, wrong
):
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 10))).job
    right = {name: getattr(settings, name) for name in wrong}
    for name, value in wrong.items():
        setattr(settings, name, value)
    run(job)
    assert (job.status, job.error_code, job.usage_refused) == ("paused", "authentication_failed", True)
    assert "pw" not in job.error_message
    assert "two words" not in job.error_message
    jobs.sweep()
    job.refresh_from_db()
    assert job.status == "paused"
    for name, value in right.items():
        setattr(settings, name, value)
    jobs.sweep()
    assert run(job).status == "completed"
