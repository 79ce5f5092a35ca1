"""Fault 13 with real workers: all of them sit out one pause together."""

import time

import pytest

from catalog import jobs
from catalog.tests.gate import gate
from catalog.tests.outcomes import assert_one_outcome_each, assert_quiet, is_over, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers

pytestmark = pytest.mark.django_db(transaction=True)

PAUSE_SECONDS = 2
AHEAD = 3
CHUNK = 50
BATCH = 10


def test_workers_sit_out_one_shared_pause_and_no_attempt_is_used_up(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE, settings.FETCH_AHEAD = CHUNK, AHEAD
    # One attempt: a second would fail the tracks.
    settings.BATCH_RETRY_DELAYS = [0]
    tracks = add_tracks(simulator, 200)
    # The first call of each worker, which is alone, is answered.
    held = [track.uuid for number, track in enumerate(tracks) if number % CHUNK >= BATCH]
    with workers(tmp_path, count=2) as crew:
        with gate(simulator, uuids=held) as calls:
            job = jobs.request_metadata(keys_of(tracks)).job
            under_way = len(crew) * AHEAD
            calls.wait_for_calls(under_way)
            # All that are under way meet the storm, which ends while everybody waits.
            simulator.faults.set("rate_limited", reset=PAUSE_SECONDS, times=under_way)
            begun, refused_at = len(simulator.state.starts), time.monotonic()
        wait_until(lambda: is_over(job) or (jobs.sweep() and is_over(job)))
    assert simulator.state.statuses[429] == under_way
    # Nobody called again before the pause was over.
    assert simulator.state.starts[begun] - refused_at >= PAUSE_SECONDS
    assert_one_outcome_each(job, tracks)
    assert (job.failed_tracks, job.api_calls, simulator.state.quota_used) == (0, 20, 20)
    assert simulator.state.answered_more_than_once() == {}
    assert_quiet(*crew)
