"""The list of tracks: pages, order, filters and what stands in a row."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains

from catalog.admin import track_list
from catalog.admin.track_order import TrackOrder
from catalog.models import Track
from catalog.tests.conftest import SONGS

LIST = "/admin/catalog/track/"
COLUMNS = {
    1: "name",
    2: "isrc",
    3: "label",
    4: "genre",
    5: "release_date",
    6: "metadata_fetched_at",
    7: "audience_total",
}


def page_of(client: Client, **query: object) -> list[int]:
    """Return the keys of the rows of a page, in order."""
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return [track.pk for track in answer.context["cl"].result_list]


@pytest.fixture
def catalogue(db) -> list[int]:
    """The keys of 205 tracks, five pages; every third is rock, and every name but the first has a twin.

    Some lack an ISRC, a label, a date or a fetch.
    """
    now = timezone.now()
    tracks = Track.objects.bulk_create(
        Track(
            uuid=SONGS.song_uuid(n),
            name=f"Song {(n + 1) // 2:03}",
            isrc=f"ISRC{n % 50}" if n % 5 else "",
            label=f"{'LABEL' if n % 2 else 'Label'} {n % 70}" if n % 6 else "",
            genre="rock" if n % 3 == 0 else "pop",
            release_date=date(1990, 1, 1) + timedelta(days=n % 100) if n % 7 else None,
            metadata_fetched_at=now - timedelta(days=n) if n % 4 else None,
        )
        for n in range(205)
    )
    return [track.pk for track in tracks]


# --- pages and order


@pytest.mark.django_db
def test_the_newest_come_first(staff_client, catalogue):
    assert page_of(staff_client) == catalogue[::-1][:50]


@pytest.mark.django_db
@pytest.mark.parametrize("order", ["", *(f"{sign}{column}" for column in COLUMNS for sign in ("", "-"))])
@pytest.mark.parametrize("query", [{}, {"q": "song", "genre": "rock"}])
def test_all_pages_together_are_the_list_in_its_order(staff_client, catalogue, query, order):
    pages = -(-len(page_keys := expected_keys(query, order)) // 50)

    shown = [pk for number in range(1, pages + 1) for pk in page_of(staff_client, **query, o=order, p=number)]

    assert shown == page_keys


@pytest.mark.django_db
@pytest.mark.parametrize("order", [f"{sign}{column}" for column in COLUMNS for sign in ("", "-")])
def test_what_is_empty_comes_last_in_both_directions(staff_client, make_track, order):
    full = make_track(
        1,
        **dict.fromkeys(("name", "isrc", "label", "genre"), "a"),
        release_date=date(2019, 3, 29),
        metadata_fetched_at=timezone.now(),
        audience_total=5,
    )
    empty = [make_track(number).pk for number in (2, 3)]

    assert page_of(staff_client, o=order) == [full.pk, *sorted(empty, reverse=order.startswith("-"))]


@pytest.mark.django_db
@pytest.mark.parametrize("is_descending", [True, False])
@pytest.mark.parametrize(
    ("column", "index"),
    [("release_date", "track_by_release_date"), ("metadata_fetched_at", "track_fetched")],
)
def test_an_order_walks_its_index_for_what_has_a_value_and_for_what_is_empty(column, index, is_descending):
    now = timezone.now()
    values = {"release_date": date(2000, 1, 1), "metadata_fetched_at": now}
    Track.objects.bulk_create(
        Track(uuid=SONGS.song_uuid(number), **(values if number % 2 else {})) for number in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE catalog_track")
    order = TrackOrder(column, is_descending)

    for tracks in order.lists(Track.objects.all(), by_index=True):
        plan = tracks.values_list("pk", flat=True)[:50].explain()
        assert index in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


def expected_keys(query: dict[str, str], order: str) -> list[int]:
    """Return the keys of a filtered list in an order, as plain queries find them."""
    tracks = Track.objects.all()
    if "genre" in query:
        tracks = tracks.filter(genre=query["genre"])
    if not order:
        return list(tracks.order_by("-pk").values_list("pk", flat=True))
    is_descending = order.startswith("-")
    column = COLUMNS[int(order.lstrip("-"))]

    def value_of(track: Track) -> Any:
        value = getattr(track, column)
        return value.upper() if column == "label" else value

    found = sorted(tracks, key=lambda track: track.pk, reverse=is_descending)
    filled = sorted((track for track in found if value_of(track)), key=value_of, reverse=is_descending)
    return [track.pk for track in (*filled, *(track for track in found if not value_of(track)))]


@pytest.mark.django_db
@pytest.mark.parametrize("page", [0, -1, 6, 10**30, "nonsense", ""])
def test_a_page_that_is_not_there_is_the_first_or_the_last(staff_client, catalogue, page):
    shown = page_of(staff_client, p=page)

    assert shown in (catalogue[::-1][:50], catalogue[:5][::-1])


@pytest.mark.django_db
@pytest.mark.parametrize("order", ["99", "-99", "0", "x", "-", ".", "1.x", "9" * 30])
def test_an_order_that_makes_no_sense_is_the_usual_one(staff_client, catalogue, order):
    assert set(page_of(staff_client, o=order)) <= set(catalogue)


@pytest.mark.django_db
def test_of_two_columns_the_first_orders(staff_client, catalogue):
    assert page_of(staff_client, o="1.2") == page_of(staff_client, o="1")


@pytest.mark.django_db
def test_an_empty_list_is_shown(staff_client):
    assert page_of(staff_client) == []
    assert page_of(staff_client, q="nothing") == []


@pytest.mark.django_db
def test_the_whole_catalogue_is_counted_to_the_last_track(staff_client, catalogue, monkeypatch):
    monkeypatch.setattr(track_list, "MOST_LISTED", 60)

    assertContains(staff_client.get(LIST), "205 tracks")
    assert page_of(staff_client, p=5) == catalogue[:5][::-1]


@pytest.mark.django_db
@pytest.mark.parametrize("query", [{"q": "song"}, {"genre": "pop"}, {"q": "song", "o": "1"}])
def test_of_a_longer_list_the_first_pages_are_shown_and_that_is_said(
    staff_client, catalogue, monkeypatch, query
):
    monkeypatch.setattr(track_list, "MOST_LISTED", 60)

    answer = staff_client.get(LIST, query)

    assertContains(answer, "more than 60 tracks; these pages show 60: search or filter further")
    assertNotContains(answer, "60 results")
    assert len(page_of(staff_client, **query, p=2)) == len(page_of(staff_client, **query, p=99)) == 10


# --- filters


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            {"freshness": "nonsense"},
            "“nonsense” is no freshness: choose one of never, stale, aged, fresh, failing, moved.",
        ),
        ({"year_from": "abc"}, "“abc” is no year"),
        ({"year_from": "2001", "year_to": "1999"}, "No year is from 2001 on and up to 1999."),
        ({"genre__contains": "o"}, "“genre__contains” is no filter of tracks."),
        ({"label": "x" * 501}, "cannot be a label"),
        ({"q": "x" * 501}, "cannot be a search"),
        ({"q": "a\0b"}, "cannot be a search"),
        ({"<script>alert(1)</script>": "1"}, "is no filter of tracks."),
    ],
)
def test_a_filter_that_makes_no_sense_is_said_to(staff_client, catalogue, query, words):
    answer = staff_client.get(LIST, query, follow=True)

    assert answer.redirect_chain == [(LIST, 302)]
    assertContains(answer, words)
    assertNotContains(answer, "<script>alert")


@pytest.mark.django_db
def test_the_filters_show_what_is_chosen(staff_client, catalogue):
    query = {
        "freshness": "stale",
        "label": "lab",
        "genre": "rock",
        "year_from": "1990",
        "audience": "without",
    }

    page = re.sub(r"\s+", " ", staff_client.get(LIST, query).content.decode())

    assert '<option value="stale" selected>Stale (never fetched or aged)</option>' in page
    assert '<option value="without" selected>Without audience figures</option>' in page
    assert '<option value="rock" selected>rock</option>' in page
    assert re.search(r'name="label" value="lab"', page)
    assert re.search(r'name="year_from" value="1990(\.0)?"', page)


@pytest.mark.django_db
def test_every_filter_has_a_name_for_those_who_hear_it(staff_client, catalogue):
    page = staff_client.get(LIST).content.decode()

    names = {"Freshness", "Beginning of the label", "Genre", "Audience"}
    names |= {"Year of release, from", "Year of release, up to"}
    assert {name for name in names if f'aria-label="{name}"' in page} == names


# --- rows


@pytest.fixture
def row(staff_client) -> Callable[[], str]:
    """A function that returns the only row of the list."""

    def read() -> str:
        table = staff_client.get(LIST).content.decode().partition('id="result_list"')[2]
        return re.sub(r"\s+", " ", table.partition("</table>")[0].partition("<tbody")[2])

    return read


@pytest.mark.django_db
def test_a_row_has_a_cover_that_neither_jumps_nor_tells_where_it_is_shown(make_track, row):
    make_track(name="Blue Sky", image_url="https://example.com/a.jpg?x=1&y=2")

    image = re.search(r"<img [^>]+>", row())[0]

    assert 'src="https://example.com/a.jpg?x=1&amp;y=2"' in image
    for wanted in ('width="36"', 'height="36"', 'loading="lazy"', 'referrerpolicy="no-referrer"', 'alt=""'):
        assert wanted in image


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "placeholder"),
    [("Blue Sky Mining", "BS"), ("“(sky)”", "S"), ("", "♪"), ("...", "♪"), ("éa", "É")],
)
def test_without_a_cover_initials_or_a_note_stand_there(make_track, row, name, placeholder):
    make_track(name=name)

    assert f'aria-hidden="true">{placeholder}</span>' in row()
    assert "<img" not in row()


@pytest.mark.django_db
def test_a_row_says_name_credit_isrc_label_genre_and_release(make_track, row):
    make_track(
        name="Sky", credit_name="Sonique", isrc="GBAAA0000002", label="Serious", genre="dance",
        release_date=date(2000, 4, 3),
    )  # fmt: skip

    for text in ("Sky", "Sonique", "GBAAA0000002", "Serious", "dance", "3 Apr 2000"):
        assert text in row()


@pytest.mark.django_db
def test_a_track_without_a_name_is_called_by_its_uuid(make_track, row):
    track = make_track()

    assert f'<bdi class="ln-name">{track.uuid}</bdi>' in row()


@pytest.mark.django_db
def test_the_time_of_the_last_fetch_is_shown_on_hover_and_to_those_who_hear(make_track, row):
    fetched_at = timezone.now().replace(year=2020, month=3, day=1, hour=14, minute=5)
    make_track(metadata_fetched_at=fetched_at)

    assert "Fetched 1 Mar 2020, 14:05 UTC, longer ago than the refresh interval. It counts as stale." in row()
    assert ">aged</span>" in row()
    assert '<span class="ln-heard">, fetched 1 Mar 2020, 14:05 UTC</span>' in row()


@pytest.mark.django_db
def test_a_failing_track_says_why(make_track, row):
    make_track(metadata_error="not_found", metadata_fetched_at=timezone.now())

    assert ">fresh</span>" in row()
    assert ">failing: </span>Unknown at Soundcharts</span>" in row()


@pytest.mark.django_db
def test_what_a_row_shows_is_escaped(make_track, row):
    make_track(
        name="<b>x</b>", credit_name="<i>", label="<u>", metadata_error='"><s>', image_url='https://a/"><img'
    )

    assert not re.search(r"<(b|i|u|s)>", row())
    assert row().count("<img") == 1


# --- queries


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?p=3",
        "?o=1",
        "?o=-3",
        "?q=song",
        "?q=song&o=1",
        "?q=nothing",
        "?genre=rock",
        "?label=lab&freshness=stale",
    ],
)
def test_a_page_takes_few_queries_however_many_tracks_there_are(staff_client, query):
    counts = set()
    for first, last in ((0, 120), (120, 600)):
        Track.objects.bulk_create(
            Track(uuid=SONGS.song_uuid(n), name=f"Song {n}", genre="rock", label=f"Label {n}")
            for n in range(first, last)
        )
        ContentType.objects.clear_cache()
        with CaptureQueriesContext(connection) as queries:
            assert staff_client.get(LIST + query).status_code == 200
        counts.add(len(queries))

    assert len(counts) == 1
    # Session, user and two of permissions; genres, count, keys, tracks, audiences.
    assert max(counts) <= 9


# --- names in any direction


@pytest.mark.django_db
def test_a_name_from_right_to_left_is_set_apart_from_what_stands_beside_it(staff_client, make_track):
    track = make_track(name="שלום 3", credit_name="قيروان - 2", label="חותם")

    listed = staff_client.get(LIST).content.decode()
    assert '<bdi class="ln-name">שלום 3</bdi>' in listed
    assert '<bdi class="ln-credit">قيروان - 2</bdi>' in listed
    assert ">חותם</bdi>" in listed
    page = staff_client.get(f"{LIST}{track.pk}/change/").content.decode()
    assert "<bdi>שלום 3</bdi> – <bdi>قيروان - 2</bdi>" in page
    for name in ("name", "credit_name", "label", "genre"):
        (field,) = re.findall(rf'<input[^>]* name="{name}"[^>]*>', page)
        assert 'dir="auto"' in field
