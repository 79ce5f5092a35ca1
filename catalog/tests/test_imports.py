"""Imports: songs listed upstream become tracks, and their metadata job fills as they come."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import MetadataFetchTask, Track
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)


def run_import(**options) -> MetadataFetchTask:
    job = jobs.request_import(**options).job
    work_on_job(job.pk)
    job.refresh_from_db()
    return job


def follow_up_of(job: MetadataFetchTask) -> MetadataFetchTask:
    return MetadataFetchTask.objects.get(parent=job)


def test_top_songs_are_added_with_one_call_for_a_hundred(simulator, broker):
    job = run_import(limit=250)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 250, 3)
    assert Track.objects.never_fetched().count() == 250
    assert job.outcome_sentence == "250 added"


def test_the_metadata_of_what_was_added_is_queued_by_itself(simulator, broker):
    follow_up = follow_up_of(run_import(limit=120))
    assert (follow_up.task_type, follow_up.status, follow_up.total_tracks) == (
        "bulk_metadata",
        "pending",
        120,
    )
    work_on_job(follow_up.pk)
    follow_up.refresh_from_db()
    assert (follow_up.status, follow_up.updated_tracks) == ("completed", 120)
    assert not Track.objects.stale().exists()


def test_an_offset_begins_further_down_the_list(simulator, broker):
    run_import(limit=10)
    first = set(Track.objects.values_list("uuid", flat=True))
    run_import(limit=10, offset=10)
    assert Track.objects.count() == 20
    assert first < set(Track.objects.values_list("uuid", flat=True))


def test_a_second_import_adds_nothing_twice_and_queues_only_what_is_stale(simulator, broker):
    work_on_job(follow_up_of(run_import(limit=10)).pk)
    job = run_import(limit=30)
    assert (job.updated_tracks, job.unchanged_tracks) == (20, 10)
    assert job.outcome_sentence == "20 added, 10 already here"
    assert follow_up_of(job).total_tracks == 20


def test_an_import_of_fresh_tracks_queues_nothing(simulator, broker):
    work_on_job(follow_up_of(run_import(limit=10)).pk)
    job = run_import(limit=9)
    assert not MetadataFetchTask.objects.filter(parent=job).exists()


def test_an_aged_track_that_is_listed_again_is_queued(simulator, broker):
    work_on_job(follow_up_of(run_import(limit=10)).pk)
    Track.objects.update(metadata_fetched_at=timezone.now() - timedelta(days=40))
    assert follow_up_of(run_import(limit=9)).total_tracks == 9


def test_a_list_shorter_than_the_limit_ends_without_a_wasted_call(simulator, broker):
    artist = simulator.artist_uuid(1)
    job = run_import(limit=1000, artist_uuid=artist)
    songs = len(simulator.catalogue.songs_of_artist(1))
    assert 0 < songs < 100
    assert (job.status, job.total_tracks, job.updated_tracks, job.api_calls) == ("completed", songs, songs, 1)


def test_an_artist_of_many_pages_is_listed_whole(simulator, broker):
    songs = simulator.catalogue.songs_of_artist(7)
    assert len(songs) > 100
    job = run_import(limit=1000, artist_uuid=simulator.artist_uuid(7))
    assert (job.status, job.updated_tracks) == ("completed", len(songs))


def test_a_plan_without_top_songs_is_told_to_give_an_artist(simulator, broker):
    simulator.faults.set("error", status=403, kinds=["top_songs"])
    job = run_import(limit=10)
    assert (job.status, job.error_code) == ("failed", "forbidden")
    assert "Give an artist's UUID" in job.error_message


def test_an_unknown_artist_is_named(simulator, broker):
    artist = uuid4()
    job = run_import(limit=10, artist_uuid=artist)
    assert (job.status, job.error_code) == ("failed", "not_found")
    assert str(artist) in job.error_message


def test_a_failure_after_some_pages_keeps_them_and_their_metadata_job(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = []
    simulator.faults.set("error", status=500, after=1)
    job = run_import(limit=250)
    follow_up = follow_up_of(job)
    assert (job.status, job.error_code, job.updated_tracks) == ("failed", "upstream_unavailable", 100)
    assert (Track.objects.count(), follow_up.total_tracks) == (100, 100)
    assert follow_up.planned_at is not None


def test_an_import_that_hits_the_quota_pauses_and_goes_on_at_its_page(simulator, broker):
    with simulator.faults.during("quota_exhausted", after=1):
        job = run_import(limit=250)
    assert (job.status, job.error_code, job.processed_tracks) == ("paused", "quota_exhausted", 100)
    jobs.resume_job(job)
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 250, 3)


def test_an_import_leaves_the_reserve_to_people(simulator, broker, settings, account_of_its_own):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 8
    simulator.state.quota = 10
    job = run_import(limit=300)
    assert (job.status, job.error_code, job.processed_tracks) == ("paused", "quota_reserved", 200)
    assert (simulator.state.quota_remaining, job.api_calls) == (8, 2)


def test_a_song_that_cannot_be_understood_fails_alone(simulator, broker):
    simulator.faults.set("payloads", songs={str(simulator.song_uuid(0)): {"uuid": "nonsense"}})
    job = run_import(limit=50)
    assert job.processed_tracks == job.total_tracks
    assert job.status == "completed"
    assert Track.objects.count() == job.updated_tracks


def test_a_cancelled_metadata_job_takes_no_more_tracks(simulator, broker):
    job = jobs.request_import(limit=200).job
    jobs.add_imported_tracks(job, [track.pk for track in add_tracks(simulator, 2)])
    follow_up = follow_up_of(job)
    jobs.cancel_job(follow_up)
    work_on_job(job.pk)
    job.refresh_from_db()
    follow_up.refresh_from_db()
    assert (job.status, follow_up.status) == ("completed", "cancelled")
    assert Track.objects.count() >= 200
