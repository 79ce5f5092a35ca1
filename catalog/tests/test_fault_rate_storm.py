"""Fault 13: Soundcharts answers 429 for the rate to everybody, for a while."""

from itertools import pairwise

import pytest

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import FetchChunk
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of
from catalog.tests.tracks import add_tracks
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_storm_of_429_pauses_everyone_once_and_uses_up_no_attempt(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = []  # An attempt more would be one too many.
    get_service().get_songs([simulator.song_uuid(298), simulator.song_uuid(299)])
    simulator.state.reset()
    tracks = add_tracks(simulator, 200)
    job = jobs.request_metadata(keys_of(tracks)).job
    simulator.faults.set("rate_limited", reset=1, times=20)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert job.updated_tracks == 200
    assert simulator.state.answered_more_than_once() == {}
    # All calls that were under way met the storm; nobody called while it was waited out.
    starts = simulator.state.starts
    assert max(later - earlier for earlier, later in pairwise(starts)) > 0.9


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
