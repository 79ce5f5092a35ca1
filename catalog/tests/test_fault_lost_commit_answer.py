"""Fault 11: the database commits a batch, but its answer is lost on the way; or is lost between batches."""

import time
from itertools import cycle
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection

from catalog import jobs
from catalog.fetching import saving, work_on_job
from catalog.models import MetadataFetchTask
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of, songs_by_times_asked
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lose_answer_to_commit(monkeypatch):
    """A function that lets the first COMMIT after so many batches succeed without its answer arriving."""
    commit, record = connection._commit, jobs.record_outcomes

    def lose(*, after: int) -> None:
        batches = 0

        def count_batch(*args, **kwargs):
            nonlocal batches
            record(*args, **kwargs)
            batches += 1

        def lose_answer():
            nonlocal batches
            commit()
            if batches == after:
                batches += 1
                raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(jobs, "record_outcomes", count_batch)
        monkeypatch.setattr(connection, "_commit", lose_answer)
        monkeypatch.setattr(
            saving, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None)
        )

    return lose


@pytest.mark.usefixtures("one_call_at_a_time")
@pytest.mark.parametrize("batch", [1, 3], ids=["in mid-chunk", "the last batch"])
def test_the_redo_of_a_committed_batch_changes_nothing(simulator, broker, lose_answer_to_commit, batch):
    tracks = add_tracks(simulator, 30)
    job = jobs.request_metadata(keys_of(tracks)).job
    lose_answer_to_commit(after=batch)
    # The lease is two minutes long: whoever committed goes on at once, not after that.
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 30) == {1: 30}
    assert job.api_calls == simulator.state.quota_used == 3


def test_no_answer_that_is_under_way_meanwhile_is_paid_for_twice(simulator, broker, lose_answer_to_commit):
    tracks = add_tracks(simulator, 290)
    job = jobs.request_metadata(keys_of(tracks)).job
    # The first batch is alone; while the second one is committed, all others are under way.
    simulator.state.latency = 0.1
    lose_answer_to_commit(after=2)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 290) == {1: 290}
    assert job.api_calls == simulator.state.quota_used == 29


def test_the_redo_of_a_committed_page_adds_nothing(simulator, broker, lose_answer_to_commit):
    job = jobs.request_import(limit=150).job
    lose_answer_to_commit(after=1)
    finish_here(job)
    follow_up = MetadataFetchTask.objects.get(parent=job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 150, 2)
    assert (follow_up.total_tracks, follow_up.planned_at is None) == (150, False)
    assert simulator.state.calls["top_songs"] == 2


@pytest.mark.parametrize("name", ["claim_chunk", "has_work", "release_chunk"])
def test_a_connection_that_is_lost_between_two_batches_costs_nothing(
    simulator, broker, settings, monkeypatch, name
):
    settings.CHUNK_SIZE = 20
    tracks = add_tracks(simulator, 60)
    job = jobs.request_metadata(keys_of(tracks)).job
    query, is_lost = getattr(jobs, name), cycle([True, False])

    def lose_every_second(*args, **kwargs):
        if next(is_lost):
            raise OperationalError("server closed the connection unexpectedly")
        return query(*args, **kwargs)

    monkeypatch.setattr(jobs, name, lose_every_second)
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None))
    # Stopped once, in the middle of a chunk, which is then given back.
    work_on_job(job.pk, is_stopping=lambda: simulator.state.answered_songs() > 0)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 60) == {1: 60}
