"""Fault 17: an answer that comes a byte at a time is cut at the deadline."""

import pytest

from catalog import jobs
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("fault", ["drip", "drip_headers"])
def test_a_dripping_answer_is_cut_at_the_deadline_and_asked_for_again(simulator, broker, settings, fault):
    # Where the machine makes other calls as slow, they are only made again.
    settings.SOUNDCHARTS_TIMEOUT, settings.BATCH_RETRY_DELAYS = 1, [0, 0, 0]
    tracks = add_tracks(simulator, 20)
    job = jobs.request_metadata(keys_of(tracks)).job
    simulator.faults.set(fault, interval=0.1, times=1)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert (job.status, job.updated_tracks) == ("completed", 20)
    # The simulator notices in its own time that nobody listens any more.
    wait_until(lambda: simulator.state.hung_up >= 1)
