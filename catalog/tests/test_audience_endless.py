"""Pages of audience without end: bounded, never past the reserve, and what was bought is not bought again."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.models import AudienceDay, TrackAudience
from catalog.tests.outcomes import finish_here, keys_of, run
from catalog.tests.tracks import add_tracks
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize(("how", "calls"), [("again", 2), ("older", 2)])
def test_a_page_that_brings_nothing_new_is_the_last_and_staff_are_told(simulator, broker, caplog, how, calls):
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("endless_audience", how=how)
    job, report = fetch_audience_now(track)
    assert (report.outcome, job.api_calls) == ("updated", calls)
    assert any("a page more than it has figures for" in warning for warning in report.warnings)
    assert TrackAudience.objects.get().days_known > 80
    assert "a page more than it has figures for" in caplog.text


def test_pages_that_bring_ever_more_end_where_there_can_be_no_more(simulator, broker):
    tracks = add_tracks(simulator, 2)
    simulator.faults.set("endless_audience", how="identifiers")
    job = jobs.request_audience(keys_of(tracks)).job
    finish_here(job)
    # 90 days of ten identifiers each, at 100 a page.
    assert job.api_calls == simulator.state.calls["audience"] == 2 * 9
    assert (job.status, job.failed_tracks) == ("failed", 2)
    assert set(job.failures.values_list("code", flat=True)) == {"endless_pages"}
    for audience in TrackAudience.objects.all():
        assert audience.days_known > 80
        assert audience.error == "endless_pages"
        assert audience.retry_at > timezone.now()


def test_what_endless_pages_brought_is_not_bought_again_by_the_next_refresh(simulator, broker):
    add_tracks(simulator, 2)
    simulator.faults.set("endless_audience", how="identifiers")
    finish_here(jobs.request_stale_audience().job)
    calls = simulator.state.calls["audience"]
    job = run(jobs.request_stale_audience().job)
    assert (job.status, job.total_tracks, job.api_calls) == ("completed", 0, 0)
    assert simulator.state.calls["audience"] == calls


def test_endless_pages_stop_at_the_reserve_and_go_on_after_it_where_they_were(
    simulator, broker, account_of_its_own, settings
):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 20
    simulator.state.quota = 25
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("endless_audience", how="identifiers")
    job = run(jobs.request_audience([track.pk]).job)
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert simulator.state.quota_remaining == 20
    known = AudienceDay.objects.count()
    assert known > 80
    simulator.state.quota += 1000
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.processed_tracks) == ("completed", 1)
    # Its days were bought before the pause.
    assert simulator.state.calls["audience"] == 5
    assert AudienceDay.objects.count() == known


def test_a_period_of_several_pages_goes_on_with_the_page_after_the_reserve(
    simulator, broker, account_of_its_own, settings
):
    settings.SOUNDCHARTS_AUDIENCE_PERIOD_DAYS = 400
    settings.SOUNDCHARTS_QUOTA_RESERVE = 20
    simulator.state.longest_period = None
    simulator.state.quota = 22
    (track,) = add_tracks(simulator, 1, first=3)
    job = run(jobs.request_audience([track.pk], days=400).job)
    assert (job.status, job.error_code, job.api_calls) == ("paused", "quota_reserved", 2)
    audience = TrackAudience.objects.get()
    assert audience.fetched_until == TODAY
    assert audience.fetched_from > TODAY - timedelta(days=399)
    simulator.state.quota += 1000
    get_service().get_usage()
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 1, 4)
    assert TrackAudience.objects.get().fetched_from == TODAY - timedelta(days=399)
