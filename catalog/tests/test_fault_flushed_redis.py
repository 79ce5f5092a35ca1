"""Fault 6: FLUSHALL of the broker and the rate limit in mid-job."""

import time

import pytest

from catalog import jobs
from catalog.tests.gate import gate
from catalog.tests.outcomes import (
    assert_one_outcome_each,
    assert_quiet,
    is_over,
    keys_of,
    songs_by_times_asked,
)
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers

pytestmark = pytest.mark.django_db(transaction=True)

CALLS_PER_MINUTE = 600


def test_flushall_loses_no_job_no_click_and_not_the_rate_limit(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE, settings.FETCH_AHEAD = 20, 1
    settings.SOUNDCHARTS_CALLS_PER_MINUTE = CALLS_PER_MINUTE
    tracks = add_tracks(simulator, 300)
    with workers(tmp_path, processes=2) as (worker,):
        with gate(simulator, after=4) as calls:
            job = jobs.request_metadata(keys_of(tracks[10:])).job
            calls.wait_for_calls(2)
            flushed_at = time.monotonic()
            broker.flushall()
        wait_until(lambda: is_over(job) or (jobs.sweep() and is_over(job)))
        # The broker has forgotten its queues, but not for long.
        click = jobs.request_metadata(keys_of(tracks[:10]))
        wait_until(lambda: is_over(click.job))
    assert_one_outcome_each(job, tracks[10:])
    assert_one_outcome_each(click.job, tracks[:10])
    assert songs_by_times_asked(simulator, 300) == {1: 300}
    # Six calls had begun. A burst of ten at most, then the pace: without a limit the others took no time.
    last_at = simulator.state.starts[28]
    assert last_at - flushed_at >= (29 - 6 - 10) / (CALLS_PER_MINUTE / 60)
    assert_quiet(worker)
