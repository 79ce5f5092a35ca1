"""The same words for the same things on every page: times, and what a list says when it has nothing."""

from datetime import UTC, date, datetime

import pytest
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.explanations import explain
from catalog.models import FetchFailure, MetadataFetchTask
from catalog.tests.addresses import page_of

MOMENT = datetime(2026, 11, 25, 17, 54, tzinfo=UTC)
TRACKS = "/admin/catalog/track/"
WORDS = "25 Nov 2026, 17:54 UTC"
pytestmark = [pytest.mark.django_db, pytest.mark.on_sqlite_alone]


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
    assertContains(staff_client.get(TRACKS), "5 Feb 2026")


# --- lists that have nothing, and what to do then


def test_an_empty_catalogue_offers_the_import_to_whoever_may(staff_client):
    page = staff_client.get(TRACKS)

    assertContains(page, "The catalogue is empty")
    assertContains(page, f'<a class="ln-button ln-main" href="{TRACKS}import/">Import from API</a>')


def test_an_empty_catalogue_tells_a_viewer_who_can_begin(viewer_client):
    page = viewer_client.get(TRACKS)

    assertContains(page, "Whoever may import tracks begins with")
    assertNotContains(page, f"{TRACKS}import/")


def test_a_search_that_finds_no_track_says_what_it_looks_for_and_the_way_back(staff_client, make_track):
    make_track(0, name="Song")

    page = staff_client.get(TRACKS, {"q": "<nothing>", "freshness": "fresh"})
    assertContains(page, "No track fits")
    assertContains(page, "Tracks with “&lt;nothing&gt;”, that are fresh: there are none.")
    assertContains(page, '<a class="ln-button ln-main" href="?">Show all tracks</a>')


@pytest.mark.parametrize(
    ("freshness", "words"),
    [
        ("never", "Every track has been fetched"),
        ("stale", "Every track is fresh"),
        ("aged", "No track is aged"),
        ("failing", "No track failed last"),
    ],
)
def test_that_nothing_is_stale_or_failing_is_good_news(staff_client, make_track, freshness, words):
    make_track(0, metadata_fetched_at=timezone.now())

    page = staff_client.get(TRACKS, {"freshness": freshness})
    assertContains(page, words)
    assertContains(page, "which is as it should be")
    for other in ("No track fits", "Search finds", "Is it not here yet?"):
        assertNotContains(page, other)
    assertContains(staff_client.get(TRACKS, {"freshness": freshness, "genre": "pop"}), "No track fits")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/admin/catalog/metadatafetchtask/", "Nothing has been asked for yet"),
        ("/admin/catalog/fetchfailure/", "Nothing has failed"),
        ("/admin/catalog/fetchfailure/?job__id__exact=1", "No failure fits"),
        ("/admin/catalog/trackchange/", "No fetch has changed anything yet"),
        ("/admin/catalog/trackchange/?period=day", "No change fits"),
        ("/admin/auth/user/?q=nobody", "show all users"),
    ],
)
def test_a_list_with_nothing_says_why(admin_client, address, words):
    page = admin_client.get(address)

    assertContains(page, words)
    assertNotContains(page, "yielded")


@pytest.mark.parametrize("address", ["/admin/catalog/metadatafetchtask/", "/admin/catalog/fetchfailure/"])
def test_a_list_that_shows_all_does_not_offer_to_show_all(staff_client, job, address):
    assertNotContains(staff_client.get(address), "Show all")


# --- pages


def test_a_failure_says_what_to_do_and_leads_to_its_track_and_task(staff_client, job):
    failure = job.failures.get()

    page = staff_client.get(f"/admin/catalog/fetchfailure/{failure.pk}/change/")
    for words in (explain("not_found").title, explain("not_found").what_to_do, "Gone."):
        assertContains(page, words)
    assertContains(page, f'href="{TRACKS}{failure.track_id}/change/"')
    assertContains(page, f'href="{page_of(job)}"')
    assertNotContains(page, "/history/")


def test_whoever_may_not_edit_a_track_reads_in_words_what_is_kept_by_hand(viewer_client, make_track):
    track = make_track(0, name="Song", edited_fields=["name"])

    page = viewer_client.get(f"{TRACKS}{track.pk}/change/")
    assertContains(page, "<strong>Name</strong>: Song")
    assertNotContains(page, "[&#x27;name&#x27;]")
    assertNotContains(page, "Edited fields")


def test_a_task_that_nobody_touched_has_no_history_and_says_so(staff_client, job):
    page = staff_client.get(f"/admin/catalog/metadatafetchtask/{job.pk}/history/")

    assertContains(page, "Nobody has changed this by hand yet.")


def test_users_and_groups_are_people_on_their_pages_as_in_the_side_bar(admin_client):
    for address in ("/admin/auth/user/", "/admin/auth/group/"):
        page = admin_client.get(address)
        assertNotContains(page, "Authentication and Authorization")
        assertContains(page, "People")


@pytest.mark.parametrize(
    ("model", "title"),
    [("track", "Tracks"), ("metadatafetchtask", "Fetch tasks"), ("fetchfailure", "Fetch failures")],
)
def test_a_window_with_a_list_is_named_by_what_it_lists(staff_client, model, title):
    page = staff_client.get(f"/admin/catalog/{model}/").content.decode()

    assert page.split("<title>")[1].split("</title>")[0].strip() == f"{title} | Liner Notes"


def test_a_filtered_list_of_tracks_says_in_words_what_it_shows(staff_client, make_track):
    make_track(0, name="Song", metadata_error="not_found")

    page = staff_client.get(TRACKS, {"freshness": "failing"})
    assertContains(page, "<strong>Tracks whose last fetch failed.</strong>")
    assertNotContains(staff_client.get(TRACKS), "Show all tracks")


def test_the_filter_of_tasks_by_time_says_that_it_is_about_when(staff_client, job):
    assertContains(staff_client.get("/admin/catalog/metadatafetchtask/"), "By when it was asked for")


def test_housekeeping_is_called_the_same_on_the_dashboard_and_on_the_schedule(staff_client):
    for address in ("/admin/", "/admin/catalog/refreshpolicy/"):
        assertContains(staff_client.get(address), "Housekeeping")
    assertNotContains(staff_client.get("/admin/"), "Sweep")
