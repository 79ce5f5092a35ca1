"""Fault 10: PostgreSQL ends every connection in mid-job, as a restart does."""

import pytest
from django.db import connection

from catalog import jobs
from catalog.models import FetchChunk
from catalog.tests.gate import gate
from catalog.tests.outcomes import assert_one_outcome_each, is_over, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL"),
]


def end_idle_connections_of_others() -> int:
    """End the connections on which nothing was asked for a while; return how many there were.

    The worker waits for an answer of Soundcharts then, and has the answer to its last COMMIT.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND state = 'idle' AND state_change < clock_timestamp() - interval '0.2 seconds'"
        )
        return int(cursor.fetchone()[0])


def test_a_worker_that_loses_its_connection_goes_on_with_a_new_one(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE, settings.SOUNDCHARTS_CALLS_PER_MINUTE = 100, 1200
    tracks = add_tracks(simulator, 300)
    # In the middle of each chunk a call is held, while those around it are answered.
    shares = (50, 150, 250)
    first, second, third = (gate(simulator, uuids=[tracks[share].uuid]) for share in shares)
    with (
        workers(tmp_path) as (worker,),
        first as first_call,
        second as second_call,
        third as third_call,
    ):
        job = jobs.request_metadata(keys_of(tracks)).job
        for share, call in zip(shares, (first_call, second_call, third_call), strict=True):
            call.wait_for_calls()
            wait_until(lambda share=share: not is_over(job) and job.processed_tracks == share)
            # The chunk after this one is claimed, too, so nothing is left to do but to wait.
            leased = 2 if share < shares[-1] else 1
            wait_until(lambda leased=leased: FetchChunk.objects.exclude(lease_owner="").count() == leased)
            wait_until(end_idle_connections_of_others)
            call.open()
        wait_until(lambda: is_over(job))
        output = worker.output
    assert_one_outcome_each(job, tracks)
    # It did not wait for a lease to run out: the same worker went on, with all that it had paid for.
    assert output.count("trying again") >= len(shares)
    assert simulator.state.answered_more_than_once() == {}
    assert job.api_calls == simulator.state.quota_used
