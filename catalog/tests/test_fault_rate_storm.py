"""Fault 13: Soundcharts answers 429 for the rate to everybody, for a while."""

import time

import pytest

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import FetchChunk
from catalog.tests.gate import gate, refuse_calls
from catalog.tests.outcomes import assert_one_outcome_each, keys_of
from catalog.tests.together import Meanwhile
from catalog.tests.tracks import add_tracks
from soundcharts import budget
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_storm_of_429_pauses_everyone_once_and_uses_up_no_attempt(simulator, broker, settings, monkeypatch):
    settings.BATCH_RETRY_DELAYS = []  # An attempt more would be one too many.
    monkeypatch.setattr(budget, "TOLD_FOR", 3600)
    get_service().get_songs([simulator.song_uuid(298), simulator.song_uuid(299)])
    simulator.state.reset()
    tracks = add_tracks(simulator, 200)
    job = jobs.request_metadata(keys_of(tracks)).job
    with gate(simulator) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(20)
        refused_at = time.monotonic()
        refuse_calls(simulator, calls, count=20, reset=1)
        worker.result()
    assert_one_outcome_each(job, tracks)
    assert job.updated_tracks == 200
    assert simulator.state.answered_more_than_once() == {}
    # All calls that were under way met the storm; nobody called while it was waited out.
    assert simulator.state.calls["songs"] == 2 * 20
    assert simulator.state.starts[20] - refused_at >= 1


def test_a_pause_too_long_to_wait_for_puts_off_the_whole_job_and_not_chunk_by_chunk(
    simulator, broker, settings
):
    settings.CHUNK_SIZE = 10
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 100))).job
    get_service()._client.limiter.pause(110)
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.processed_tracks) == ("running", "rate_limited", 0)
    assert not jobs.has_work(job.pk)
    # The chunk that was tried, and perhaps the one that was begun beside it.
    assert FetchChunk.objects.exclude(not_before=None).count() <= 2
    assert simulator.state.calls["songs"] == 0
