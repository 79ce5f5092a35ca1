"""Answers about a list that cannot be read: each row has a few tries, and the import pauses."""

import random
from collections import Counter

import pytest

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.fetching.lists import ROW_TRIES
from catalog.models import FetchChunk, MetadataFetchTask
from catalog.song_lists import read_list
from catalog.tests.outcomes import assert_days_add_up, finish_here
from soundcharts.simulator.answers import Answer, Refused, encode, html
from soundcharts.simulator.endpoints import Endpoints

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick_tries(settings, monkeypatch) -> None:
    settings.BATCH_RETRY_DELAYS = [0, 0, 0]
    monkeypatch.setattr("soundcharts.client.FIRST_RETRY_WAIT", 0.0)


def isrcs(count: int) -> list[str]:
    return [f"QZXYZ26{number:05}" for number in range(count)]


def request_list(identifiers: list[str]) -> MetadataFetchTask:
    return jobs.request_list_import(read_list("\n".join(identifiers)).entries).job


def run(job: MetadataFetchTask, *, slices: int = 60) -> MetadataFetchTask:
    for _ in range(slices):
        work_on_job(job.pk)
        job.refresh_from_db()
        if job.status in (*job.ENDED, "paused"):
            return job
    raise AssertionError(f"It is {job.status}.")


@pytest.fixture
def answers(simulator, monkeypatch):
    """What look-ups by ISRC are answered with, by ISRC or from now on; and how often each was asked for."""

    class Answers:
        asked: Counter[str] = Counter()
        of: dict[str, list[str]] = {}
        otherwise = "ok"

    kinds = Answers()
    kinds.asked = Counter()
    kinds.of = {}

    def answer(self: Endpoints, isrc: str) -> Answer:
        kinds.asked[isrc] += 1
        told = kinds.of.get(isrc)
        kind = (told.pop(0) if len(told) > 1 else told[0]) if told else kinds.otherwise
        match kind:
            case "unreadable":
                return html(200, title="Welcome")
            case "incomplete":
                return Answer(200, encode({"type": "song", "object": None, "errors": [{"code": 500}]}))
            case "ok":
                return self._one_song(int(isrc[-5:]))
        raise Refused(int(kind))

    monkeypatch.setattr(Endpoints, "_song_by_isrc", answer)
    return kinds


@pytest.mark.parametrize("rows", [40, 400])
@pytest.mark.parametrize("kind", ["unreadable", "incomplete"])
def test_a_long_trouble_costs_a_handful_of_calls_and_pauses_the_import(
    simulator, broker, answers, rows, kind
):
    answers.otherwise = kind
    job = run(request_list(isrcs(rows)))
    assert (job.status, job.error_code) == ("paused", "answers_unreadable")
    assert job.api_calls == simulator.state.quota_used <= 6
    assert job.failed_tracks == 0
    answers.otherwise = "ok"
    rest = min(rows, 300)
    answers.of = {isrc: ["404"] for isrc in isrcs(rows)[rest:]}
    jobs.resume_job(job)
    run(job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", rest, rows - rest)
    assert max(answers.asked.values()) <= ROW_TRIES
    assert_days_add_up()


def test_a_trouble_in_the_middle_pauses_with_the_rest_untried(simulator, broker, answers):
    wanted = isrcs(200)
    answers.of = {isrc: ["unreadable"] for isrc in wanted[100:]}
    job = run(request_list(wanted))
    assert (job.status, job.error_code) == ("paused", "answers_unreadable")
    assert job.updated_tracks == 100
    assert job.failed_tracks < 40
    assert sum(answers.asked[isrc] for isrc in wanted[100:]) < 80


def test_rows_that_can_never_be_read_fail_alone_and_pause_nothing(simulator, broker, answers):
    wanted = isrcs(120)
    bad = wanted[3::5]
    answers.of = {isrc: ["unreadable"] for isrc in bad}
    job = run(request_list(wanted))
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 96, 24)
    assert {answers.asked[isrc] for isrc in bad} == {ROW_TRIES}
    assert {answers.asked[isrc] for isrc in set(wanted) - set(bad)} == {1}
    assert set(job.failures.values_list("code", flat=True)) == {"invalid_response"}


def test_an_incomplete_answer_is_tried_again_and_never_unknown(simulator, broker, answers):
    wanted = isrcs(40)
    answers.of = {isrc: ["incomplete", "ok"] for isrc in wanted[10:20]}
    job = run(request_list(wanted))
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 40, 0)
    assert simulator.state.quota_used == 50


def test_an_outage_is_tried_a_few_times_a_row_and_paid_for_never(simulator, broker, answers):
    answers.otherwise = "500"
    job = run(request_list(isrcs(100)))
    assert (job.status, job.failed_tracks, job.api_calls) == ("failed", 100, 0)
    # The client repeats a call too, within seconds.
    assert simulator.state.calls.total() <= 100 * ROW_TRIES * 4


def test_a_refusal_pauses_the_import_at_once_though_another_error_came_first(
    simulator, broker, answers, settings
):
    wanted = isrcs(100)
    run(request_list(wanted[90:]))  # So that several calls are made at once.
    answers.of = {wanted[0]: ["500"]}
    answers.otherwise = "401"
    job = run(request_list(wanted[:90]))
    assert (job.status, job.error_code, job.failed_tracks) == ("paused", "authentication_failed", 0)
    # One wave: a refused call is repeated once, and those that wait for their turn are called off.
    assert sum(answers.asked.values()) - 10 <= 2 * settings.FETCH_AHEAD + 4


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_answered_no_row_is_paid_for_more_than_its_tries(
    simulator, broker, answers, settings, seed
):
    chance = random.Random(seed)
    settings.CHUNK_SIZE = chance.choice([7, 50, 1000])
    kinds = ["ok", "404", "unreadable", "500", "410", "incomplete", "503"]
    weights = [chance.random() ** 3 for _ in kinds]
    wanted = isrcs(150)
    answers.of = {isrc: chance.choices(kinds, weights, k=6) for isrc in wanted}
    job = request_list(wanted)
    for _ in range(30):
        run(job)
        if job.status != "paused":
            break
        assert job.error_code in ("answers_unreadable", "first_rows_unknown")
        jobs.resume_job(job)
    assert job.status in ("completed", "failed")
    assert job.processed_tracks == job.total_tracks == job.import_rows.count() == 150
    assert job.api_calls == simulator.state.quota_used <= 150 * ROW_TRIES
    assert simulator.state.calls.total() <= 150 * ROW_TRIES * 4
    assert_days_add_up()


def test_a_row_that_waits_keeps_the_number_of_its_tries(simulator, broker, answers, settings):
    settings.BATCH_RETRY_DELAYS = [3600, 3600, 3600]
    wanted = isrcs(3)
    answers.of = {wanted[1]: ["unreadable"]}
    job = request_list(wanted)
    for tries in range(1, ROW_TRIES):
        work_on_job(job.pk)
        waiting = FetchChunk.objects.get(job=job, finished_at=None)
        assert [(row[2], row[4]) for row in waiting.items] == [(wanted[1], tries)]
        FetchChunk.objects.update(not_before=None)
        MetadataFetchTask.objects.update(not_before=None)
    finish_here(job)
    assert (job.updated_tracks, job.failed_tracks) == (2, 1)


def test_unreadable_batches_of_uuids_are_bounded_too(simulator, broker):
    simulator.faults.set("html_200")
    uuids = [str(simulator.song_uuid(number)) for number in range(200)]
    job = run(request_list(uuids))
    assert (job.status, job.error_code) == ("paused", "answers_unreadable")
    assert simulator.state.quota_used <= 6 * 14
    simulator.faults.clear()
    jobs.resume_job(job)
    run(job)
    assert (job.status, job.updated_tracks) == ("completed", 200)
