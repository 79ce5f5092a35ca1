"""The price of audience: what is told before is never less than what is spent."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from catalog import jobs, schedule
from catalog.models import AudienceDay, Track, TrackAudience
from catalog.prices import count_due_audiences
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.outcomes import keys_of, run
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
AUDIENCE = schedule.BY_KIND[schedule.Kind.AUDIENCE]


def add_known(track: Track, *, until: int, days: int = 90, **fields) -> TrackAudience:
    first = TODAY - timedelta(days=until + days - 1)
    fetched_at = timezone.now() - timedelta(days=until)
    audience = add_audience(track, days_from(first, list(range(days))), fetched_at=fetched_at, **fields)
    Track.objects.filter(pk=track.pk).update(audience_fetched_at=fetched_at)
    return audience


def dry_run(*arguments: str) -> str:
    output = StringIO()
    call_command("fetch_track_audience", *arguments, "--dry-run", stdout=output)
    return output.getvalue()


def test_a_track_that_waits_for_its_metadata_hides_nothing_that_is_due(simulator, broker):
    waiting, _ = add_tracks(simulator, 2)
    add_known(waiting, until=0)
    Track.objects.filter(pk=waiting.pk).update(metadata_retry_at=timezone.now() + timedelta(days=3))
    assert count_due_audiences() == {"spotify": 1}
    assert AUDIENCE.has_due()


def test_after_a_long_absence_the_price_counts_every_call(simulator, broker):
    tracks = add_tracks(simulator, 3)
    for track in tracks[:2]:
        add_known(track, until=200)
    assert "about 7 API calls" in dry_run("--all")
    assert schedule.cost_of_a_run(AUDIENCE, limit=None).price.calls == 7
    job = run(jobs.request_stale_audience().job)
    assert (job.updated_tracks, job.api_calls) == (3, 7)


def test_days_back_cost_no_more_than_asking_for_all_of_them(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    add_known(track, until=1, days=29)
    assert "about 1 API call" in dry_run("--all", "--days", "90")
    assert run(jobs.request_stale_audience(days=90).job).api_calls == 1


def test_the_price_of_gaps_counts_every_period_that_has_one(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    audience = add_known(track, until=1, days=365)
    gone = [TODAY - timedelta(days=number) for number in (20, 130, 240, 350)]
    AudienceDay.objects.filter(day__in=gone).delete()
    audience.count_days(first=audience.first_day, last=audience.last_day, known=361)
    audience.save()
    assert "1 track, about 4 API calls" in dry_run("--all", "--fill-gaps")
    assert "about 4 API calls" in dry_run("--track-uuid", str(track.uuid), "--fill-gaps")
    job = run(jobs.request_stale_audience(fill_gaps=True).job)
    assert job.api_calls == 4


def test_the_reserve_is_kept_where_a_track_takes_many_calls(simulator, broker, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 100
    simulator.state.quota = 260
    simulator.faults.set("slow", seconds=0.02)
    tracks = add_tracks(simulator, 40)
    run(jobs.request_audience(keys_of(tracks[:1])).job)
    job = run(jobs.request_audience(keys_of(tracks), days=1800).job)
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert simulator.state.quota_remaining == 100
