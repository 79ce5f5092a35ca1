"""The Celery tasks, carried out by a real worker, and the settings that keep them safe."""

import pytest
from celery import Task
from celery.backends.redis import RedisBackend

from catalog import jobs, tasks
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.schedule import REFRESHES
from catalog.tests.outcomes import expire_leases
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import startup_code, wait_until, workers
from config.celery import app
from soundcharts.client import BULK


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


@pytest.mark.django_db(transaction=True)
def test_what_is_no_uuid_is_a_warning_too(caplog):
    assert tasks.fetch_track_metadata("nonsense") is None
    assert "no track has the uuid nonsense" in caplog.text


# --- Results and log lines


@pytest.mark.django_db(transaction=True)
def test_with_a_result_backend_each_task_says_how_far_its_job_is(simulator, broker, settings, tmp_path):
    tracks = add_tracks(simulator, 5)
    with workers(tmp_path, CELERY_RESULT_BACKEND=settings.REDIS_URL):
        backend = RedisBackend(app=app, url=settings.REDIS_URL)

        def result_of(task: Task, *args: object) -> object:
            # Whoever sends has the same setting, but for this process.
            message = task.apply_async(args, ignore_result=False)
            wait_until(lambda: backend.get_state(message.id) == "SUCCESS")
            return backend.get_result(message.id)

        one = result_of(tasks.fetch_track_metadata, str(tracks[0].uuid))
        assert one["status"] == "completed"
        assert (one["total_tracks"], one["api_calls"], one["error_code"]) == (1, 1, "")
        made = result_of(tasks.fetch_all_tracks_metadata)
        job = MetadataFetchTask.objects.get(pk=made["task"])
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).status == "completed")
        assert result_of(tasks.fetch_bulk_track_metadata, job.pk)["processed_tracks"] == 4
        assert result_of(tasks.fetch_all_tracks_metadata) is None
    # The messages of Liner Notes itself leave nothing there, and what is there goes away in a day.
    keys = broker.keys("celery-task-meta-*")
    assert len(keys) == 4
    assert all(0 < broker.ttl(key) <= 86_400 for key in keys)


@pytest.mark.django_db(transaction=True)
def test_a_result_backend_that_is_away_holds_up_no_work(simulator, broker, tmp_path):
    tracks = add_tracks(simulator, 5)
    with workers(tmp_path, CELERY_RESULT_BACKEND="redis://127.0.0.1:1/0"):
        jobs.request_metadata([track.pk for track in tracks[:2]])
        tasks.fetch_track_metadata.delay(str(tracks[2].uuid))
        tasks.fetch_track_metadata.delay(str(tracks[3].uuid))
        wait_until(lambda: Track.objects.fresh().count() == 4)


@pytest.mark.django_db(transaction=True)
def test_each_log_line_of_a_task_names_it_also_in_the_threads_that_make_its_calls(
    simulator, broker, tmp_path
):
    job = jobs.request_metadata([track.pk for track in add_tracks(simulator, 25)]).job
    with workers(tmp_path, LOG_LEVEL="DEBUG") as (worker,):
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).status == "completed")
        job.refresh_from_db()
        task = f"catalog.tasks.fetch_bulk_track_metadata[{job.celery_task_id}]"
        wait_until(lambda: "succeeded" in worker.output)
        lines = worker.output.splitlines()
    of_work = [line for line in lines if f"job {job.pk}:" in line]
    of_calls = [line for line in lines if " soundcharts.client " in line]
    assert of_work
    assert of_calls
    assert [line for line in (*of_work, *of_calls) if f" {task} " not in line] == []
    assert any(" - celery@" in line or " - mingle" in line or line.endswith("ready.") for line in lines)


# --- Time limits


HANG_ONCE = """
    import signal, time
    from pathlib import Path
    from celery.signals import worker_init, worker_process_init

    @worker_init.connect
    def have_less_time(sender, **kwargs):
        from celery.worker.request import Request

        # Whatever the message says: who sends it may know the limits of the settings.
        Request.time_limits = property(lambda request: ({hard}, {soft}), lambda request, limits: None)

    @worker_process_init.connect
    def hang_once(**kwargs):
        from catalog.fetching.metadata import Metadata
        find, marker = Metadata.find, Path("{marker}")

        def hang(self, *args):
            if not marker.exists():
                marker.touch()
                if {is_deaf}:
                    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
                time.sleep(600)
            return find(self, *args)

        Metadata.find = hang
"""


def hanging(tmp_path, *, is_deaf: bool, soft: int, hard: int) -> dict[str, str]:
    """Return the environment of a worker whose first task hangs, deaf to the soft limit or not."""
    code = HANG_ONCE.format(marker=tmp_path / "hung", is_deaf=is_deaf, soft=soft, hard=hard)
    return startup_code(tmp_path / "code", code)


@pytest.mark.django_db(transaction=True)
def test_a_task_that_takes_too_long_ends_cleanly_and_says_so_on_its_job(simulator, broker, tmp_path):
    tracks = add_tracks(simulator, 25)
    with workers(tmp_path, **hanging(tmp_path, is_deaf=False, soft=10, hard=300)) as (worker,):
        (child,) = worker.children()
        job = jobs.request_metadata([track.pk for track in tracks]).job
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).error_code == "internal_error")
        job.refresh_from_db()
        assert "did not finish in time" in job.error_message
        assert not FetchChunk.objects.exclude(lease_owner="").exists()
        FetchChunk.objects.update(not_before=None)
        MetadataFetchTask.objects.update(not_before=None)
        jobs.sweep()
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).status == "completed")
        assert worker.children() == [child]
    assert simulator.state.answered_more_than_once() == {}


@pytest.mark.django_db(transaction=True)
def test_a_task_that_hangs_for_good_is_killed_and_another_worker_goes_on(simulator, broker, tmp_path):
    tracks = add_tracks(simulator, 25)
    with workers(tmp_path, **hanging(tmp_path, is_deaf=True, soft=10, hard=15)) as (worker,):
        (child,) = worker.children()
        job = jobs.request_metadata([track.pk for track in tracks]).job
        wait_until(lambda: worker.children() not in ([], [child]))
        # Its message is gone: nobody takes it up again and again.
        wait_until(lambda: broker.llen("liner-notes") == broker.hlen("unacked") == 0)
        expire_leases()
        jobs.sweep()
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).status == "completed")
    assert simulator.state.answered_more_than_once() == {}


def test_a_task_has_far_more_time_than_a_slice_of_work_and_less_than_its_message(settings):
    soft, hard = app.conf.task_soft_time_limit, app.conf.task_time_limit
    longest = settings.WORK_SLICE_SECONDS + BULK.total + settings.SOUNDCHARTS_TIMEOUT
    assert longest * 2 < soft < hard < app.conf.broker_transport_options["visibility_timeout"]
    sweep = app.conf.task_annotations["catalog.tasks.sweep_jobs"]
    assert sweep["soft_time_limit"] < sweep["time_limit"] < hard


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
