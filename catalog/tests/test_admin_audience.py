"""Audience in the admin: columns of the list, the section of a track, buttons, actions, the export."""

import csv
import html
import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog.admin.audience_list import compact, spark_path
from catalog.models import MetadataFetchTask, Track, TrackAudience
from catalog.tests.audiences import add_audience, days_from

pytestmark = pytest.mark.django_db

LIST = "/admin/catalog/track/"
TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=99)
BIG = 2**33


def page_of(track: Track, **query: object) -> str:
    return f"{reverse('admin:catalog_track_change', args=(track.pk,))}?{urlencode(query)}"


def dialog_address(name: str, *arguments: object, **query: object) -> str:
    return f"{reverse(f'admin:catalog_track_{name}', args=arguments)}?{urlencode(query, doseq=True)}"


def count_queries(client: Client, address: str) -> int:
    ContentType.objects.clear_cache()
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def keys(response) -> list[int]:
    return [track.pk for track in response.context["cl"].result_list]


@pytest.fixture
def track(make_track) -> Track:
    """A track with 100 days on Spotify, one of them missing, and ten on YouTube."""
    track = make_track(name="Blue")
    values = [BIG + 1000 * number for number in range(100)]
    values[95] = None
    add_audience(track, days_from(FIRST, values))
    add_audience(track, days_from(TODAY - timedelta(days=9), list(range(10))), platform="youtube")
    return track


# --- the list


def test_the_list_shows_the_latest_figure_and_the_trend(staff_client, track, make_track):
    other = make_track(1)
    page = staff_client.get(LIST)
    assertContains(page, f"{BIG + 99_000:,} streams on Spotify")
    assertContains(page, compact(BIG + 99_000))
    assertContains(page, f'd="{spark_path(TrackAudience.objects.get(platform="spotify").trend)}"')
    assert {row.pk: row.shown_audience is None for row in page.context["cl"].result_list} == {
        track.pk: False,
        other.pk: True,
    }


def test_the_list_needs_no_query_a_row(staff_client, make_track):
    def add(numbers: range) -> None:
        for number in numbers:
            add_audience(make_track(number), days_from(FIRST, [number, number + 1]))

    add(range(2))
    few = count_queries(staff_client, LIST)
    add(range(2, 30))
    assert count_queries(staff_client, LIST) == few


@pytest.mark.parametrize("column", ["audience_figure", "audience_trend"])
def test_the_list_is_sorted_by_figure_and_by_gain(staff_client, make_track, column):
    gains = {0: [5, 9], 1: [500, 501], 2: [40, 50]}
    tracks = {number: make_track(number) for number in range(4)}
    for number, values in gains.items():
        add_audience(tracks[number], days_from(FIRST, values))
    order = {"audience_figure": [1, 2, 0], "audience_trend": [2, 0, 1]}[column]
    place = staff_client.get(LIST).context["cl"].list_display.index(column)
    falling = staff_client.get(LIST, {"o": f"-{place}"})
    assert keys(falling) == [tracks[number].pk for number in (*order, 3)]
    rising = staff_client.get(LIST, {"o": str(place)})
    # A track without figures has no total, and gained nothing.
    rising_order = [*reversed(order), 3] if column == "audience_figure" else [3, *reversed(order)]
    assert keys(rising) == [tracks[number].pk for number in rising_order]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0, "0"), (999, "999"), (999_499, "999 k"), (999_600, "1.00 M"), (1_234, "1.23 k")),
        *((56_789, "56.8 k"), (2_783_193_386, "2.78 B"), (-4_321, "-4.32 k"), (9_996, "10.0 k")),
    ],
)
def test_counts_are_written_short(value, shown):
    assert compact(value) == shown


def test_the_line_is_broken_where_days_are_missing():
    path = spark_path([1, 2, None, 3, None, None, 4, 5])
    assert path.count("M") == 3
    assert spark_path([None, None]) == spark_path([]) == ""
    assert spark_path([0, 0]) != ""


# --- the track's page


def test_the_chart_has_totals_and_gains_and_holes(staff_client, track):
    page = staff_client.get(page_of(track))
    data = json.loads(html.unescape(re.search(r'data-figures="([^"]*)"', page.content.decode())[1]))
    assert (data["days"][-1], len(data["days"])) == (TODAY.isoformat(), 28)
    assert data["totals"][-1] == BIG + 99_000
    missing = data["days"].index((FIRST + timedelta(days=95)).isoformat())
    assert (data["totals"][missing], data["gains"][missing], data["gains"][missing + 1]) == (None, None, None)
    assert set(data["gains"]) == {1000, None}


@pytest.mark.parametrize(("days", "known"), [(28, 27), (90, 89), (365, 99)])
def test_the_range_is_selectable_and_the_table_has_the_same_days(staff_client, track, days, known):
    page = staff_client.get(page_of(track, audience=days))
    assertContains(page, f"{known} of {days} days are known")
    assertContains(page, 'aria-current="true">' + f"{days} days")
    section = staff_client.get(reverse("admin:catalog_track_audience", args=(track.pk,)), {"audience": days})
    assertContains(section, f"{known} of {days} days are known")
    assertContains(section, f"{BIG + 99_000:,}")


@pytest.mark.parametrize("days", ["", "7", "-28", "all", "9" * 5000])
def test_a_range_that_there_is_none_of_is_the_shortest(staff_client, track, days):
    assertContains(staff_client.get(page_of(track, audience=days)), "27 of 28 days are known")


def test_a_form_that_could_not_be_saved_still_shows_the_audience(staff_client, track):
    page = staff_client.post(page_of(track), {"name": "Red", "isrc": "nonsense"})
    assert page.context["adminform"].form.errors["isrc"]
    assert len(page.context["audience_charts"]) == 2
    assertContains(page, f"{TrackAudience.objects.get(platform='spotify').latest_value:,}")
    assertNotContains(page, "Nothing has been fetched yet")
    page = staff_client.post(page_of(track, audience=90), {"name": "Red", "isrc": "nonsense"})
    assert page.context["audience_days"] == 90


def test_a_track_without_audience_says_how_to_get_it(staff_client, make_track):
    assertContains(staff_client.get(page_of(make_track())), "Nothing has been fetched yet")


def test_the_page_takes_the_same_queries_however_many_days_and_platforms(staff_client, make_track):
    few, many = make_track(0), make_track(1)
    add_audience(few, days_from(TODAY, [1]))
    for platform in ("spotify", "youtube", "shazam"):
        add_audience(many, days_from(FIRST, [1] * 100), days_from(FIRST, [2] * 100), platform=platform)
    assert count_queries(staff_client, page_of(many, audience=365)) == count_queries(
        staff_client, page_of(few)
    )


def test_pages_hold_no_script_of_their_own(staff_client, track):
    text = staff_client.get(page_of(track)).content.decode()
    section = text[text.index('id="audience"') :]
    section = section[: section.index("</section>")]
    assert "<script" not in section
    assert not re.search(r"\son[a-z]+=", section)


def test_viewers_see_the_section_and_strangers_do_not(viewer_client, track):
    address = reverse("admin:catalog_track_audience", args=(track.pk,))
    assert viewer_client.get(address).status_code == 200
    assert Client().get(address).status_code == 302
    assert viewer_client.get(reverse("admin:catalog_track_audience", args=(0,))).status_code == 404


# --- buttons


def test_the_dialog_of_a_track_states_the_price_of_what_is_ticked(staff_client, track, broker, simulator):
    assertContains(staff_client.get(dialog_address("fetch_audience_now", track.pk)), "about 1 API call")
    price = dialog_address("audience_price", track=track.pk, platforms=["spotify", "shazam"], days="365")
    assertContains(staff_client.get(price), "Spotify, Shazam")
    assertContains(staff_client.get(price), "about 10 API calls")
    assert simulator.state.calls.total() == 0


def test_one_track_is_fetched_at_once_and_told(staff_client, make_track, broker, simulator):
    track = make_track(3)
    answer = staff_client.post(
        dialog_address("fetch_audience_now", track.pk),
        {"_form_submitted": "on", "platforms": ["spotify", "shazam"], "days": ""},
        follow=True,
    )
    assertRedirects(answer, reverse("admin:catalog_track_change", args=(track.pk,)))
    assertContains(answer, "new figures")
    assertContains(answer, "2 API calls spent")
    assert TrackAudience.objects.filter(track=track).count() == 2
    job = MetadataFetchTask.objects.get()
    assert (job.task_type, job.status, job.requested_by.username) == ("audience", "completed", "staff")


def test_a_failure_is_told_in_words(staff_client, make_track, broker, simulator):
    track = make_track(3)
    simulator.faults.set("forbidden_platforms", platforms=["melon"])
    answer = staff_client.post(
        dialog_address("fetch_audience_now", track.pk),
        {"_form_submitted": "on", "platforms": ["melon"], "days": ""},
        follow=True,
    )
    assertContains(answer, "does not include audience figures of Melon")


def test_the_dialog_of_the_list_states_the_price_of_all_or_of_the_ticked(
    staff_client, make_track, broker, simulator
):
    tracks = [make_track(number) for number in range(12)]
    assertContains(staff_client.get(dialog_address("fetch_all_audience")), "about 12 API calls")
    ticked = dialog_address("fetch_all_audience", _selected_action=[track.pk for track in tracks[:3]])
    assertContains(staff_client.get(ticked), "<strong>3 tracks</strong> you ticked")
    assertContains(staff_client.get(ticked), "about 3 API calls")
    whole = dialog_address("fetch_all_audience", _selected_action=tracks[0].pk, select_across="1")
    assertContains(staff_client.get(whole), "<strong>12 tracks</strong>")
    assertContains(staff_client.get(whole), "about 12 API calls")
    assert simulator.state.calls.total() == 0
    assert not MetadataFetchTask.objects.exists()


def test_the_price_of_the_whole_list_follows_the_platforms_and_keeps_to_its_filter(
    staff_client, make_track, broker, simulator
):
    tracks = [make_track(number, genre="pop" if number < 5 else "rock") for number in range(8)]
    whole = {"_selected_action": tracks[0].pk, "select_across": "1", "genre": "pop"}
    chosen = {"platforms": ["spotify", "youtube"], "days": "180", "_form_submitted": "True"}

    price = staff_client.get(dialog_address("audience_price", **whole, **chosen))

    assertContains(price, "<strong>5 tracks</strong>")
    assertContains(price, "about 20 API calls")


@pytest.mark.parametrize("is_one", [True, False])
def test_a_dialog_about_missing_days_says_when_there_is_none(staff_client, make_track, broker, track, is_one):
    whole = make_track(1)
    add_audience(whole, days_from(FIRST, list(range(100))))
    for chosen, is_nothing in ((whole, True), (track, False)):
        query = {"track": chosen.pk} if is_one else {"_selected_action": chosen.pk}
        price = staff_client.get(dialog_address("audience_price", days="gaps", **query))
        said = "No series on Spotify has missing days. Nothing to fetch"
        assert (said in price.content.decode(), "data-nothing" in price.content.decode()) == (is_nothing,) * 2


def test_the_confirmation_leads_to_the_dialog_with_the_same_tracks(staff_client, make_track, broker):
    track = make_track(genre="pop")
    dialog = reverse("admin:catalog_track_fetch_all_audience")
    ticked = act(staff_client, "fetch_audience_of_chosen", track)
    assertContains(ticked, f'hx-get="{dialog}"')
    assertContains(ticked, 'hx-params="_selected_action,select_across"')
    assertContains(ticked, "Other platforms or days …")
    form = {"action": "fetch_audience_of_chosen", "select_across": "1", "_selected_action": track.pk}
    make_track(1, genre="pop", name="Blue")
    whole = staff_client.post(f"{LIST}?genre=pop&q=blue&o=1", form)
    assertContains(whole, f'hx-get="{dialog}?genre=pop&amp;q=blue"')


def test_the_button_makes_a_job_for_the_ticked_and_a_second_click_joins_it(
    staff_client, make_track, broker, simulator
):
    tracks = [make_track(number) for number in range(3)]
    address = dialog_address("fetch_all_audience", _selected_action=[track.pk for track in tracks])
    form = {"_form_submitted": "on", "platforms": ["youtube"], "days": "180"}
    assertContains(staff_client.post(address, form, follow=True), "is queued")
    assertContains(staff_client.post(address, form, follow=True), "Already running as task #")
    job = MetadataFetchTask.objects.get()
    assert (job.total_tracks, job.request["platforms"], job.request["days"]) == (3, ["youtube"], 180)


def test_the_button_makes_a_job_for_everything_stale_or_says_that_nothing_is(
    staff_client, make_track, broker, simulator
):
    form = {"_form_submitted": "on", "platforms": ["spotify"], "days": ""}
    assertContains(
        staff_client.post(dialog_address("fetch_all_audience"), form, follow=True), "Nothing was queued"
    )
    make_track(0)
    staff_client.post(dialog_address("fetch_all_audience"), form)
    assert MetadataFetchTask.objects.get().request["what"] == "stale"


@pytest.mark.parametrize("form", [{"platforms": []}, {"platforms": ["napster"]}, {"days": "7"}])
def test_choices_that_there_are_none_of_are_refused(staff_client, make_track, broker, simulator, form):
    make_track(0)
    staff_client.post(
        dialog_address("fetch_all_audience"),
        {"_form_submitted": "on", "platforms": ["spotify"], "days": ""} | form,
    )
    assert not MetadataFetchTask.objects.exists()


def test_viewers_can_neither_fetch_nor_ask_for_the_price(viewer_client, track, broker, simulator):
    assertNotContains(viewer_client.get(LIST), reverse("admin:catalog_track_fetch_all_audience"))
    form = {"_form_submitted": "on", "platforms": ["spotify"], "days": ""}
    for address in (
        dialog_address("fetch_all_audience"),
        dialog_address("fetch_audience_now", track.pk),
        dialog_address("audience_price"),
    ):
        assert viewer_client.post(address, form).status_code == 403
    assert not MetadataFetchTask.objects.exists()


# --- actions on ticked rows


def act(client: Client, name: str, *tracks: Track, **values: str):
    return client.post(
        LIST, {"action": name, "_selected_action": [track.pk for track in tracks], **values}, follow=True
    )


def test_the_action_states_the_price_and_makes_the_job_once_confirmed(
    staff_client, make_track, broker, simulator
):
    tracks = [make_track(number) for number in range(4)]
    page = act(staff_client, "fetch_audience_of_chosen", *tracks)
    assertContains(page, "about 4 API calls")
    assert not MetadataFetchTask.objects.exists()
    assertContains(act(staff_client, "fetch_audience_of_chosen", *tracks, fetch="stale"), "is queued")
    assert MetadataFetchTask.objects.get().task_type == "bulk_audience"


def exported(response) -> list[list[str]]:
    return list(csv.reader(b"".join(response.streaming_content).decode("utf-8-sig").splitlines()))


def test_the_series_of_a_selection_are_exported(viewer_client, track, make_track):
    other = make_track(1)
    add_audience(other, days_from(FIRST, [1, 2]))
    make_track(2)
    answer = act(viewer_client, "export_audience", track, other)
    assert "attachment" in answer["Content-Disposition"]
    rows = exported(answer)
    assert rows == exported(act(viewer_client, "export_audience", track, select_across="1"))
    assert rows[0] == ["uuid", "name", "credit", "platform", "identifier", "day", "value"]
    assert len(rows) == 1 + 99 + 10 + 2
    assert rows[1] == [str(track.uuid), "Blue", "", "spotify", f"{track.pk}-0", FIRST.isoformat(), str(BIG)]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", '=HYPERLINK("x","y")'])
def test_no_name_becomes_a_formula(staff_client, make_track, name):
    track = make_track(name=name, credit_name=name)
    add_audience(track, days_from(FIRST, [1]))
    ((_, shown, credit, *_),) = exported(act(staff_client, "export_audience", track))[1:]
    assert shown == credit == f"'{name}"


def test_the_export_takes_a_query_for_many_tracks(staff_client, make_track):
    tracks = [make_track(number) for number in range(12)]
    for track in tracks:
        add_audience(track, days_from(FIRST, [1, 2, 3]))
    answer = act(staff_client, "export_audience", *tracks)
    with CaptureQueriesContext(connection) as queries:
        assert len(exported(answer)) == 1 + 36
    assert len(queries) == 2


# --- the job's page


def test_the_page_of_a_job_names_the_platforms_that_the_plan_lacks(
    staff_client, make_track, broker, simulator
):
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    track = make_track(1)
    staff_client.post(
        dialog_address("fetch_audience_now", track.pk),
        {"_form_submitted": "on", "platforms": ["spotify", "tiktok"], "days": ""},
    )
    job = MetadataFetchTask.objects.get()
    page = staff_client.get(reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,)))
    assertContains(page, "The Soundcharts plan does not include TikTok")
