"""Signs of life: workers, beat and the sweep are seen, and nobody is disturbed by it."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone

from catalog import heartbeats, tasks
from catalog.models import CatalogueSnapshot, Heartbeat
from catalog.tests.outcomes import assert_quiet
from catalog.tests.workers import BASE_DIR, database_url, wait_until, workers


@pytest.fixture(autouse=True)
def noted_never_before():
    heartbeats._next_note.clear()


@pytest.mark.django_db
def test_what_is_seen_twice_is_one_row_with_the_later_time():
    heartbeats.note_seen("worker", "celery@one")
    Heartbeat.objects.update(seen_at=Now() - timedelta(hours=1))
    heartbeats.note_seen("worker", "celery@one")
    heartbeats.note_seen("worker", "celery@two")
    assert Heartbeat.objects.count() == 2
    assert timezone.now() - Heartbeat.objects.get(name="celery@one").seen_at < timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_a_busy_process_notes_itself_now_and_then_only(django_assert_num_queries, monkeypatch):
    monkeypatch.setattr(heartbeats, "NOTE_EVERY", 3600)
    heartbeats.note_seen_from_outside("worker", "celery@one")
    with django_assert_num_queries(0):
        heartbeats.note_seen_from_outside("worker", "celery@one")
    assert Heartbeat.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_process_that_forks_keeps_no_connection():
    heartbeats.note_seen_from_outside("worker", "celery@one")
    assert connection.connection is None


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_a_warning_and_tried_again_later(monkeypatch, caplog):
    def fail(*arguments: object) -> None:
        raise OperationalError("no database")

    with monkeypatch.context() as patched:
        patched.setattr(heartbeats, "note_seen", fail)
        heartbeats.note_seen_from_outside("worker", "celery@one")
    assert "could not be noted as alive: OperationalError" in caplog.text
    heartbeats.note_seen_from_outside("worker", "celery@one")
    assert not Heartbeat.objects.exists()


@pytest.mark.django_db
def test_what_was_not_seen_for_a_week_is_forgotten():
    for name, days in (("old", 8), ("new", 6)):
        heartbeats.note_seen("worker", name)
        Heartbeat.objects.filter(name=name).update(seen_at=Now() - timedelta(days=days))
    heartbeats.forget_old()
    assert Heartbeat.objects.get().name == "new"


@pytest.mark.django_db(transaction=True)
def test_the_sweep_is_seen_and_counts_the_catalogue(broker, make_track):
    make_track(0)
    tasks.sweep_jobs()
    assert Heartbeat.objects.get().kind == "sweep"
    assert CatalogueSnapshot.objects.get().never_fetched == 1


@pytest.mark.django_db(transaction=True)
def test_each_worker_is_seen_by_its_name_while_it_has_nothing_to_do(simulator, broker, tmp_path):
    with workers(tmp_path, count=2, processes=2) as crew:
        wait_until(lambda: Heartbeat.objects.filter(kind="worker").count() == 2)
        first = dict(Heartbeat.objects.values_list("name", "seen_at"))
        assert all(name.startswith("test-") for name in first)
        # One that finds the database busy tries again after half a minute.
        wait_until(lambda: all(one.seen_at > first[one.name] for one in Heartbeat.objects.all()), seconds=100)
    assert_quiet(*crew)


@pytest.mark.django_db(transaction=True)
def test_beat_is_seen_by_what_it_sends_without_any_worker(broker, tmp_path):
    beat = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "config", "beat", "--pidfile=", "-s", str(tmp_path / "beat")],
        cwd=BASE_DIR,
        env=os.environ
        | {
            "DATABASE_URL": database_url(),
            "REDIS_URL": django_settings.REDIS_URL,
            "SWEEP_SECONDS": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: Heartbeat.objects.exists())
        started_at = Heartbeat.objects.get(kind="beat").seen_at
        wait_until(lambda: Heartbeat.objects.get(kind="beat").seen_at > started_at, seconds=100)
        assert broker.llen("liner-notes") > 0
    finally:
        beat.kill()
        beat.wait()
