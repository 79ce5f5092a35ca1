"""Faults 1 and 2: SIGKILL of a worker, in mid-chunk and at every other step."""

import os
import signal

import pytest
from django.db import transaction

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.tests.gate import gate
from catalog.tests.outcomes import (
    assert_one_outcome_each,
    assert_quiet,
    expire_leases,
    finish_here,
    is_over,
    keys_of,
    songs_by_times_asked,
)
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import die_before, wait_until, workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_call_at_a_time")]


def test_another_worker_goes_on_at_the_position_of_the_killed_one(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE = 40
    tracks = add_tracks(simulator, 40)
    # The third call is never answered: its worker is caught in mid-chunk.
    simulator.faults.set("hang", after=2, times=1)
    with workers(tmp_path, count=2) as crew:
        job = jobs.request_metadata(keys_of(tracks)).job
        wait_until(lambda: simulator.faults.struck("hang"))
        victim, survivor = sorted(crew, key=lambda worker: "claimed" not in worker.output)
        victim.signal_all(signal.SIGKILL)
        expire_leases()
        wait_until(lambda: jobs.sweep() or is_over(job))
        wait_until(lambda: is_over(job))
    assert_one_outcome_each(job, tracks)
    assert "claimed at position 20" in survivor.output
    # Only the call in flight was made twice.
    assert songs_by_times_asked(simulator, 40) == {1: 30, 2: 10}
    assert simulator.state.answered_more_than_once() == {}
    assert_quiet(victim, survivor)


def test_a_process_killed_before_its_commit_saves_nothing_and_is_replaced(simulator, broker, tmp_path):
    tracks = add_tracks(simulator, 20)
    with workers(tmp_path) as (worker,), gate(simulator) as calls:
        job = jobs.request_metadata(keys_of(tracks)).job
        calls.wait_for_calls()
        # While these locks (on SQLite: that of the database) are held, the answer cannot be committed.
        with transaction.atomic():
            list(Track.objects.select_for_update().values_list("pk", flat=True))
            calls.open()
            wait_until(lambda: simulator.state.answered(0))
            (victim,) = worker.children()
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: worker.children() not in ([], [victim]))
        assert FetchChunk.objects.get().position == 0
        assert not Track.objects.exclude(metadata_fetched_at=None).exists()
        expire_leases()
        wait_until(lambda: jobs.sweep() or is_over(job))
        wait_until(lambda: is_over(job))
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 20) == {1: 10, 2: 10}
    assert_quiet(worker, may_fail=True)


@pytest.mark.parametrize(
    ("step", "asked"),
    [
        pytest.param("catalog.fetching.chunks.run_chunk", {1: 30}, id="chunk claimed"),
        pytest.param("catalog.fetching.chunks.save_results", {1: 20, 2: 10}, id="answer received"),
        pytest.param("catalog.jobs.leases.finish_if_done", {1: 20, 2: 10}, id="all written, not committed"),
        pytest.param("catalog.fetching.saving.move_on", {1: 30}, id="committed"),
    ],
)
def test_a_worker_killed_at_any_step_of_a_batch_costs_at_most_its_call(
    simulator, broker, settings, step, asked
):
    settings.CHUNK_SIZE = 20
    tracks = add_tracks(simulator, 30)
    job = jobs.request_metadata(keys_of(tracks)).job
    die_before(step, lambda: work_on_job(job.pk))
    broker.delete("liner-notes")
    expire_leases()
    wait_until(jobs.sweep)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 30) == asked


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("catalog.jobs.planning.add_chunks", id="step not committed"),
        pytest.param("catalog.jobs.claim_chunk", id="step committed"),
        pytest.param("catalog.fetching.chunks.run_chunk", id="first chunk claimed"),
    ],
)
def test_a_worker_killed_while_planning_plans_nothing_twice(simulator, broker, settings, step):
    settings.CHUNK_SIZE = 1
    tracks = add_tracks(simulator, 25)
    job = jobs.request_stale_metadata().job
    die_before(step, lambda: work_on_job(job.pk))
    broker.delete("liner-notes")
    expire_leases()
    wait_until(jobs.sweep)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 25) == {1: 25}


@pytest.mark.parametrize(
    ("step", "calls"),
    [
        pytest.param("catalog.fetching.imports.commit_page", 3, id="list received"),
        pytest.param("catalog.jobs.leases.finish_if_done", 3, id="page written, not committed"),
        pytest.param("catalog.fetching.imports.move_on", 2, id="page committed"),
    ],
)
def test_an_import_killed_at_any_step_adds_every_song_once(simulator, broker, step, calls):
    job = jobs.request_import(limit=120).job
    die_before(step, lambda: work_on_job(job.pk))
    broker.delete("liner-notes")
    expire_leases()
    wait_until(jobs.sweep)
    finish_here(job)
    follow_up = job.follow_ups.get()
    finish_here(follow_up)
    assert (job.status, job.total_tracks, job.updated_tracks) == ("completed", 120, 120)
    assert simulator.state.calls["top_songs"] == calls
    assert_one_outcome_each(follow_up, Track.objects.all())


def test_a_click_whose_process_died_before_it_rang_is_heard(simulator, broker):
    tracks = add_tracks(simulator, 10)
    die_before("catalog.jobs.states.ring", lambda: jobs.request_metadata(keys_of(tracks)))
    assert broker.llen("liner-notes") == 0
    assert jobs.sweep() == 1
    job = MetadataFetchTask.objects.get()
    finish_here(job)
    assert_one_outcome_each(job, tracks)


def test_a_message_lost_with_the_worker_that_took_it_is_sent_again(simulator, broker):
    tracks = add_tracks(simulator, 10)
    job = jobs.request_metadata(keys_of(tracks)).job
    # As kombu takes it, and as a SIGKILL before its second step leaves it: in no list at all.
    assert broker.brpop(["liner-notes"], timeout=1)
    assert jobs.sweep() == 1
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 10) == {1: 10}
