"""The button "Fetch All Metadata": for ticked tracks; else all that the filter matches; else all stale."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog.fetching import work_on_job
from catalog.models import MetadataFetchTask, Track
from catalog.tests.addresses import page_of

pytestmark = pytest.mark.on_sqlite_alone

LIST = "/admin/catalog/track/"


def address(*ticked: object, select_across: str = "0", **filters: str) -> str:
    """Return where the button leads while these rows are ticked, in a list with these filters."""
    query = urlencode({"_selected_action": ticked, "select_across": select_across} | filters, doseq=True)
    return f"{reverse('admin:catalog_track_fetch_all_metadata')}?{query}"


def click(client: Client, *ticked: object, follow: bool = False, **values: str):
    return client.post(address(*ticked, **values), {"_form_submitted": "on"}, follow=follow)


@pytest.fixture
def tracks(make_track) -> list[Track]:
    """Ten never fetched, two fetched long ago, three fresh."""
    now = timezone.now()
    fetched_at = [None] * 10 + [now - timedelta(days=31)] * 2 + [now] * 3
    return [make_track(number, metadata_fetched_at=moment) for number, moment in enumerate(fetched_at)]


@pytest.mark.django_db
def test_staff_see_the_button_and_it_takes_the_ticked_rows_along(staff_client):
    page = staff_client.get(LIST)

    assertContains(page, reverse("admin:catalog_track_fetch_all_metadata"))
    assertContains(page, "#changelist-form [name=_selected_action]:checked")


@pytest.mark.django_db
def test_viewers_do_not_see_the_button(viewer_client):
    assertNotContains(viewer_client.get(LIST), reverse("admin:catalog_track_fetch_all_metadata"))


@pytest.mark.django_db
def test_without_ticks_the_dialog_states_the_price_of_everything_stale(
    staff_client, tracks, broker, simulator
):
    dialog = staff_client.get(address())

    assertContains(dialog, "<strong>12 tracks</strong>")
    assertContains(dialog, "<strong>about 2 API calls")
    assertNotContains(dialog, "data-nothing")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_with_ticks_the_dialog_states_the_price_of_those(staff_client, tracks, broker, simulator):
    dialog = staff_client.get(address(tracks[0].pk, tracks[-1].pk))

    assertContains(dialog, "Fetches the <strong>2 tracks</strong> you ticked.")
    assertContains(dialog, "<strong>about 1 API call")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_the_dialog_says_how_many_unknown_tracks_wait_for_their_next_turn(
    staff_client, tracks, make_track, broker
):
    make_track(50, metadata_retry_at=timezone.now() + timedelta(days=1))

    dialog = staff_client.get(address())

    assertContains(dialog, "<strong>12 tracks</strong>")
    assertContains(dialog, "Left out: 1 track that Soundcharts did not know last time")


@pytest.mark.django_db
def test_the_price_rises_once_the_account_is_known_to_have_no_batch_calls(
    staff_client, tracks, broker, simulator
):
    simulator.faults.set("batch_refused")
    click(staff_client, tracks[0].pk, tracks[1].pk)
    work_on_job(MetadataFetchTask.objects.get().pk)

    dialog = staff_client.get(address())

    assertContains(dialog, "<strong>about 10 API calls")


@pytest.mark.django_db(transaction=True)
def test_without_ticks_exactly_what_is_stale_is_fetched_for_the_price_stated(
    staff_client, tracks, broker, simulator
):
    click(staff_client)

    work_on_job(MetadataFetchTask.objects.get().pk)

    assert [simulator.state.asked(track.uuid) for track in tracks] == [1] * 12 + [0] * 3
    assert simulator.state.calls.total() == 2


@pytest.mark.django_db(transaction=True)
def test_with_ticks_exactly_those_are_fetched_the_fresh_ones_too(staff_client, tracks, broker, simulator):
    click(staff_client, tracks[0].pk, tracks[-1].pk)

    work_on_job(MetadataFetchTask.objects.get().pk)

    assert [simulator.state.asked(track.uuid) for track in tracks] == [1] + [0] * 13 + [1]
    assert MetadataFetchTask.objects.get().outcome_sentence == "2 updated"


@pytest.mark.django_db
def test_a_click_spends_nothing_and_leads_to_the_jobs_page(staff_client, tracks, broker, simulator):
    page = click(staff_client, follow=True)

    job = MetadataFetchTask.objects.get()
    assertRedirects(page, page_of(job))
    assertContains(page, f"Task #{job.pk} is queued.")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_the_dialog_of_the_page_is_sent_to_the_jobs_page(staff_client, tracks, broker):
    answer = staff_client.post(address(), {"_form_submitted": "on"}, headers={"HX-Request": "true"})

    assert answer.headers["HX-Redirect"] == page_of(MetadataFetchTask.objects.get())


both_buttons = pytest.mark.parametrize("button", ["fetch_all_metadata", "fetch_all_audience"])


@pytest.mark.django_db
@both_buttons
@pytest.mark.parametrize(
    ("query", "count", "words"),
    [
        ({"q": "blue"}, 2, "Tracks with “blue”"),
        ({"freshness": "fresh", "o": "1", "p": "2"}, 3, "Tracks that are fresh"),
        ({"label": "North", "q": "blue"}, 1, "Tracks with “blue”, of label North…"),
        ({"genre": "none has it"}, 0, "Tracks of genre none has it"),
    ],
)
def test_without_ticks_the_dialog_is_about_all_that_the_filter_matches(
    staff_client, tracks, broker, button, query, count, words
):
    for track, values in ((tracks[0], {"label": "Northern"}), (tracks[-1], {"label": "Southern"})):
        Track.objects.filter(pk=track.pk).update(name="Blue", **values)

    dialog = staff_client.get(reverse(f"admin:catalog_track_{button}"), query)

    assertContains(dialog, f"No track is ticked, so this covers the whole filtered list: <strong>{words}")
    words = f"<strong>{count} track{'' if count == 1 else 's'}</strong>"
    assertContains(dialog, words if count else "No tracks match.")
    assert ("data-nothing" in dialog.content.decode()) is (count == 0)


@pytest.mark.django_db(transaction=True)
def test_without_ticks_a_click_fetches_what_the_filter_matches(staff_client, tracks, broker, simulator):
    Track.objects.filter(pk__in=[tracks[0].pk, tracks[-1].pk]).update(name="Blue")

    click(staff_client, q="blue")
    work_on_job(MetadataFetchTask.objects.get().pk)

    assert [simulator.state.asked(track.uuid) for track in tracks] == [1] + [0] * 13 + [1]


@pytest.mark.django_db
@both_buttons
def test_a_click_on_a_list_without_a_match_makes_no_job(staff_client, tracks, broker, button):
    address = f"{reverse(f'admin:catalog_track_{button}')}?q=nothing"

    page = staff_client.post(address, {"_form_submitted": "on", "platforms": ["spotify"]}, follow=True)

    assertContains(page, "No tracks match the list&#x27;s filter. Nothing was queued.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@both_buttons
@pytest.mark.parametrize("query", [{"nonsense": "1"}, {"freshness": "nonsense"}, {"uuid__in": "1"}])
@pytest.mark.parametrize("is_ticked", [False, True])
def test_a_forged_filter_is_refused_ticked_or_not(staff_client, tracks, broker, button, query, is_ticked):
    ticks = {"_selected_action": tracks[0].pk} if is_ticked else {}
    address = f"{reverse(f'admin:catalog_track_{button}')}?{urlencode(query | ticks)}"

    assertContains(staff_client.get(address), "Close this and correct the list's filter")
    staff_client.post(address, {"_form_submitted": "on", "platforms": ["spotify"]})

    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@both_buttons
def test_more_ticks_than_a_selection_holds_are_refused(staff_client, tracks, broker, button):
    address = f"{reverse(f'admin:catalog_track_{button}')}?_selected_action=1-99999999"

    assertContains(staff_client.get(address), "You can tick at most 10,000 tracks")
    staff_client.post(address, {"_form_submitted": "on", "platforms": ["spotify"]})

    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_with_nothing_stale_the_dialog_says_that_no_call_would_be_spent(staff_client, make_track, broker):
    make_track(metadata_fetched_at=timezone.now())

    dialog = staff_client.get(address())
    assertContains(dialog, "Nothing to fetch, and no call to spend.")
    # What the script takes the button's word from.
    assertContains(dialog, "data-nothing")


@pytest.mark.django_db
def test_with_nothing_stale_a_click_makes_no_job_and_says_why(staff_client, make_track, broker):
    make_track(metadata_fetched_at=timezone.now())

    page = click(staff_client, follow=True)

    assertContains(page, "Every track is fresh. Nothing was queued and no call will be spent.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_with_all_pages_ticked_the_dialog_states_the_price_of_the_filtered_list(
    staff_client, tracks, broker, simulator, settings
):
    settings.SOUNDCHARTS_CALLS_PER_MINUTE = 5000
    dialog = staff_client.get(address(tracks[0].pk, select_across="1", freshness="stale", o="1", q=""))

    assertContains(dialog, "<strong>Tracks that are stale (never fetched or aged)</strong>")
    assertContains(dialog, "<strong>12 tracks</strong>")
    assertContains(
        dialog, "<strong>about 2 API calls</strong>; it takes less than a minute at 5,000 calls a minute."
    )
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_with_all_pages_ticked_a_click_fetches_what_the_list_is_filtered_by(
    staff_client, tracks, broker, simulator
):
    click(staff_client, tracks[0].pk, select_across="1", freshness="fresh")

    work_on_job(MetadataFetchTask.objects.get().pk)

    assert [simulator.state.asked(track.uuid) for track in tracks] == [0] * 12 + [1] * 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query", [{"freshness": "nonsense"}, {"name__contains": "x"}, {"year_from": "9" * 30}]
)
def test_a_filter_that_makes_no_sense_has_no_price_and_makes_no_job(staff_client, tracks, broker, query):
    dialog = staff_client.get(address(tracks[0].pk, select_across="1", **query))
    answer = click(staff_client, tracks[0].pk, select_across="1", **query)

    assertContains(dialog, "Close this and correct the list's filter")
    assertNotContains(dialog, "API call")
    assert answer.status_code == 200
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("ticked", ["0", "999999", "9" * 18, "9" * 30, "-1", "nonsense", "", "<script>"])
def test_ticks_that_are_no_tracks_are_not_taken_for_everything(staff_client, tracks, broker, ticked):
    page = click(staff_client, ticked, follow=True)

    assertContains(page, "The tracks that were ticked are no longer there. Nothing was queued.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_the_dialog_for_ticks_that_are_no_tracks_has_no_price(staff_client, tracks, broker):
    assertContains(staff_client.get(address("9" * 30)), "Fetches the <strong>0 tracks</strong> you ticked.")


@pytest.mark.django_db
@pytest.mark.parametrize("is_ticked", [False, True], ids=["everything stale", "ticked rows"])
def test_a_second_click_joins_the_active_job_and_says_so(staff_client, tracks, broker, is_ticked):
    ticked = [tracks[0].pk, tracks[1].pk] if is_ticked else []
    click(staff_client, *ticked)

    page = click(staff_client, *ticked, follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Already running as task #{job.pk}.")


@pytest.mark.django_db
def test_another_selection_is_another_job(staff_client, tracks, broker):
    click(staff_client, tracks[0].pk, tracks[1].pk)
    click(staff_client, tracks[0].pk, tracks[2].pk)

    assert MetadataFetchTask.objects.count() == 2


@pytest.mark.django_db
def test_a_click_is_logged_with_the_job(staff_client, staff, tracks, broker):
    click(staff_client)

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(MetadataFetchTask.objects.get().pk))
    assert "Fetch All Metadata: task made" in entry.get_change_message()


@pytest.mark.django_db(transaction=True)
def test_without_the_broker_the_job_is_saved_and_says_what_it_waits_for(staff_client, tracks, no_broker):
    page = click(staff_client, follow=True)

    job = MetadataFetchTask.objects.get()
    assert (job.status, job.error_code) == ("pending", "broker_unreachable")
    assertContains(page, f"Task #{job.pk} is saved, but the queue is unavailable.")


@pytest.mark.django_db(transaction=True)
def test_without_the_broker_the_dialog_still_states_the_price(staff_client, tracks, no_broker):
    assertContains(staff_client.get(address()), "<strong>about 2 API calls")
