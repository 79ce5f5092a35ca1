"""How old metadata may get: what staff have set, else the setting, seen by every process within seconds."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from pytest_django.asserts import assertContains

from catalog import jobs
from catalog.models import RefreshPolicy, Track, refresh, refresh_days, stale_before

pytestmark = pytest.mark.django_db


def set_days(days: int | None) -> None:
    """Change the row as another process does: this one is not told."""
    RefreshPolicy.objects.update_or_create(kind="metadata", defaults={"max_age_days": days})


def test_until_staff_set_it_the_setting_counts(settings):
    refresh.forget_refresh_days()
    settings.METADATA_REFRESH_DAYS = 7
    assert refresh_days() == 7
    RefreshPolicy.objects.all().delete()
    refresh.forget_refresh_days()
    assert refresh_days() == 7


def test_what_staff_set_wins_over_the_setting(settings):
    refresh.forget_refresh_days()
    set_days(3)
    settings.METADATA_REFRESH_DAYS = 7
    assert refresh_days() == 3
    now = timezone.now()
    assert stale_before(now) == now - timedelta(days=3)


def test_a_list_of_tracks_asks_for_it_once(make_track):
    for number in range(20):
        make_track(number, metadata_fetched_at=timezone.now() - timedelta(days=5))
    set_days(4)
    refresh.forget_refresh_days()
    with CaptureQueriesContext(connection) as queries:
        assert all(track.is_stale for track in Track.objects.all())
    assert len(queries) == 2


def test_a_change_by_another_process_is_seen_within_seconds(monkeypatch):
    monkeypatch.setattr(refresh, "REMEMBERED_SECONDS", 0.0)
    refresh.forget_refresh_days()
    assert refresh_days() == 30
    set_days(3)
    assert refresh_days() == 3
    assert refresh.REMEMBERED_SECONDS <= 10


def test_it_is_remembered_for_a_moment():
    refresh.forget_refresh_days()
    assert refresh_days() == 30
    set_days(3)
    assert refresh_days() == 30


def test_a_job_takes_what_is_set_now_even_if_something_else_is_remembered(make_track, broker):
    track = make_track()
    assert refresh_days() == 30
    set_days(3)
    job = jobs.request_metadata([track.pk], only_stale=True).job
    assert abs(timezone.now() - timedelta(days=3) - job.fresh_after) < timedelta(seconds=10)


def test_an_import_queues_what_was_stale_when_it_was_asked_for(make_track, broker):
    tracks = [make_track(n, metadata_fetched_at=timezone.now() - timedelta(days=5)) for n in range(2)]
    job = jobs.request_import(limit=10).job
    set_days(3)
    refresh.forget_refresh_days()
    jobs.add_imported_tracks(job, [track.pk for track in tracks])
    assert not job.follow_ups.exists()


def test_pages_say_the_age_that_counts(staff_client, make_track):
    set_days(3)
    refresh.forget_refresh_days()
    fetched_at = timezone.now() - timedelta(days=1)
    track = make_track(metadata_fetched_at=fetched_at)

    assertContains(staff_client.get(reverse("admin:index")), "answered for it in the last 3 days")
    page = staff_client.get(reverse("admin:catalog_track_change", args=(track.pk,)))
    stale_from = fetched_at + timedelta(days=3)
    assertContains(page, f"Stale from {date_format(stale_from, 'j M Y, H:i')} (3 days after the last)")
