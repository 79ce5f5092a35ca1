"""Fault 5: SIGTERM under load, as a deploy sends it."""

import pytest
import redis

from catalog import jobs
from catalog.models import FetchChunk
from catalog.tests.gate import gate, refuse_calls
from catalog.tests.outcomes import (
    assert_one_outcome_each,
    assert_quiet,
    finish_here,
    is_over,
    keys_of,
    songs_by_times_asked,
)
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import Worker, wait_until, workers

pytestmark = pytest.mark.django_db(transaction=True)

# Half of the pause that a worker must not wait out.
GRACE_SECONDS = 30


def terminate_while_calls_are_held(worker: Worker, broker: redis.Redis) -> None:
    """Ask a worker to stop, and return when it has told its children."""
    with broker.pubsub() as messages:
        messages.psubscribe("*worker.offline")
        wait_until(lambda: messages.get_message())
        worker.terminate()
        # It says goodbye to other workers after that.
        wait_until(lambda: messages.get_message(ignore_subscribe_messages=True))


@pytest.mark.usefixtures("one_call_at_a_time")
def test_a_deploy_keeps_what_was_paid_for_and_repeats_nothing(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE = 50
    tracks = add_tracks(simulator, 200)
    with workers(tmp_path, processes=2) as (worker,), gate(simulator, after=4) as calls:
        job = jobs.request_metadata(keys_of(tracks)).job
        calls.wait_for_calls(2)
        terminate_while_calls_are_held(worker, broker)
        calls.open()
        worker.wait(GRACE_SECONDS)
        assert not is_over(job)
        # The two calls that were under way are saved, and no other was made.
        assert job.processed_tracks == simulator.state.answered_songs() == 60
        assert not FetchChunk.objects.exclude(lease_owner="").exists()
        assert broker.llen("liner-notes") > 0
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 200) == {1: 200}
    assert job.api_calls == simulator.state.quota_used == 20
    assert_quiet(worker)


def test_a_deploy_with_many_calls_under_way_saves_all_of_them(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE, settings.SOUNDCHARTS_CALLS_PER_MINUTE = 100, 1200
    tracks = add_tracks(simulator, 300)
    with (
        workers(tmp_path, processes=2, SOUNDCHARTS_BATCH_SIZE="3") as (worker,),
        gate(simulator, after=20) as calls,
    ):
        job = jobs.request_metadata(keys_of(tracks)).job
        # All that one process keeps under way, and the first of the other at least.
        calls.wait_for_calls(21)
        terminate_while_calls_are_held(worker, broker)
        calls.open()
        worker.wait(GRACE_SECONDS)
    assert not is_over(job)
    assert job.processed_tracks == simulator.state.answered_songs() >= 3 * (20 + 21)
    assert job.api_calls == simulator.state.quota_used
    assert set(FetchChunk.objects.values_list("lease_owner", "lease_count")) == {("", 0)}
    FetchChunk.objects.update(not_before=None)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.skipped_tracks) == ("completed", 300, 0)
    assert songs_by_times_asked(simulator, 300) == {1: 300}
    assert_quiet(worker)


def test_a_deploy_while_all_calls_wait_out_a_429_does_not_wait_for_its_end(
    simulator, broker, settings, tmp_path
):
    tracks = add_tracks(simulator, 200)
    with workers(tmp_path) as (worker,):
        with gate(simulator, after=1) as calls:
            job = jobs.request_metadata(keys_of(tracks)).job
            # Longer pauses put the job off at once: the calls of these tests may take a minute each.
            refuse_calls(simulator, calls, count=19, reset=30)
        worker.terminate()
        worker.wait(GRACE_SECONDS)
    assert not is_over(job)
    assert (job.processed_tracks, simulator.state.calls["songs"]) == (10, 1 + 19)
    # Given back at once and without suspicion, for the next worker.
    assert set(FetchChunk.objects.values_list("lease_owner", "lease_count")) == {("", 0)}
    simulator.faults.clear()
    broker.flushall()
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert simulator.state.answered_more_than_once() == {}
    assert_quiet(worker)
