"""Faults while audience is fetched: killed workers, strange answers, storms. The engine's promises hold."""

import pytest
from django.db.models import Count

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import AudienceDay, AudienceRecording, FetchChunk, MetadataFetchTask, TrackAudience
from catalog.tests.audiences import series_of
from catalog.tests.outcomes import expire_leases, finish_here, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import die_before, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def assert_saved_once(job: MetadataFetchTask, tracks: list) -> None:
    """Fail unless every track was updated once, and its counts are those of its days."""
    job.refresh_from_db()
    assert (job.status, job.updated_tracks, job.processed_tracks) == ("completed", len(tracks), len(tracks))
    assert {(chunk.position, chunk.finished_at is None) for chunk in job.chunks.all()} == {
        (chunk.size, False) for chunk in job.chunks.all()
    }
    for audience in TrackAudience.objects.select_related("track"):
        days = {day for values in series_of(audience.track).values() for day in values}
        assert (audience.days_known, audience.first_day, audience.last_day) == (
            *(len(days), min(days)),
            max(days),
        )
    doubled = AudienceRecording.objects.values("audience", "identifier").annotate(count=Count("pk"))
    assert not doubled.filter(count__gt=1)


@pytest.mark.parametrize(
    ("step", "most"),
    [
        pytest.param("catalog.fetching.chunks.run_chunk", 12, id="chunk claimed"),
        pytest.param("catalog.fetching.chunks.save_results", 13, id="answer received"),
        pytest.param("catalog.fetching.figures.update_each", 13, id="days written, not committed"),
        pytest.param("catalog.jobs.leases.finish_if_done", 13, id="all written, not committed"),
        pytest.param("catalog.fetching.saving.move_on", 12, id="committed"),
    ],
)
def test_a_worker_killed_at_any_step_costs_at_most_its_call(
    simulator, broker, settings, one_call_at_a_time, step, most
):
    settings.CHUNK_SIZE = 6
    tracks = add_tracks(simulator, 12)
    job = jobs.request_audience(keys_of(tracks)).job
    die_before(step, lambda: work_on_job(job.pk))
    broker.delete("liner-notes")
    expire_leases()
    wait_until(jobs.sweep)
    finish_here(job)
    assert_saved_once(job, tracks)
    assert simulator.state.calls["audience"] == most


@pytest.mark.parametrize(
    "fault",
    [
        ("error_503", {}),
        ("reset", {}),
        ("truncated_json", {}),
        ("html_200", {}),
        ("wrong_shape", {"value": [1], "where": "object"}),
    ],
    ids=lambda fault: fault[0],
)
def test_answers_that_make_no_sense_for_a_while_cost_no_track(simulator, broker, settings, fault):
    settings.BATCH_RETRY_DELAYS = [0, 0, 0]
    tracks = add_tracks(simulator, 8)
    name, options = fault
    simulator.faults.set(name, every=3, times=2, **options)
    job = jobs.request_audience(keys_of(tracks)).job

    def is_over() -> bool:
        FetchChunk.objects.update(not_before=None)
        work_on_job(job.pk)
        job.refresh_from_db()
        return job.status in job.ENDED

    wait_until(is_over)
    if name == "wrong_shape":
        # A list of one number is a series without a readable day.
        assert job.processed_tracks == 8
        assert job.failed_tracks == 0
    else:
        assert_saved_once(job, tracks)


def test_a_rate_storm_costs_nothing_but_time(simulator, broker, settings):
    tracks = add_tracks(simulator, 6)
    job = jobs.request_audience(keys_of(tracks)).job
    simulator.faults.set("rate_limited", reset=1, after=2, times=2)
    finish_here(job)
    assert_saved_once(job, tracks)
    assert job.api_calls == 6


def test_a_poisoned_track_fails_alone(simulator, broker):
    tracks = add_tracks(simulator, 5)
    simulator.faults.set("poisoned_uuids", uuids=[str(tracks[1].uuid)])
    job = jobs.request_audience(keys_of(tracks)).job
    finish_here(job)
    assert (job.updated_tracks, job.failed_tracks, job.failures.get().code) == (4, 1, "invalid_request")
    assert TrackAudience.objects.get(track=tracks[1]).error == "invalid_request"
    assert not AudienceDay.objects.filter(recording__audience__track=tracks[1])
