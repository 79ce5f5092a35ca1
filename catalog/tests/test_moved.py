"""Songs that Soundcharts has merged: it answers with another uuid, which the track keeps and offers."""

import threading

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.fetching import fetch_track_now
from catalog.models import METADATA_FIELDS, ImportRow, Track, TrackAlias
from catalog.moves import adopt
from catalog.song_lists import read_list
from catalog.tests.addresses import page_of
from catalog.tests.outcomes import run
from catalog.tests.tracks import add_tracks
from soundcharts.simulator import Simulator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("account_of_its_own")]

OTHER = 250


def merge(simulator: Simulator, track: Track, *, number: int = OTHER) -> str:
    """Let Soundcharts answer for a track with another of its songs; return that one's uuid."""
    uuid = str(simulator.song_uuid(number))
    simulator.faults.set("payloads", songs={str(track.uuid): {"uuid": uuid, "name": "The merged song"}})
    return uuid


@pytest.mark.parametrize("batch_size", [1, 10])
def test_a_merged_song_is_an_outcome_of_its_own(simulator, broker, settings, batch_size):
    settings.SOUNDCHARTS_BATCH_SIZE = batch_size
    tracks = add_tracks(simulator, 20)
    uuid = merge(simulator, tracks[3])
    job = run(jobs.request_metadata([track.pk for track in tracks]).job)
    assert (job.status, job.updated_tracks, job.moved_tracks, job.failed_tracks) == ("completed", 19, 1, 0)
    assert job.outcome_sentence == "19 updated, 1 moved"
    track = Track.objects.get(pk=tracks[3].pk)
    assert (track.uuid, str(track.moved_to)) == (tracks[3].uuid, uuid)
    assert not track.is_stale
    assert {getattr(track, name) for name in METADATA_FIELDS} <= {"", None}


def test_a_merged_song_by_hand_names_the_new_uuid_and_is_not_a_failure(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    uuid = merge(simulator, track)
    job, report = fetch_track_now(track)
    assert (job.status, report.outcome, job.failed_tracks) == ("completed", "moved", 0)
    assert uuid in report.message


def test_a_merged_song_keeps_the_data_of_its_track(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    fetch_track_now(track)
    before = Track.objects.values(*METADATA_FIELDS).get(pk=track.pk)
    merge(simulator, track)
    fetch_track_now(track)
    assert Track.objects.values(*METADATA_FIELDS).get(pk=track.pk) == before


def test_once_the_old_uuid_answers_again_nothing_is_moved(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    merge(simulator, track)
    fetch_track_now(track)
    simulator.faults.clear()
    fetch_track_now(track)
    track.refresh_from_db()
    assert (track.moved_to, track.moved_song) == (None, None)
    assert track.name


def test_a_moved_track_is_not_asked_for_again_before_it_is_stale(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    merge(simulator, track)
    fetch_track_now(track)
    job = run(jobs.request_stale_metadata().job)
    assert (job.total_tracks, job.api_calls) == (0, 0)


# --- Adopt


@pytest.fixture
def moved(simulator, broker) -> Track:
    """A fetched track with a name by hand, which Soundcharts has merged into another song."""
    (track,) = add_tracks(simulator, 1)
    fetch_track_now(track)
    Track.objects.filter(pk=track.pk).update(label="Our label", edited_fields=["label"])
    merge(simulator, track)
    fetch_track_now(track)
    track.refresh_from_db()
    return track


def press_adopt(client, track: Track):
    return client.post(reverse("admin:catalog_track_adopt", args=[track.pk]), follow=True)


def test_adopt_takes_the_new_uuid_and_its_data_without_a_call(moved, simulator, staff_client):
    old_uuid, calls = moved.uuid, simulator.state.quota_used
    assertContains(staff_client.get(page_of(moved)), "Merged at Soundcharts")
    page = press_adopt(staff_client, moved)
    assertContains(page, "adopted. No API call was used.")
    assertNotContains(page, "Merged at Soundcharts")
    track = Track.objects.get(pk=moved.pk)
    assert (track.uuid, track.name) == (moved.moved_to, "The merged song")
    assert (track.label, track.edited_fields) == ("Our label", ["label"])
    assert (track.moved_to, track.moved_song) == (None, None)
    assert simulator.state.quota_used == calls
    assert TrackAlias.objects.get(track=track).identifier == str(old_uuid)


def test_adopt_stands_in_the_history_with_both_uuids_and_values(moved, staff_client):
    press_adopt(staff_client, moved)
    words = " ".join(entry.get_change_message() for entry in LogEntry.objects.all())
    assert str(moved.uuid) in words
    assert str(moved.moved_to) in words
    assertContains(staff_client.get(page_of(moved)), "The merged song")


def test_a_second_click_on_adopt_changes_nothing(moved, staff_client):
    press_adopt(staff_client, moved)
    assertContains(press_adopt(staff_client, moved), "Nothing to adopt")
    assert Track.objects.get(pk=moved.pk).uuid == moved.moved_to


def test_a_song_that_is_here_already_is_linked_instead(moved, simulator, staff_client):
    other = Track.objects.create(uuid=moved.moved_to, name="The other one")
    page = staff_client.get(page_of(moved))
    assertContains(page, page_of(other))
    assertNotContains(page, reverse("admin:catalog_track_adopt", args=[moved.pk]))
    assertContains(press_adopt(staff_client, moved), "has that UUID already")
    assert Track.objects.get(pk=moved.pk).uuid == moved.uuid


def test_two_tracks_that_moved_to_the_same_song_become_one_adoption(moved, simulator):
    (second,) = add_tracks(simulator, 1, first=1)
    Track.objects.filter(pk=second.pk).update(moved_to=moved.moved_to)
    barrier, adoptions = threading.Barrier(2), []

    def press(pk: int) -> None:
        barrier.wait()
        adoptions.append(adopt(pk).is_adopted)
        connection.close()

    threads = [threading.Thread(target=press, args=(track.pk,)) for track in (moved, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(adoptions) == [False, True]


def test_whoever_may_only_look_cannot_adopt(moved, viewer_client):
    assertNotContains(viewer_client.get(page_of(moved)), ">Adopt<")
    assert viewer_client.post(reverse("admin:catalog_track_adopt", args=[moved.pk])).status_code == 403
    assert Track.objects.get(pk=moved.pk).uuid == moved.uuid


def test_adopt_is_a_post(moved, staff_client):
    assert staff_client.get(reverse("admin:catalog_track_adopt", args=[moved.pk])).status_code == 405


def test_the_list_can_be_filtered_by_what_moved(moved, simulator, staff_client):
    add_tracks(simulator, 3, first=10)
    page = staff_client.get(reverse("admin:catalog_track_changelist"), {"freshness": "moved"})
    assert [track.pk for track in page.context["cl"].result_list] == [moved.pk]


def test_an_adopted_track_is_fetched_by_its_new_uuid(moved, simulator):
    adopt(moved.pk)
    simulator.faults.clear()
    _, report = fetch_track_now(Track.objects.get(pk=moved.pk))
    assert report.outcome == "updated"


# --- Imports


def import_uuid(uuid: object) -> ImportRow:
    run(jobs.request_list_import(read_list(str(uuid)).entries).job)
    return ImportRow.objects.latest("pk")


def test_a_merged_song_of_a_list_comes_in_under_its_new_uuid(simulator, broker):
    old = simulator.song_uuid(0)
    (track,) = [Track(uuid=old)]
    new = merge(simulator, track)
    row = import_uuid(old)
    assert (row.outcome, str(row.track.uuid)) == ("added", new)
    assert new in row.message
    used = simulator.state.quota_used
    # The old uuid leads to the track now.
    assert (import_uuid(old).outcome, simulator.state.quota_used) == ("here", used)


def test_after_adoption_an_import_of_the_old_uuid_finds_the_track(moved, simulator):
    adopt(moved.pk)
    used = simulator.state.quota_used
    row = import_uuid(moved.uuid)
    assert (row.outcome, row.track_id, simulator.state.quota_used) == ("here", moved.pk, used)
