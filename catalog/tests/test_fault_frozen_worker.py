"""Fault 4: a worker is frozen past its lease (SIGSTOP) and thawed (SIGCONT)."""

import signal

import pytest

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.gate import gate
from catalog.tests.outcomes import (
    assert_one_outcome_each,
    assert_quiet,
    finish_here,
    is_over,
    keys_of,
    songs_by_times_asked,
)
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_call_at_a_time")]


def test_a_thawed_workers_write_is_refused_and_it_works_on(simulator, broker, settings, tmp_path):
    settings.CHUNK_LEASE_SECONDS = 1
    tracks = add_tracks(simulator, 20)
    with workers(tmp_path) as (worker,):
        with gate(simulator) as calls:
            job = jobs.request_metadata(keys_of(tracks)).job
            calls.wait_for_calls()
            worker.freeze()
        finish_here(job)
        as_finished = _everything(job)
        worker.signal_all(signal.SIGCONT)
        wait_until(lambda: "is no longer leased" in worker.output)
        spent_in_vain = 1
        as_finished["api_calls"] += spent_in_vain
        wait_until(lambda: _everything(job) == as_finished)

        next_tracks = add_tracks(simulator, 5, first=20)
        next_job = jobs.request_metadata(keys_of(next_tracks)).job
        wait_until(lambda: is_over(next_job))
    assert_one_outcome_each(job, tracks)
    assert_one_outcome_each(next_job, next_tracks)
    # Only the call that was under way when it froze was made by another as well.
    assert songs_by_times_asked(simulator, 25) == {1: 15, 2: 10}
    assert job.api_calls == simulator.state.quota_used - next_job.api_calls
    assert_quiet(worker)


def _everything(job: MetadataFetchTask) -> dict:
    """Return all that a refused write could have changed."""
    (row,) = MetadataFetchTask.objects.filter(pk=job.pk).values()
    return row | {"chunks": list(job.chunks.values()), "tracks": list(Track.objects.order_by("pk").values())}
