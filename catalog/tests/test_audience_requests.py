"""Asking for audience: by a filter, on a schedule, again; and what is left out as it is known."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from catalog import jobs, schedule
from catalog.dashboard.calls import calls
from catalog.jobs import retries
from catalog.models import ApiAccount, JobEvent, MetadataFetchTask, Track, TrackAudience
from catalog.models.refresh import forget_refresh_days
from catalog.selection import TrackFilter
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.outcomes import keys_of, run
from catalog.tests.tracks import add_tracks
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)

AUDIENCE = schedule.BY_KIND[schedule.Kind.AUDIENCE]
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def add_fetched(track: Track, fetched_at: datetime, *, platform: str = "spotify", **fields) -> None:
    day = fetched_at.date()
    add_audience(track, days_from(day, [1]), platform=platform, fetched_at=fetched_at, **fields)
    Track.objects.filter(pk=track.pk).update(audience_fetched_at=fetched_at)


# --- by a filter


def test_a_filter_is_planned_by_a_worker_and_takes_nothing_that_was_added_later(simulator, broker, settings):
    settings.CHUNK_SIZE = 2
    kept = add_tracks(simulator, 7, label="Kept")
    add_tracks(simulator, 3, first=7, label="Other")
    job = jobs.request_filtered_audience(TrackFilter(label="kept")).job
    assert (job.total_tracks, job.planned_at) == (0, None)
    add_tracks(simulator, 2, first=10, label="Kept too late")
    run(job)
    assert (job.status, job.total_tracks, job.updated_tracks, job.api_calls) == ("completed", 7, 7, 7)
    fetched = Track.objects.exclude(audience_fetched_at=None)
    assert set(fetched.values_list("pk", flat=True)) == set(keys_of(kept))


def test_of_a_filter_what_is_fresh_costs_nothing_where_only_stale_is_asked_for(simulator, broker):
    tracks = add_tracks(simulator, 5, label="Kept")
    for track in tracks[:3]:
        add_fetched(track, timezone.now())
    Track.objects.filter(pk=tracks[4].pk).update(metadata_retry_at=timezone.now() + timedelta(days=2))
    job = run(jobs.request_filtered_audience(TrackFilter(label="kept"), only_stale=True).job)
    assert (job.updated_tracks, job.skipped_tracks, job.api_calls) == (1, 3, 1)


def test_the_same_filter_is_joined_and_another_platform_or_reach_is_not(simulator, broker):
    add_tracks(simulator, 2, label="Kept")
    selection = TrackFilter(label="kept")
    first = jobs.request_filtered_audience(selection)
    add_tracks(simulator, 1, first=2)
    assert jobs.request_filtered_audience(selection).job == first.job
    for options in ({"platforms": ["youtube"]}, {"days": 180}, {"fill_gaps": True}, {"only_stale": True}):
        assert not jobs.request_filtered_audience(selection, **options).is_joined


# --- what is stale


def test_an_audience_is_stale_from_the_next_day_on_at_whatever_hour_it_was_fetched(simulator, broker):
    """A refresh at the same time of each day finds due what yesterday's fetched, also in its last minute."""
    yesterday, today = add_tracks(simulator, 2)
    add_fetched(yesterday, MIDNIGHT - timedelta(seconds=1))
    add_fetched(today, MIDNIGHT + timedelta(seconds=1))
    assert AUDIENCE.count_due(None) == 1
    job = run(jobs.request_stale_audience().job)
    assert job.fresh_after == MIDNIGHT
    assert (job.total_tracks, job.api_calls) == (1, 1)


def test_the_age_that_staff_have_set_counts_in_days_of_the_calendar(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    add_fetched(track, MIDNIGHT - timedelta(days=1, seconds=1))
    for days, due in ((1, 1), (2, 1), (3, 0)):
        assert AUDIENCE.count_due(days) == due
        schedule.change(
            AUDIENCE,
            is_on=False,
            timing=AUDIENCE.first_timing(),
            max_age_days=days,
            tracks_per_run=None,
        )
        assert AUDIENCE.has_due() == bool(due)


def test_a_platform_that_did_not_know_the_track_lately_is_left_out_where_nobody_asks_for_it(
    simulator, broker
):
    (track,) = add_tracks(simulator, 1)
    later = timezone.now() + timedelta(days=3)
    TrackAudience.objects.create(track=track, platform="spotify", error="not_found", retry_at=later)
    platforms = ["spotify", "youtube"]
    job = run(jobs.request_stale_audience(platforms=platforms).job)
    assert (job.updated_tracks, job.api_calls) == (1, 1)
    assert not TrackAudience.objects.get(platform="spotify").fetched_at
    job = run(jobs.request_audience([track.pk], platforms=["spotify"]).job)
    assert job.api_calls == 1
    assert TrackAudience.objects.get(platform="spotify").fetched_at


# --- the schedule


def test_a_run_of_the_schedule_takes_as_many_as_it_may_and_says_what_it_costs(simulator, broker, settings):
    settings.SOUNDCHARTS_AUDIENCE_PLATFORMS = ["spotify", "youtube"]
    add_tracks(simulator, 8)
    cost = schedule.cost_of_a_run(AUDIENCE, limit=3)
    assert (cost.tracks, cost.is_limited, cost.price.calls) == (3, True, 6)
    schedule.change(AUDIENCE, is_on=True, timing=AUDIENCE.first_timing(), max_age_days=1, tracks_per_run=3)
    requested = schedule.run(AUDIENCE)
    assert run(requested.job).api_calls == 6
    assert Track.objects.exclude(audience_fetched_at=None).count() == 3


def test_a_run_that_finds_everything_fresh_makes_no_job(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    add_fetched(track, timezone.now())
    forget_refresh_days()
    assert schedule.run(AUDIENCE) is None
    assert not MetadataFetchTask.objects.exists()


# --- again


def break_youtube_once(monkeypatch) -> None:
    """Let the first answer about YouTube make no sense, so that one track fails on that platform alone."""
    from soundcharts import audience
    from soundcharts.errors import NotFound

    fetch, broken = audience.AudienceFetcher.fetch_page, []

    def fetch_page(self, uuid, platform, params):
        if platform == "youtube" and not broken:
            broken.append(uuid)
            raise NotFound("Not there.")
        return fetch(self, uuid, platform, params)

    monkeypatch.setattr(audience.AudienceFetcher, "fetch_page", fetch_page)


def test_trying_again_asks_only_the_platforms_that_have_not_answered(simulator, broker, monkeypatch):
    (track,) = add_tracks(simulator, 1)
    break_youtube_once(monkeypatch)
    job = run(jobs.request_audience([track.pk], platforms=["spotify", "youtube"]).job)
    assert (job.failed_tracks, job.api_calls) == (1, 1)
    again = run(jobs.request_retry(job).job)
    assert (again.task_type, again.parent, again.updated_tracks, again.api_calls) == ("audience", job, 1, 1)
    assert TrackAudience.objects.exclude(fetched_at=None).count() == 2


def test_more_failures_than_a_selection_holds_are_tried_again_as_audience(simulator, broker, monkeypatch):
    tracks = add_tracks(simulator, 5)
    simulator.faults.set("unknown_uuids", uuids=[track.uuid for track in tracks])
    job = run(jobs.request_audience(keys_of(tracks), days=180).job)
    assert job.failed_tracks == 5
    simulator.faults.clear()
    monkeypatch.setattr(retries, "LARGEST_SELECTION", 3)
    again = run(jobs.request_retry(job).job)
    assert (again.task_type, again.updated_tracks, again.api_calls) == ("bulk_audience", 5, 10)


# --- what is said of it


def test_what_the_plan_lacks_is_one_event_however_many_tracks_lack_it(simulator, broker):
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    job = jobs.request_audience(keys_of(add_tracks(simulator, 9)), platforms=["spotify", "tiktok"]).job
    run(job)
    (event,) = job.events.filter(kind=JobEvent.Kind.REFUSED)
    assert (event.count, event.text) == (1, job.refused_sentence)
    assert "TikTok" in event.text


def test_a_platform_that_the_plan_lacks_is_no_trouble_of_the_api(simulator, broker):
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    job = run(jobs.request_audience(keys_of(add_tracks(simulator, 2)), platforms=["tiktok"]).job)
    assert (job.status, job.error_code) == ("failed", "forbidden")
    assert ApiAccount.objects.get().last_error == ""


def test_the_forecast_counts_what_active_jobs_of_audience_still_need(simulator, broker):
    jobs.request_audience(keys_of(add_tracks(simulator, 4)), platforms=["spotify", "youtube"], days=180)
    jobs.request_metadata(keys_of(add_tracks(simulator, 5, first=4)))
    account = ApiAccount.objects.create(fingerprint=get_service().account, quota_remaining=1000)
    assert calls(account).forecast.needed == 4 * 2 * 2 + 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Audience on Spotify: "),
        ({"platforms": ["youtube", "tiktok"]}, "Audience on YouTube, TikTok: "),
        ({"days": 365}, "Audience on Spotify, 365 days back: "),
        ({"fill_gaps": True}, "Missing days of the audience on Spotify: "),
    ],
)
def test_a_title_says_what_is_asked_for(simulator, broker, options, words):
    tracks = add_tracks(simulator, 2)
    assert jobs.request_audience(keys_of(tracks), **options).job.title == f"{words}2 chosen tracks"
    assert jobs.request_stale_audience(**options).job.title.startswith(words)
