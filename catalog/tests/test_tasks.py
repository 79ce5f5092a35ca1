"""The Celery tasks, carried out by a real worker, and the settings that keep them safe."""

import pytest

from catalog import jobs, tasks
from catalog.models import MetadataFetchTask, Track
from catalog.schedule import REFRESHES
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers
from config.celery import app


@pytest.mark.django_db(transaction=True)
def test_each_task_does_its_work_in_a_worker(simulator, broker, tmp_path):
    tracks = add_tracks(simulator, 25)
    with workers(tmp_path) as (worker,):
        tasks.fetch_track_metadata.delay(str(tracks[0].uuid))
        wait_until(lambda: Track.objects.fresh().count() == 1)
        tasks.fetch_all_tracks_metadata.delay()
        wait_until(lambda: Track.objects.fresh().count() == 25)
        wait_until(lambda: not MetadataFetchTask.objects.exclude(status="completed").exists())
        assert MetadataFetchTask.objects.filter(task_type="metadata").get().api_calls == 1
        bulk = MetadataFetchTask.objects.filter(task_type="bulk_metadata").get()
        assert bulk.celery_task_id in worker.output
        assert (bulk.updated_tracks, bulk.api_calls) == (24, 3)

        broker.flushall()
        Track.objects.update(metadata_fetched_at=None)
        job = jobs.request_stale_metadata().job
        broker.delete("liner-notes")
        tasks.sweep_jobs.delay()
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).status == "completed")


@pytest.mark.django_db(transaction=True)
def test_each_audience_task_does_its_work_in_a_worker(simulator, broker, tmp_path):
    tracks = add_tracks(simulator, 6)
    fetched = Track.objects.exclude(audience_fetched_at=None)
    with workers(tmp_path):
        tasks.fetch_track_audience.delay(str(tracks[0].uuid))
        wait_until(lambda: fetched.count() == 1)
        tasks.fetch_all_tracks_audience.delay()
        wait_until(lambda: fetched.count() == 6)
        wait_until(lambda: not MetadataFetchTask.objects.exclude(status="completed").exists())
        assert MetadataFetchTask.objects.get(task_type="bulk_audience").api_calls == 5

        job = jobs.request_audience([track.pk for track in tracks]).job
        broker.delete("liner-notes")
        tasks.fetch_bulk_audience.delay(job.pk)
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).status == "completed")


@pytest.mark.django_db(transaction=True)
def test_a_uuid_that_no_track_has_is_a_warning(caplog):
    tasks.fetch_track_metadata("7d534228-5165-11e9-9375-549f35161576")
    assert "no track has the uuid" in caplog.text
    assert not MetadataFetchTask.objects.exists()


def test_a_message_is_acknowledged_only_after_its_work():
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1


def test_the_visibility_timeout_is_ten_slices_long_at_least(settings):
    assert app.conf.broker_transport_options["visibility_timeout"] >= 10 * settings.WORK_SLICE_SECONDS


def test_only_json_travels():
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


def test_beat_sweeps_every_minute_and_names_only_tasks_that_exist():
    entries = app.conf.beat_schedule
    assert entries["sweep"]["schedule"].total_seconds() == 60
    app.loader.import_default_modules()
    named = {entry["task"] for entry in entries.values()} | {refresh.task for refresh in REFRESHES}
    assert named <= set(app.tasks)
