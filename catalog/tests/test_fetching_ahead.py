"""Several calls of a chunk under way at once: order, bounds, and what an interruption leaves behind."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import ahead, work_on_job
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.tests.gate import gate
from catalog.tests.outcomes import (
    assert_leases_are_kept,
    assert_one_outcome_each,
    finish_here,
    keys_of,
    run,
    songs_by_times_asked,
)
from catalog.tests.together import Meanwhile
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until
from soundcharts import budget, client
from soundcharts.service import get_service
from soundcharts.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

# Calls that one process keeps under way: the setting's default.
AHEAD = 16
BATCH = 10


@pytest.fixture(autouse=True)
def one_chunk(settings, monkeypatch) -> None:
    """All tracks in one chunk, and no waiting between the tries of one call."""
    settings.FETCH_AHEAD = AHEAD
    settings.CHUNK_SIZE = 300
    monkeypatch.setattr(client, "FIRST_RETRY_WAIT", 0.0)


@pytest.fixture
def small_batches(settings) -> None:
    """Batches so small that a chunk has more of them than are queued at a time."""
    settings.SOUNDCHARTS_BATCH_SIZE = 5


@pytest.fixture
def known_batches(simulator, broker, monkeypatch) -> None:
    """An account of which it is known that it has batch calls, so that several may be under way."""
    monkeypatch.setattr(budget, "TOLD_FOR", 3600)
    get_service().get_songs([simulator.song_uuid(298), simulator.song_uuid(299)])
    simulator.state.reset()


def metadata_job(tracks: Sequence[Track], **options) -> MetadataFetchTask:
    return jobs.request_metadata(keys_of(tracks), **options).job


def uuids_of(tracks: Sequence[Track]) -> list[UUID]:
    return [track.uuid for track in tracks]


def fetched_keys() -> list[int]:
    return sorted(Track.objects.exclude(metadata_fetched_at=None).values_list("pk", flat=True))


def let_chunks_be_claimed_now() -> None:
    FetchChunk.objects.update(not_before=None)


# --- Order and bounds -----------------------------------------------------------------------------


def test_nothing_is_saved_before_what_stands_in_front_of_it(simulator, broker):
    tracks = add_tracks(simulator, 100)
    job = metadata_job(tracks)
    with gate(simulator, uuids=uuids_of(tracks[20:30])) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        wait_until(lambda: calls.waiting and simulator.state.answered_songs() == 90)
        wait_until(lambda: job.chunks.get().position == 20)
        assert fetched_keys() == keys_of(tracks[:20])
        calls.open()
        worker.result()
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 100) == {1: 100}


def test_answers_that_come_in_any_order_are_saved_in_the_chunks_order(simulator, known_batches, monkeypatch):
    tracks = add_tracks(simulator, 150)
    saved: list[int] = []
    advance = jobs.advance_chunk

    def note_what_is_saved(chunk: FetchChunk, *, count: int, **options):
        saved.extend(chunk.track_ids[chunk.position : chunk.position + count])
        return advance(chunk, count=count, **options)

    monkeypatch.setattr(jobs, "advance_chunk", note_what_is_saved)
    # Every second call takes longer, so that answers overtake each other.
    simulator.faults.set("slow", seconds=0.1, every=2)
    job = run(metadata_job(tracks))
    assert saved == keys_of(tracks)
    assert_one_outcome_each(job, tracks)


def test_as_many_calls_are_under_way_as_allowed_and_never_more(simulator, broker):
    tracks = add_tracks(simulator, 300)
    job = metadata_job(tracks)
    with gate(simulator, after=1) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(AHEAD)
        calls.open()
        worker.result()
    assert simulator.state.max_concurrency == AHEAD
    assert_one_outcome_each(job, tracks)


def test_no_more_calls_are_under_way_than_may_start_within_a_second(simulator, broker, settings):
    settings.SOUNDCHARTS_CALLS_PER_MINUTE = 180
    service = get_service()
    service.get_songs([simulator.song_uuid(0), simulator.song_uuid(1)])
    assert ahead.useful_depth(service, is_proven=service.knows_batches) == 3


def test_the_first_call_is_alone_until_it_is_known_whether_there_are_batch_calls(
    simulator, broker, monkeypatch
):
    job = metadata_job(add_tracks(simulator, 100))
    decide, answered = simulator.faults.next_strike, []

    def note_what_was_answered_before(kind, uuids):
        answered.append(simulator.state.answered_songs())
        return decide(kind, uuids)

    monkeypatch.setattr(simulator.faults, "next_strike", note_what_was_answered_before)
    # Long enough for any other call to begin meanwhile.
    simulator.faults.set("slow", seconds=0.2, times=1)
    run(job)
    assert job.status == "completed"
    assert answered[0] == 0
    assert min(answered[1:]) == BATCH


# --- Passing errors -------------------------------------------------------------------------------


@pytest.fixture
def interrupted_job(simulator, broker, settings) -> tuple[MetadataFetchTask, list[Track]]:
    """A job of ten batches of which the fourth could not be fetched, worked on once; and its tracks."""
    settings.BATCH_RETRY_DELAYS = [3600]
    tracks = add_tracks(simulator, 100)
    # As often as one call is tried.
    simulator.faults.set("error_503", uuids=uuids_of(tracks[30:40]), times=1 + client.BULK.max_retries)
    return run(metadata_job(tracks)), tracks


def test_a_batch_that_fails_in_the_middle_is_put_off_into_a_chunk_of_its_own(interrupted_job):
    job, tracks = interrupted_job
    first, put_off = job.chunks.all()
    assert (first.position, first.size, first.finished_at is None) == (100, 100, False)
    assert put_off.track_ids == keys_of(tracks[30:40])
    assert (put_off.position, put_off.size, put_off.error_count) == (0, 10, 1)
    assert put_off.not_before - job.created_at > timedelta(minutes=59)


def test_what_was_answered_behind_a_failed_batch_is_saved(interrupted_job):
    job, tracks = interrupted_job
    assert fetched_keys() == keys_of(tracks[:30] + tracks[40:])
    assert (job.status, job.processed_tracks, job.failed_tracks) == ("running", 90, 0)


def test_a_batch_that_was_put_off_completes_the_job_and_nothing_is_paid_for_twice(simulator, interrupted_job):
    job, _ = interrupted_job
    let_chunks_be_claimed_now()
    run(job)
    assert job.updated_tracks == 100
    assert [chunk.size for chunk in job.chunks.all()] == [100, 10]
    assert (job.status, job.processed_tracks, job.total_tracks) == ("completed", 100, 100)
    assert simulator.state.answered_more_than_once() == {}
    assert job.api_calls == simulator.state.quota_used == 10


def test_batches_that_had_not_begun_when_another_failed_are_fetched_all_the_same(
    simulator, small_batches, known_batches, settings
):
    settings.BATCH_RETRY_DELAYS = [0]
    tracks = add_tracks(simulator, 300)
    simulator.faults.set("error_503", uuids=uuids_of(tracks[:5]), times=1 + client.BULK.max_retries)
    # All other threads are still busy when it has failed, and more batches wait for them.
    simulator.faults.set("slow", seconds=0.3, uuids=uuids_of(tracks[5:]))
    job = metadata_job(tracks)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.skipped_tracks) == ("completed", 300, 0)
    assert fetched_keys() == keys_of(tracks)
    assert simulator.state.answered_more_than_once() == {}


def test_a_batch_that_keeps_failing_fails_alone_with_its_reason(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = [0, 0]
    tracks = add_tracks(simulator, 100)
    simulator.faults.set("error_503", uuids=uuids_of(tracks[30:40]))
    job = metadata_job(tracks)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 90, 10)
    assert sorted(job.failures.values_list("track_id", flat=True)) == keys_of(tracks[30:40])
    assert set(job.failures.values_list("code", flat=True)) == {"upstream_unavailable"}


# --- Errors that stop all -------------------------------------------------------------------------


@pytest.fixture
def job_out_of_quota(simulator, broker) -> tuple[MetadataFetchTask, list[Track]]:
    """A job that was paused when some of the calls under way were refused for the quota; and its tracks."""
    tracks = add_tracks(simulator, 200)
    simulator.faults.set("quota_exhausted", after=3, every=2)
    return run(metadata_job(tracks)), tracks


def test_a_quota_that_ends_with_several_calls_under_way_pauses_the_job(job_out_of_quota):
    job, _ = job_out_of_quota
    assert (job.status, job.error_code) == ("paused", "quota_exhausted")
    assert jobs.claim_chunk(job.pk, owner="another") is None


def test_all_that_the_quota_paid_for_is_saved_and_counted_once(simulator, job_out_of_quota):
    job, tracks = job_out_of_quota
    answered = [track for number, track in enumerate(tracks) if simulator.state.answered(number)]
    assert fetched_keys() == keys_of(answered)
    assert (job.processed_tracks, job.updated_tracks, job.failed_tracks) == (len(answered), len(answered), 0)
    assert job.api_calls == simulator.state.quota_used == len(answered) / BATCH


def test_a_job_resumed_with_a_new_quota_asks_only_for_what_is_missing(simulator, job_out_of_quota):
    job, tracks = job_out_of_quota
    simulator.faults.clear()
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.skipped_tracks) == ("completed", 200, 0)
    assert fetched_keys() == keys_of(tracks)
    assert simulator.state.answered_more_than_once() == {}
    assert job.api_calls == simulator.state.quota_used == 20


# --- People ---------------------------------------------------------------------------------------


@pytest.fixture
def stop_under_way(simulator, broker, small_batches) -> Callable[..., MetadataFetchTask]:
    """A function that does something to a job of 60 batches while calls are under way; returns the job."""
    job = metadata_job(add_tracks(simulator, 300))

    def stop(click: Callable[[MetadataFetchTask], object]) -> MetadataFetchTask:
        with gate(simulator, after=1) as calls:
            worker = Meanwhile(lambda: work_on_job(job.pk))
            calls.wait_for_calls(AHEAD)
            click(MetadataFetchTask.objects.get(pk=job.pk))
            calls.open()
            worker.result()
        job.refresh_from_db()
        return job

    return stop


CLICKS = [
    pytest.param(jobs.pause_job, "paused", id="pause"),
    pytest.param(jobs.cancel_job, "cancelled", id="cancel"),
]


@pytest.mark.parametrize(("click", "status"), CLICKS)
def test_a_click_with_several_calls_under_way_saves_them_all(simulator, stop_under_way, click, status):
    job = stop_under_way(click)
    assert job.status == status
    assert job.updated_tracks == job.processed_tracks == len(fetched_keys())
    assert job.processed_tracks == simulator.state.answered_songs()
    assert job.api_calls == simulator.state.quota_used


@pytest.mark.parametrize(("click", "status"), CLICKS)
def test_after_a_click_nothing_is_started_but_what_was_already_queued(
    simulator, stop_under_way, click, status
):
    stop_under_way(click)
    assert simulator.state.calls["songs"] <= 1 + ahead.QUEUED * AHEAD
    assert not FetchChunk.objects.exclude(lease_owner="").exists()


def test_a_job_paused_and_resumed_while_calls_are_under_way_leaves_no_track_out(
    simulator, small_batches, known_batches, monkeypatch
):
    tracks = add_tracks(simulator, 300)
    job = metadata_job(tracks)
    # The worker sees the pause once, between two batches, and then the job wants work again.
    answers, is_wanted = iter([True, False]), jobs.is_wanted
    monkeypatch.setattr(jobs, "is_wanted", lambda chunk: next(answers, True) and is_wanted(chunk))
    # Long enough for what waits behind these calls to be taken back.
    simulator.faults.set("slow", seconds=0.5, uuids=uuids_of(tracks[5:]))
    finish_here(job)
    assert (job.status, job.updated_tracks, job.skipped_tracks) == ("completed", 300, 0)
    assert fetched_keys() == keys_of(tracks)
    assert songs_by_times_asked(simulator, 300) == {1: 300}


# --- Leases ---------------------------------------------------------------------------------------


def test_a_lease_lost_with_several_calls_under_way_records_what_they_cost(simulator, broker):
    tracks = add_tracks(simulator, 300)
    job = metadata_job(tracks)
    with gate(simulator, after=1) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(AHEAD)
        FetchChunk.objects.update(lease_owner="thief")
        calls.open()
        worker.result()
    job.refresh_from_db()
    assert job.api_calls == simulator.state.quota_used > AHEAD
    assert (job.processed_tracks, fetched_keys()) == (BATCH, keys_of(tracks[:BATCH]))
    assert FetchChunk.objects.get().lease_owner == "thief"


def test_a_lease_is_renewed_while_an_answer_is_slow(simulator, broker, let_time_pass):
    tracks = add_tracks(simulator, 30)
    job = metadata_job(tracks)
    with gate(simulator, after=1) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(2)
        assert_leases_are_kept(let_time_pass, count=1)
        calls.open()
        worker.result()
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 30) == {1: 30}


# --- Suspicion ------------------------------------------------------------------------------------


def lost_leases(count: int) -> None:
    """Let so many workers have died on each chunk."""
    FetchChunk.objects.update(lease_count=count)


def lease_count_when_held(simulator: Simulator, job: MetadataFetchTask, *, after: int) -> tuple[int, int]:
    """Work on a job; return its chunk's position and lease count as they are after so many calls."""
    with gate(simulator, after=after) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls()
        chunk = FetchChunk.objects.get()
        calls.open()
        worker.result()
    return chunk.position, chunk.lease_count


def test_after_two_deaths_one_call_at_a_time_is_made(simulator, known_batches):
    tracks = add_tracks(simulator, 100)
    job = metadata_job(tracks)
    lost_leases(1)
    simulator.state.latency = 0.02
    run(job)
    assert_one_outcome_each(job, tracks)
    assert (simulator.state.calls["songs"], simulator.state.max_concurrency) == (10, 1)


@pytest.mark.parametrize("ahead_setting", [1, AHEAD])
def test_after_two_deaths_each_batch_is_saved_before_the_next_is_asked_for(
    simulator, known_batches, settings, ahead_setting
):
    settings.FETCH_AHEAD = ahead_setting
    job = metadata_job(add_tracks(simulator, 60))
    lost_leases(1)
    # Were two calls queued, this one would wait here before what came before it is saved.
    saved_before = []
    decide = simulator.faults.next_strike

    def note_what_was_saved_before(kind, uuids):
        saved_before.append(job.chunks.get().position)
        return decide(kind, uuids)

    simulator.faults.next_strike = note_what_was_saved_before
    run(job)
    assert saved_before == [0, 10, 20, 30, 40, 50]


def test_after_two_deaths_suspicion_stays_while_the_chunk_moves(simulator, known_batches):
    job = metadata_job(add_tracks(simulator, 60))
    lost_leases(1)
    assert lease_count_when_held(simulator, job, after=3) == (30, 2)


def test_after_three_deaths_the_tracks_of_the_next_batch_are_taken_one_by_one(simulator, known_batches):
    tracks = add_tracks(simulator, 60)
    job = metadata_job(tracks)
    lost_leases(2)
    run(job)
    assert_one_outcome_each(job, tracks)
    assert (simulator.state.calls["song"], simulator.state.calls["songs"]) == (10, 5)


def test_after_three_deaths_fresh_tracks_do_not_count_among_the_suspects(simulator, known_batches):
    fresh = add_tracks(simulator, 30, fetched_at=timezone.now())
    stale = add_tracks(simulator, 30, first=30)
    job = metadata_job(fresh + stale, only_stale=True)
    lost_leases(2)
    run(job)
    assert (job.status, job.skipped_tracks, job.updated_tracks) == ("completed", 30, 30)
    assert (simulator.state.calls["song"], simulator.state.calls["songs"]) == (10, 2)


def test_after_three_deaths_suspicion_stays_while_single_tracks_are_saved(simulator, known_batches):
    job = metadata_job(add_tracks(simulator, 60))
    lost_leases(2)
    assert lease_count_when_held(simulator, job, after=4) == (4, 3)


def test_suspicion_is_forgotten_when_the_suspects_are_saved(simulator, known_batches):
    job = metadata_job(add_tracks(simulator, 60))
    lost_leases(2)
    assert lease_count_when_held(simulator, job, after=10) == (10, 0)


def test_after_four_deaths_the_next_track_is_given_up_and_the_others_are_fetched(simulator, known_batches):
    tracks = add_tracks(simulator, 60)
    job = metadata_job(tracks)
    lost_leases(3)
    run(job)
    assert list(job.failures.values_list("track_id", "code")) == [(tracks[0].pk, "worker_lost")]
    assert (job.status, job.updated_tracks) == ("completed", 59)
    assert simulator.state.asked(0) == 0
    assert FetchChunk.objects.get().lease_count == 0
