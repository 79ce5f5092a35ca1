"""Beat: what is due runs once, whatever happens to beat, Redis, the database or the clock."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler

from catalog import beat, heartbeats, jobs, schedule
from catalog.models import Heartbeat, MetadataFetchTask, RefreshPolicy
from catalog.tests.together import Meanwhile, all_at_once
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import BASE_DIR, database_url, die_before, startup_code, wait_until
from catalog.timing import Frequency, Timing, timing_words
from config.celery import app

pytestmark = pytest.mark.django_db(transaction=True)

METADATA = schedule.BY_KIND["metadata"]
FORM = "/admin/catalog/refreshpolicy/metadata/change/"
# Beat's clock is some minutes ahead, so that no test waits for the next one.
MINUTES_AHEAD = """
    from datetime import datetime, timedelta
    from django.utils import timezone
    from django_celery_beat import tzcrontab

    real_now = timezone.now
    timezone.now = lambda: real_now() + timedelta(minutes=5)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(minutes=5)

    tzcrontab.datetime = Ahead
"""


def row(name: str = METADATA.beat_name) -> PeriodicTask:
    return PeriodicTask.objects.get(name=name)


def make_due() -> None:
    """Let beat have been away for two days."""
    PeriodicTask.objects.filter(name=METADATA.beat_name).update(
        last_run_at=timezone.now() - timedelta(days=2)
    )


@pytest.fixture(autouse=True)
def own_sign_of_life(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(beat, "SIGN_OF_LIFE", tmp_path / "beat-alive")


@pytest.fixture
def due(simulator, broker) -> None:
    """Three stale tracks, and a refresh that is due."""
    add_tracks(simulator, 3)
    make_due()


def scheduler() -> beat.Scheduler:
    """Return what a beat that starts now has."""
    return beat.Scheduler(app=app)


def tick_for_all(running: beat.Scheduler) -> None:
    """Let beat do everything that is due now."""
    for _ in range(10):
        if running.tick() > 0:
            return
    raise AssertionError("It never came to rest.")


@contextmanager
def real_beat(folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run beat as a deployment does; kill it afterwards."""
    folder.mkdir(exist_ok=True)
    with (folder / "beat.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "config", "beat", "--loglevel", "INFO"],
            cwd=BASE_DIR,
            env=os.environ
            | {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL, "VAR_DIR": str(folder)}
            | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


# --- a real beat


def test_a_real_beat_makes_the_job_and_picks_up_an_edit_without_a_restart(
    due, staff_client, broker, tmp_path
):
    with real_beat(tmp_path / "var", **startup_code(tmp_path / "code", MINUTES_AHEAD)) as process:
        wait_until(lambda: MetadataFetchTask.objects.count() == 1)
        first = RefreshPolicy.objects.get(pk=METADATA.kind).last_run_at
        assert row().total_run_count == 1
        wait_until(lambda: broker.llen("liner-notes") >= 1)

        # Soon for us, and past for beat, however long the form takes.
        soon = timezone.now() + timedelta(minutes=3)
        values = {"is_on": "on", "frequency": "day", "weekday": "1", "hours": "6", "at": f"{soon:%H:%M}"}
        staff_client.post(FORM, values | {"max_age_days": "30"})
        assert timing_words(row()) == f"every day at {soon:%H:%M} UTC"
        wait_until(lambda: row().total_run_count == 2)
        assert RefreshPolicy.objects.get(pk=METADATA.kind).last_run_at > first
        assert process.poll() is None
    assert (tmp_path / "var" / "beat-alive").exists()


def test_a_real_beat_without_redis_makes_the_job_and_sweeps_once_redis_is_there(
    simulator, own_valkey, tmp_path
):
    add_tracks(simulator, 3)
    make_due()
    own_valkey.stop()
    with real_beat(tmp_path / "var", SWEEP_SECONDS="1"):
        wait_until(lambda: MetadataFetchTask.objects.filter(error_code="broker_unreachable").exists())
        own_valkey.start()
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            wait_until(lambda: client.llen("liner-notes") >= 1)
        assert row().total_run_count == 1


def test_a_real_beat_that_is_killed_and_started_again_does_not_run_twice(due, tmp_path):
    with real_beat(tmp_path / "var") as process:
        wait_until(lambda: row().total_run_count == 1)
        process.send_signal(signal.SIGKILL)
    with real_beat(tmp_path / "var", SWEEP_SECONDS="1"):
        wait_until(lambda: row("sweep").total_run_count >= 2)
    assert row().total_run_count == 1
    assert MetadataFetchTask.objects.count() == 1


# --- exactly once


def test_what_is_due_is_run_and_written_down_at_once(due):
    running = scheduler()
    tick_for_all(running)
    job = MetadataFetchTask.objects.get()
    assert RefreshPolicy.objects.get(pk=METADATA.kind).last_run_job == job
    assert (row().total_run_count, timezone.now() - row().last_run_at < timedelta(minutes=1)) == (1, True)
    tick_for_all(running)
    tick_for_all(scheduler())
    assert row().total_run_count == 1


def test_two_beats_at_once_run_it_once_within_its_limit(due):
    RefreshPolicy.objects.update(tracks_per_run=1)
    beats = iter([scheduler(), scheduler()])
    all_at_once(lambda: tick_for_all(next(beats)), times=2)
    assert row().total_run_count == 1
    assert MetadataFetchTask.objects.get().request["limit"] == 1


def test_a_second_beat_does_not_run_again_what_ended_meanwhile(due):
    first, second = scheduler(), scheduler()
    second.tick()
    MetadataFetchTask.objects.update(status="completed")
    tick_for_all(first)
    assert row().total_run_count == 1
    assert MetadataFetchTask.objects.count() == 1


@pytest.mark.parametrize("step", ["catalog.schedule.run", "catalog.jobs.making._ring_on_commit"])
def test_killed_before_it_was_done_nothing_happened_and_the_next_beat_does_it(due, step):
    die_before(step, lambda: tick_for_all(scheduler()))
    assert row().total_run_count == 0
    assert not MetadataFetchTask.objects.exists()
    tick_for_all(scheduler())
    assert (row().total_run_count, MetadataFetchTask.objects.count()) == (1, 1)


def test_killed_after_the_commit_the_job_is_there_and_the_sweep_rings_for_it(due, broker):
    die_before("catalog.jobs.states.ring", lambda: tick_for_all(scheduler()))
    assert (row().total_run_count, MetadataFetchTask.objects.count()) == (1, 1)
    assert jobs.sweep() == 1


def test_an_edit_that_comes_between_counts(due):
    running = scheduler()
    schedule.change(
        METADATA, is_on=False, timing=METADATA.first_timing(), max_age_days=30, tracks_per_run=None
    )
    tick_for_all(running)
    assert not MetadataFetchTask.objects.exists()


# --- when


def test_a_run_that_was_missed_is_made_up_for_at_once_whatever_the_hour(due):
    far = timezone.now() + timedelta(hours=12)
    at = far.time().replace(second=0, microsecond=0)
    schedule.change(
        METADATA, is_on=True, timing=Timing(Frequency.DAY, at), max_age_days=30, tracks_per_run=None
    )
    make_due()
    tick_for_all(scheduler())
    assert row().total_run_count == 1


def test_what_is_off_does_not_run(due):
    PeriodicTask.objects.filter(name=METADATA.beat_name).update(enabled=False)
    tick_for_all(scheduler())
    assert not MetadataFetchTask.objects.exists()


def test_a_clock_that_was_a_year_ahead_does_not_stop_it_for_a_year(simulator, broker, caplog):
    PeriodicTask.objects.update(last_run_at=timezone.now() + timedelta(days=365))
    with caplog.at_level(logging.WARNING):
        tick_for_all(scheduler())
    assert "the clock was wrong" in caplog.text
    assert abs(row().last_run_at - timezone.now()) < timedelta(minutes=1)


def test_a_clock_that_is_set_back_a_little_does_not_run_it_twice(due):
    tick_for_all(scheduler())
    PeriodicTask.objects.update(last_run_at=timezone.now() + timedelta(minutes=5))
    tick_for_all(scheduler())
    assert row().total_run_count == 1


# --- edits


def test_starting_beat_changes_nothing_that_staff_have_set():
    schedule.change(
        METADATA,
        is_on=False,
        timing=Timing(Frequency.DAY, METADATA.first_timing().at.replace(hour=9)),
        max_age_days=3,
        tracks_per_run=4,
    )
    scheduler()
    assert (row().enabled, timing_words(row())) == (False, "every day at 09:15 UTC")


def test_the_sweep_is_always_on_and_follows_its_setting():
    scheduler()
    PeriodicTask.objects.filter(name="sweep").update(enabled=False)
    scheduler()
    assert (row("sweep").enabled, timing_words(row("sweep"))) == (True, "every 60 seconds")


def test_writing_down_a_run_does_not_undo_an_edit_that_came_between(broker):
    running = scheduler()
    entry = next(running.schedule["sweep"])
    PeriodicTask.objects.filter(name="sweep").update(description="edited", enabled=False)
    entry.save()
    assert (row("sweep").description, row("sweep").enabled) == ("edited", False)
    assert row("sweep").total_run_count == 1


def test_an_edit_by_a_machine_whose_clock_is_behind_is_seen(broker):
    running = scheduler()
    assert not running.schedule_changed()
    PeriodicTasks.objects.update(last_update=timezone.now() - timedelta(hours=1))
    assert running.schedule_changed()
    assert not running.schedule_changed()


# --- the database


def test_a_run_waits_for_who_holds_the_database_and_then_happens_once(due):
    running = scheduler()
    with transaction.atomic():
        # On SQLite the transaction alone locks out every writer; on PostgreSQL the row.
        PeriodicTask.objects.select_for_update().get(name=METADATA.beat_name)
        meanwhile = Meanwhile(lambda: tick_for_all(running))
        meanwhile.wait_until_blocked()
        assert not MetadataFetchTask.objects.exists()
    meanwhile.result()
    assert (row().total_run_count, MetadataFetchTask.objects.count()) == (1, 1)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's lock")
def test_a_database_that_is_locked_for_long_delays_a_run_and_does_not_end_beat(due, monkeypatch, caplog):
    monkeypatch.setattr(beat, "RETRY_SECONDS", 0.1)
    running = scheduler()

    def tick_twice() -> None:
        running.tick()
        running.tick()

    with transaction.atomic(), monkeypatch.context() as patch:
        PeriodicTask.objects.update(queue=None)
        # Of the connections that beat opens meanwhile.
        patch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.1)
        Meanwhile(tick_twice).result()
    assert "database is locked" in caplog.text
    assert row().total_run_count == 0
    wait_until(lambda: running.tick() and row().total_run_count == 1)
    assert MetadataFetchTask.objects.count() == 1


def test_a_database_that_goes_away_and_comes_back_is_waited_for(due, monkeypatch, caplog):
    running = scheduler()
    with monkeypatch.context() as patch:

        def fail(self) -> None:
            raise OperationalError("the database system is shutting down")

        patch.setattr(DatabaseScheduler, "schedule_changed", lambda self: True)
        patch.setattr(DatabaseScheduler, "all_as_schedule", fail)
        assert running.tick() == beat.RETRY_SECONDS
    assert "shutting down" in caplog.text
    tick_for_all(running)
    assert row().total_run_count == 1


def test_a_run_that_fails_is_tried_again(due, monkeypatch):
    monkeypatch.setattr(beat, "RETRY_SECONDS", 0.1)
    running = scheduler()
    with monkeypatch.context() as patch:

        def fail(refresh: schedule.Refresh) -> None:
            raise OperationalError("canceling statement due to lock timeout")

        patch.setattr(schedule, "run", fail)
        tick_for_all(running)
    assert row().total_run_count == 0
    wait_until(lambda: running.tick() and row().total_run_count == 1)


# --- errors that nobody foresaw


def test_a_refresh_that_breaks_keeps_beat_alive_and_is_noted_for_health_until_it_works(
    due, monkeypatch, caplog
):
    heartbeats.note_seen(Heartbeat.Kind.BEAT)
    running = scheduler()
    with monkeypatch.context() as broken:
        broken.setattr(schedule, "run", lambda refresh: 1 / 0)
        running.tick()
    sign = Heartbeat.objects.get(kind=Heartbeat.Kind.BEAT)
    assert sign.reference in caplog.text
    assert sign.failed_at is not None
    # Nothing of the run was written down, so it is still due.
    assert row().total_run_count == 0
    running._heap = None
    tick_for_all(running)
    assert (row().total_run_count, MetadataFetchTask.objects.count()) == (1, 1)
    sign.refresh_from_db()
    assert (sign.reference, sign.failed_at) == ("", None)


def test_a_turn_of_beat_that_breaks_is_followed_by_the_next(due, monkeypatch):
    running = scheduler()
    with monkeypatch.context() as broken:
        broken.setattr(DatabaseScheduler, "tick", lambda self: 1 / 0)
        assert running.tick() == beat.RETRY_SECONDS
    tick_for_all(running)
    assert MetadataFetchTask.objects.count() == 1
