"""Jobs that hold the same tracks: each track is paid for once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_track_now, work_on_job
from catalog.models import FetchChunk, Track
from catalog.tests.outcomes import run
from catalog.tests.together import all_at_once
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)


def keys(tracks: list[Track]) -> list[int]:
    return [track.pk for track in tracks]


def test_tracks_that_another_job_has_under_way_wait_and_are_then_skipped(simulator, broker):
    tracks = add_tracks(simulator, 40)
    first = jobs.request_metadata(keys(tracks[:20])).job
    second = jobs.request_metadata(keys(tracks)).job
    jobs.claim_chunk(first.pk, owner="somebody")
    run(second)
    assert (second.status, second.updated_tracks, second.api_calls) == ("running", 20, 2)
    put_off = FetchChunk.objects.get(job=second, finished_at=None)
    assert (put_off.track_ids, put_off.error_count) == (keys(tracks[:20]), 0)
    assert put_off.not_before > timezone.now()

    FetchChunk.objects.filter(job=first).update(lease_expires_at=None)
    assert run(first).updated_tracks == 20
    FetchChunk.objects.update(not_before=None)
    assert run(second).status == "completed"
    assert (second.updated_tracks, second.skipped_tracks, second.api_calls) == (20, 20, 2)
    assert simulator.state.answered_more_than_once() == {}


def test_a_job_of_which_everything_is_under_way_elsewhere_spends_nothing(simulator, broker):
    tracks = add_tracks(simulator, 5)
    first = jobs.request_metadata(keys(tracks)).job
    second = jobs.request_metadata(keys(tracks), only_stale=True).job
    jobs.claim_chunk(first.pk, owner="somebody")
    run(second)
    assert (second.status, second.processed_tracks) == ("running", 0)
    assert sum(simulator.state.calls.values()) == 0


def test_tracks_of_a_worker_that_died_are_not_waited_for(simulator, broker):
    tracks = add_tracks(simulator, 5)
    first = jobs.request_metadata(keys(tracks)).job
    second = jobs.request_metadata(keys(tracks), only_stale=True).job
    jobs.claim_chunk(first.pk, owner="somebody")
    FetchChunk.objects.filter(job=first).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert run(second).updated_tracks == 5


def test_a_person_does_not_wait_for_the_bulk_job_that_holds_the_track(simulator, broker):
    tracks = add_tracks(simulator, 40)
    bulk = jobs.request_metadata(keys(tracks)).job
    jobs.claim_chunk(bulk.pk, owner="somebody")
    _, report = fetch_track_now(tracks[30])
    assert report.outcome == "updated"


def test_two_jobs_over_the_same_tracks_at_once_pay_once(simulator, broker):
    tracks = add_tracks(simulator, 60)
    both = [jobs.request_metadata(keys(tracks)).job, jobs.request_metadata(keys(tracks), only_stale=True).job]
    turns = iter(both)
    all_at_once(lambda: work_on_job(next(turns).pk), times=2)
    for _ in range(20):
        if all(run(job).status == "completed" for job in both):
            break
        FetchChunk.objects.update(not_before=None)
    assert {job.status for job in both} == {"completed"}
    assert sum(job.updated_tracks for job in both) == 60
    assert simulator.state.answered_more_than_once() == {}
