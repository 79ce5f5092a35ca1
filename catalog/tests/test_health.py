"""Health: green only while nothing stands still and nothing has failed."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from catalog import jobs, schedule
from catalog.explanations import explain
from catalog.models import ApiAccount, FailureCount, Heartbeat, JobEvent, MetadataFetchTask
from catalog.tests.addresses import words_of
from soundcharts.errors import UpstreamUnavailable
from soundcharts.service import get_service

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("all_is_well")]

OK = "All systems OK"


@pytest.fixture
def said(viewer_client) -> Callable[[], str]:
    """A function that returns what Health says now."""
    return lambda: words_of(viewer_client.get(reverse("dashboard_health")))


@pytest.fixture
def job(make_track) -> MetadataFetchTask:
    return jobs.request_metadata([make_track(number).pk for number in range(3)]).job


def know_quota(remaining: int | None, **values: object) -> None:
    account = {"fingerprint": get_service().account, "quota_remaining": remaining}
    ApiAccount.objects.create(**account, observed_at=timezone.now(), **values)


def grow_old(job: MetadataFetchTask, minutes: int) -> None:
    """Let everything that a task has done lie so long back."""
    then = timezone.now() - timedelta(minutes=minutes)
    MetadataFetchTask.objects.filter(pk=job.pk).update(created_at=then, pace_at=then)
    JobEvent.objects.filter(job=job).update(at=then, last_at=then)


def end(
    job: MetadataFetchTask, status: str, *, code: str = "", failures: dict[str, int] | None = None
) -> None:
    failed = sum((failures or {}).values())
    MetadataFetchTask.objects.filter(pk=job.pk).update(
        status=status,
        error_code=code,
        completed_at=timezone.now(),
        total_tracks=failed,
        processed_tracks=failed,
        failed_tracks=failed,
    )
    for failure, count in (failures or {}).items():
        FailureCount.objects.create(job=job, code=failure, count=count)


# --- errors that nobody foresaw


def test_a_task_that_paused_for_an_unexpected_error_is_named(said, job):
    error = jobs.internal_error(ZeroDivisionError(), during="a test")
    for _ in range(jobs.INTERNAL_TRIES):
        jobs.note_internal_error(job.pk, error)
    assert "Unexpected error. 1 task paused." in said()
    assert OK not in said()


# --- calls


def test_with_calls_to_spare_all_is_well(said, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    know_quota(26)
    assert OK in said()


@pytest.mark.parametrize("remaining", [0, -3])
def test_without_calls_it_is_not_green(said, remaining):
    know_quota(remaining)
    assert "No calls left. Bulk work pauses until the quota renews." in said()
    assert OK not in said()


@pytest.mark.parametrize("remaining", [1, 25])
def test_with_only_the_reserve_it_is_not_green(said, remaining, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    know_quota(remaining)
    noun = "call" if remaining == 1 else "calls"
    assert f"Only {remaining} reserved {noun} left. Bulk work pauses until the quota renews." in said()
    assert OK not in said()


def test_calls_and_the_tasks_that_wait_for_them_are_one_trouble(said, make_track):
    know_quota(0)
    for number, code in enumerate(("quota_exhausted", "quota_reserved")):
        jobs.pause_job(jobs.request_metadata([make_track(number).pk]).job, code=code, reason="No calls.")
    words = said()
    assert (
        f"No calls left. 2 tasks paused. {explain('quota_exhausted', is_of_paused=True).what_to_do}" in words
    )
    assert words.count("No calls left") == 1


# --- tasks


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "authentication_failed",
            "Credentials refused. 1 task paused. Ask an operator to correct the API keys",
        ),
        ("quota_exhausted", "No calls left. 1 task paused."),
        ("answers_unreadable", "Answers make no sense. 1 task paused."),
        ("forbidden", "Not in the plan. 1 task paused."),
        ("internal_error", ". 1 task paused."),
        ("by_hand", "1 task paused by hand. Resume it"),
    ],
)
def test_a_paused_task_is_told_with_its_reason(said, job, code, words):
    jobs.pause_job(job, code=code, reason="The reason.")
    assert words in said()
    assert OK not in said()
    jobs.cancel_job(job)
    assert OK in said()


def test_refused_credentials_are_told_until_an_answer_comes(said):
    before = timezone.now() - timedelta(minutes=1)
    know_quota(1000, last_error="authentication_failed", last_error_at=timezone.now(), answered_at=before)
    assert "Credentials refused. Soundcharts does not accept our credentials" in said()
    assert OK not in said()
    ApiAccount.objects.update(answered_at=timezone.now())
    assert OK in said()


def test_settings_that_cannot_be_used_are_told_without_their_secrets(said, settings):
    settings.SOUNDCHARTS_API_URL = "https://user:password@api.example"
    words = said()
    assert "Soundcharts cannot be called. Its settings are invalid. Ask an operator to correct them." in words
    assert OK not in words
    assert "password@" not in words


def test_a_task_that_was_put_off_is_told_with_the_time(said, job):
    chunk = jobs.claim_chunk(job.pk, owner="a worker")
    delay = jobs.Delay(100, is_attempt=True)
    jobs.postpone_chunk(chunk, delay=delay, error=UpstreamUnavailable(), is_whole_job=True)
    assert "Waiting: server error, retry in 1:" in said()
    assert OK not in said()


def test_a_rate_limit_is_told_while_tasks_wait_for_it(said, job):
    get_service()._client.limiter.pause(60)
    assert "Waiting: rate limit, resumes in" in said()
    assert OK not in said()


def test_no_worker_while_work_waits_is_worse_than_no_worker(said, viewer_client, job):
    Heartbeat.objects.filter(kind="worker").delete()
    assert "No worker online. 1 task waits. Ask an operator to start a worker." in said()
    assert viewer_client.get(reverse("dashboard_health")).context["health"].troubles[0].kind == "danger"
    jobs.cancel_job(job)
    assert viewer_client.get(reverse("dashboard_health")).context["health"].troubles[0].kind == "warning"


@pytest.mark.parametrize("is_running", [True, False])
def test_a_task_that_nobody_works_on_is_told(said, job, is_running):
    if is_running:
        jobs.claim_chunk(job.pk, owner="a worker")
    assert OK in said()
    grow_old(job, minutes=12)
    assert "1 task stalled. No progress for 12 minutes." in said()
    assert OK not in said()


def test_a_task_that_was_just_resumed_does_not_stand_still(said, job):
    jobs.pause_job(job)
    grow_old(job, minutes=12)
    jobs.resume_job(job)
    assert OK in said()


# --- failures


def test_tracks_that_failed_in_bulk_are_told_until_they_are_tried_again(said, job):
    end(job, "completed", failures={"upstream_unavailable": 26, "not_found": 3})
    title = explain("upstream_unavailable").title
    assert f"26 tracks failed in the last 24 hours. {title}. Retry them from their task." in said()
    assert OK not in said()
    MetadataFetchTask.objects.create(
        task_type="bulk_metadata", status="completed", parent=job, fresh_after=timezone.now()
    )
    assert OK in said()


def test_what_an_import_led_to_does_not_count_as_trying_it_again(said, job):
    MetadataFetchTask.objects.filter(pk=job.pk).update(task_type="import")
    end(job, "completed", failures={"timeout": 2})
    MetadataFetchTask.objects.create(
        task_type="bulk_metadata",
        status="completed",
        parent=job,
        fresh_after=timezone.now(),
        dedupe_key=f"imported:{job.pk}",
    )
    assert "2 tracks failed in the last 24 hours" in said()


def test_a_task_that_could_not_go_on_is_told_for_a_day(said, job):
    end(job, "failed", code="timeout")
    assert f"1 task failed. {explain('timeout').title}." in said()
    assert OK not in said()
    MetadataFetchTask.objects.update(completed_at=timezone.now() - timedelta(hours=25))
    assert OK in said()


def test_songs_that_soundcharts_does_not_know_are_no_trouble(said, job):
    end(job, "completed", failures={"not_found": 3})
    assert OK in said()


def test_a_single_fetch_that_failed_was_seen_by_who_clicked(said, make_track):
    job = jobs.request_metadata([make_track(0).pk]).job
    end(job, "failed", code="all_failed", failures={"timeout": 1})
    assert OK in said()


# --- the schedule


def test_a_refresh_that_did_not_run_is_told(said):
    schedule.ensure_entries()
    row = PeriodicTask.objects.get(name="refresh-stale-metadata")
    PeriodicTask.objects.filter(pk=row.pk).update(last_run_at=timezone.now() - timedelta(days=3))
    assert "A refresh did not run. Refresh of stale metadata was due" in said()
    assert OK not in said()
    PeriodicTask.objects.filter(pk=row.pk).update(enabled=False)
    assert OK in said()


@pytest.mark.parametrize(("kind", "name"), [("sweep", "Housekeeping"), ("beat", "Scheduler")])
def test_what_meets_unexpected_errors_is_told_until_it_works_again(said, kind, name):
    rows = Heartbeat.objects.filter(kind=kind)
    rows.update(failed_at=timezone.now() - timedelta(minutes=3), reference="1a2b3c4d")
    words = said()
    assert f"{name} failing for 3 minutes." in words
    assert "Log reference: 1a2b3c4d" in words
    assert OK not in words
    rows.update(failed_at=None, reference="")
    assert OK in said()


# --- shape


def test_the_worst_comes_first(viewer_client, make_track):
    for number, code in enumerate(("by_hand", "quota_exhausted", "authentication_failed")):
        jobs.pause_job(jobs.request_metadata([make_track(number).pk]).job, code=code, reason="A reason.")
    health = viewer_client.get(reverse("dashboard_health")).context["health"]
    assert [trouble.kind for trouble in health.troubles] == ["danger", "warning", "info"]


def test_health_takes_as_many_queries_whatever_is_wrong(viewer_client, make_track):
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            viewer_client.get(reverse("dashboard_health"))
        return len(queries)

    counts = []
    codes = ("by_hand", "quota_exhausted", "authentication_failed", "answers_unreadable")
    for first in (0, 40):
        for number in range(first, first + 40):
            job = jobs.request_metadata([make_track(number).pk, make_track(100 + number).pk]).job
            match number % 4:
                case 0:
                    jobs.pause_job(job, code=codes[number // 4 % 4], reason="A reason.")
                case 1:
                    grow_old(job, minutes=20)
                case 2:
                    end(job, "completed", failures={f"code_{number}": 1})
        counts.append(count())
    assert counts[0] == counts[1] <= 14
