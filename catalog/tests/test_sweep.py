"""The sweep finds what lost its worker or its message."""

from datetime import timedelta

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.jobs.sweep import WAITING_IS_ENOUGH
from catalog.models import FetchChunk, MetadataFetchTask
from catalog.tests.tracks import add_tracks
from conftest import use_broker

pytestmark = pytest.mark.django_db(transaction=True)


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
