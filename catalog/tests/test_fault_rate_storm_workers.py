"""Fault 13 with real workers: all of them sit out one pause together."""

from itertools import pairwise

import pytest

from catalog import jobs
from catalog.tests.outcomes import assert_one_outcome_each, assert_quiet, is_over, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers

pytestmark = pytest.mark.django_db(transaction=True)

PAUSE_SECONDS = 2
AHEAD = 3


def test_workers_sit_out_one_shared_pause_and_no_attempt_is_used_up(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE, settings.FETCH_AHEAD = 50, AHEAD
    # One attempt: a second would fail the tracks.
    settings.BATCH_RETRY_DELAYS = [0]
    tracks = add_tracks(simulator, 200)
    simulator.faults.set("rate_limited", reset=PAUSE_SECONDS, after=4)
    with workers(tmp_path, count=2) as crew:
        job = jobs.request_metadata(keys_of(tracks)).job
        wait_until(lambda: simulator.faults.struck("rate_limited"))
        # The storm ends while everybody waits.
        wait_until(lambda: simulator.state.concurrency == 0)
        simulator.faults.clear()
        wait_until(lambda: is_over(job) or (jobs.sweep() and is_over(job)))
    # No more calls met it than were under way at that moment.
    assert simulator.state.statuses[429] <= len(crew) * AHEAD
    gaps = [later - earlier for earlier, later in pairwise(simulator.state.starts)]
    assert sum(gap > PAUSE_SECONDS / 2 for gap in gaps) == 1
    assert_one_outcome_each(job, tracks)
    assert (job.failed_tracks, job.api_calls, simulator.state.quota_used) == (0, 20, 20)
    assert simulator.state.answered_more_than_once() == {}
    assert_quiet(*crew)
