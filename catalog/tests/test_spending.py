"""The calls of each day: exactly those of the jobs, whatever goes wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import ApiUsage, FetchChunk, MetadataFetchTask
from catalog.spending import add_spending
from catalog.tests.outcomes import assert_days_add_up, finish_here, keys_of
from catalog.tests.together import Meanwhile, all_at_once
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import die_before
from soundcharts.service import get_service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("account_of_its_own")]


def spend(calls: int) -> None:
    with transaction.atomic():
        add_spending(calls)


def test_calls_are_added_to_the_day_in_utc(db):
    spend(3)
    spend(4)
    usage = ApiUsage.objects.get()
    assert (usage.calls, usage.fingerprint) == (7, get_service().account)
    assert usage.day in {(datetime.now(UTC) - timedelta(minutes=minutes)).date() for minutes in (0, 1)}


def test_a_new_day_begins_with_nothing(db):
    spend(3)
    ApiUsage.objects.update(day=F("day") - timedelta(days=1))
    spend(4)
    assert list(ApiUsage.objects.order_by("day").values_list("calls", flat=True)) == [3, 4]


def test_another_account_has_days_of_its_own(db, settings):
    spend(3)
    settings.SOUNDCHARTS_APP_ID = "another"
    spend(4)
    assert sorted(ApiUsage.objects.values_list("calls", flat=True)) == [3, 4]


def test_nothing_spent_makes_no_row(db):
    spend(0)
    assert not ApiUsage.objects.exists()


def test_calls_are_not_added_outside_of_their_jobs_transaction(db):
    with pytest.raises(RuntimeError, match="transaction"):
        add_spending(1)


def test_many_who_begin_a_day_at_once_lose_no_call():
    all_at_once(lambda: [spend(1) for _ in range(5)], times=6)
    assert ApiUsage.objects.get().calls == 30


def test_calls_that_are_rolled_back_with_their_batch_are_not_counted(simulator, broker):
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 2))).job
    chunk = jobs.claim_chunk(job.pk, owner="somebody")
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=2)
        jobs.record_outcomes(chunk, counts=jobs.Counts(updated=2), calls=1)
        transaction.set_rollback(True)
    job.refresh_from_db()
    assert job.api_calls == 0
    assert not ApiUsage.objects.exists()


def test_a_saved_batch_writes_the_day_once_and_last(simulator, broker):
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 20))).job
    spend(1)
    chunk = jobs.claim_chunk(job.pk, owner="somebody")
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        jobs.advance_chunk(chunk, count=20)
        jobs.record_outcomes(chunk, counts=jobs.Counts(updated=20), calls=2)
    about_days = [number for number, query in enumerate(queries) if "apiusage" in query["sql"]]
    writes = [number for number, query in enumerate(queries) if query["sql"].startswith(("UPDATE", "INSERT"))]
    assert about_days == writes[-1:]


def test_the_days_have_the_calls_of_a_job_and_of_its_import(simulator, broker):
    work_on_job(jobs.request_import(limit=120).job.pk)
    for job in MetadataFetchTask.objects.all():
        work_on_job(job.pk)
    assert ApiUsage.objects.get().calls == simulator.state.quota_used == 14
    assert_days_add_up()


def test_calls_that_brought_nothing_are_counted_too(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = []
    simulator.faults.set("html_200")
    work_on_job(jobs.request_metadata(keys_of(add_tracks(simulator, 20))).job.pk)
    assert ApiUsage.objects.get().calls == simulator.state.quota_used > 0
    assert_days_add_up()


def test_a_worker_that_is_killed_leaves_days_and_jobs_equal(simulator, broker, one_call_at_a_time):
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 30))).job
    die_before("catalog.jobs.leases.add_spending", lambda: work_on_job(job.pk))
    assert_days_add_up()
    FetchChunk.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.updated_tracks) == ("completed", 30)
    assert_days_add_up()


def test_a_lease_that_was_lost_leaves_days_and_jobs_equal(simulator, broker, one_call_at_a_time, monkeypatch):
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 30))).job
    real, lost = jobs.advance_chunk, []

    def lose_once(chunk, **values):
        if not lost:
            lost.append(chunk.pk)
            FetchChunk.objects.filter(pk=chunk.pk).update(lease_owner="somebody else", lease_expires_at=Now())
        return real(chunk, **values)

    monkeypatch.setattr(jobs, "advance_chunk", lose_once)
    finish_here(job)
    assert lost
    assert (job.updated_tracks, job.api_calls) == (30, 4)
    assert simulator.state.quota_used == 4
    assert_days_add_up()


def test_a_job_that_is_paused_in_the_middle_leaves_days_and_jobs_equal(simulator, broker, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 1
    simulator.state.quota = 4
    job = jobs.request_metadata(keys_of(add_tracks(simulator, 60))).job
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.api_calls) == ("paused", 3)
    assert_days_add_up()


def test_two_jobs_that_end_at_once_do_not_wait_for_each_other_in_a_ring(simulator, broker):
    first, second = (jobs.request_metadata([track.pk]).job for track in add_tracks(simulator, 2))
    chunks = [jobs.claim_chunk(job.pk, owner="somebody") for job in (first, second)]

    def save(chunk: FetchChunk) -> None:
        with transaction.atomic():
            jobs.advance_chunk(chunk, count=1)
            jobs.record_outcomes(chunk, counts=jobs.Counts(updated=1), calls=1)

    with transaction.atomic():
        jobs.advance_chunk(chunks[0], count=1)
        jobs.record_outcomes(chunks[0], counts=jobs.Counts(updated=1), calls=1)
        other = Meanwhile(lambda: save(chunks[1]))
        other.wait_until_blocked()
    other.result()
    assert ApiUsage.objects.get().calls == 2
    assert_days_add_up()
