"""Asking for jobs: rows first, one job per request, told what happened."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from catalog import jobs
from catalog.jobs import LARGEST_SELECTION, LAST_OFFSET
from catalog.models import FetchChunk, FetchFailure, MetadataFetchTask, Track
from catalog.tests.tracks import add_tracks
from config.celery import app
from conftest import use_broker

Status = MetadataFetchTask.Status
DEAD_BROKER = "redis://127.0.0.1:1/0"

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_selection_is_divided_into_chunks_at_once(simulator, broker, settings):
    settings.CHUNK_SIZE = 4
    tracks = add_tracks(simulator, 10)
    job = jobs.request_metadata([track.pk for track in tracks]).job
    assert (job.task_type, job.status, job.total_tracks) == ("bulk_metadata", "pending", 10)
    assert [chunk.size for chunk in job.chunks.all()] == [4, 4, 2]
    assert [pk for chunk in job.chunks.all() for pk in chunk.track_ids] == [track.pk for track in tracks]


def test_one_track_makes_a_job_for_one_track(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    assert jobs.request_metadata([track.pk]).job.task_type == "metadata"


def test_a_track_chosen_twice_is_fetched_once(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    assert jobs.request_metadata([track.pk, track.pk]).job.total_tracks == 1


def test_a_message_is_sent_only_when_the_rows_are_committed(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    with transaction.atomic():
        jobs.request_metadata([track.pk])
        assert broker.llen("liner-notes") == 0
    assert broker.llen("liner-notes") == 1


def test_a_rolled_back_request_sends_no_message(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    with transaction.atomic():
        jobs.request_metadata([track.pk])
        transaction.set_rollback(True)
    assert broker.llen("liner-notes") == 0
    assert not MetadataFetchTask.objects.exists()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: jobs.request_stale_metadata(),
        lambda: jobs.request_stale_metadata(limit=5),
        lambda: jobs.request_stale_metadata(never_fetched_only=True),
        lambda: jobs.request_import(limit=10),
        lambda: jobs.request_metadata(Track.objects.values_list("pk", flat=True)),
    ],
    ids=["stale", "limited", "never fetched", "import", "selection"],
)
def test_a_second_click_joins_the_active_job_and_says_so(simulator, broker, ask):
    add_tracks(simulator, 3)
    first, second = ask(), ask()
    assert not first.is_joined
    assert second.is_joined
    assert second.job.pk == first.job.pk
    assert second.sentence == f"Already running as task #{first.job.pk}."
    assert MetadataFetchTask.objects.count() == 1


def test_a_paused_job_is_joined_with_the_advice_to_resume_it(broker):
    jobs.pause_job(jobs.request_stale_metadata().job)
    assert "resume it" in jobs.request_stale_metadata().sentence


def test_an_ended_job_is_not_joined(broker):
    first = jobs.request_stale_metadata().job
    jobs.cancel_job(first)
    assert jobs.request_stale_metadata().job.pk != first.pk


def test_the_database_itself_refuses_a_second_active_job(broker):
    job = jobs.request_stale_metadata().job
    with pytest.raises(IntegrityError):
        MetadataFetchTask.objects.create(
            task_type="bulk_metadata", dedupe_key=job.dedupe_key, fresh_after=timezone.now()
        )


def test_different_requests_are_different_jobs(simulator, broker):
    tracks = add_tracks(simulator, 2)
    made = {
        jobs.request_stale_metadata().job.pk,
        jobs.request_stale_metadata(limit=1).job.pk,
        jobs.request_import(limit=1).job.pk,
        jobs.request_import(limit=1, artist_uuid=uuid4()).job.pk,
        jobs.request_metadata([tracks[0].pk]).job.pk,
        jobs.request_metadata([track.pk for track in tracks]).job.pk,
        jobs.request_metadata([track.pk for track in tracks], only_stale=True).job.pk,
    }
    assert len(made) == 7


def test_without_a_broker_the_job_is_saved_and_says_what_it_waits_for(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    use_broker(DEAD_BROKER)
    requested = jobs.request_metadata([track.pk])
    requested.job.refresh_from_db()
    assert not requested.is_rung
    assert "the queue is unavailable" in requested.sentence
    assert (requested.job.status, requested.job.error_code) == ("pending", "broker_unreachable")
    assert "Nothing is lost" in requested.job.error_message


def test_the_waiting_notice_goes_when_the_broker_is_back(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    url = app.conf.broker_url
    use_broker(DEAD_BROKER)
    job = jobs.request_metadata([track.pk]).job
    use_broker(url)
    assert jobs.sweep() == 1
    job.refresh_from_db()
    assert (job.error_code, job.error_message) == ("", "")


def test_an_empty_selection_is_refused(broker):
    with pytest.raises(ValueError, match="No track is selected"):
        jobs.request_metadata([])


def test_a_selection_that_rows_cannot_hold_is_refused_with_advice(broker):
    with pytest.raises(ValueError, match="Narrow the list"):
        jobs.request_metadata(range(LARGEST_SELECTION + 1))


@pytest.mark.parametrize(
    ("limit", "offset"), [(0, 0), (-1, 0), (1, -1), (1, LAST_OFFSET), (LAST_OFFSET + 1, 0)]
)
def test_an_import_beyond_what_soundcharts_lists_is_refused(broker, limit, offset):
    with pytest.raises(ValueError, match="at most 50,000"):
        jobs.request_import(limit=limit, offset=offset)


def test_retry_asks_for_the_failed_tracks_only_and_counts_the_retries(simulator, broker):
    tracks = add_tracks(simulator, 3)
    job = jobs.request_metadata([track.pk for track in tracks]).job
    FetchFailure.objects.create(
        job=job, track=tracks[1], item=str(tracks[1].uuid), code="timeout", message=""
    )
    jobs.cancel_job(job)
    again = jobs.request_retry(job).job
    assert again.parent_id == job.pk
    assert again.retry_count == 1
    assert FetchChunk.objects.get(job=again).track_ids == [tracks[1].pk]


def test_an_active_job_is_not_retried(broker):
    with pytest.raises(jobs.IllegalTransition):
        jobs.request_retry(jobs.request_stale_metadata().job)


def test_a_job_without_failures_has_nothing_to_retry(broker):
    job = jobs.request_stale_metadata().job
    jobs.cancel_job(job)
    with pytest.raises(ValueError, match="no failed track"):
        jobs.request_retry(job)


def test_a_failed_import_is_retried_as_the_same_import(broker):
    artist = uuid4()
    job = jobs.request_import(limit=7, offset=3, artist_uuid=artist).job
    jobs.fail_job(job, code="not_found", reason="gone")
    again = jobs.request_retry(job).job
    assert again.request == job.request
    assert again.pk != job.pk


def test_only_stale_leaves_out_what_the_refresh_interval_calls_fresh(simulator, broker, settings):
    (track,) = add_tracks(simulator, 1)
    before = timezone.now()
    job = jobs.request_metadata([track.pk], only_stale=True).job
    age = timedelta(days=settings.METADATA_REFRESH_DAYS)
    assert abs(before - age - job.fresh_after) < timedelta(seconds=10)
