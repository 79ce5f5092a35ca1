"""Fault 36: a statement timeout, a deadlock or a full disk in a worker: redone, or paused with the reason."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.db import connection, transaction

from catalog import jobs
from catalog.fetching import saving, work_on_job
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.tests.outcomes import assert_days_add_up, assert_one_outcome_each, keys_of, run
from catalog.tests.together import Meanwhile
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL")
on_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="about SQLite")

TRACKS = 200


@pytest.fixture(autouse=True)
def waits(monkeypatch, settings) -> list[Callable[[], object]]:
    """What happens while a worker waits for the database, one for each wait; nothing by default."""
    settings.BATCH_RETRY_DELAYS = [3600]
    steps: list[Callable[[], object]] = []
    sleep = SimpleNamespace(sleep=lambda seconds: steps.pop(0)() if steps else None)
    monkeypatch.setattr(saving, "time", sleep)
    return steps


def try_again(job: MetadataFetchTask) -> MetadataFetchTask:
    """Let the delay be over, and work on the job."""
    FetchChunk.objects.update(not_before=None)
    MetadataFetchTask.objects.update(not_before=None)
    return run(job)


def assert_nothing_is_half_saved(job: MetadataFetchTask) -> None:
    job.refresh_from_db()
    fetched = Track.objects.exclude(metadata_fetched_at=None).count()
    positions = sum(job.chunks.values_list("position", flat=True))
    assert job.processed_tracks == job.updated_tracks == fetched == positions
    assert_days_add_up()


# --- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def short_timeout() -> Iterator[None]:
    """Statements may take 0.3 s, as on a server whose owner has set it so."""
    options = connection.settings_dict["OPTIONS"]
    before = options["options"]
    options["options"] = "-c statement_timeout=300ms"
    connection.close()
    yield
    options["options"] = before
    connection.close()


@contextmanager
def tracks_locked() -> Iterator[Callable[[], None]]:
    """Keep everybody from writing tracks; yields what ends it."""
    is_over = threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("LOCK TABLE catalog_track IN EXCLUSIVE MODE")
            is_over.wait(60)

    def end() -> None:
        is_over.set()
        holder.result()

    holder = Meanwhile(hold)
    wait_until(_is_locked)
    try:
        yield end
    finally:
        is_over.set()
        holder.result()


def _is_locked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND granted "
            "AND relation = 'catalog_track'::regclass"
        )
        return bool(cursor.fetchone()[0])


@on_postgresql
def test_a_statement_that_takes_too_long_is_redone_and_buys_nothing_twice(
    simulator, broker, short_timeout, waits
):
    tracks = add_tracks(simulator, 25)
    job = jobs.request_metadata(keys_of(tracks)).job
    with tracks_locked() as end:
        waits += [lambda: None, end]
        run(job)
    assert not waits
    assert_one_outcome_each(job, tracks)
    assert simulator.state.answered_more_than_once() == {}


@on_postgresql
def test_statements_that_always_take_too_long_pause_the_job_with_the_reason(simulator, broker, short_timeout):
    tracks = add_tracks(simulator, 25)
    job = jobs.request_metadata(keys_of(tracks)).job
    with tracks_locked():
        for _ in range(3):
            try_again(job)
        assert (job.status, job.error_code) == ("paused", "internal_error")
        assert "The database stopped a statement that took too long." in job.error_message
        assert job.api_calls == simulator.state.quota_used
        # With one call at a time after the first error.
        assert job.api_calls <= 5
        assert_nothing_is_half_saved(job)
    jobs.resume_job(job)
    try_again(job)
    assert_one_outcome_each(job, tracks)


@on_postgresql
def test_a_worker_that_a_deadlock_ends_saves_again_what_it_has_paid_for(simulator, broker, caplog):
    tracks = add_tracks(simulator, 25)
    job = jobs.request_metadata(keys_of(tracks)).job
    with transaction.atomic():
        with connection.cursor() as cursor:
            # The worker is the one that finds it out.
            cursor.execute("SET LOCAL deadlock_timeout = '60s'")
        list(Track.objects.select_for_update().filter(pk=tracks[0].pk))
        worker = Meanwhile(lambda: work_on_job(job.pk))
        worker.wait_until_blocked()
        # It has the chunk and waits for the track; we have the track, and want the chunk.
        FetchChunk.objects.filter(job=job).update(error_count=0)
    worker.result()
    assert "the database failed (OperationalError): trying again" in caplog.text
    assert_one_outcome_each(job, tracks)
    assert simulator.state.answered_more_than_once() == {}


# --- SQLite ---------------------------------------------------------------------------------------


@pytest.fixture
def fill_disk() -> Iterator[Callable[[bool], None]]:
    """A function after which the database may not grow, or may again."""
    options = connection.settings_dict["OPTIONS"]
    before = options.get("init_command", "")

    def fill(is_full: bool) -> None:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")
            pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        options["init_command"] = f"{before}; PRAGMA max_page_count = {pages + 2}" if is_full else before
        connection.close()

    yield fill
    options["init_command"] = before
    connection.close()


@on_sqlite
def test_a_full_disk_pauses_the_job_with_the_reason_and_nothing_is_half_saved(simulator, broker, fill_disk):
    tracks = add_tracks(simulator, TRACKS)
    job = jobs.request_metadata(keys_of(tracks)).job
    fill_disk(True)
    # What still fits is saved.
    for _ in range(TRACKS):
        if job.status != "paused":
            try_again(job)
            assert_nothing_is_half_saved(job)
    assert (job.status, job.error_code) == ("paused", "internal_error")
    assert "The database's disk is full." in job.error_message
    assert job.processed_tracks < TRACKS
    fill_disk(False)
    jobs.resume_job(job)
    try_again(job)
    assert_one_outcome_each(job, tracks)


@on_sqlite
def test_a_disk_with_room_again_lets_the_batch_be_saved_that_met_a_full_one(
    simulator, broker, fill_disk, waits
):
    tracks = add_tracks(simulator, TRACKS)
    job = jobs.request_metadata(keys_of(tracks)).job
    fill_disk(True)
    waits.append(lambda: fill_disk(False))
    run(job)
    assert not waits
    assert_one_outcome_each(job, tracks)
    assert simulator.state.answered_more_than_once() == {}
