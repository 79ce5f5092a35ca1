"""Answers in part: what is paid for is kept, and nothing that was answered is asked for again."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.models import AudienceDay, FetchChunk, Track, TrackAudience
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.outcomes import keys_of, run
from catalog.tests.tracks import add_tracks
from soundcharts.audience import PlatformForbidden
from soundcharts.errors import DeadlineExceeded, InvalidRequest, QuotaExhausted
from soundcharts.service import SoundchartsService

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()


@pytest.fixture
def asked(monkeypatch):
    """The periods that were asked for, and a predicate for those that are to fail."""

    class Asked(list):
        fails = staticmethod(lambda platform, start: None)

    periods = Asked()
    get = SoundchartsService.get_audience_series

    def note(self, uuid, platform, *, start_date, end_date):
        periods.append((platform, start_date, end_date))
        if error := periods.fails(platform, start_date):
            raise error
        return get(self, uuid, platform, start_date=start_date, end_date=end_date)

    monkeypatch.setattr(SoundchartsService, "get_audience_series", note)
    return periods


@pytest.fixture
def with_gaps(simulator, broker) -> TrackAudience:
    """A track that is not released yet, with days from elsewhere, of which two far apart are missing."""
    (track,) = add_tracks(simulator, 1)
    last = TODAY - timedelta(days=1000)
    Track.objects.filter(pk=track.pk).update(audience_fetched_at=timezone.now())
    days = [None if number in (20, 200) else number for number in range(300)]
    return add_audience(
        track, days_from(last - timedelta(days=299), days), fetched_at=timezone.now() - timedelta(days=1)
    )


def test_gaps_that_stay_empty_are_asked_for_once_while_another_call_keeps_failing(
    simulator, broker, with_gaps, asked, settings
):
    settings.BATCH_RETRY_DELAYS = [0, 0]
    later = with_gaps.first_day + timedelta(days=200)
    asked.fails = lambda platform, start: DeadlineExceeded() if start == later else None
    job = jobs.request_stale_audience(fill_gaps=True).job
    for _ in range(12):
        run(job)
    assert (job.status, job.failed_tracks) == ("failed", 1)
    assert sum(start != later for _, start, _ in asked) == 1


@pytest.mark.parametrize("error", [DeadlineExceeded, QuotaExhausted])
def test_whoever_waits_is_told_what_failed_and_nothing_goes_on_behind(simulator, broker, asked, error):
    (track,) = add_tracks(simulator, 1)
    asked.fails = lambda platform, start: error() if platform == "youtube" else None
    job, report = fetch_audience_now(track, platforms=["spotify", "youtube", "shazam"])
    assert (report.outcome, report.code) == ("failed", error.code)
    assert (job.status, job.failed_tracks, job.total_tracks) == ("failed", 1, 1)
    assert not FetchChunk.objects.filter(finished_at=None).exists()
    assert TrackAudience.objects.get(platform="spotify").days_known > 80


def test_filling_gaps_does_not_make_an_audience_fresh(simulator, broker, with_gaps):
    before = with_gaps.fetched_at
    job = run(jobs.request_stale_audience(fill_gaps=True).job)
    assert job.api_calls == 2
    with_gaps.refresh_from_db()
    assert with_gaps.fetched_at == before


def test_what_was_given_up_without_an_answer_is_asked_for_in_full_the_next_time(
    simulator, broker, asked, settings
):
    settings.BATCH_RETRY_DELAYS = []
    new, known = add_tracks(simulator, 2)
    until = TODAY - timedelta(days=30)
    add_audience(
        known,
        days_from(until - timedelta(days=89), list(range(90))),
        fetched_at=timezone.now() - timedelta(days=30),
    )
    asked.fails = lambda platform, start: DeadlineExceeded()
    assert run(jobs.request_audience(keys_of([new, known])).job).failed_tracks == 2
    asked.fails = lambda platform, start: None
    asked.clear()
    run(jobs.request_audience(keys_of([new, known])).job)
    assert min(start for _, start, _ in asked) == TODAY - timedelta(days=89)
    assert [start for _, start, _ in asked if start < until] != []
    assert all(start <= until for _, start, _ in asked)


def test_what_came_before_a_refusal_that_is_final_is_kept(simulator, broker, asked):
    """As where days of too long ago are refused: those before them are paid for."""
    (track,) = add_tracks(simulator, 1)
    run(jobs.request_audience([track.pk]).job)
    oldest = TODAY - timedelta(days=269)
    asked.fails = lambda platform, start: InvalidRequest() if start == oldest else None
    known = AudienceDay.objects.count()
    job = run(jobs.request_audience([track.pk], days=270, only_stale=True).job)
    assert (job.failed_tracks, job.api_calls) == (1, 1)
    audience = TrackAudience.objects.get()
    assert AudienceDay.objects.count() > known
    assert (audience.error, audience.fetched_from) == ("invalid_request", TODAY - timedelta(days=179))
    assert audience.days_known == AudienceDay.objects.values("day").distinct().count()


def test_figures_that_come_late_are_asked_for_again_however_late_they_are(simulator, broker, asked):
    (track,) = add_tracks(simulator, 1)
    add_audience(
        track,
        days_from(TODAY - timedelta(days=89), list(range(60))),
        fetched_at=timezone.now() - timedelta(days=1),
        fetched_until=TODAY - timedelta(days=1),
    )
    run(jobs.request_audience([track.pk]).job)
    assert asked == [("spotify", TODAY - timedelta(days=29), TODAY)]


def test_what_came_before_the_plan_lost_the_platform_is_kept(simulator, broker, asked):
    (track,) = add_tracks(simulator, 1)
    first, second = (TODAY - timedelta(days=days) for days in (89, 179))
    asked.fails = lambda platform, start: PlatformForbidden() if start == second else None
    job = run(jobs.request_audience([track.pk], days=180).job)
    assert (job.failed_tracks, job.failures.get().code) == (1, "forbidden")
    assert TrackAudience.objects.get().fetched_from == first
    assert AudienceDay.objects.count() > 80
