"""Fault 27: a gateway or a proxy that answers instead of Soundcharts. That is an outage, not an answer."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_track_now, work_on_job
from catalog.models import MetadataFetchTask, Track
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of
from catalog.tests.tracks import add_tracks
from soundcharts import client
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)

STATUSES = pytest.mark.parametrize("status", [403, 404, 410])


@pytest.fixture(autouse=True)
def quick_tries(settings, monkeypatch, account_of_its_own) -> None:
    settings.BATCH_RETRY_DELAYS = [0, 0]
    settings.CHUNK_SIZE = 50
    monkeypatch.setattr(client, "FIRST_RETRY_WAIT", 0.0)


def calls_in_a_storm(simulator, fault: str, **options: Any) -> tuple[int, MetadataFetchTask]:
    """Return how many calls a job of 300 tracks makes while only a fault answers, and the job."""
    tracks = add_tracks(
        simulator, 300, fetched_at=timezone.now() - timedelta(days=90), name="Old name", isrc="OLD"
    )
    job = jobs.request_metadata(keys_of(tracks)).job
    before = simulator.state.calls.total()
    with simulator.faults.during(fault, **options):
        for _ in range(20):
            work_on_job(job.pk)
        calls = simulator.state.calls.total() - before
    job.refresh_from_db()
    return calls, job


@STATUSES
def test_a_storm_of_gateway_pages_finds_no_track_absent_and_costs_nothing(simulator, broker, status):
    calls, job = calls_in_a_storm(simulator, "gateway_page", status=status)

    assert (job.status, simulator.state.quota_used, job.api_calls) == ("failed", 0, 0)
    assert set(job.failures.values_list("code", flat=True)) == {"upstream_unavailable"}
    assert set(Track.objects.values_list("name", "metadata_absences", "metadata_retry_at")) == {
        ("Old name", 0, None)
    }
    # Ten tracks a call, four tries a call, three tries of the job: as often as a 5xx is tried, and no track
    # is asked for by itself.
    assert calls <= 30 * 4 * 3
    assert simulator.state.calls["song"] == 0


def test_a_gateway_page_costs_as_many_calls_as_a_5xx(simulator, broker, settings):
    settings.FETCH_AHEAD = 1
    of_gateway, _ = calls_in_a_storm(simulator, "gateway_page", status=404)
    Track.objects.all().delete()
    of_server, _ = calls_in_a_storm(simulator, "error", status=503)

    assert of_gateway == of_server


@STATUSES
def test_a_short_trouble_of_a_gateway_fails_nothing(simulator, broker, status):
    tracks = add_tracks(simulator, 200)
    simulator.faults.set("gateway_page", status=status, times=9)
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_one_outcome_each(job, tracks)
    assert (job.failed_tracks, job.updated_tracks) == (0, 200)
    assert job.api_calls == simulator.state.quota_used == 20
    # Nothing was concluded about the account.
    assert get_service().effective_batch_size == 10


@STATUSES
def test_a_gateway_page_takes_no_platform_out_of_the_plan(simulator, broker, status):
    tracks = add_tracks(simulator, 3)
    simulator.faults.set("gateway_page", status=status, kinds=["audience"], times=4)
    job = jobs.request_audience(keys_of(tracks), platforms=["spotify"]).job

    finish_here(job)

    assert (job.status, job.failed_tracks, job.updated_tracks) == ("completed", 0, 3)
    assert get_service().has_audience("spotify") is True


def test_a_person_is_told_of_the_gateway_and_the_track_stays_as_it_is(simulator, broker):
    (track,) = add_tracks(simulator, 1, name="Old name")
    simulator.faults.set("gateway_page", status=404)

    _, report = fetch_track_now(track)

    assert (report.outcome, report.code) == ("failed", "upstream_unavailable")
    assert "gateway or proxy" in report.message
    track.refresh_from_db()
    assert (track.name, track.metadata_absences) == ("Old name", 0)


def test_a_429_of_a_proxy_makes_everybody_wait_and_pauses_no_job(simulator, broker):
    tracks = add_tracks(simulator, 30)
    simulator.faults.set("gateway_page", status=429, with_quota=True, retry_after="1", times=2)
    job = jobs.request_metadata(keys_of(tracks)).job

    finish_here(job)

    assert_one_outcome_each(job, tracks)
    assert (job.updated_tracks, job.events.filter(kind="paused").count()) == (30, 0)
