"""The lists of tracks, jobs and failures: what is found, what is shown, and how many queries it takes."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.models import FetchFailure, MetadataFetchTask, Track
from catalog.tests.conftest import SONGS

TRACKS = "/admin/catalog/track/"
JOBS = "/admin/catalog/metadatafetchtask/"
FAILURES = "/admin/catalog/fetchfailure/"


def listed(client: Client, address: str, **query: str) -> set[Any]:
    """Return the keys of the rows that a list shows."""
    page = client.get(address, query)
    assert page.status_code == 200
    return {row.pk for row in page.context["cl"].result_list}


def count_queries(client: Client, address: str) -> int:
    # Else the first request alone would ask for them.
    ContentType.objects.clear_cache()
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


# --- searching


@pytest.fixture
def songs(make_track) -> dict[str, Track]:
    return {
        "blue": make_track(0, name="Blue Sky Mining", credit_name="Midnight Oil", isrc="AUBM09000001"),
        "sky": make_track(1, name="Sky", credit_name="Sonique", isrc="GBAAA0000002"),
        "oil": make_track(2, name="Midnight", credit_name="Blue Nile", isrc="GBAAA0000003"),
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("blue", {"blue", "oil"}),
        ("Blue Sky", {"blue"}),
        ("BLUE SKY MINING", {"blue"}),
        ("  sky  ", {"sky", "blue"}),
        ("midnight oil", {"blue"}),
        ("Nile", {"oil"}),
        ("blue midnight", {"blue", "oil"}),
        ("GBAAA", {"sky", "oil"}),
        ("gbaaa0000003", {"oil"}),
        ("", {"blue", "sky", "oil"}),
        ("%", set()),
        ("'; DROP TABLE catalog_track; --", set()),
        ('"', set()),
        ("x" * 400, set()),
    ],
)
def test_tracks_are_found_by_words_of_name_and_credit_and_by_isrc(staff_client, songs, term, found):
    assert listed(staff_client, TRACKS, q=term) == {songs[name].pk for name in found}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "spelling",
    [str, lambda uuid: uuid.hex, lambda uuid: str(uuid).upper(), lambda uuid: f" {uuid} "],
    ids=["with hyphens", "without hyphens", "upper case", "among blanks"],
)
def test_a_track_is_found_by_its_uuid(staff_client, songs, spelling: Callable[[Any], str]):
    track = songs["sky"]

    assert listed(staff_client, TRACKS, q=spelling(track.uuid)) == {track.pk}


@pytest.mark.django_db
def test_a_uuid_that_is_no_tracks_finds_nothing(staff_client, songs, simulator):
    assert listed(staff_client, TRACKS, q=str(simulator.song_uuid(99))) == set()


@pytest.mark.django_db
def test_a_failure_is_found_by_the_uuid_of_its_track(staff_client, songs, make_failed_job, broker):
    job = make_failed_job(*songs.values())
    failure = job.failures.get(track=songs["oil"])

    assert listed(staff_client, FAILURES, q=str(songs["oil"].uuid)) == {failure.pk}


# --- filters


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("freshness", "found"),
    [
        ("never", {"never", "failing"}),
        ("stale", {"never", "failing", "aged"}),
        ("fresh", {"fresh"}),
        ("failing", {"failing"}),
    ],
)
def test_tracks_are_filtered_by_freshness(staff_client, make_track, freshness, found):
    now = timezone.now()
    tracks = {
        "never": make_track(0),
        "failing": make_track(1, metadata_error="not_found"),
        "aged": make_track(2, metadata_fetched_at=now - timedelta(days=31)),
        "fresh": make_track(3, metadata_fetched_at=now - timedelta(days=29)),
    }

    assert listed(staff_client, TRACKS, freshness=freshness) == {tracks[name].pk for name in found}


@pytest.mark.django_db
def test_filter_and_search_hold_together(staff_client, make_track):
    wanted = make_track(0, name="Blue")
    make_track(1, name="Blue", metadata_fetched_at=timezone.now())
    make_track(2, name="Red")

    assert listed(staff_client, TRACKS, q="blue", freshness="never") == {wanted.pk}


@pytest.mark.django_db
@pytest.mark.parametrize(("days", "label"), [(None, "never fetched"), (31, "aged"), (29, "fresh")])
def test_the_freshness_of_a_track_is_in_its_row(staff_client, make_track, days, label):
    make_track(metadata_fetched_at=None if days is None else timezone.now() - timedelta(days=days))

    row = staff_client.get(TRACKS).content.decode().partition("result_list")[2]

    labels = {"never fetched", "aged", "stale", "fresh"}
    assert {word for word in labels if f">{word}<" in re.sub(r"\s*([<>])\s*", r"\1", row)} == {label}


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["pending", "paused", "cancelled"])
def test_jobs_are_filtered_by_status(staff_client, make_track, broker, status):
    made = {}
    for number, state in enumerate(("pending", "paused", "cancelled")):
        made[state] = jobs.request_metadata([make_track(number).pk]).job
    jobs.pause_job(made["paused"])
    jobs.cancel_job(made["cancelled"])

    assert listed(staff_client, JOBS, status__exact=status) == {made[status].pk}


@pytest.mark.django_db
def test_failures_are_filtered_by_job(staff_client, make_track, make_failed_job, broker):
    job = make_failed_job(make_track(0), make_track(1))
    make_failed_job(make_track(2))

    shown = listed(staff_client, FAILURES, job__id__exact=str(job.pk))

    assert shown == set(job.failures.values_list("pk", flat=True))


@pytest.mark.django_db
def test_failures_are_filtered_by_code(staff_client, make_track, make_failed_job, broker):
    job = make_failed_job(make_track(0), make_track(1))
    other = job.failures.last()
    job.failures.filter(pk=other.pk).update(code="timeout")

    assert listed(staff_client, FAILURES, code="timeout") == {other.pk}


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["nonsense", "9" * 30, "1,2"])
def test_a_nonsensical_job_in_the_address_is_no_server_error(staff_client, value):
    assert staff_client.get(FAILURES, {"job__id__exact": value}, follow=True).status_code == 200


# --- rows


@pytest.mark.django_db
def test_a_row_of_a_job_says_where_it_stands_and_what_it_cost(
    staff_client, make_track, make_failed_job, broker
):
    job = make_failed_job(make_track(0), make_track(1))

    page = staff_client.get(JOBS)

    assertContains(page, f"#{job.pk} · <bdi>2 chosen tracks</bdi>")
    assertContains(page, "2 failed")
    assertContains(page, 'aria-valuenow="100"')


@pytest.mark.django_db
def test_a_row_of_a_failure_leads_to_the_track(staff_client, make_track, make_failed_job, broker):
    track = make_track(name="A name")
    make_failed_job(track)

    page = staff_client.get(FAILURES)

    assertContains(page, f'href="{reverse("admin:catalog_track_change", args=(track.pk,))}">A name</a>')


@pytest.mark.django_db
@pytest.mark.parametrize("address", [TRACKS, JOBS, FAILURES])
def test_viewers_can_read_every_list(viewer_client, make_track, make_failed_job, broker, address):
    make_failed_job(make_track())

    assert len(listed(viewer_client, address)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("address", [TRACKS, JOBS, FAILURES])
def test_looking_at_a_list_spends_nothing(
    staff_client, make_track, make_failed_job, broker, simulator, address
):
    make_failed_job(make_track())

    staff_client.get(address)

    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_staff_add_and_delete_no_failures(admin_client, make_track, make_failed_job, broker):
    failure = make_failed_job(make_track()).failures.get()

    page = admin_client.get(FAILURES)

    assertNotContains(page, f"{FAILURES}add/")
    assert admin_client.post(f"{FAILURES}{failure.pk}/delete/", {"post": "yes"}).status_code == 403


# --- queries


@pytest.fixture
def fill(db: None) -> Callable[[int], None]:
    """A function that fills all lists up to so many rows, each job with a failure and a user of its own."""

    def fill(rows: int) -> None:
        numbers = range(Track.objects.count(), rows)
        tracks = Track.objects.bulk_create(Track(uuid=SONGS.song_uuid(n), name=f"Song {n}") for n in numbers)
        users = User.objects.bulk_create(User(username=f"user {n}") for n in numbers)
        made = MetadataFetchTask.objects.bulk_create(
            MetadataFetchTask(
                task_type="metadata", status="failed", fresh_after=timezone.now(), requested_by=user
            )
            for user in users
        )
        FetchFailure.objects.bulk_create(
            FetchFailure(job=job, track=track, item=str(track.uuid), code="not_found")
            for job, track in zip(made, tracks, strict=True)
        )

    return fill


@pytest.mark.django_db
@pytest.mark.parametrize(("address", "most"), [(TRACKS, 9), (JOBS, 6), (FAILURES, 7)])
def test_a_list_of_50_takes_no_more_queries_than_one_of_5(staff_client, fill, address, most):
    fill(5)
    with_5 = count_queries(staff_client, address)
    fill(50)

    assert count_queries(staff_client, address) == with_5
    assert with_5 <= most


@pytest.mark.django_db
def test_the_form_of_a_track_takes_few_queries_whatever_the_catalogue_holds(staff_client, fill):
    fill(5)
    address = reverse("admin:catalog_track_change", args=(Track.objects.latest("pk").pk,))
    with_5 = count_queries(staff_client, address)
    fill(50)

    assert count_queries(staff_client, address) == with_5
    # Two of them for the audience.
    assert with_5 <= 17


@pytest.mark.django_db
@pytest.mark.parametrize("part", ["change", "progress"])
def test_the_page_of_a_job_takes_as_many_queries_for_50_failures_as_for_5(
    staff_client, make_track, make_failed_job, broker, part
):
    of_5, of_50 = (
        make_failed_job(*(make_track(number, name="Song") for number in range(first, first + count)))
        for first, count in ((0, 5), (100, 50))
    )
    counts = {
        count_queries(staff_client, reverse(f"admin:catalog_metadatafetchtask_{part}", args=(job.pk,)))
        for job in (of_5, of_50)
    }

    assert len(counts) == 1
    assert max(counts) <= 13
