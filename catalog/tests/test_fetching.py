"""Working on a job: from the API, over real HTTP, to committed rows."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_track_now, saving, work_on_job
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.prices import estimate_calls
from catalog.tests.outcomes import run
from catalog.tests.tracks import add_tracks
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)


def bulk(tracks: list[Track], **options) -> MetadataFetchTask:
    return jobs.request_metadata([track.pk for track in tracks], **options).job


def test_a_bulk_job_updates_every_track_with_one_call_for_ten(simulator, broker):
    tracks = add_tracks(simulator, 25)
    job = run(bulk(tracks))
    assert (job.status, job.updated_tracks, job.processed_tracks, job.api_calls) == ("completed", 25, 25, 3)
    assert not Track.objects.stale().exists()
    assert simulator.state.answered_more_than_once() == {}


def test_the_metadata_are_those_of_the_song(simulator, broker):
    (track,) = add_tracks(simulator, 1, first=3)
    run(bulk([track]))
    track.refresh_from_db()
    song = simulator.catalogue.song(3)
    assert track.name == song["name"]
    assert track.credit_name == song["creditName"]
    assert track.isrc == song["isrc"]["value"]
    assert track.label == song["labels"][0]["name"]
    assert track.genre == song["genres"][0]["root"]
    assert track.image_url == song["imageUrl"]
    assert track.release_date.isoformat() == song["releaseDate"][:10]
    assert track.duration == song["duration"]


def test_unchanged_tracks_get_their_stamp_and_no_other_write(simulator, broker):
    tracks = add_tracks(simulator, 10)
    run(bulk(tracks))
    before = {track.pk: track for track in Track.objects.all()}
    job = run(bulk(tracks))
    assert (job.unchanged_tracks, job.updated_tracks) == (10, 0)
    for track in Track.objects.all():
        assert track.updated_at == before[track.pk].updated_at
        assert track.metadata_fetched_at > before[track.pk].metadata_fetched_at


def test_only_what_changed_upstream_is_updated(simulator, broker):
    tracks = add_tracks(simulator, 10)
    run(bulk(tracks))
    simulator.state.revise(4)
    job = run(bulk(tracks))
    assert (job.updated_tracks, job.unchanged_tracks) == (1, 9)


def test_fresh_tracks_are_skipped_without_a_call(simulator, broker):
    fresh = add_tracks(simulator, 5, fetched_at=timezone.now())
    stale = add_tracks(simulator, 10, first=5)
    job = run(bulk(fresh + stale, only_stale=True))
    assert (job.skipped_tracks, job.updated_tracks, job.api_calls) == (5, 10, 1)


def test_a_track_fetched_after_the_request_is_not_fetched_again(simulator, broker):
    tracks = add_tracks(simulator, 3)
    job = bulk(tracks)
    fetch_track_now(tracks[1])
    run(job)
    assert (job.skipped_tracks, job.updated_tracks) == (1, 2)
    assert simulator.state.asked(1) == 1


def test_a_track_deleted_in_between_is_skipped(simulator, broker):
    tracks = add_tracks(simulator, 3)
    job = bulk(tracks)
    tracks[0].delete()
    run(job)
    assert (job.status, job.skipped_tracks, job.updated_tracks) == ("completed", 1, 2)


def test_an_unknown_uuid_fails_alone_and_is_named(simulator, broker):
    tracks = add_tracks(simulator, 10)
    simulator.faults.set("unknown_uuids", uuids=[str(tracks[4].uuid)])
    job = run(bulk(tracks))
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 9, 1)
    failure = job.failures.get()
    assert (failure.track_id, failure.item, failure.code) == (tracks[4].pk, str(tracks[4].uuid), "not_found")
    assert job.outcome_sentence == "9 updated, 1 failed"


def test_an_unknown_track_keeps_its_data_and_waits_a_day(simulator, broker):
    (track,) = add_tracks(simulator, 1, name="Known")
    simulator.faults.set("unknown_uuids", uuids=[str(track.uuid)])
    run(bulk([track]))
    track.refresh_from_db()
    assert (track.name, track.metadata_error, track.metadata_fetched_at) == ("Known", "not_found", None)
    assert track.metadata_retry_at - timezone.now() > timedelta(hours=23)


def test_a_poisoned_uuid_does_not_fail_its_neighbours(simulator, broker):
    tracks = add_tracks(simulator, 10)
    simulator.faults.set("poisoned_uuids", uuids=[str(tracks[7].uuid)])
    job = run(bulk(tracks))
    assert (job.updated_tracks, job.failed_tracks) == (9, 1)
    assert job.failures.get().code == "invalid_request"


@pytest.mark.parametrize("status", [400, 403, 404])
def test_an_account_without_batch_calls_is_served_one_by_one_and_remembered(simulator, broker, status):
    tracks = add_tracks(simulator, 30)
    simulator.faults.set("batch_refused", status=status)
    job = run(bulk(tracks))
    assert (job.status, job.updated_tracks) == ("completed", 30)
    assert simulator.state.calls["songs"] == 1
    assert simulator.state.calls["song"] == 30
    assert estimate_calls(30) == 30


def test_a_job_of_which_everything_failed_has_failed(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("unknown_uuids", uuids=[str(track.uuid)])
    job = run(bulk([track]))
    assert job.status == "failed"
    assert "does not know" in job.error_message


def test_an_edit_by_hand_survives_a_bulk_fetch(simulator, broker):
    (track,) = add_tracks(simulator, 1, name="Mine", edited_fields=["name"])
    run(bulk([track]))
    track.refresh_from_db()
    assert track.name == "Mine"
    assert track.credit_name


def test_an_edit_made_while_the_answer_travels_is_kept(simulator, broker, monkeypatch):
    (track,) = add_tracks(simulator, 1)
    job = bulk([track])
    service = get_service()
    get_songs = type(service).get_songs

    def edit_meanwhile(self, uuids):
        answer = get_songs(self, uuids)
        Track.objects.filter(pk=track.pk).update(name="Mine", edited_fields=["name"])
        return answer

    monkeypatch.setattr(type(service), "get_songs", edit_meanwhile)
    run(job)
    track.refresh_from_db()
    assert track.name == "Mine"


def test_no_network_call_happens_inside_a_transaction(simulator, broker, monkeypatch):
    tracks = add_tracks(simulator, 12)
    inside = []
    service = get_service()
    get_songs = type(service).get_songs

    def note_transaction(self, uuids):
        inside.append(connection.in_atomic_block)
        return get_songs(self, uuids)

    monkeypatch.setattr(type(service), "get_songs", note_transaction)
    run(bulk(tracks))
    assert inside == [False, False]


def test_pause_takes_effect_within_one_batch_and_resume_goes_on_after_it(
    simulator, broker, monkeypatch, settings
):
    settings.FETCH_AHEAD = 1
    tracks = add_tracks(simulator, 40)
    job = bulk(tracks)
    service = get_service()
    get_songs = type(service).get_songs

    def pause_during_second(self, uuids):
        answer = get_songs(self, uuids)
        if simulator.state.calls["songs"] == 2:
            jobs.pause_job(MetadataFetchTask.objects.get(pk=job.pk))
        return answer

    monkeypatch.setattr(type(service), "get_songs", pause_during_second)
    run(job)
    assert (job.status, job.processed_tracks) == ("paused", 20)
    monkeypatch.undo()
    jobs.resume_job(job)
    run(job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 40, 4)
    assert simulator.state.answered_more_than_once() == {}


def test_cancel_during_a_batch_saves_what_was_paid_for(simulator, broker, monkeypatch, settings):
    settings.FETCH_AHEAD = 1
    tracks = add_tracks(simulator, 40)
    job = bulk(tracks)
    service = get_service()
    get_songs = type(service).get_songs

    def cancel_meanwhile(self, uuids):
        answer = get_songs(self, uuids)
        jobs.cancel_job(MetadataFetchTask.objects.get(pk=job.pk))
        return answer

    monkeypatch.setattr(type(service), "get_songs", cancel_meanwhile)
    run(job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("cancelled", 10, 1)
    assert Track.objects.fresh().count() == 10


def test_the_last_batch_of_a_paused_job_completes_it(simulator, broker, monkeypatch):
    tracks = add_tracks(simulator, 5)
    job = bulk(tracks)
    service = get_service()
    get_songs = type(service).get_songs

    def pause_meanwhile(self, uuids):
        jobs.pause_job(MetadataFetchTask.objects.get(pk=job.pk))
        return get_songs(self, uuids)

    monkeypatch.setattr(type(service), "get_songs", pause_meanwhile)
    run(job)
    assert (job.status, job.updated_tracks) == ("completed", 5)


def test_a_worker_gives_its_chunk_back_when_its_time_is_up(simulator, broker, settings):
    settings.WORK_SLICE_SECONDS = 0
    job = bulk(add_tracks(simulator, 5))
    broker.flushall()
    run(job)
    assert job.processed_tracks == 0
    assert broker.llen("liner-notes") == 1


def test_a_stopping_worker_finishes_its_batch_and_gives_the_chunk_back(simulator, broker, settings):
    settings.FETCH_AHEAD = 1
    job = bulk(add_tracks(simulator, 40))
    work_on_job(job.pk, is_stopping=lambda: simulator.state.answered_songs() > 0)
    job.refresh_from_db()
    chunk = FetchChunk.objects.get(job=job)
    assert (job.processed_tracks, chunk.position, chunk.lease_expires_at) == (10, 10, None)


def test_after_three_silent_leases_the_track_that_kills_workers_is_given_up(simulator, broker):
    tracks = add_tracks(simulator, 12)
    job = bulk(tracks)
    FetchChunk.objects.update(lease_count=jobs.MAX_LEASES)
    run(job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 11, 1)
    assert job.failures.get().code == "worker_lost"
    assert simulator.state.asked(0) == 0


def test_on_the_third_lease_tracks_are_taken_one_by_one(simulator, broker):
    job = bulk(add_tracks(simulator, 5))
    FetchChunk.objects.update(lease_count=jobs.MAX_LEASES - 1)
    run(job)
    assert simulator.state.calls["song"] == 5
    assert (job.status, job.updated_tracks) == ("completed", 5)


def test_an_answer_that_the_database_refuses_fails_only_its_own_track(simulator, broker, monkeypatch):
    tracks = add_tracks(simulator, 10)
    apply_song = saving.apply_song

    def spoil(track, song, *, fetched_at):
        result = apply_song(track, song, fetched_at=fetched_at)
        if track.pk == tracks[3].pk:
            track.duration = -(2**40)
        return result

    monkeypatch.setattr(saving, "apply_song", spoil)
    job = run(bulk(tracks))
    assert (job.updated_tracks, job.failed_tracks, job.api_calls) == (9, 1, 1)
    assert job.failures.get().code == "not_saved"


def test_one_track_is_fetched_at_once_as_a_job_of_its_own(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    job, report = fetch_track_now(track)
    assert (job.status, job.task_type, job.api_calls) == ("completed", "metadata", 1)
    assert report.outcome == "updated"
    assert {change.field for change in report.changes} >= {"name", "isrc", "label"}
    assert broker.llen("liner-notes") == 0


def test_an_error_is_told_at_once_to_who_waits_for_one_track(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    with simulator.faults.during("quota_exhausted"):
        job, report = fetch_track_now(track)
    assert (job.status, report.outcome, report.code) == ("failed", "failed", "quota_exhausted")
    assert "no calls left" in report.message


def test_a_track_that_another_process_is_fetching_is_reported_busy(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    job = jobs.request_metadata([track.pk]).job
    jobs.claim_chunk(job.pk, owner="another")
    same_job, report = fetch_track_now(track)
    assert (same_job.pk, report.outcome) == (job.pk, "busy")
    assert simulator.state.asked(0) == 0
