"""Fault 14: the quota runs out, or the key is refused (401, 403), in mid-job."""

import logging

import pytest

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import FetchFailure, MetadataFetchTask, Track
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of
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
