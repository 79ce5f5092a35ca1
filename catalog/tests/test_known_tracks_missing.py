"""Many tracks in a row that Soundcharts knew before are not found: the task asks before it believes that."""

from datetime import timedelta

import pytest
from django.db.models import F

from catalog import jobs
from catalog.jobs.missing import KNOWN_TRACKS_MISSING, MOST_IN_A_ROW
from catalog.models import MetadataFetchTask, Track, TrackAudience
from catalog.tests.outcomes import run
from catalog.tests.tracks import add_tracks
from soundcharts.simulator import Simulator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("account_of_its_own")]


@pytest.fixture(autouse=True)
def one_call_at_a_time(settings) -> None:
    """Answers come one after the other, so that what was in flight at the pause is always the same."""
    settings.FETCH_AHEAD = 1


def known_tracks(simulator: Simulator, count: int) -> list[Track]:
    tracks = add_tracks(simulator, count)
    run(jobs.request_metadata([track.pk for track in tracks]).job)
    return tracks


def forget(simulator: Simulator, tracks: list[Track]) -> None:
    """Let Soundcharts say of these that it does not know them."""
    simulator.faults.set("unknown_uuids", uuids=[str(track.uuid) for track in tracks])


def fetch_again(tracks: list[Track]) -> MetadataFetchTask:
    return run(jobs.request_metadata([track.pk for track in tracks]).job)


@pytest.mark.parametrize("batch_size", [1, 10])
def test_thirty_known_tracks_in_a_row_that_are_not_found_pause_the_task(
    simulator, broker, settings, batch_size
):
    settings.SOUNDCHARTS_BATCH_SIZE = batch_size
    tracks = known_tracks(simulator, 200)
    forget(simulator, tracks[10:])
    job = fetch_again(tracks)
    assert (job.status, job.error_code) == ("paused", KNOWN_TRACKS_MISSING)
    assert MOST_IN_A_ROW <= job.failed_tracks < 140
    assert "in a row were not found, although Soundcharts knew them before" in job.error_message


def test_the_tracks_that_were_not_found_stay_due(simulator, broker):
    tracks = known_tracks(simulator, 100)
    forget(simulator, tracks[10:])
    job = fetch_again(tracks)
    missing = Track.objects.filter(metadata_error="not_found")
    assert missing.count() == job.failed_tracks >= MOST_IN_A_ROW
    assert not missing.exclude(metadata_retry_at=None, metadata_absences=0).exists()


def test_resumed_the_task_goes_through_without_another_pause(simulator, broker):
    tracks = known_tracks(simulator, 100)
    forget(simulator, tracks[10:])
    job = fetch_again(tracks)
    jobs.resume_job(job)
    run(job)
    assert (job.status, job.failed_tracks, job.unchanged_tracks) == ("completed", 90, 10)


def test_tracks_between_them_that_are_found_begin_the_count_anew(simulator, broker):
    tracks = known_tracks(simulator, 120)
    forget(simulator, [track for number, track in enumerate(tracks) if number % 30])
    job = fetch_again(tracks)
    assert (job.status, job.failed_tracks) == ("completed", 116)


def test_tracks_that_were_never_known_do_not_count(simulator, broker):
    tracks = add_tracks(simulator, 60)
    forget(simulator, tracks[1:])
    job = fetch_again(tracks)
    assert (job.status, job.failed_tracks) == ("completed", 59)


def test_audience_of_known_tracks_pauses_alike(simulator, broker):
    tracks = add_tracks(simulator, 60)
    ids = [track.pk for track in tracks]
    run(jobs.request_audience(ids, platforms=["spotify"]).job)
    TrackAudience.objects.update(
        fetched_at=F("fetched_at") - timedelta(days=3), fetched_until=F("fetched_until") - timedelta(days=3)
    )
    forget(simulator, tracks[5:])
    job = run(jobs.request_audience(ids, platforms=["spotify"]).job)
    assert (job.status, job.error_code) == ("paused", KNOWN_TRACKS_MISSING)
    rows = TrackAudience.objects.filter(error="not_found")
    assert rows.count() == job.failed_tracks >= MOST_IN_A_ROW
    assert not rows.exclude(retry_at=None, absences=0).exists()
    jobs.resume_job(job)
    assert run(job).status == "completed"
