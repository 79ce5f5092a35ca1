"""The sweep finds what lost its worker or its message."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.utils import timezone

from catalog import jobs, snapshots, tasks
from catalog.jobs.sweep import WAITING_IS_ENOUGH
from catalog.models import FetchChunk, Heartbeat, MetadataFetchTask, Track
from catalog.tests.tracks import add_tracks
from conftest import use_broker

pytestmark = pytest.mark.django_db(transaction=True)
sweep_module = import_module("catalog.jobs.sweep")


@pytest.fixture
def job(simulator, broker) -> MetadataFetchTask:
    """A job of which the broker has lost the message."""
    job = jobs.request_metadata([track.pk for track in add_tracks(simulator, 5)]).job
    broker.flushall()
    return job


def test_a_job_whose_message_was_lost_is_rung_for(job, broker):
    assert jobs.sweep() == 1
    assert broker.llen("liner-notes") == 1


def test_a_job_with_a_living_worker_is_left_alone(job):
    jobs.claim_chunk(job.pk, owner="alive")
    assert jobs.sweep() == 0


def test_a_job_whose_worker_fell_silent_is_rung_for(job):
    jobs.claim_chunk(job.pk, owner="dead")
    FetchChunk.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert jobs.sweep() == 1


def test_a_chunk_that_waits_for_its_time_is_left_alone(job):
    FetchChunk.objects.update(not_before=timezone.now() + timedelta(minutes=1))
    assert jobs.sweep() == 0


def test_an_unplanned_job_is_rung_for(broker):
    jobs.request_stale_metadata()
    broker.flushall()
    assert jobs.sweep() == 1


@pytest.mark.parametrize("end", [jobs.pause_job, jobs.cancel_job])
def test_what_people_stopped_stays_stopped(job, end):
    end(job)
    assert jobs.sweep() == 0


def test_a_queue_that_is_full_enough_gets_no_more_messages(job, broker):
    broker.rpush("liner-notes", *["{}"] * WAITING_IS_ENOUGH)
    assert jobs.sweep() == 0
    assert broker.llen("liner-notes") == WAITING_IS_ENOUGH


def test_a_job_left_open_by_a_crash_is_ended(job):
    FetchChunk.objects.update(finished_at=timezone.now())
    jobs.sweep()
    job.refresh_from_db()
    assert job.status == "completed"


def test_a_metadata_job_left_open_by_its_import_is_closed(simulator, broker):
    job = jobs.request_import(limit=10).job
    jobs.add_imported_tracks(job, [track.pk for track in add_tracks(simulator, 2)])
    MetadataFetchTask.objects.filter(pk=job.pk).update(status="failed")
    jobs.sweep()
    assert MetadataFetchTask.objects.get(parent=job).planned_at is not None


def test_without_a_broker_the_sweep_does_nothing_and_does_not_fail(job):
    use_broker("redis://127.0.0.1:1/0")
    assert jobs.sweep() == 0


# --- Errors that nobody foresaw -------------------------------------------------------------------


class Unforeseen(Exception):
    """An error of a kind that no handler names."""


def fail(*args: object, **kwargs: object) -> None:
    raise Unforeseen("nobody foresaw this")


def test_a_job_that_breaks_the_sweep_keeps_no_other_from_its_turn(simulator, broker, caplog):
    broken, *others = [jobs.request_metadata([track.pk]).job for track in add_tracks(simulator, 4)]
    FetchChunk.objects.filter(job=broken).delete()
    MetadataFetchTask.objects.filter(pk=broken.pk).update(request={}, planned_at=None)
    broker.flushall()
    assert jobs.sweep() == len(others)
    broken.refresh_from_db()
    assert (broken.error_code, broken.internal_errors) == ("internal_error", 1)
    for _ in range(2):
        MetadataFetchTask.objects.update(not_before=None)
        jobs.sweep()
    broken.refresh_from_db()
    assert (broken.status, broken.internal_errors) == ("paused", 3)
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    ("owner", "name"),
    [(sweep_module, "close_follow_up"), (sweep_module, "resume_job"), (sweep_module, "finish_if_done")],
)
def test_what_breaks_in_one_part_of_the_sweep_keeps_no_other_part_from_being_done(
    job, broker, monkeypatch, owner, name
):
    import_job = jobs.request_import(limit=10).job
    jobs.add_imported_tracks(import_job, [Track.objects.latest("pk").pk])
    MetadataFetchTask.objects.filter(pk=import_job.pk).update(status="cancelled")
    paused = jobs.request_stale_metadata().job
    jobs.pause_job(paused, code="quota_exhausted", reason="No calls left.")
    real = getattr(owner, name)
    seen = []

    def fail_for_the_first(*args: object, **kwargs: object) -> object:
        seen.append(args)
        return fail() if len(seen) == 1 else real(*args, **kwargs)

    monkeypatch.setattr(owner, name, fail_for_the_first)
    steps = jobs.Steps("sweep")
    rung = jobs.sweep(steps)
    assert isinstance(steps.error, jobs.InternalError)
    assert rung >= 1


def test_housekeeping_notes_its_error_for_health_until_it_works_again(job, monkeypatch, caplog):
    with monkeypatch.context() as broken:
        broken.setattr(snapshots, "count_catalogue", fail)
        tasks.sweep_jobs()
    beat = Heartbeat.objects.get(kind=Heartbeat.Kind.SWEEP)
    assert beat.reference in caplog.text
    assert beat.failed_at is not None
    # All else was done.
    job.refresh_from_db()
    assert job.error_code == ""
    tasks.sweep_jobs()
    beat.refresh_from_db()
    assert (beat.reference, beat.failed_at) == ("", None)
