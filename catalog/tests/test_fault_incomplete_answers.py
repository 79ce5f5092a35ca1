"""Fault 26: successes that name errors, or lack what they promise. They prove no absence and end nothing."""

import pytest

from catalog import jobs
from catalog.fetching import fetch_track_now, work_on_job
from catalog.models import MetadataFetchTask, Track, TrackAudience
from catalog.tests.outcomes import finish_here, keys_of
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

CODES = pytest.mark.parametrize("code", [500, 404, None], ids=["error 500", "error 404", "fewer items"])


@pytest.fixture(autouse=True)
def quick_tries(settings, monkeypatch, account_of_its_own) -> None:
    settings.BATCH_RETRY_DELAYS = [0, 0, 0]
    monkeypatch.setattr("soundcharts.client.FIRST_RETRY_WAIT", 0.0)


def assert_all_done(job: MetadataFetchTask, tracks: list[Track]) -> None:
    """Fail unless each track has one outcome, also those that were put off into chunks of their own."""
    assert (job.status, job.processed_tracks) == ("completed", len(tracks))
    answered = Track.objects.filter(metadata_fetched_at__gte=job.created_at).count()
    assert (answered, job.failures.count()) == (len(tracks) - job.failed_tracks, job.failed_tracks)


def prove_batches(simulator) -> None:
    """Let the account be known to have batch calls."""
    finish_here(jobs.request_metadata(keys_of(add_tracks(simulator, 10, first=200))).job)


@CODES
@pytest.mark.parametrize("at", [0, 4, 7])
def test_songs_missing_beside_errors_come_with_the_next_try(simulator, broker, code, at):
    tracks = add_tracks(simulator, 10)
    simulator.faults.set("incomplete", leave_out=3, at=at, code=code, times=1)
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_all_done(job, tracks)
    assert (job.updated_tracks, job.failed_tracks) == (10, 0)
    assert not Track.objects.exclude(metadata_error="", metadata_absences=0).exists()
    # One call for the seven that came, and one for the three that did not: two where they were put off apart.
    assert job.api_calls == simulator.state.quota_used <= 3


@CODES
def test_songs_that_every_batch_leaves_out_are_asked_for_one_by_one(simulator, broker, code):
    tracks = add_tracks(simulator, 10)
    simulator.faults.set("incomplete", leave_out=3, code=code, kinds=["songs"])
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_all_done(job, tracks)
    assert (job.updated_tracks, job.api_calls) == (10, 1 + 1 + 3)


def test_songs_that_never_come_fail_as_incomplete_and_spare_the_others(simulator, broker):
    tracks = add_tracks(simulator, 40)
    lost = [track.uuid for track in tracks[4:7]]
    simulator.faults.set("payloads", songs=dict.fromkeys(lost))
    simulator.faults.set("incomplete", leave_out=1, code=500, kinds=["song"], uuids=lost)
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_all_done(job, tracks)
    assert (job.updated_tracks, job.failed_tracks) == (37, 3)
    assert set(job.failures.values_list("code", flat=True)) == {"incomplete_response"}
    assert set(Track.objects.filter(uuid__in=lost).values_list("metadata_absences", flat=True)) == {0}
    # Each of the three is tried four times at most, beside the batches.
    assert job.api_calls == simulator.state.quota_used <= 4 + 3 * 4 + 3


@CODES
def test_answers_without_any_song_pause_the_job_after_few_calls(simulator, broker, code):
    prove_batches(simulator)
    tracks = add_tracks(simulator, 200)
    simulator.faults.set("incomplete", leave_out=10, code=code)
    job = jobs.request_metadata(keys_of(tracks)).job
    before = simulator.state.quota_used

    for _ in range(30):
        work_on_job(job.pk)
        job.refresh_from_db()

    assert (job.status, job.error_code) == ("paused", "answers_unreadable")
    codes = set(job.failures.values_list("code", flat=True))
    assert codes <= {"incomplete_response", "invalid_response"}
    assert job.failed_tracks <= 30
    assert simulator.state.quota_used - before == job.api_calls <= 60
    simulator.faults.clear()
    jobs.resume_job(job)
    finish_here(job)
    assert job.updated_tracks == 200 - job.failed_tracks


@CODES
def test_a_long_trouble_costs_in_proportion_to_the_tracks(simulator, broker, code):
    tracks = add_tracks(simulator, 200)
    simulator.faults.set("incomplete", leave_out=3, at=2, code=code, kinds=["songs"])
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_all_done(job, tracks)
    assert job.updated_tracks == 200
    assert job.api_calls == simulator.state.quota_used <= 100


@CODES
def test_a_person_is_told_that_the_answer_was_not_whole(simulator, broker, code):
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("incomplete", leave_out=1, code=code or 500)

    job, report = fetch_track_now(track)

    assert (job.status, report.outcome, report.code) == ("failed", "failed", "incomplete_response")
    assert job.api_calls == 1


@CODES
@pytest.mark.parametrize("leave_out", [3, 100])
def test_an_audience_that_is_not_whole_is_neither_unchanged_nor_empty(simulator, broker, code, leave_out):
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("incomplete", leave_out=leave_out, at=5, code=code, kinds=["audience"], times=1)
    job = jobs.request_audience([track.pk], platforms=["spotify"]).job

    finish_here(job)

    assert (job.status, job.updated_tracks, job.unchanged_tracks, job.api_calls) == ("completed", 1, 0, 2)
    assert TrackAudience.objects.get().days_known > 80


@CODES
def test_an_audience_that_is_never_whole_fails_and_keeps_what_came(simulator, broker, code):
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("incomplete", leave_out=3, at=5, code=code, kinds=["audience"])
    job = jobs.request_audience([track.pk], platforms=["spotify"]).job

    finish_here(job)

    assert (job.status, job.failed_tracks) == ("failed", 1)
    assert job.failures.get().code == "incomplete_response"
    assert job.api_calls == simulator.state.quota_used == 4


def test_errors_beside_every_song_are_a_warning_and_no_failure(simulator, broker):
    tracks = add_tracks(simulator, 11)
    simulator.faults.set("incomplete", leave_out=0, code=500)
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_all_done(job, tracks)
    assert job.failed_tracks == 0
    assert job.api_calls == 2


# --- Merged songs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("redirect", [None, 301, 308])
@pytest.mark.parametrize("count", [1, 10])
def test_a_merged_song_is_no_unknown_song(simulator, broker, redirect, count):
    tracks = add_tracks(simulator, count)
    heir = simulator.song_uuid(250)
    simulator.faults.set("merged_songs", songs={tracks[0].uuid: heir}, redirect=redirect)
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert job.updated_tracks + job.unchanged_tracks >= count - 1
    assert job.api_calls == simulator.state.quota_used == 1
    tracks[0].refresh_from_db()
    assert tracks[0].metadata_absences == 0
    assert tracks[0].metadata_error in ("", "moved")
