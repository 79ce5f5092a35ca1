"""Counting the catalogue: exact, once a sweep where it is large, for every look where it is small."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from catalog import snapshots
from catalog.models import CatalogueSnapshot, Track

pytestmark = pytest.mark.django_db


@pytest.fixture
def large(monkeypatch) -> None:
    """A catalogue of one track is large."""
    monkeypatch.setattr(snapshots, "FEW", 1)


def age(minutes: float) -> None:
    CatalogueSnapshot.objects.update(taken_at=timezone.now() - timedelta(minutes=minutes))


def test_a_track_just_on_the_edge_is_counted_once(make_track, settings):
    now = timezone.now()
    edge = now - timedelta(days=settings.METADATA_REFRESH_DAYS)
    for number, moment in enumerate((edge, edge - timedelta(seconds=1), edge + timedelta(hours=1), None)):
        make_track(number, metadata_fetched_at=moment)
    counts = snapshots.count_catalogue()
    assert counts.total == Track.objects.count() == 4
    assert counts.never_fetched == 1


def test_a_large_catalogue_is_counted_by_the_sweep_only(make_track, large, django_assert_num_queries):
    make_track(0)
    snapshots.take_snapshot()
    make_track(1)
    with django_assert_num_queries(1):
        assert snapshots.current_counts().total == 1


def test_a_small_catalogue_is_counted_for_every_look(make_track):
    snapshots.take_snapshot()
    make_track(0)
    assert snapshots.current_counts().total == 1


@pytest.mark.parametrize("minutes", [11, -5], ids=["old", "from the future"])
def test_the_next_sweep_replaces_a_snapshot(make_track, large, minutes):
    make_track(0)
    snapshots.take_snapshot()
    make_track(1)
    age(minutes)
    assert snapshots.current_counts().total == 1
    snapshots.take_snapshot()
    assert snapshots.current_counts().total == 2


def test_two_sweeps_at_once_count_once(make_track, large):
    make_track(0)
    snapshots.take_snapshot()
    make_track(1)
    snapshots.take_snapshot()
    assert CatalogueSnapshot.objects.get().total == 1
    age(1)
    snapshots.take_snapshot()
    assert CatalogueSnapshot.objects.get().total == 2


def test_what_takes_long_to_count_is_counted_rarely(make_track, large):
    make_track(0)
    snapshots.take_snapshot()
    make_track(1)
    CatalogueSnapshot.objects.update(seconds=4)
    age(6)
    snapshots.take_snapshot()
    assert CatalogueSnapshot.objects.get().total == 1
    age(7)
    snapshots.take_snapshot()
    assert CatalogueSnapshot.objects.get().total == 2


def test_failures_are_counted_from_a_midnight_on():
    moment = datetime(2026, 3, 10, 14, 2, tzinfo=UTC)
    assert snapshots.failures_since(moment) == datetime(2026, 3, 4, tzinfo=UTC)


def test_every_count_reads_an_index_only(make_track):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL reads few rows without an index, whatever there is.")
    tracks = Track.objects
    for counted in (tracks.never_fetched(), tracks.aged(), tracks.fresh(), tracks.failing()):
        plan = counted.order_by().values("pk").explain()
        assert "USING COVERING INDEX track_" in plan
