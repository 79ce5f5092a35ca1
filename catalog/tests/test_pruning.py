"""Forgetting tasks that ended long ago: just these, in steps, and by a command that says so."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from catalog import jobs
from catalog.jobs import pruning
from catalog.models import (
    FailureCount,
    FetchChunk,
    FetchFailure,
    ImportRow,
    JobEvent,
    MetadataFetchTask,
    Track,
)
from catalog.song_lists import read_list

pytestmark = pytest.mark.django_db(transaction=True)


def age(job: MetadataFetchTask, days: int) -> None:
    MetadataFetchTask.objects.filter(pk=job.pk).update(completed_at=Now() - timedelta(days=days))


def prune(*options: str) -> str:
    out = StringIO()
    call_command("prune_fetch_tasks", *options, stdout=out)
    return out.getvalue()


@pytest.fixture
def old_job(make_track, make_failed_job, broker) -> MetadataFetchTask:
    job = make_failed_job(*(make_track(number) for number in range(5)))
    age(job, 200)
    return job


def test_an_old_ended_job_goes_with_all_that_belongs_to_it_and_tracks_stay(old_job, monkeypatch):
    monkeypatch.setattr(pruning, "STEP", 2)

    said = prune()

    assert "Deleted 1 task " in said
    assert "with 5 failures, 1 chunk, 3 events and 0 rows of imports" in said
    models = (MetadataFetchTask, FetchFailure, FetchChunk, JobEvent, FailureCount)
    assert [model.objects.count() for model in models] == [0] * 5
    assert Track.objects.count() == 5


def test_a_dry_run_says_the_same_and_changes_nothing(old_job):
    said = prune("--dry-run")

    assert "Would delete 1 task " in said
    assert "with 5 failures, 1 chunk, 3 events and 0 rows of imports" in said
    assert old_job.failures.count() == 5


def test_the_report_of_an_import_goes_with_it_in_steps_and_is_counted(broker, monkeypatch):
    monkeypatch.setattr(pruning, "STEP", 2)
    job = jobs.request_list_import(read_list("GBAYE0601498").entries).job
    jobs.cancel_job(job)
    age(job, 200)
    ImportRow.objects.filter(job=job).delete()
    ImportRow.objects.bulk_create(
        ImportRow(job=job, number=number, line=number, item="junk", outcome=ImportRow.Outcome.INVALID)
        for number in range(5)
    )

    with CaptureQueriesContext(connection) as queries:
        assert "and 5 rows of imports" in prune()

    assert not ImportRow.objects.exists()
    steps = [query for query in queries if 'catalog_importrow"."id" IN' in query["sql"]]
    assert len(steps) == 3


@pytest.mark.parametrize(("days", "left"), [("199", 0), ("201", 1)])
def test_the_age_counts_from_the_end(old_job, days, left):
    prune("--older-than", days)

    assert MetadataFetchTask.objects.count() == left


@pytest.mark.parametrize("status", ["pending", "running", "paused"])
def test_an_active_job_stays_however_old(old_job, status):
    MetadataFetchTask.objects.filter(pk=old_job.pk).update(status=status)

    assert "Deleted 0 tasks" in prune()
    assert old_job.failures.count() == 5


def test_a_job_whose_failures_are_being_tried_again_stays_until_that_is_over(old_job):
    retry = jobs.request_retry(old_job).job
    assert "Deleted 0 tasks" in prune()

    jobs.cancel_job(retry)
    assert "Deleted 1 task " in prune()
    retry.refresh_from_db()
    assert retry.parent is None


@pytest.mark.parametrize("days", ["0", "-1", "x", "1.5", "99999999999"])
def test_nonsense_instead_of_days_is_refused(days):
    with pytest.raises(CommandError):
        prune("--older-than", days)
