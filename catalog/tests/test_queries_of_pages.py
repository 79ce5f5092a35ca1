"""Pages that show tasks: as many queries for 30 tasks of each kind as for 3."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog import jobs
from catalog.models import FailureCount, FetchFailure, MetadataFetchTask, Track, TrackAudience
from catalog.tests.addresses import page_of
from catalog.tests.conftest import SONGS
from soundcharts.platforms import AUDIENCE_PLATFORMS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("all_is_well")]

Type = MetadataFetchTask.Type
PLATFORMS = list(AUDIENCE_PLATFORMS)[:6]
TASKS, FAILURES = "/admin/catalog/metadatafetchtask/", "/admin/catalog/fetchfailure/"


def request_of(task_type: str, number: int) -> dict[str, object]:
    audience = {
        "what": "tracks",
        # No two alike, and some that only fill gaps.
        "platforms": PLATFORMS[: 1 + number % len(PLATFORMS)],
        "days": [None, 28, 100, 400][number % 4],
        "fill_gaps": number % 5 == 0,
    }
    return {
        Type.METADATA: {"what": "tracks"},
        Type.BULK_METADATA: {"what": "tracks"},
        Type.AUDIENCE: audience,
        Type.BULK_AUDIENCE: audience,
        Type.IMPORT: {"what": "artist", "artist_uuid": None, "limit": 10, "offset": 0},
    }[task_type]


@pytest.fixture
def fill(staff) -> Callable[[int, int], None]:
    """A function that adds so many active and ended tasks of each kind, with failures and a track of each."""

    def fill(first: int, last: int) -> None:
        now = timezone.now()
        for number in range(first, last):
            track = Track.objects.create(uuid=SONGS.song_uuid(number), name=f"Track {number}")
            for task_type in Type.values:
                common = {
                    "task_type": task_type,
                    "title": f"{task_type} {number}",
                    "requested_by": staff,
                    "request": request_of(task_type, number),
                    "fresh_after": now,
                    "started_at": now,
                    "planned_at": now,
                    "total_tracks": 20,
                }
                job = MetadataFetchTask.objects.create(
                    **common,
                    status=("running", "pending", "paused")[number % 3],
                    error_code=["", "timeout"][number % 2],
                    dedupe_key=f"{task_type} {number}",
                )
                MetadataFetchTask.objects.create(
                    **common, status="completed", dedupe_key=f"track:{track.pk}", completed_at=now
                )
                if task_type != Type.METADATA:
                    continue  # The failures of all together would fill more than a page of their list.
                FetchFailure.objects.create(job=job, track=track, item=str(track.uuid), code="timeout")
                FailureCount.objects.create(job=job, code="timeout", count=1)
                MetadataFetchTask.objects.filter(pk=job.pk).update(processed_tracks=1, failed_tracks=1)
            long_ago = now - timedelta(days=200 + number)
            known = {"fetched_at": long_ago, "fetched_until": long_ago.date()}
            TrackAudience.objects.create(track=track, platform=PLATFORMS[0], job=job, **known)

    return fill


def count_queries(client: Client, address: str) -> int:
    ContentType.objects.clear_cache()
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code in (200, 204), address
    return len(queries)


@pytest.mark.parametrize(
    ("address", "most"),
    [
        ("/admin/", 30),
        ("/admin/dashboard/jobs/", 8),
        ("/admin/dashboard/health/", 14),
        (TASKS, 12),
        (f"{TASKS}live/?ids={','.join(map(str, range(1, 200)))}", 8),
        (FAILURES, 12),
    ],
)
def test_30_tasks_of_each_kind_take_no_more_queries_than_3(staff_client, fill, address, most):
    of_none = count_queries(staff_client, address)
    fill(0, 3)
    of_3 = count_queries(staff_client, address)
    fill(3, 30)
    assert of_none <= of_3 == count_queries(staff_client, address) <= most


@pytest.mark.parametrize("task_type", Type.values)
def test_the_page_of_a_task_takes_as_many_queries_beside_30_others_as_beside_3(staff_client, fill, task_type):
    fill(0, 3)
    job = MetadataFetchTask.objects.filter(task_type=task_type, status="running").first()
    progress = reverse("admin:catalog_metadatafetchtask_progress", args=(job.pk,))
    of_3 = [count_queries(staff_client, where) for where in (page_of(job), progress)]
    fill(3, 30)
    assert of_3 == [count_queries(staff_client, where) for where in (page_of(job), progress)]
    assert max(of_3) <= 30


def test_the_page_of_a_track_takes_as_many_queries_for_30_tasks_of_it_as_for_3(staff_client, fill):
    fill(0, 3)
    track = Track.objects.get(name="Track 0")
    of_3 = count_queries(staff_client, page_of(track))
    fill(3, 30)
    MetadataFetchTask.objects.filter(status="completed").update(dedupe_key=f"track:{track.pk}")
    assert count_queries(staff_client, page_of(track)) == of_3 <= 40
    assert jobs.jobs_of_track(track.pk).count() == 150
