"""Selecting all pages of the list: the filter becomes the job, whatever the number of tracks."""

import re
from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog.fetching import work_on_job
from catalog.models import ApiAccount, MetadataFetchTask, Track
from catalog.tests.conftest import SONGS
from soundcharts.service import get_service

LIST = "/admin/catalog/track/"
IN_BACKGROUND, BULK_TASK = "fetch_in_background", "create_bulk_task"


def select_all(
    client: Client, *, query: str = "", action: str = BULK_TASK, follow: bool = False, **values: str
):
    """Send the list's form with all pages selected; with `fetch`, the confirmation page's."""
    form = {"action": action, "select_across": "1", "_selected_action": [Track.objects.latest("pk").pk]}
    return client.post(LIST + query, form | values, follow=follow)


@pytest.fixture
def tracks(make_track) -> list[Track]:
    """Eleven never fetched, one fetched long ago, three fresh."""
    now = timezone.now()
    fetched_at = [None] * 11 + [now - timedelta(days=31)] + [now - timedelta(hours=1)] * 3
    return [make_track(number, metadata_fetched_at=moment) for number, moment in enumerate(fetched_at)]


@pytest.mark.django_db
def test_the_whole_list_is_confirmed_with_tracks_calls_quota_and_time(
    staff_client, tracks, broker, simulator, settings
):
    settings.SOUNDCHARTS_CALLS_PER_MINUTE = 2
    settings.SOUNDCHARTS_BATCH_SIZE = 3
    ApiAccount.objects.create(fingerprint=get_service().account, quota_remaining=100)

    page = select_all(staff_client, follow=True)

    assertContains(page, "15 tracks selected: 12 stale, 3 fresh.")
    assertContains(page, "This is the whole list: <strong>All tracks</strong>.")
    assertContains(page, "The 12 stale: about 4 API calls, 96 left after; this takes about 2 minutes")
    assertContains(page, "All 15: about 5 API calls, 95 left after; this takes about 3 minutes")
    assertContains(page, 'name="_selected_action"', count=1)
    assert MetadataFetchTask.objects.count() == 0
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_the_confirmation_says_what_the_list_is_filtered_by(staff_client, tracks, broker):
    page = select_all(staff_client, query="?freshness=never&o=-1&p=1", follow=True)

    assertContains(page, "This is the whole list: <strong>Tracks never fetched</strong>.")
    assertContains(page, "11 tracks selected: 11 stale, 0 fresh.")


@pytest.mark.django_db
def test_the_confirmation_says_what_is_left_out_unless_all_are_fetched(staff_client, tracks, broker):
    Track.objects.filter(pk=tracks[0].pk).update(metadata_retry_at=timezone.now() + timedelta(days=1))

    page = select_all(staff_client, query="?freshness=never", follow=True)

    assertContains(
        page, "Of the stale, 1 track that Soundcharts did not know last time is asked for again later"
    )
    assertContains(page, "Fetch the 10 stale (about 1 API call)")
    assertContains(page, "Fetch all 11 (about 2 API calls)")


@pytest.mark.django_db
def test_what_the_confirmation_page_sends_back_makes_the_job(staff_client, tracks, broker):
    page = select_all(staff_client, query="?freshness=never", follow=True).content.decode()
    hidden = dict(
        re.findall(
            r'<input type="hidden" name="(action|select_across|_selected_action)" value="(.*?)">', page
        )
    )

    staff_client.post(f"{LIST}?freshness=never", hidden | {"fetch": "stale"})

    assert MetadataFetchTask.objects.get().request == {
        "what": "filtered",
        "filter": {"freshness": "never"},
        "only_stale": True,
        "last_id": tracks[-1].pk,
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("query", "choice", "fetched"),
    [
        ("", "all", [1] * 15),
        ("", "stale", [1] * 12 + [0] * 3),
        ("?freshness=fresh", "all", [0] * 12 + [1] * 3),
        ("?freshness=never&q=&label=", "all", [1] * 11 + [0] * 4),
    ],
)
def test_exactly_the_tracks_of_the_list_are_fetched(
    staff_client, tracks, broker, simulator, query, choice, fetched
):
    select_all(staff_client, query=query, fetch=choice)

    work_on_job(MetadataFetchTask.objects.get().pk)

    assert [simulator.state.asked(track.uuid) for track in tracks] == fetched


@pytest.mark.django_db(transaction=True)
def test_a_search_is_part_of_what_is_selected(staff_client, tracks, broker, simulator):
    Track.objects.filter(pk__in=[tracks[2].pk, tracks[14].pk]).update(name="Harbour Écho")

    select_all(staff_client, query="?q=echo", fetch="all")
    work_on_job(MetadataFetchTask.objects.get().pk)

    assert [n for n, track in enumerate(tracks) if simulator.state.asked(track.uuid)] == [2, 14]


@pytest.mark.django_db
def test_creating_a_bulk_task_leads_to_its_page_and_fetching_in_the_background_stays(
    staff_client, tracks, broker
):
    followed = select_all(staff_client, query="?freshness=never", fetch="all")
    job = MetadataFetchTask.objects.get()
    stayed = select_all(
        staff_client, action=IN_BACKGROUND, query="?freshness=stale", fetch="all", follow=True
    )

    assertRedirects(followed, reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,)))
    assertRedirects(stayed, f"{LIST}?freshness=stale")
    assertContains(stayed, "is queued.")


@pytest.mark.django_db
@pytest.mark.parametrize("word", ["1", "on", "True"])
def test_all_pages_are_the_filter_however_a_browser_says_it(staff_client, tracks, broker, word):
    select_all(staff_client, select_across=word, fetch="all")

    assert MetadataFetchTask.objects.get().request["what"] == "filtered"


@pytest.mark.django_db
def test_a_second_click_joins_the_active_job_and_says_so(staff_client, tracks, broker):
    select_all(staff_client, query="?freshness=never&label=", fetch="all")

    page = select_all(staff_client, query="?o=2&freshness=never", fetch="all", follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Already running as task #{job.pk}.")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query", ["?freshness=nonsense", "?name__icontains=a", "?year_from=abc", "?pk__in=1"]
)
def test_a_filter_that_makes_no_sense_selects_nothing_and_says_why(staff_client, tracks, broker, query):
    page = select_all(staff_client, query=query, fetch="all", follow=True)

    assertRedirects(page, LIST)
    assertContains(page, "The list is shown without filter; nothing else was done.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("choice", ["", "all", "stale"])
def test_a_list_that_has_become_empty_makes_no_job(staff_client, tracks, broker, choice):
    Track.objects.update(metadata_fetched_at=timezone.now())

    page = select_all(staff_client, query="?freshness=never", fetch=choice, follow=True)

    assertContains(page, "None of the selected tracks is in this list any more. Nothing was queued.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_a_viewer_cannot_select_anything_for_fetching(viewer_client, tracks, broker):
    select_all(viewer_client, fetch="all")

    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_the_click_takes_as_many_queries_for_many_tracks_as_for_few(staff_client, make_track, broker):
    counts = set()
    for first, last in ((0, 60), (60, 200)):
        Track.objects.bulk_create(Track(uuid=SONGS.song_uuid(n), genre="rock") for n in range(first, last))
        with CaptureQueriesContext(connection) as confirmation:
            assertContains(select_all(staff_client, query="?genre=rock"), f"{last} tracks selected")
        ContentType.objects.clear_cache()
        with CaptureQueriesContext(connection) as click:
            select_all(staff_client, query="?genre=rock", fetch="all")
        counts.add((len(confirmation), len(click)))
        MetadataFetchTask.objects.all().delete()

    assert len(counts) == 1


@pytest.mark.django_db
def test_staff_are_offered_all_pages_where_there_are_several(staff_client, make_track):
    Track.objects.bulk_create(Track(uuid=SONGS.song_uuid(n)) for n in range(51))
    assertContains(staff_client.get(LIST), "Select all 51 tracks")

    Track.objects.latest("pk").delete()
    assertNotContains(staff_client.get(LIST), "Select all 50 tracks")


@pytest.mark.django_db
def test_of_a_list_too_long_to_count_all_can_be_selected_too(staff_client, monkeypatch):
    monkeypatch.setattr("catalog.admin.track_list.MOST_LISTED", 60)
    Track.objects.bulk_create(Track(uuid=SONGS.song_uuid(n), genre="rock") for n in range(200))

    assertContains(staff_client.get(f"{LIST}?genre=rock"), "Select all of this list (more than 60 tracks)")
    assertContains(select_all(staff_client, query="?genre=rock"), "200 tracks selected")
