"""The calls of the next chunk begin while the one before it ends: nothing lost, doubled or left leased."""

import signal

import pytest

from catalog import jobs
from catalog.fetching import saving, work_on_job
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.tests.gate import gate
from catalog.tests.outcomes import (
    assert_leases_are_kept,
    assert_one_outcome_each,
    assert_quiet,
    expire_leases,
    finish_here,
    is_over,
    keys_of,
    songs_by_times_asked,
)
from catalog.tests.together import Meanwhile
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers
from soundcharts import budget, client
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)

AHEAD = 8
CHUNK = 40
BATCH = 10


@pytest.fixture(autouse=True)
def small_chunks(settings, monkeypatch) -> None:
    """Chunks of four batches, and no waiting between the tries of one call."""
    settings.FETCH_AHEAD = AHEAD
    settings.CHUNK_SIZE = CHUNK
    monkeypatch.setattr(client, "FIRST_RETRY_WAIT", 0.0)


@pytest.fixture
def known_batches(simulator, broker, monkeypatch) -> None:
    """An account of which it is known that it has batch calls, so that several may be under way."""
    monkeypatch.setattr(budget, "TOLD_FOR", 3600)
    get_service().get_songs([simulator.song_uuid(298), simulator.song_uuid(299)])
    simulator.state.reset()


@pytest.fixture
def tracks(simulator, known_batches) -> list[Track]:
    """The tracks of three chunks."""
    return add_tracks(simulator, 3 * CHUNK)


@pytest.fixture
def job(tracks) -> MetadataFetchTask:
    return jobs.request_metadata(keys_of(tracks)).job


def uuids_of(tracks):
    return [track.uuid for track in tracks]


def fetched_keys() -> list[int]:
    return sorted(Track.objects.exclude(metadata_fetched_at=None).values_list("pk", flat=True))


def test_the_next_chunk_is_fetched_while_the_last_answer_of_one_is_waited_for(simulator, tracks, job):
    with gate(simulator, uuids=uuids_of(tracks[CHUNK - BATCH : CHUNK])) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls()
        wait_until(lambda: simulator.state.asked(2 * CHUNK - 1))
        # Its answers wait until it is their chunk's turn.
        wait_until(lambda: fetched_keys() == keys_of(tracks[: CHUNK - BATCH]))
        calls.open()
        worker.result()
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, len(tracks)) == {1: len(tracks)}


def test_no_more_calls_are_under_way_for_two_chunks_than_for_one(simulator, tracks, job):
    with gate(simulator) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(AHEAD)
        assert FetchChunk.objects.exclude(lease_owner="").count() == 2
        calls.open()
        worker.result()
    assert simulator.state.max_concurrency == AHEAD
    assert_one_outcome_each(job, tracks)


@pytest.mark.parametrize(("click", "status"), [(jobs.pause_job, "paused"), (jobs.cancel_job, "cancelled")])
def test_a_click_saves_what_is_under_way_for_both_chunks(simulator, tracks, job, click, status):
    with gate(simulator) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(AHEAD)
        click(MetadataFetchTask.objects.get(pk=job.pk))
        calls.open()
        worker.result()
    job.refresh_from_db()
    assert job.status == status
    assert job.processed_tracks == job.updated_tracks == len(fetched_keys())
    assert job.processed_tracks == simulator.state.answered_songs() == BATCH * AHEAD
    assert job.api_calls == simulator.state.quota_used == AHEAD
    assert not FetchChunk.objects.exclude(lease_owner="").exists()


def test_a_chunk_that_is_put_off_does_not_hold_the_next_one_up(simulator, tracks, job, settings):
    settings.BATCH_RETRY_DELAYS = [3600]
    failing = tracks[CHUNK - BATCH : CHUNK]
    simulator.faults.set("error_503", uuids=uuids_of(failing), times=1 + client.BULK.max_retries)
    work_on_job(job.pk)
    assert fetched_keys() == [key for key in keys_of(tracks) if key not in keys_of(failing)]
    FetchChunk.objects.update(not_before=None)
    finish_here(job)
    assert_one_outcome_each(job, tracks)


def test_a_quota_that_ends_under_way_keeps_what_both_chunks_have_paid_for(simulator, tracks, job):
    simulator.faults.set("quota_exhausted", after=6)
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("paused", "quota_exhausted")
    assert job.processed_tracks == len(fetched_keys()) == simulator.state.answered_songs() == 6 * BATCH
    assert job.api_calls == simulator.state.quota_used
    assert not FetchChunk.objects.exclude(lease_owner="").exists()


def test_a_next_chunk_that_was_stolen_costs_its_calls_and_no_count(simulator, tracks, job):
    with gate(simulator) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(AHEAD)
        stolen = FetchChunk.objects.exclude(lease_owner="").latest("pk")
        FetchChunk.objects.filter(pk=stolen.pk).update(lease_owner="thief")
        calls.open()
        worker.result()
    job.refresh_from_db()
    assert fetched_keys() == keys_of([*tracks[:CHUNK], *tracks[2 * CHUNK :]])
    assert job.processed_tracks == 2 * CHUNK
    assert job.api_calls == simulator.state.quota_used == 3 * CHUNK / BATCH


def test_a_next_chunk_keeps_its_lease_for_as_long_as_it_waits(simulator, tracks, job, let_time_pass):
    FetchChunk.objects.filter(pk=job.chunks.latest("pk").pk).delete()
    MetadataFetchTask.objects.update(total_tracks=2 * CHUNK)
    with gate(simulator, uuids=uuids_of(tracks[:BATCH])) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls()
        assert_leases_are_kept(let_time_pass, count=2)
        calls.open()
        worker.result()
    assert_one_outcome_each(job, tracks[: 2 * CHUNK])
    assert songs_by_times_asked(simulator, 2 * CHUNK) == {1: 2 * CHUNK}


def test_an_error_that_nobody_expected_gives_both_chunks_back_and_records_their_calls(
    simulator, tracks, job, monkeypatch
):
    def fail(*args, **kwargs):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(saving, "_commit", fail)
    work_on_job(job.pk)
    monkeypatch.undo()
    job.refresh_from_db()
    assert (job.processed_tracks, job.error_code) == (0, "internal_error")
    assert 0 < job.api_calls == simulator.state.quota_used
    assert not FetchChunk.objects.exclude(lease_owner="").exists()


def test_a_chunk_that_workers_died_of_is_not_begun_beside_another(simulator, tracks, job):
    second = job.chunks.order_by("pk")[1]
    FetchChunk.objects.filter(pk=second.pk).update(lease_count=jobs.SUSPICIOUS_LEASES - 1)
    with gate(simulator, uuids=uuids_of(tracks[:BATCH])) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls()
        wait_until(lambda: simulator.state.answered_songs() == CHUNK - BATCH)
        wait_until(lambda: FetchChunk.objects.exclude(lease_owner="").count() == 2)
        assert not simulator.state.asked(CHUNK)
        calls.open()
        worker.result()
    assert_one_outcome_each(job, tracks)


def test_a_worker_killed_with_two_chunks_costs_only_the_calls_under_way(simulator, known_batches, tmp_path):
    tracks = add_tracks(simulator, 200)
    with (
        workers(tmp_path) as (worker,),
        gate(simulator, after=1) as calls,
    ):
        job = jobs.request_metadata(keys_of(tracks)).job
        # The first call, alone, has told what is left; then all of two chunks is under way.
        under_way = 2 * CHUNK - BATCH
        calls.wait_for_calls(under_way // BATCH)
        assert FetchChunk.objects.exclude(lease_owner="").count() == 2
        worker.signal_all(signal.SIGKILL)
        calls.open()
        wait_until(lambda: simulator.state.concurrency == 0)
    expire_leases()
    with workers(tmp_path) as (worker,):
        wait_until(lambda: is_over(job) or (jobs.sweep() and is_over(job)))
    assert_one_outcome_each(job, tracks)
    asked = songs_by_times_asked(simulator, 200)
    assert asked == {1: 200 - under_way, 2: under_way}
    assert_quiet(worker)
