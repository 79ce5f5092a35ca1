"""Fault 3: the broker delivers the same message several times."""

import pytest

from catalog import doorbell, jobs
from catalog.tests.gate import gate
from catalog.tests.outcomes import assert_one_outcome_each, assert_quiet, is_over, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_call_at_a_time")]


def test_of_five_messages_for_one_chunk_four_make_no_call(simulator, broker, tmp_path):
    tracks = add_tracks(simulator, 30)
    job = jobs.request_metadata(keys_of(tracks), is_rung=False).job
    with workers(tmp_path, processes=3) as (worker,), gate(simulator) as calls:
        for _ in range(5):
            doorbell.ring(job.pk)
        calls.wait_for_calls()
        # All four losers are done while the winner still waits for its first answer.
        wait_until(lambda: worker.output.count("succeeded in") == 4)
        assert (calls.waiting, simulator.state.calls["songs"]) == (1, 1)
        calls.open()
        wait_until(lambda: is_over(job))
    assert_one_outcome_each(job, tracks)
    assert (simulator.state.calls["songs"], job.api_calls) == (3, 3)
    assert_quiet(worker)
