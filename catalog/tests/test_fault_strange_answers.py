"""Faults 15, 16, 18 and 19: answers that are not what the API documents."""

from datetime import timedelta

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.models import Track
from catalog.tests.outcomes import (
    assert_one_outcome_each,
    assert_quiet,
    finish_here,
    is_over,
    keys_of,
)
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers
from soundcharts import client

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
# Twice what an answer may have, inflated.
OVERSIZED = 16

ANSWERS = [
    pytest.param("html_200", {}, id="HTML"),
    pytest.param("empty_200", {}, id="nothing"),
    pytest.param("redirect", {}, id="redirect"),
    pytest.param("truncated_json", {}, id="truncated"),
    pytest.param("truncated_json", {"full_length": False}, id="truncated, length fits"),
    pytest.param("huge", {"mib": OVERSIZED}, id="huge"),
    pytest.param("huge", {"mib": OVERSIZED, "declare_length": False}, id="huge, no length"),
    pytest.param("gzip_bomb", {"mib": 1024}, id="gzip bomb"),
    pytest.param("deep_json", {}, id="deep"),
    pytest.param("giant_int", {}, id="giant integer"),
    *(
        pytest.param("wrong_shape", {"value": value, "where": where}, id=f"{value!r} as {where}")
        for value in (None, [], "5", True)
        for where in ("body", "object")
    ),
]
# A list without the songs that it promises is understood, but not whole. Asked for one by one, the same songs
# get an answer that cannot be read.
INCOMPLETE = {"value": [], "where": "object"}


@pytest.fixture(autouse=True)
def no_delays(settings, monkeypatch) -> None:
    settings.BATCH_RETRY_DELAYS = [0, 0]
    monkeypatch.setattr(client, "FIRST_RETRY_WAIT", 0.0)


def add_known_tracks(simulator, count: int) -> list[Track]:
    """Return tracks that were fetched long ago."""
    return add_tracks(
        simulator, count, fetched_at=timezone.now() - timedelta(days=90), name="Old name", isrc="OLD"
    )


@pytest.mark.parametrize(("fault", "options"), ANSWERS)
def test_one_strange_answer_fails_no_track(simulator, broker, fault, options):
    tracks = add_known_tracks(simulator, 20)
    job = jobs.request_metadata(keys_of(tracks)).job
    simulator.faults.set(fault, times=1, **options)
    finish_here(job)
    assert simulator.faults.struck(fault) == 1
    assert_one_outcome_each(job, tracks)
    assert job.failed_tracks == 0
    assert simulator.state.keys_sent_elsewhere == 0


@pytest.mark.parametrize(("fault", "options"), ANSWERS)
def test_strange_answers_without_end_fail_the_tracks_and_keep_their_data(simulator, broker, fault, options):
    tracks = add_known_tracks(simulator, 12)
    simulator.faults.set(fault, **options)
    job = jobs.request_metadata(keys_of(tracks)).job
    finish_here(job)
    assert_one_outcome_each(job, tracks, status="failed")
    codes = {"invalid_response", "incomplete_response"} if options == INCOMPLETE else {"invalid_response"}
    assert set(job.failures.values_list("code", flat=True)) == codes
    assert set(Track.objects.values_list("name", "isrc", "metadata_error", "metadata_absences")) == {
        ("Old name", "OLD", code, 0) for code in codes
    }
    assert job.api_calls == simulator.state.quota_used
    assert simulator.state.keys_sent_elsewhere == 0


def test_a_worker_outlives_what_would_break_its_memory_or_its_parser(simulator, broker, settings, tmp_path):
    settings.BATCH_RETRY_DELAYS = [0]
    settings.CHUNK_SIZE = 2
    bombs = {
        "huge": {"mib": 64},
        "gzip_bomb": {"mib": 1024},
        "deep_json": {"depth": 1_000_000},
        "giant_int": {"digits": 1_000_000},
    }
    tracks = add_known_tracks(simulator, 2 * len(bombs))
    for track, (fault, options) in zip(tracks[::2], bombs.items(), strict=True):
        simulator.faults.set(fault, uuids=[track.uuid], times=1, **options)
    with workers(tmp_path) as (worker,):
        before = worker.children()
        job = jobs.request_metadata(keys_of(tracks)).job
        wait_until(lambda: is_over(job) or (jobs.sweep() and is_over(job)))
        assert worker.children() == before
        assert _peak_memory(before[0]) < 400 * MIB
    assert all(simulator.faults.struck(fault) == 1 for fault in bombs)
    assert_one_outcome_each(job, tracks)
    assert_quiet(worker)


def _peak_memory(process: int) -> int:
    """Return the most memory that a process ever held, in bytes (Linux)."""
    with open(f"/proc/{process}/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
