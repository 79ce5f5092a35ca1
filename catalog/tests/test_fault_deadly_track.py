"""Fault 21: a track whose answer kills the process that reads it."""

import pytest

from catalog import jobs
from catalog.fetching import imports, work_on_job
from catalog.models import FetchChunk
from catalog.tests.outcomes import assert_one_outcome_each, assert_quiet, expire_leases, is_over, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import startup_code, wait_until, workers
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)

TRACKS, DEADLY = 40, 3

DIE_OF_ONE_UUID = """
    import os, signal, sys, uuid

    read = uuid.UUID.__init__

    def die_of_one(self, *args, **kwargs):
        read(self, *args, **kwargs)
        is_answer = sys._getframe(1).f_globals.get("__name__") == "soundcharts.fields"
        if is_answer and str(self) == "{deadly}":
            os.kill(os.getpid(), signal.SIGKILL)

    uuid.UUID.__init__ = die_of_one
"""


def test_a_deadly_track_is_given_up_after_three_leases_and_the_others_are_fetched(
    simulator, broker, tmp_path
):
    tracks = add_tracks(simulator, TRACKS)
    code = DIE_OF_ONE_UUID.format(deadly=tracks[DEADLY].uuid)
    with workers(tmp_path, **startup_code(tmp_path / "deadly", code)) as (worker,):
        (victim,) = worker.children()
        job = jobs.request_metadata(keys_of(tracks)).job
        for _ in range(jobs.MAX_LEASES):

            def is_replaced(victim: int = victim) -> bool:
                jobs.sweep()
                return worker.children() not in ([], [victim])

            wait_until(is_replaced)
            (victim,) = worker.children()
            expire_leases()
        wait_until(lambda: is_over(job) or (jobs.sweep() and is_over(job)))
    assert_one_outcome_each(job, tracks)
    assert list(job.failures.values_list("track_id", "code")) == [(tracks[DEADLY].pk, "worker_lost")]
    assert job.updated_tracks == TRACKS - 1
    assert simulator.state.asked(DEADLY) == jobs.MAX_LEASES
    # Each death costs the answers that were under way, and no more.
    assert max(simulator.state.answered(number) for number in range(TRACKS)) <= 1 + jobs.MAX_LEASES
    assert_quiet(worker, may_fail=True)


def test_a_page_that_kills_every_worker_ends_its_import_instead_of_being_bought_for_ever(simulator, broker):
    job = jobs.request_import(limit=250).job
    FetchChunk.objects.update(lease_count=jobs.MAX_LEASES)
    work_on_job(job.pk)
    assert is_over(job)
    assert (job.status, job.error_code) == ("failed", "worker_lost")
    assert simulator.state.calls["top_songs"] == 0


def test_a_page_that_could_be_saved_clears_the_next_one_of_suspicion(simulator, broker):
    job = jobs.request_import(limit=250).job
    FetchChunk.objects.update(lease_count=jobs.MAX_LEASES - 1)
    imports.import_page(job, (chunk := jobs.claim_chunk(job.pk, owner="worker")), get_service())
    assert FetchChunk.objects.get(job=job).lease_count == chunk.lease_count == 0
