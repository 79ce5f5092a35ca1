"""The same words for the same things on every page: times, and what a list says when it has nothing."""

from datetime import UTC, date, datetime

import pytest
from pytest_django.asserts import assertContains

from catalog import jobs
from catalog.models import FetchFailure, MetadataFetchTask

MOMENT = datetime(2026, 11, 25, 17, 54, tzinfo=UTC)
WORDS = "25 Nov 2026, 17:54 UTC"
pytestmark = pytest.mark.django_db


@pytest.fixture
def job(make_track, broker) -> MetadataFetchTask:
    """A task of some moment, with a failure of the same."""
    track = make_track(0, name="Song", release_date=date(2026, 2, 5))
    job = jobs.request_metadata([track.pk]).job
    MetadataFetchTask.objects.filter(pk=job.pk).update(created_at=MOMENT)
    FetchFailure.objects.create(
        job=job, track=track, item=track.uuid, code="not_found", message="Gone.", created_at=MOMENT
    )
    return job


def test_lists_and_pages_write_a_moment_in_one_way(staff_client, job):
    failure = job.failures.get()
    for address in (
        "/admin/catalog/metadatafetchtask/",
        f"/admin/catalog/metadatafetchtask/{job.pk}/change/",
        "/admin/catalog/fetchfailure/",
        f"/admin/catalog/fetchfailure/{failure.pk}/change/",
    ):
        assertContains(staff_client.get(address), WORDS)


def test_lists_write_a_day_in_the_same_way(staff_client, job):
    assertContains(staff_client.get("/admin/catalog/track/"), "5 Feb 2026")
