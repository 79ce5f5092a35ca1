"""Lists of Soundcharts that lie: pages too large, without end, with nothing new, with wrong totals."""

import math
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import ImportRow, MetadataFetchTask, Track
from catalog.tests.outcomes import finish_here
from soundcharts.simulator import endpoints

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick_tries(settings, monkeypatch) -> None:
    settings.BATCH_RETRY_DELAYS = [0, 0]
    monkeypatch.setattr("soundcharts.client.FIRST_RETRY_WAIT", 0.0)


@pytest.fixture
def pages(monkeypatch):
    """A function that lets the simulator lie: which window of the list it sends, and what it says of it."""
    window, page = endpoints._window, endpoints._page

    def lie(*, sends: Any = None, says: dict[str, Any] | None = None) -> None:
        if sends is not None:
            monkeypatch.setattr(
                endpoints, "_window", lambda request, **options: sends(*window(request, **options))
            )
        if says is not None:
            monkeypatch.setattr(endpoints, "_page", lambda *args: page(*args) | says)

    return lie


def run(job: MetadataFetchTask) -> MetadataFetchTask:
    for _ in range(20):
        work_on_job(job.pk)
        job.refresh_from_db()
        if job.status in (*job.ENDED, "paused"):
            break
    return job


def outcomes_of(job: MetadataFetchTask) -> list[str]:
    return list(job.import_rows.values_list("outcome", flat=True))


@pytest.mark.parametrize("limit", [1, 5, 99, 130])
def test_a_server_that_sends_a_hundred_whatever_is_asked_brings_what_was_asked(
    simulator, broker, pages, limit
):
    pages(sends=lambda offset, limit: (offset, 100))
    job = run(jobs.request_import(limit=limit).job)
    assert (job.status, job.total_tracks, job.processed_tracks) == ("completed", limit, limit)
    assert job.progress_percent == 100
    assert Track.objects.count() == ImportRow.objects.count() == limit
    assert job.follow_ups.get().total_tracks == limit
    assert job.api_calls == simulator.state.quota_used == math.ceil(limit / 100)


def test_unreadable_songs_beyond_what_was_asked_are_cut_too(simulator, broker, pages):
    pages(sends=lambda offset, limit: (offset, 100))
    nonsense = {str(simulator.song_uuid(simulator.catalogue.index_at_rank(rank))): 5 for rank in range(90)}
    simulator.faults.set("payloads", songs=nonsense)
    job = run(jobs.request_import(limit=20).job)
    assert (job.status, job.total_tracks, job.processed_tracks) == ("completed", 20, 20)


def test_a_list_without_end_is_walked_as_far_as_was_asked(simulator, broker, pages):
    # After the 300 songs that there are, they come again.
    pages(
        sends=lambda offset, limit: (offset % 300, limit),
        says={"next": "/api/v2/top/songs?offset=1", "total": 1_000_000},
    )
    job = run(jobs.request_import(limit=10_000).job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 300, 1)
    assert (job.api_calls, job.total_tracks) == (4, 301)
    failure = job.failures.get()
    assert (failure.code, failure.item) == ("list_repeats", "place 301")
    row = job.import_rows.get(number=301)
    assert (row.outcome, row.message) == ("failed", failure.message)
    assert job.follow_ups.get().total_tracks == 300


def test_a_page_that_comes_again_ends_the_import_with_a_reason(simulator, broker, pages):
    pages(
        sends=lambda offset, limit: (0, limit), says={"next": "/api/v2/top/songs?offset=1", "total": 10_000}
    )
    job = run(jobs.request_import(limit=5000).job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 100, 2)
    assert "already" in job.failures.get(code="list_repeats").message


def test_a_page_of_songs_that_another_import_brought_ends_nothing(simulator, broker):
    run(jobs.request_import(limit=200).job)
    job = run(jobs.request_import(limit=250).job)
    assert (job.status, job.unchanged_tracks, job.updated_tracks) == ("completed", 200, 50)


def test_a_list_that_never_sends_what_it_promises_pauses_and_keeps_what_came(simulator, broker, pages):
    # 250 of a total of 300 that is promised, and no next page.
    pages(
        sends=lambda offset, limit: (offset, max(0, min(limit, 250 - offset))),
        says={"next": None, "total": 300},
    )
    job = run(jobs.request_import(limit=300).job)
    assert (job.status, job.error_code) == ("paused", "answers_unreadable")
    assert (job.updated_tracks, job.total_tracks) == (250, 300)
    assert job.api_calls == simulator.state.quota_used == 5


def test_pages_that_always_come_short_are_bounded(simulator, broker, pages):
    pages(sends=lambda offset, limit: (offset, min(limit, 1)))
    job = run(jobs.request_import(limit=300).job)
    assert (job.status, job.error_code, job.api_calls) == ("paused", "answers_unreadable", 3)
    assert job.updated_tracks == Track.objects.count() == 1


def test_the_rest_of_an_incomplete_page_is_asked_for_again(simulator, broker, pages, monkeypatch):
    sent = iter([40, 100, 100, 100, 100])
    pages(sends=lambda offset, limit: (offset, min(limit, next(sent))))
    job = run(jobs.request_import(limit=250).job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 250, 0)
    assert (job.api_calls, job.unreadable_tries) == (4, 0)
    assert sorted(job.import_rows.values_list("number", flat=True)) == list(range(1, 251))


@pytest.mark.parametrize("code", [500, None])
@pytest.mark.parametrize("at", [0, 50, 97])
def test_songs_missing_anywhere_on_a_page_come_with_the_next_try(simulator, broker, code, at):
    simulator.faults.set("incomplete", leave_out=3, at=at, code=code, after=1, times=1)
    job = run(jobs.request_import(limit=300).job)
    assert (job.status, job.updated_tracks, job.unchanged_tracks, job.failed_tracks) == (
        *("completed", 300, 0, 0),
    )
    assert (job.total_tracks, job.processed_tracks, job.api_calls) == (300, 300, 4)
    assert set(outcomes_of(job)) == {"added"}
    assert sorted(job.import_rows.values_list("number", flat=True)) == list(range(1, 301))
    assert job.follow_ups.get().total_tracks == 300
    assert job.events.get(kind="waiting").code == "incomplete_response"


def test_errors_beside_whole_pages_are_asked_about_again_before_the_import_ends(simulator, broker):
    simulator.faults.set("incomplete", leave_out=0, code=500, times=1)
    job = run(jobs.request_import(limit=100).job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 100, 2)


def test_an_import_whose_first_page_is_never_whole_pauses_and_goes_on_when_it_is(simulator, broker):
    simulator.faults.set("incomplete", leave_out=100, code=500)
    job = run(jobs.request_import(limit=300).job)
    assert (job.status, job.error_code, job.updated_tracks) == ("paused", "answers_unreadable", 0)
    simulator.faults.clear()
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.total_tracks) == ("completed", 300, 300)


def test_a_list_that_ends_before_the_limit_is_complete(simulator, broker):
    job = run(jobs.request_import(limit=1000).job)
    assert (job.status, job.updated_tracks, job.total_tracks) == ("completed", 300, 300)


def test_unreadable_pages_pause_the_import_and_resume_goes_on_at_the_page(simulator, broker):
    simulator.faults.set("html_200", after=1)
    job = run(jobs.request_import(limit=250).job)
    assert (job.status, job.error_code, job.updated_tracks) == ("paused", "answers_unreadable", 100)
    assert job.api_calls == simulator.state.quota_used == 4
    simulator.faults.clear()
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 250, 0)


def test_an_endless_list_leaves_the_reserve(simulator, broker, pages, settings, account_of_its_own):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 8
    simulator.state.quota = 10
    pages(says={"next": "/api/v2/top/songs?offset=1", "total": 1_000_000})
    job = run(jobs.request_import(limit=50_000).job)
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert simulator.state.quota_remaining == 8


@pytest.mark.django_db
def test_no_percentage_exceeds_a_hundred():
    job = MetadataFetchTask(status="completed", total_tracks=5, processed_tracks=100, failed_tracks=60)
    assert (job.progress_percent, job.failed_percent, job.remaining_tracks) == (100, 100, 0)


def test_the_next_page_reads_no_more_of_the_metadata_job_than_the_first(simulator, broker, settings):
    settings.CHUNK_SIZE = 10
    job = jobs.request_import(limit=300).job
    with CaptureQueriesContext(connection) as queries:
        finish_here(job)
    read = [
        query["sql"] for query in queries if query["sql"].startswith("SELECT") and "track_ids" in query["sql"]
    ]
    # Only the import's own chunk, which holds no tracks.
    assert not [sql for sql in read if "chunk" in sql and f'"job_id" = {job.follow_ups.get().pk}' in sql]
    if connection.vendor == "sqlite":
        listed = ImportRow.objects.filter(job=job, track_id__in=[1, 2, 3]).order_by().values_list("track_id")
        assert "import_row_track (job_id=? AND track_id=?)" in listed.explain()
