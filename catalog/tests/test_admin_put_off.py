"""Tracks that Soundcharts did not know lately: left out of what is due, ticked one by one or all at once."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.models import MetadataFetchTask, Track, TrackAudience
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.outcomes import keys_of, run
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/catalog/track/"
TODAY = datetime.now(UTC).date()


@pytest.fixture
def tracks(simulator, broker) -> list[Track]:
    """Twelve tracks: two that are put off, one of which was never fetched, and three that are fresh."""
    tracks = add_tracks(simulator, 12)
    now = timezone.now()
    Track.objects.filter(pk__in=keys_of(tracks[:3])).update(metadata_fetched_at=now)
    Track.objects.filter(pk__in=keys_of(tracks[3:4])).update(metadata_fetched_at=now - timedelta(days=90))
    Track.objects.filter(pk__in=keys_of(tracks[3:5])).update(
        metadata_error="not_found", metadata_absences=2, metadata_retry_at=now + timedelta(days=2)
    )
    return tracks


def act(client: Client, name: str, tracks: list[Track], *, is_whole_list: bool, **values: str):
    form = {"action": name, "_selected_action": keys_of(tracks), "select_across": str(int(is_whole_list))}
    return client.post(LIST, form | values, follow=True)


WHOLE_LIST = pytest.mark.parametrize("is_whole_list", [False, True])


@WHOLE_LIST
@pytest.mark.parametrize("name", ["fetch_in_background", "create_bulk_task"])
def test_what_is_put_off_is_left_out_of_the_stale_and_the_price_matches(
    staff_client, tracks, simulator, settings, is_whole_list, name
):
    settings.SOUNDCHARTS_BATCH_SIZE = 1
    page = act(staff_client, name, tracks, is_whole_list=is_whole_list)
    assertContains(page, "12 tracks selected: 9 stale, 3 fresh.")
    assertContains(page, "Of the stale, 2 tracks that Soundcharts did not know last time are asked for again")
    assertContains(page, "Fetch the 7 stale (about 7 API calls)")
    assertContains(page, "Fetch all 12 (about 12 API calls)")
    act(staff_client, name, tracks, is_whole_list=is_whole_list, fetch="stale")
    job = run(MetadataFetchTask.objects.get())
    assert (job.status, job.updated_tracks, job.failed_tracks, job.api_calls) == ("completed", 7, 0, 7)
    assert [simulator.state.asked(track.uuid) for track in tracks] == [0] * 5 + [1] * 7


@WHOLE_LIST
def test_all_of_them_are_fetched_where_all_was_chosen(staff_client, tracks, settings, is_whole_list):
    settings.SOUNDCHARTS_BATCH_SIZE = 1
    act(staff_client, "fetch_in_background", tracks, is_whole_list=is_whole_list, fetch="all")
    job = run(MetadataFetchTask.objects.get())
    assert (job.processed_tracks, job.api_calls) == (12, 12)


@WHOLE_LIST
def test_audience_leaves_them_out_of_the_stale_too_and_the_price_matches(
    staff_client, tracks, simulator, is_whole_list
):
    add_audience(tracks[0], days_from(TODAY - timedelta(days=9), list(range(10))), fetched_at=timezone.now())
    TrackAudience.objects.create(
        track=tracks[1], platform="spotify", error="not_found", retry_at=timezone.now() + timedelta(days=1)
    )
    page = act(staff_client, "fetch_audience_of_chosen", tracks, is_whole_list=is_whole_list)
    assertContains(page, "12 tracks selected, on Spotify.")
    assertContains(
        page, "Not included in stale: 2 tracks, not found last time. Liner Notes fetches them again later."
    )
    assertContains(page, "Fetch stale audience (about 8 API calls)")
    assertContains(page, "Fetch all (about 12 API calls)")
    act(staff_client, "fetch_audience_of_chosen", tracks, is_whole_list=is_whole_list, fetch="stale")
    job = run(MetadataFetchTask.objects.get())
    assert (job.status, job.updated_tracks, job.failed_tracks, job.api_calls) == ("completed", 8, 0, 8)


@WHOLE_LIST
def test_the_stale_are_not_offered_where_all_of_them_are_put_off(staff_client, tracks, is_whole_list):
    put_off = tracks[3:5]
    Track.objects.exclude(pk__in=keys_of(put_off)).delete()
    page = act(staff_client, "fetch_in_background", put_off, is_whole_list=is_whole_list)
    assertNotContains(page, 'value="stale"')
    page = act(staff_client, "fetch_audience_of_chosen", put_off, is_whole_list=is_whole_list)
    assertNotContains(page, 'value="stale"')


def test_a_track_that_is_put_off_after_it_was_asked_for_is_not_asked(tracks, simulator):
    job = jobs.request_metadata(keys_of(tracks[5:]), only_stale=True).job
    audience = jobs.request_audience(keys_of(tracks[5:]), only_stale=True).job
    Track.objects.filter(pk=tracks[5].pk).update(metadata_retry_at=timezone.now() + timedelta(days=1))
    run(job)
    assert (job.skipped_tracks, job.updated_tracks, simulator.state.asked(tracks[5].uuid)) == (1, 6, 0)
    run(audience)
    assert (audience.skipped_tracks, audience.updated_tracks) == (1, 6)
