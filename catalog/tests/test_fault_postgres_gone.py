"""Fault 10: PostgreSQL ends every connection in mid-job, as a restart does."""

import pytest
from django.db import connection

from catalog import jobs
from catalog.tests.outcomes import assert_one_outcome_each, is_over, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL"),
]


def end_connections_of_others() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def test_a_worker_that_loses_its_connection_goes_on_with_a_new_one(simulator, broker, tmp_path):
    simulator.state.latency = 0.05
    tracks = add_tracks(simulator, 300)
    with workers(tmp_path, CHUNK_SIZE="100", SOUNDCHARTS_CALLS_PER_MINUTE="1200") as (worker,):
        job = jobs.request_metadata(keys_of(tracks)).job
        ended = 0
        for share in (50, 150, 250):
            wait_until(lambda share=share: is_over(job) or job.processed_tracks >= share)
            ended += end_connections_of_others()
        wait_until(lambda: is_over(job))
        output = worker.output
    assert ended >= 2
    assert_one_outcome_each(job, tracks)
    # It did not wait for a lease to run out: the same worker went on, with all that it had paid for.
    assert "trying again" in output
    assert simulator.state.answered_more_than_once() == {}
    assert job.api_calls == simulator.state.quota_used
