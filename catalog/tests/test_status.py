"""The one label of a task: why it stands still, until when, and what a completed one lacks."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.following import follow
from catalog.models import FetchChunk, MetadataFetchTask
from catalog.status import shown_status, shown_statuses
from catalog.tests.addresses import page_of
from catalog.tests.gate import gate, refuse_calls
from catalog.tests.together import Meanwhile
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until
from soundcharts.errors import ConnectionFailed, RateLimited, UpstreamUnavailable
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db

LIST = "/admin/catalog/metadatafetchtask/"
RATE_LIMIT = re.compile(r"Waiting: rate limit, resumes in \d:\d\d")


def said_in(client, where: str) -> str:
    return re.sub(r"<[^>]*>", "", client.get(where).content.decode())


def places_of(job: MetadataFetchTask) -> list[str]:
    """Return the addresses at which people follow a task, and the parts of them that are asked for again."""
    return [
        *("/admin/", reverse("dashboard_jobs")),
        *(LIST, f"{reverse('admin:catalog_metadatafetchtask_live')}?ids={job.pk}"),
        *(page_of(job), reverse("admin:catalog_metadatafetchtask_progress", args=(job.pk,))),
    ]


def hold_back(seconds: float) -> None:
    get_service()._client.limiter.pause(seconds)


@pytest.fixture
def job(make_track, broker, settings) -> MetadataFetchTask:
    """A pending job of two chunks."""
    settings.CHUNK_SIZE = 10
    return jobs.request_metadata([make_track(number).pk for number in range(20)]).job


def postpone(job: MetadataFetchTask, error, seconds: float, *, is_whole_job: bool = True) -> None:
    chunk = jobs.claim_chunk(job.pk, owner="a worker")
    delay = jobs.Delay(seconds, is_attempt=True)
    jobs.postpone_chunk(chunk, delay=delay, error=error, is_whole_job=is_whole_job)
    job.refresh_from_db()


# --- waiting


@pytest.mark.parametrize("task_type", MetadataFetchTask.Type.values)
def test_a_rate_limit_is_seen_wherever_a_task_of_any_type_is_followed(viewer_client, job, task_type):
    request = {"what": "tracks", "platforms": ["spotify"], "days": None, "fill_gaps": False, "limit": 20}
    request |= {"artist_uuid": None, "offset": 0}
    MetadataFetchTask.objects.update(task_type=task_type, request=job.request | request)
    jobs.claim_chunk(job.pk, owner="a worker")
    hold_back(43)
    for where in places_of(job):
        assert RATE_LIMIT.search(said_in(viewer_client, where)), where


def test_a_pause_that_a_worker_met_is_seen_before_anything_is_done(
    transactional_db, staff_client, simulator, broker
):
    job = jobs.request_metadata([track.pk for track in add_tracks(simulator, 30)]).job
    with gate(simulator) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(1)
        refuse_calls(simulator, calls, count=1, reset=80)
        wait_until(lambda: RATE_LIMIT.search(said_in(staff_client, page_of(job))))
        job.refresh_from_db()
        assert (job.status, job.processed_tracks) == ("running", 0)
        jobs.cancel_job(job)
        worker.result()


def test_the_time_left_is_marked_to_be_counted_down(viewer_client, job):
    hold_back(3600)
    for where in places_of(job):
        page = viewer_client.get(where).content.decode()
        seconds = int(re.search(r'data-ln-countdown="(\d+)"', page)[1])
        assert 3500 < seconds <= 3600, where


@pytest.mark.parametrize(
    ("error", "label"),
    [
        (RateLimited(retry_after=100), "Waiting: rate limit, resumes in 1:40"),
        (UpstreamUnavailable(), "Waiting: server error, retry in 1:40"),
        (ConnectionFailed(), "Waiting: no connection, retry in 1:40"),
    ],
)
@pytest.mark.parametrize("is_whole_job", [True, False])
def test_a_task_that_was_put_off_says_why_and_until_when(job, settings, error, label, is_whole_job):
    FetchChunk.objects.last().delete()
    postpone(job, error, 100, is_whole_job=is_whole_job)
    status = shown_status(job)
    assert re.sub(r"\d:\d\d", "1:40", status.text) == label
    assert 60 < status.seconds <= 100
    assert (status.is_waiting, status.colour) == (True, "warning")


def test_a_task_waits_for_the_first_of_its_chunks(job):
    for seconds in (200, 500):
        postpone(job, UpstreamUnavailable(), seconds, is_whole_job=False)
    assert 160 < shown_status(job).seconds <= 200


def test_a_task_with_a_chunk_that_can_be_worked_on_does_not_wait(job):
    postpone(job, UpstreamUnavailable(), 100, is_whole_job=False)
    assert shown_status(job).text == "Running"
    jobs.claim_chunk(job.pk, owner="another worker")
    assert shown_status(job).text == "Running"


def test_a_wait_that_is_over_is_no_wait(job):
    postpone(job, UpstreamUnavailable(), 100)
    past = Now() - timedelta(seconds=1)
    MetadataFetchTask.objects.update(not_before=past)
    FetchChunk.objects.update(not_before=past)
    job.refresh_from_db()
    assert not shown_status(job).is_waiting


def test_a_task_that_waits_longer_than_the_rate_limit_keeps_its_reason(job):
    postpone(job, UpstreamUnavailable(), 300)
    hold_back(60)
    assert shown_status(job).code == "upstream_unavailable"
    hold_back(900)
    assert shown_status(job).code == "rate_limited"


def test_tracks_of_an_import_that_is_still_listing_wait_for_it(broker, make_track):
    listing = jobs.request_import(artist_uuid=None, limit=5).job
    jobs.add_imported_tracks(listing, [make_track(0).pk])
    follow_up = listing.follow_ups.get()
    assert shown_status(follow_up).text == "Pending"
    FetchChunk.objects.filter(job=follow_up).update(finished_at=timezone.now())
    assert shown_status(follow_up).text == "Waiting: import in progress"


def test_without_redis_a_task_is_shown_without_its_rate_limit(viewer_client, make_track, no_broker):
    job = jobs.request_metadata([make_track(0).pk]).job
    jobs.ring(job.pk)
    for where in places_of(job):
        assert "Waiting: queue unavailable" in said_in(viewer_client, where), where


def test_what_has_ended_asks_neither_the_database_nor_the_rate_limit(
    make_track, make_failed_job, broker, monkeypatch, django_assert_num_queries
):
    ended = [make_failed_job(make_track(number)) for number in range(3)]
    monkeypatch.setattr("catalog.quota.pause_left", lambda: pytest.fail("asked the rate limit"))
    with django_assert_num_queries(0):
        assert {status.text for status in shown_statuses(ended).values()} == {"Failed"}


def test_many_tasks_are_one_query(job, make_track, django_assert_num_queries):
    for number in range(30, 60):
        jobs.request_metadata([make_track(number).pk])
    with django_assert_num_queries(2):
        assert len(shown_statuses(MetadataFetchTask.objects.all())) == 31


# --- paused and ended


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("by_hand", "Paused by hand"),
        ("quota_exhausted", "Paused: no calls left"),
        ("quota_reserved", "Paused: only reserved calls left"),
        ("authentication_failed", "Paused: credentials refused"),
        ("answers_unreadable", "Paused: unreadable answers"),
    ],
)
def test_a_paused_task_names_its_reason_everywhere(viewer_client, job, code, label):
    jobs.pause_job(job, code=code, reason="The reason.")
    for where in places_of(job):
        assert label in said_in(viewer_client, where), where


@pytest.fixture
def completed_with_errors(job) -> MetadataFetchTask:
    counts = {"processed_tracks": 516, "failed_tracks": 26, "successful_tracks": 490, "updated_tracks": 490}
    MetadataFetchTask.objects.update(
        status="completed", total_tracks=516, planned_at=timezone.now(), completed_at=timezone.now(), **counts
    )
    job.refresh_from_db()
    return job


def test_a_completed_task_says_in_another_colour_that_tracks_failed(viewer_client, completed_with_errors):
    status = shown_status(completed_with_errors)
    assert (status.text, status.colour) == ("Completed with 26 errors", "warning")
    for where in (LIST, page_of(completed_with_errors)):
        assert "Completed with 26 errors" in said_in(viewer_client, where), where
    assert "completed with 26 errors" in said_in(viewer_client, reverse("dashboard_jobs"))


def test_a_completed_task_without_errors_stays_green(completed_with_errors):
    MetadataFetchTask.objects.update(failed_tracks=0, successful_tracks=516, updated_tracks=516)
    completed_with_errors.refresh_from_db()
    status = shown_status(completed_with_errors)
    assert (status.text, status.colour) == ("Completed", "success")


def test_one_error_is_no_plural(completed_with_errors):
    completed_with_errors.failed_tracks = 1
    assert completed_with_errors.status_label == "Completed with 1 error"


# --- per cent


@pytest.mark.parametrize(
    ("total", "done", "failed", "is_planned", "percent", "failed_percent"),
    [
        (5, 100, 0, True, 100, 0),
        (5, 100, 40, True, 100, 100),
        (1000, 999, 1, True, 99, 1),
        (10, 10, 0, False, 99, 0),
        (0, 0, 0, True, 0, 0),
    ],
)
def test_no_per_cent_is_above_100_nor_100_before_all_is_done(
    total, done, failed, is_planned, percent, failed_percent
):
    job = MetadataFetchTask(
        status="running",
        total_tracks=total,
        processed_tracks=done,
        failed_tracks=failed,
        planned_at=timezone.now() if is_planned else None,
    )
    assert (job.progress_percent, job.failed_percent) == (percent, failed_percent)


# --- in a terminal


def test_whoever_follows_a_task_in_a_terminal_sees_why_it_waits(transactional_db, job, monkeypatch):
    postpone(job, UpstreamUnavailable(), 100)
    screen = StringIO()
    monkeypatch.setattr("catalog.following.time.sleep", lambda seconds: jobs.cancel_job(job))
    follow(job, stream=screen)
    assert "Waiting: server error, retry in 1:" in screen.getvalue()
