"""Fault 7: Redis stops in mid-job and comes back."""

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


def test_work_goes_on_without_redis_and_new_work_is_taken_when_it_is_back(
    own_valkey, simulator, settings, tmp_path
):
    tracks = add_tracks(simulator, 40)
    with workers(tmp_path) as (worker,):
        with gate(simulator, after=1) as calls:
            job = jobs.request_metadata(keys_of(tracks[:30])).job
            calls.wait_for_calls()
            own_valkey.stop()
        # The batch under way is committed, and the worker ends what it has in hand.
        wait_until(lambda: is_over(job))
        later = jobs.request_metadata(keys_of(tracks[30:]))
        assert (later.is_rung, later.job.status, later.job.error_code) == (
            False,
            "pending",
            "broker_unreachable",
        )
        own_valkey.start()
        wait_until(jobs.sweep)
        wait_until(lambda: is_over(later.job))
    assert_one_outcome_each(job, tracks[:30])
    assert_one_outcome_each(later.job, tracks[30:])
    assert songs_by_times_asked(simulator, 40) == {1: 40}
    assert_quiet(worker, may_fail=True)
