"""Fault 11: the database commits a batch, but its answer is lost on the way."""

import time
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection

from catalog import jobs
from catalog.fetching import saving
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
