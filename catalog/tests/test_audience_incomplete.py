"""Audience that came in part: errors beside the days, or fewer days than promised, are not the whole."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.models import Track, TrackAudience
from catalog.tests.audiences import series_of
from catalog.tests.outcomes import finish_here, keys_of, run
from catalog.tests.tracks import add_tracks
from soundcharts.simulator.audience import AudienceSeries

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=89)
AUDIENCE = {"kinds": ["audience"]}


def known(track: Track) -> set:
    return {day for days in series_of(track).values() for day in days}


def published(simulator, track: Track) -> set:
    index = simulator.catalogue.song_index(track.uuid)
    return set(
        AudienceSeries(simulator.catalogue).published_days(index, "spotify", FIRST, TODAY, today=TODAY)
    )


@pytest.mark.parametrize("fault", [{"leave_out": 30, "at": 20}, {"leave_out": 30, "code": None}])
def test_what_came_is_saved_and_the_rest_is_tried_again(simulator, broker, settings, fault):
    settings.BATCH_RETRY_DELAYS = [0, 0]
    tracks = add_tracks(simulator, 3)
    simulator.faults.set("incomplete", **fault, **AUDIENCE, after=1, times=1)
    job = jobs.request_audience(keys_of(tracks)).job
    finish_here(job)
    assert (job.status, job.updated_tracks, job.failed_tracks, job.api_calls) == ("completed", 3, 0, 4)
    for track in tracks:
        assert known(track) == published(simulator, track)


@pytest.mark.parametrize(
    "fault", [{"leave_out": 30, "at": 20}, {"leave_out": 100}, {"leave_out": 100, "code": None}]
)
def test_what_stays_incomplete_fails_and_is_neither_fresh_nor_without_figures(
    simulator, broker, settings, fault
):
    settings.BATCH_RETRY_DELAYS = [0]
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("incomplete", **fault, **AUDIENCE)
    job = jobs.request_audience([track.pk]).job
    finish_here(job)
    assert (job.status, job.failures.get().code) == ("failed", "incomplete_response")
    # Once more for the answer that was saved in part.
    assert job.api_calls <= 3
    audience = TrackAudience.objects.get()
    assert (audience.error, audience.fetched_at) == ("incomplete_response", None)
    assert len(known(track)) == max(0, len(published(simulator, track)) - fault["leave_out"])
    simulator.faults.clear()
    assert run(jobs.request_retry(job).job).updated_tracks == 1
    assert known(track) == published(simulator, track)


def test_errors_beside_every_day_are_no_success(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = []
    (track,) = add_tracks(simulator, 1)
    fetch_audience_now(track)
    simulator.faults.set("incomplete", leave_out=0, **AUDIENCE)
    job = run(jobs.request_audience([track.pk]).job)
    assert (job.unchanged_tracks, job.failed_tracks) == (0, 1)
    assert job.failures.get().code == "incomplete_response"


def test_whoever_waits_is_told_and_keeps_what_came(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("incomplete", leave_out=30, at=20, **AUDIENCE)
    job, report = fetch_audience_now(track)
    assert (report.outcome, report.code, job.api_calls) == ("failed", "incomplete_response", 1)
    assert len(known(track)) == len(published(simulator, track)) - 30


def test_a_platform_that_is_refused_beside_one_that_keeps_failing_is_not_asked_without_end(
    simulator, broker, settings
):
    settings.BATCH_RETRY_DELAYS = [0]
    (track,) = add_tracks(simulator, 1)
    refused = simulator.faults
    refused.set("error_400", every=2, **AUDIENCE)
    refused.set("wrong_shape", value=None, **AUDIENCE)
    job = jobs.request_audience([track.pk], platforms=["spotify", "youtube"]).job
    finish_here(job)
    assert (job.status, job.failed_tracks) == ("failed", 1)
    assert simulator.state.calls["audience"] <= 6
