"""403: said of a platform, of a single song, or of the whole account, and what follows from each."""

from datetime import timedelta

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.models import Track, TrackAudience
from catalog.prices import count_due_audiences
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.outcomes import keys_of, run
from catalog.tests.tracks import add_tracks
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("before", [0, 3])
def test_a_refusal_of_the_whole_account_pauses_and_says_nothing_of_the_platform(
    simulator, broker, one_call_at_a_time, status, before
):
    tracks = add_tracks(simulator, 8)
    job = jobs.request_audience(keys_of(tracks)).job
    simulator.faults.set(f"error_{status}", after=before)
    run(job)
    assert (job.status, job.failed_tracks, job.updated_tracks) == ("paused", 0, before)
    assert "Spotify" not in job.error_message
    simulator.faults.clear()
    assert get_service().has_audience("spotify") is not False
    jobs.resume_job(job)
    run(job)
    assert (job.status, job.updated_tracks, job.refused_sentence) == ("completed", 8, "")


def test_a_song_that_is_refused_fails_alone(simulator, broker, one_call_at_a_time):
    tracks = add_tracks(simulator, 6)
    simulator.faults.set("error_403", uuids=[tracks[2].uuid], kinds=["audience"])
    job = run(jobs.request_audience(keys_of(tracks)).job)
    assert (job.status, job.updated_tracks, job.failed_tracks, job.api_calls) == ("completed", 5, 1, 6)
    assert (job.failures.get().track_id, job.failures.get().code) == (tracks[2].pk, "song_forbidden")
    assert TrackAudience.objects.get(track=tracks[2]).error == "song_forbidden"
    assert job.refused_sentence == ""


def test_a_platform_that_leaves_the_plan_is_noticed_with_the_second_song(
    simulator, broker, one_call_at_a_time
):
    tracks = add_tracks(simulator, 6)
    run(jobs.request_audience(keys_of(tracks[:1]), platforms=["spotify", "tiktok"]).job)
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    job = run(jobs.request_audience(keys_of(tracks[1:]), platforms=["spotify", "tiktok"]).job)
    assert (job.updated_tracks, job.failed_tracks, job.api_calls) == (4, 1, 7)
    assert "TikTok" in job.refused_sentence


def test_whoever_waits_learns_that_the_account_is_refused(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    with simulator.faults.during("error_403"):
        _, report = fetch_audience_now(track)
    assert (report.outcome, report.code) == ("failed", "forbidden")
    assert "Spotify" not in report.message.split(":")[-1]
    assert fetch_audience_now(track)[1].outcome == "updated"


def test_what_the_plan_lacks_keeps_no_track_from_its_turn(simulator, broker):
    """Of a platform that is never answered every track is always due: a limit must not meet the same ones."""
    tracks = add_tracks(simulator, 6)
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    for _ in range(3):
        run(jobs.request_stale_audience(platforms=["spotify", "tiktok"], limit=2).job)
        # As where it has not been asked for a day.
        get_service()._audiences._unlearn("tiktok")
        get_service()._client.limiter.forget("audience_refused:tiktok")
    fetched = Track.objects.exclude(audience_fetched_at=None)
    assert set(fetched.values_list("pk", flat=True)) == set(keys_of(tracks))


def test_the_turns_go_on_by_age_where_a_platform_is_never_answered(simulator, broker):
    tracks = add_tracks(simulator, 4)
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    for number, track in enumerate(tracks):
        fetched_at = timezone.now() - timedelta(days=2 + number)
        add_audience(track, days_from(fetched_at.date(), [1]), fetched_at=fetched_at)
        Track.objects.filter(pk=track.pk).update(audience_fetched_at=fetched_at)
    run(jobs.request_stale_audience(platforms=["spotify", "tiktok"], limit=2).job)
    today = timezone.now() - timedelta(days=1)
    fetched = Track.objects.filter(audience_fetched_at__gte=today).order_by("pk")
    assert list(fetched.values_list("pk", flat=True)) == keys_of(tracks[2:])


def test_what_the_plan_is_known_to_lack_makes_nothing_due(simulator, broker):
    tracks = add_tracks(simulator, 4)
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    run(jobs.request_audience(keys_of(tracks[:3]), platforms=["spotify", "tiktok"]).job)
    assert count_due_audiences(platforms=["spotify", "tiktok"]) == {"spotify": 1}
    job = run(jobs.request_stale_audience(platforms=["spotify", "tiktok"]).job)
    assert (job.total_tracks, job.updated_tracks, job.api_calls) == (1, 1, 1)
    assert "TikTok" in job.refused_sentence
