"""Unexpected errors: each is written on its job with a reference, and the third in a row pauses it."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.urls import reverse

from catalog import jobs
from catalog.fetching import fetch_track_now, lists, metadata, saving, work_on_job
from catalog.fetching.ahead import count_spent
from catalog.fetching.results import Answers
from catalog.jobs import leases, planning
from catalog.models import FailureCount, FetchChunk, FetchFailure, MetadataFetchTask, Track
from catalog.song_lists import read_list
from catalog.tests.gate import gate
from catalog.tests.outcomes import assert_days_add_up, assert_one_outcome_each, keys_of, run
from catalog.tests.test_admin_fetch_button import CONFIRMED
from catalog.tests.together import Meanwhile
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until
from soundcharts import client
from soundcharts.service import SoundchartsService, get_service

pytestmark = pytest.mark.django_db(transaction=True)

TRACKS = 25
DEADLY = 3


class Unforeseen(Exception):
    """An error of a kind that no handler names."""


def fail(*args: Any, **kwargs: Any) -> None:
    raise Unforeseen("nobody foresaw this")


@pytest.fixture(autouse=True)
def long_delays(settings, monkeypatch) -> None:
    """What waits, waits until a test lets it go on; and nothing else is waited for."""
    settings.BATCH_RETRY_DELAYS = [3600]
    monkeypatch.setattr(saving, "time", SimpleNamespace(sleep=lambda seconds: None))


def try_again(job: MetadataFetchTask) -> MetadataFetchTask:
    """Let the delay be over, and work on the job."""
    FetchChunk.objects.update(not_before=None)
    MetadataFetchTask.objects.update(not_before=None)
    return run(job)


def reference_of(text: str) -> str:
    found = re.search(r"Reference for the logs: ([0-9a-f]{8})\.", text)
    assert found, text
    return found[1]


def metadata_job(tracks: Sequence[Track]) -> MetadataFetchTask:
    return jobs.request_metadata(keys_of(tracks)).job


REQUESTS: dict[str, Callable[[Any], MetadataFetchTask]] = {
    "metadata": lambda simulator: metadata_job(add_tracks(simulator, TRACKS)),
    "audience": lambda simulator: jobs.request_audience(keys_of(add_tracks(simulator, TRACKS))).job,
    "page": lambda simulator: jobs.request_import(limit=TRACKS).job,
    "list": lambda simulator: (
        jobs.request_list_import(
            read_list("\n".join(str(simulator.song_uuid(number)) for number in range(TRACKS))).entries
        ).job
    ),
}
EVERYWHERE = (
    (jobs, "claim_chunk"),
    (jobs, "advance_chunk"),
    (jobs, "record_outcomes"),
    (leases, "finish_if_done"),
    (client, "decode_json"),
)
STEPS = [
    *((what, *step) for what in REQUESTS for step in EVERYWHERE),
    ("metadata", SoundchartsService, "get_songs"),
    ("metadata", saving, "apply_song"),
    ("metadata", jobs, "tracks_under_way"),
    ("list", lists, "apply_song"),
]


@pytest.mark.parametrize(("what", "owner", "name"), STEPS, ids=[f"{what}-{name}" for what, _, name in STEPS])
def test_an_unexpected_error_is_tried_three_times_and_pauses_the_job_with_a_reference_that_the_log_has(
    simulator, broker, monkeypatch, caplog, what, owner, name
):
    job = REQUESTS[what](simulator)
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, fail)
        for tries in (1, 2):
            try_again(job)
            assert (job.internal_errors, job.error_code) == (tries, "internal_error")
            assert job.status in ("pending", "running")
            # It waits: a message that comes too soon does nothing.
            assert run(job).internal_errors == tries
        try_again(job)
    assert (job.status, job.error_code, job.internal_errors) == ("paused", "internal_error", 3)
    reference = reference_of(job.error_message)
    logged = [record for record in caplog.records if reference in record.getMessage() and record.exc_info]
    assert [type(record.exc_info[1]) for record in logged] == [Unforeseen]
    assert not FetchChunk.objects.exclude(lease_owner="").exists()
    assert job.events.filter(kind="waiting", code="internal_error").get().count == 2
    assert_days_add_up()
    assert job.api_calls == simulator.state.quota_used

    # Resume gives it three new tries, and once all is mended, it ends with nothing lost.
    jobs.resume_job(job)
    assert job.internal_errors == 0
    try_again(job)
    assert (job.status, job.processed_tracks, job.failed_tracks) == ("completed", TRACKS, 0)
    assert job.internal_errors == 0


def test_an_unexpected_error_in_planning_pauses_at_the_third_try(simulator, broker, monkeypatch, caplog):
    add_tracks(simulator, TRACKS)
    job = jobs.request_stale_metadata().job
    with monkeypatch.context() as broken:
        broken.setattr(planning, "_stale_tracks", fail)
        states = [(try_again(job).status, job.internal_errors) for _ in range(3)]
    assert states == [("pending", 1), ("pending", 2), ("paused", 3)]
    assert reference_of(job.error_message) in caplog.text
    assert simulator.state.quota_used == 0
    jobs.resume_job(job)
    assert (run(job).status, job.updated_tracks) == ("completed", TRACKS)


def test_planning_that_breaks_down_meanwhile_loses_no_answer(simulator, broker, monkeypatch, settings):
    settings.CHUNK_SIZE = 10
    tracks = add_tracks(simulator, 250)
    job = jobs.request_stale_metadata().job
    plan, steps = planning._plan_step, iter(range(100))
    monkeypatch.setattr(planning, "_plan_step", lambda job: plan(job) if next(steps) == 0 else fail())
    run(job)
    assert job.internal_errors == 1
    # What was under way when it broke down is saved.
    assert job.processed_tracks == simulator.state.answered_songs() > 0
    monkeypatch.setattr(planning, "_plan_step", plan)
    try_again(job)
    assert_one_outcome_each(job, tracks)
    assert simulator.state.answered_more_than_once() == {}


# --- One track that is at fault ---------------------------------------------------------------------


@pytest.fixture
def one_deadly_song(simulator, monkeypatch) -> str:
    """A song whose answer no one can save."""
    uuid, apply = simulator.song_uuid(DEADLY), saving.apply_song

    def apply_all_but_one(track, song, **options):
        return fail() if song.uuid == uuid else apply(track, song, **options)

    monkeypatch.setattr(saving, "apply_song", apply_all_but_one)
    monkeypatch.setattr(lists, "apply_song", apply_all_but_one)
    return str(uuid)


@pytest.mark.parametrize("position", [0, DEADLY, 9, TRACKS - 1])
def test_a_track_that_cannot_be_saved_waits_alone_while_all_others_are_saved(
    simulator, broker, one_deadly_song, position
):
    tracks = add_tracks(simulator, TRACKS)
    tracks.insert(position, tracks.pop(DEADLY))
    job = metadata_job(tracks)
    FetchChunk.objects.update(track_ids=keys_of(tracks))
    run(job)
    assert job.error_code == "internal_error"
    assert reference_of(job.error_message)
    for _ in range(5):
        if job.status != "paused":
            try_again(job)
    assert (job.status, job.error_code) == ("paused", "internal_error")
    assert job.processed_tracks == TRACKS - 1
    # Nothing that was paid for was bought again, but for the one.
    assert set(simulator.state.answered_more_than_once()) <= {simulator.song_uuid(DEADLY)}
    assert simulator.state.answered(DEADLY) <= 5
    assert_days_add_up()


def test_a_row_of_a_list_that_cannot_be_saved_waits_alone_while_all_others_are_saved(
    simulator, broker, one_deadly_song
):
    job = run(REQUESTS["list"](simulator))
    assert (job.updated_tracks, job.error_code) == (TRACKS - 1, "internal_error")
    for _ in range(3):
        if job.status != "paused":
            try_again(job)
    assert (job.status, job.updated_tracks) == ("paused", TRACKS - 1)
    assert set(simulator.state.answered_more_than_once()) <= {simulator.song_uuid(DEADLY)}


def test_a_song_that_cannot_be_read_is_found_among_its_neighbours(simulator, broker, monkeypatch):
    tracks = add_tracks(simulator, TRACKS)
    deadly, fetch = str(tracks[DEADLY].uuid), metadata.Metadata.fetch

    def fetch_all_but_one(self, service, wanted, **options):
        if deadly in {result.item for result in wanted}:
            service.get_songs([tracks[DEADLY].uuid])  # It is paid for.
            fail()
        return fetch(self, service, wanted, **options)

    monkeypatch.setattr(metadata.Metadata, "fetch", fetch_all_but_one)
    job = run(metadata_job(tracks))
    assert job.error_code == "internal_error"
    for _ in range(6):
        if job.status != "paused":
            try_again(job)
    assert (job.error_code, job.processed_tracks) == ("internal_error", TRACKS - 1)
    assert job.api_calls == simulator.state.quota_used
    assert_days_add_up()


# --- Calls that are under way -----------------------------------------------------------------------


def test_calls_that_others_made_are_counted_and_saved_when_one_breaks_down(simulator, broker, monkeypatch):
    get_service().get_songs([simulator.song_uuid(298), simulator.song_uuid(299)])
    simulator.state.reset()
    tracks = add_tracks(simulator, 60)
    fetch = metadata.Metadata.fetch

    def fetch_but_break_once(self, service, wanted, **options):
        if str(tracks[0].uuid) in {result.item for result in wanted}:
            fetch(self, service, wanted, **options)
            fail()
        return fetch(self, service, wanted, **options)

    monkeypatch.setattr(metadata.Metadata, "fetch", fetch_but_break_once)
    job = metadata_job(tracks)
    with gate(simulator, uuids=[tracks[0].uuid]) as first:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        wait_until(lambda: first.waiting and simulator.state.answered_songs() == 50)
        first.open()
        worker.result()
    job.refresh_from_db()
    assert (job.updated_tracks, job.api_calls) == (50, simulator.state.quota_used)
    assert job.api_calls == 6


def test_a_call_that_raises_hides_no_other_from_the_sum():
    good, bad, cancelled, late = Future(), Future(), Future(), Future()
    good.set_result(Answers(calls=3))
    bad.set_exception(Unforeseen())
    cancelled.cancel()
    late.set_result(Answers(calls=4))
    assert count_spent([good, bad, cancelled, late]) == 7


# --- Counting ---------------------------------------------------------------------------------------


def test_workers_that_fail_at_the_same_moment_count_as_one_try(simulator, broker, settings):
    settings.CHUNK_SIZE = 5
    job = metadata_job(add_tracks(simulator, TRACKS))
    chunks = [jobs.claim_chunk(job.pk, owner=f"worker {number}") for number in range(5)]
    for chunk in chunks:
        error = jobs.internal_error(Unforeseen(), during="a test")
        jobs.note_internal_error(job.pk, error, chunk=chunk, seen=0)
    job.refresh_from_db()
    assert (job.status, job.internal_errors) == ("running", 1)
    assert not FetchChunk.objects.filter(not_before=None).exists()


def test_an_outcome_in_between_starts_the_count_anew(simulator, broker, monkeypatch):
    job = metadata_job(add_tracks(simulator, TRACKS))
    with monkeypatch.context() as broken:
        broken.setattr(SoundchartsService, "get_songs", fail)
        try_again(job)
        try_again(job)
    assert (job.status, job.internal_errors) == ("running", 2)
    FetchChunk.objects.update(not_before=None)
    MetadataFetchTask.objects.update(not_before=None)
    chunk = jobs.claim_chunk(job.pk, owner="worker")
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=1)
        jobs.record_outcomes(chunk, counts=jobs.Counts(updated=1), calls=0, is_done=False)
    job.refresh_from_db()
    assert job.internal_errors == 0


def test_a_job_that_was_cancelled_meanwhile_stays_cancelled(simulator, broker):
    job = metadata_job(add_tracks(simulator, 1))
    jobs.cancel_job(job)
    jobs.note_internal_error(job.pk, jobs.internal_error(Unforeseen(), during="a test"))
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("cancelled", "")


def test_what_an_error_says_reaches_nobody_but_the_log():
    error = jobs.internal_error(Unforeseen("x-api-key: secret"), during="a test")
    assert "secret" not in str(error)
    assert error.reference in str(error)


# --- The same failure twice -------------------------------------------------------------------------


def test_a_failure_that_is_written_twice_stays_one_row_with_the_latest_reason(simulator, broker):
    tracks = add_tracks(simulator, 4)
    job = metadata_job(tracks)
    chunk = jobs.claim_chunk(job.pk, owner="worker")
    said = [("not_found", "a"), ("not_found", "a"), ("not_saved", "a"), ("not_found", "b")]
    for code, item in said:
        with transaction.atomic():
            jobs.advance_chunk(chunk, count=1)
            failures = [jobs.Failure(item, code, code, tracks[0].pk)]
            jobs.record_outcomes(chunk, counts=jobs.Counts(failed=1), failures=failures, calls=1)
        saving.move_on(chunk, count=1)
    assert list(FetchFailure.objects.values_list("item", "code", "message")) == [
        ("a", "not_saved", "not_saved"),
        ("b", "not_found", "not_found"),
    ]
    counts = dict(FailureCount.objects.values_list("code", "count"))
    assert counts == {"not_found": 1, "not_saved": 1}
    job.refresh_from_db()
    assert (job.status, job.failed_tracks) == ("failed", 4)


def test_an_item_that_fails_twice_in_one_batch_is_one_failure(simulator, broker):
    job = metadata_job(add_tracks(simulator, 2))
    chunk = jobs.claim_chunk(job.pk, owner="worker")
    failures = [jobs.Failure("a", "not_found", "Not known.")] * 2
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=2)
        jobs.record_outcomes(chunk, counts=jobs.Counts(failed=2), failures=failures, calls=1)
    assert FetchFailure.objects.get().item == "a"
    assert FailureCount.objects.get().count == 1


# --- People -----------------------------------------------------------------------------------------


def test_a_person_who_meets_an_unexpected_error_gets_a_message_with_the_reference(
    simulator, broker, monkeypatch, caplog
):
    (track,) = add_tracks(simulator, 1)
    monkeypatch.setattr(client, "decode_json", fail)
    job, report = fetch_track_now(track)
    assert (report.outcome, report.code, job.status) == ("failed", "internal_error", "failed")
    assert reference_of(report.message) in caplog.text
    assert job.failures.get().code == "internal_error"


@pytest.mark.parametrize(
    ("owner", "name"),
    [(client, "decode_json"), (saving, "apply_song"), (jobs, "advance_chunk"), (leases, "finish_if_done")],
)
def test_no_page_answers_500_because_of_an_unexpected_error_in_a_fetch(
    simulator, broker, monkeypatch, staff_client, owner, name
):
    (track,) = add_tracks(simulator, 1)
    monkeypatch.setattr(owner, name, fail)
    address = reverse("admin:catalog_track_fetch_now", args=(track.pk,))
    answer = staff_client.post(address, CONFIRMED, follow=True)
    assert answer.status_code == 200
    assert "Reference for the logs" in answer.content.decode()


# --- Jobs of before -----------------------------------------------------------------------------------


def test_a_job_that_an_earlier_version_could_not_plan_has_met_an_unexpected_error(broker):
    job = jobs.request_stale_metadata().job
    jobs.pause_job(job, code="by_hand")
    try:
        call_command("migrate", "catalog", "0014", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE catalog_metadatafetchtask SET error_code = 'unplannable'")
            cursor.execute("UPDATE catalog_jobevent SET code = 'unplannable' WHERE kind = 'paused'")
    finally:
        call_command("migrate", "catalog", verbosity=0)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.internal_errors) == ("paused", "internal_error", 0)
    assert job.events.get(kind="paused").code == "internal_error"
