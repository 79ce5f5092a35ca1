"""manage.py prune_audience, and what becomes of days whose track is deleted."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from catalog.management.commands import prune_audience
from catalog.models import AudienceDay, AudienceRecording, TrackAudience
from catalog.tests.audiences import add_audience, days_from, series_of

pytestmark = pytest.mark.django_db


def prune(*options: str) -> str:
    out = StringIO()
    call_command("prune_audience", *options, stdout=out)
    return out.getvalue()


@pytest.fixture
def today():
    return timezone.now().date()


@pytest.fixture
def tracks(make_track, today):
    """Five tracks with 100 days up to today, and a second identifier that had three of the first."""
    tracks = [make_track(number) for number in range(5)]
    for track in tracks:
        first = today - timedelta(days=99)
        add_audience(track, days_from(first, list(range(100))), days_from(first, [1, 2, 3]))
    return tracks


def test_older_days_go_and_the_summary_says_so(tracks, today, monkeypatch):
    monkeypatch.setattr(prune_audience, "SERIES_PER_STEP", 2)
    before = list(TrackAudience.objects.order_by("pk").values("latest_day", "latest_value", "gain", "trend"))
    assert "Deleted 360 days" in prune("--older-than", "30")
    assert AudienceDay.objects.count() == 5 * 31
    for audience in TrackAudience.objects.all():
        assert (audience.days_known, audience.missing_days) == (31, 0)
        assert audience.first_day == audience.fetched_from == today - timedelta(days=30)
    after = list(TrackAudience.objects.order_by("pk").values("latest_day", "latest_value", "gain", "trend"))
    assert after == before
    assert "Deleted 0 days" in prune("--older-than", "30")


def test_a_dry_run_counts_the_same_and_deletes_nothing(tracks, monkeypatch):
    monkeypatch.setattr(prune_audience, "SERIES_PER_STEP", 2)
    assert "Would delete 360 days" in prune("--older-than", "30", "--dry-run")
    assert AudienceDay.objects.count() == 5 * 103


def test_a_series_that_is_wholly_old_keeps_its_latest_figure(make_track, today):
    audience = add_audience(make_track(), days_from(today - timedelta(days=400), [5, 6]))
    prune("--older-than", "365")
    audience.refresh_from_db()
    assert (audience.days_known, audience.first_day, audience.latest_value) == (0, None, 6)
    assert audience.missing_days == 0


@pytest.mark.parametrize("days", ["0", "-1", "all", "99999999"])
def test_an_age_that_makes_no_sense_is_refused(days):
    with pytest.raises(CommandError):
        prune(f"--older-than={days}")


def test_days_go_with_their_track(tracks):
    tracks[0].delete()
    assert AudienceDay.objects.count() == 4 * 103
    assert AudienceRecording.objects.count() == 8


def test_a_recording_has_one_figure_a_day(tracks, today):
    recording = AudienceRecording.objects.order_by("pk").first()
    with pytest.raises(IntegrityError), transaction.atomic():
        AudienceDay.objects.bulk_create([AudienceDay(recording=recording, day=today, value=1)])
    AudienceDay.objects.filter(recording=recording, day=today).update(value=2**40)
    assert max(series_of(tracks[0])[recording.identifier].values()) == 2**40
