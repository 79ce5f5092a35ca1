"""Deleting tracks: the page that asks holds the selection once, and exactly that is deleted."""

from datetime import date

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains

from catalog.admin.keys import TooManyKeys, as_ranges, keys_in
from catalog.models import FetchFailure, Track, TrackAudience
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.browser_forms import values_in
from catalog.tests.conftest import SONGS

LIST = "/admin/catalog/track/"


def add_many(count: int) -> list[int]:
    """Add tracks of which no two have neighbouring keys, the worst that a page can be asked to hold."""
    first = Track.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    Track.objects.bulk_create(
        Track(pk=first + 1 + 2 * number, uuid=SONGS.song_uuid(number), name=f"Song {number}")
        for number in range(count)
    )
    return list(Track.objects.order_by("pk").values_list("pk", flat=True))


def ask(client: Client, keys: list[int], *, query: str = "", **values: str):
    form = {"action": "delete_selected", "select_across": "0", "_selected_action": keys}
    return client.post(LIST + query, form | values)


def confirm(client: Client, page, *, query: str = ""):
    """Send back what the page holds, as its button does."""
    text = page.content.decode()
    form = values_in(text.replace('<form method="post" class="ln-stack">', '<form id="ours">'), "ours")
    return client.post(LIST + query, form, follow=True)


@pytest.mark.django_db
@pytest.mark.parametrize("count", [3, 1_000, 10_000])
def test_ticked_tracks_are_deleted_after_one_small_page(staff_client, staff, count):
    keys = add_many(count + 1)
    page = ask(staff_client, keys[:count])

    assertContains(page, f"Delete {count:,} tracks?")
    assertContains(page, 'name="_selected_action"', count=1)
    assert len(page.content) < 40_000 + 8 * count
    assert Track.objects.count() == count + 1

    assertContains(confirm(staff_client, page), f"Deleted {count:,} tracks.")
    assert list(Track.objects.values_list("pk", flat=True)) == keys[count:]
    entries = LogEntry.objects.filter(action_flag=DELETION, user=staff)
    assert entries.count() == count
    entry = entries.get(object_id=str(keys[0]))
    assert (entry.object_repr, entry.change_message) == ("Song 0", f"UUID {SONGS.song_uuid(0)}")


@pytest.mark.django_db
def test_a_whole_list_is_deleted_as_it_was_when_the_page_asked(staff_client, make_track):
    tracks = [make_track(number, label="Northern") for number in range(60)]
    other = make_track(100, label="Southern")
    page = ask(staff_client, [tracks[0].pk], query="?label=North", select_across="1")
    added = make_track(101, label="Northern, too")

    assertContains(page, "Delete 60 tracks?")
    assertContains(confirm(staff_client, page, query="?label=North"), "Deleted 60 tracks.")
    assert list(Track.objects.order_by("pk")) == [other, added]


@pytest.mark.django_db
def test_more_than_a_selection_holds_is_refused(staff_client, monkeypatch):
    monkeypatch.setattr("catalog.admin.track_deletion.LARGEST_SELECTION", 10)
    add_many(11)

    page = ask(staff_client, [1], select_across="1")

    assert page.status_code == 302
    assertContains(staff_client.get(LIST), "You can delete at most 10 tracks at once")
    assert Track.objects.count() == 11


@pytest.mark.django_db
def test_the_page_names_some_and_counts_what_goes_with_them(
    staff_client, make_track, make_failed_job, broker
):
    tracks = [make_track(number, name=f"Song {number}") for number in range(25)]
    add_audience(tracks[0], days_from(date(2026, 1, 1), [1, 2, 3]))
    make_failed_job(tracks[0])

    page = ask(staff_client, [track.pk for track in tracks])

    assertContains(page, "<bdi>Song 9</bdi>")
    assertContains(page, "and 15 more")
    assertContains(page, "<strong>1</strong> audience series")
    confirm(staff_client, page)
    assert (Track.objects.count(), TrackAudience.objects.count()) == (0, 0)
    assert FetchFailure.objects.get().track is None


@pytest.mark.django_db
def test_what_somebody_else_has_deleted_meanwhile_is_neither_counted_nor_logged(staff_client):
    keys = add_many(5)
    page = ask(staff_client, keys)
    Track.objects.filter(pk__in=keys[:2]).delete()

    assertContains(confirm(staff_client, page), "Deleted 3 tracks.")
    assert LogEntry.objects.count() == 3


@pytest.mark.django_db
def test_whoever_may_not_delete_is_refused(viewer_client):
    keys = add_many(2)

    assert ask(viewer_client, keys, post="yes").status_code == 403
    assert Track.objects.count() == 2


@pytest.mark.django_db
def test_the_deletion_of_one_track_is_logged_with_its_uuid_too(staff_client, make_track):
    track = make_track(name="Blue")

    page = staff_client.get(reverse("admin:catalog_track_delete", args=(track.pk,)))
    assertContains(page, "Blue")
    staff_client.post(reverse("admin:catalog_track_delete", args=(track.pk,)), {"post": "yes"})

    assert LogEntry.objects.get().change_message == f"UUID {track.uuid}"


# --- other actions on as many


@pytest.mark.django_db
@pytest.mark.parametrize(
    "action", ["fetch_in_background", "create_bulk_task", "fetch_audience_of_chosen", "export_audience"]
)
def test_every_action_takes_more_than_a_thousand_ticks_and_asks_on_a_small_page(staff_client, broker, action):
    keys = add_many(1_200)

    page = staff_client.post(LIST, {"action": action, "select_across": "0", "_selected_action": keys})

    assert page.status_code == 200
    if action != "export_audience":
        assertContains(page, 'name="_selected_action"', count=1)
        assertContains(page, "1,200 tracks selected")
        assert len(page.content) < 50_000


@pytest.mark.django_db
@pytest.mark.parametrize("ticks", [["1-99999999"], ["1-10000", "20000"]])
def test_more_ticks_than_a_selection_holds_are_refused_in_words(staff_client, broker, ticks):
    add_many(1)

    page = staff_client.post(LIST, {"action": "fetch_in_background", "_selected_action": ticks}, follow=True)

    assertContains(page, "You can tick at most 10,000 tracks")


@pytest.mark.parametrize(
    ("keys", "text"), [([], ""), ([5], "5"), ([3, 1, 2, 7, 9, 8], "1-3,7-9"), ([1, 3, 5], "1,3,5")]
)
def test_keys_are_written_as_ranges_and_read_again(keys, text):
    assert as_ranges(keys) == text
    assert keys_in([text], most=10) == sorted(keys)


@pytest.mark.parametrize("text", ["-", "-1", "1-", "a-b", "5-x", "²", "9" * 30, "7-3", ""])
def test_what_is_no_range_is_no_key(text):
    assert keys_in([text], most=10) == ([1] if text == "1-" else [])


def test_a_range_beyond_the_limit_is_never_built():
    with pytest.raises(TooManyKeys):
        keys_in([f"1-{10**18 - 1}"], most=10)
