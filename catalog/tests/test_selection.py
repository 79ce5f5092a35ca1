"""The filter language: what it takes, refuses and selects, and that each condition has an index."""

from datetime import date, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from catalog.models import Track
from catalog.selection import Extent, TrackFilter, Unselectable, known_genres, measure
from catalog.tests.conftest import SONGS

NOW = timezone.now()


def select(**parameters: object) -> set[str]:
    """Return what a filter selects, the same whichever way the database is told to find it."""
    selection = TrackFilter.parse(parameters)
    found = {
        by: set(selection.apply(Track.objects.all(), by=by).values_list("name", flat=True))
        for by in ("filter", "order")
    }
    assert found["filter"] == found["order"]
    return found["filter"]


@pytest.fixture
def songs(make_track) -> None:
    def add(number: int, name: str, **values: object) -> None:
        make_track(number, name=name, **values)

    add(0, "Old", label="Northern Star", genre="rock", release_date=date(1989, 12, 31))
    add(1, "First", label="NORTHERN lights", genre="rock", release_date=date(1990, 1, 1))
    add(2, "Last", label="Southern", genre="pop", release_date=date(1999, 12, 31), audience_fetched_at=NOW)
    add(3, "New", label="The Northern", genre="pop", release_date=date(2000, 1, 1), metadata_fetched_at=NOW)
    add(4, "Aged", metadata_fetched_at=NOW - timedelta(days=31), metadata_error="timeout")
    add(5, "Blank")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, {"Old", "First", "Last", "New", "Aged", "Blank"}),
        ({"search": "fir"}, {"First"}),
        ({"search": str(SONGS.song_uuid(5))}, {"Blank"}),
        ({"search": f"https://app.soundcharts.com/app/song/{SONGS.song_uuid(5)}/overview"}, {"Blank"}),
        ({"search": SONGS.song_uuid(5).hex.upper()}, {"Blank"}),
        ({"search": str(uuid4())}, set()),
        ({"label": "northern"}, {"Old", "First"}),
        ({"label": " Northern S "}, {"Old"}),
        ({"label": "%"}, set()),
        ({"genre": "pop"}, {"Last", "New"}),
        ({"genre": "Pop"}, set()),
        ({"year_from": "1990", "year_to": "1999"}, {"First", "Last"}),
        ({"year_from": 2000}, {"New"}),
        ({"year_to": 1989}, {"Old"}),
        ({"year_from": 1, "year_to": 9999}, {"Old", "First", "Last", "New"}),
        ({"audience": "with"}, {"Last"}),
        ({"audience": "without"}, {"Old", "First", "New", "Aged", "Blank"}),
        ({"freshness": "never"}, {"Old", "First", "Last", "Blank"}),
        ({"freshness": "stale"}, {"Old", "First", "Last", "Blank", "Aged"}),
        ({"freshness": "fresh"}, {"New"}),
        ({"freshness": "failing"}, {"Aged"}),
        ({"label": "northern", "genre": "rock", "year_from": 1990}, {"First"}),
        ({"label": "northern", "genre": "pop"}, set()),
        ({"search": "l", "freshness": "", "label": "", "year_to": ""}, set()),
    ],
)
def test_a_filter_selects_what_meets_all_of_it(songs, parameters, found):
    assert select(**parameters) == found


@pytest.mark.django_db
def test_accents_of_a_label_are_as_they_are_written(make_track):
    make_track(0, name="é", label="Édition Un")
    make_track(1, name="e", label="Edition Deux")

    assert select(label="Édition") == {"é"}
    assert select(label="édition") == ({"é"} if connection.vendor == "postgresql" else set())


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (
            {"freshness": "nonsense"},
            "“nonsense” is no freshness: choose one of never, stale, aged, fresh, failing, moved.",
        ),
        ({"audience": "'; DROP TABLE"}, "is no audience"),
        ({"year_from": "MCMXC"}, "“MCMXC” is no year"),
        ({"year_from": "0"}, "is no year"),
        ({"year_to": "-1"}, "is no year"),
        ({"year_to": "9" * 30}, "is no year"),
        ({"year_to": "²"}, "is no year"),
        ({"year_to": [1999]}, "is no year"),
        ({"year_from": 2000, "year_to": 1999}, "No year is from 2000 on and up to 1999."),
        ({"label": "x" * 501}, "cannot be a label"),
        ({"search": "a\0b"}, "cannot be a search"),
        ({"genre": {"a": 1}}, "cannot be a genre"),
        ({"freshness": ["never"]}, "cannot be a freshness"),
        ({"name__icontains": "x"}, "“name__icontains” is no filter of tracks."),
        ({"pk__gt": 1}, "is no filter"),
        ({"\n" + "x" * 5000: 1}, "is no filter"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(parameters, words):
    with pytest.raises(Unselectable, match=r"\.$") as raised:
        TrackFilter.parse(parameters)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "All tracks"),
        ({"freshness": "stale"}, "Tracks that are stale (never fetched or aged)"),
        (
            {"search": "echo", "label": "North", "genre": "rock", "year_from": 1990},
            "Tracks with “echo”, of label North…, of genre rock, released 1990 or later",
        ),
        ({"year_from": 1990, "year_to": 1999}, "Tracks released 1990 to 1999"),
        ({"audience": "with", "freshness": "fresh"}, "Tracks with audience figures, that are fresh"),
        ({"year_to": 1999}, "Tracks released 1999 or earlier"),
    ],
)
def test_a_filter_says_what_it_selects(parameters, words):
    assert str(TrackFilter.parse(parameters)) == words


def test_a_filter_survives_being_written_down():
    asked = {"search": "echo", "label": "North", "year_from": 1990, "freshness": "never"}

    selection = TrackFilter.parse(
        {"freshness": "never", "label": "North ", "year_from": "1990", "search": "echo"}
    )

    assert selection.as_parameters() == asked
    assert TrackFilter.parse(selection.as_parameters()) == selection


@pytest.mark.django_db
def test_genres_are_listed_once_each_in_order(songs):
    assert known_genres() == ["pop", "rock"]


@pytest.mark.django_db
def test_without_tracks_there_are_no_genres():
    assert known_genres() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("parameters", "extent"),
    [
        ({}, Extent(7, 6, 1)),
        ({"freshness": "never"}, Extent(5, 5, 1)),
        ({"freshness": "stale"}, Extent(6, 6, 1)),
        ({"freshness": "fresh"}, Extent(1, 0, 0)),
        ({"freshness": "failing"}, Extent(2, 2, 1)),
        ({"genre": "pop"}, Extent(2, 1, 0)),
        ({"genre": "none of them"}, Extent(0, 0, 0)),
    ],
)
@pytest.mark.parametrize("many", [2, 250_000])
def test_the_tracks_of_a_filter_are_counted_to_the_last(
    songs, make_track, monkeypatch, parameters, extent, many
):
    make_track(6, name="Unknown", metadata_error="not_found", metadata_retry_at=NOW + timedelta(days=1))
    monkeypatch.setattr("catalog.selection._MANY_ONCE", many)

    assert measure(TrackFilter.parse(parameters)) == extent
    assert extent.due == extent.stale - extent.waiting


# --- indexes


@pytest.fixture
def many_tracks(db) -> None:
    """Three thousand, of which few meet any of the filters below."""
    Track.objects.bulk_create(
        Track(
            uuid=SONGS.song_uuid(number),
            name=f"Song {number}",
            label=f"Label {number}",
            genre="common" if number % 500 else "rare",
            release_date=date(1900 + number % 90, 1, 1) if number else date(1999, 1, 1),
            metadata_fetched_at=None if number % 1000 == 1 else NOW,
            metadata_error="" if number % 1000 else "timeout",
            audience_fetched_at=None if number % 500 else NOW,
        )
        for number in range(3000)
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE catalog_track")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("parameters", "index"),
    [
        ({"label": "label 2999"}, "track_by_label"),
        ({"label": "nothing"}, "track_by_label"),
        ({"genre": "rare"}, "track_by_genre"),
        ({"year_from": 1995, "year_to": 1999}, "track_by_release_date"),
        ({"audience": "with"}, "track_by_audience"),
        ({"freshness": "never"}, "track_fetched"),
        ({"freshness": "stale"}, "track_fetched"),
        ({"freshness": "failing"}, "track_by_error"),
    ],
)
def test_each_condition_is_found_by_its_index(many_tracks, parameters, index):
    plan = TrackFilter.parse(parameters).apply(Track.objects.order_by()).explain()

    assert index in plan


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("order", "index"),
    [
        (("name", "pk"), "track_by_name"),
        (("-name", "-pk"), "track_by_name"),
        (("isrc", "pk"), "track_by_isrc"),
        (("genre", "pk"), "track_by_genre"),
        (("-release_date", "-pk"), "track_by_release_date"),
        (("metadata_fetched_at", "pk"), "track_fetched"),
        (("-metadata_fetched_at", "-pk"), "track_fetched"),
    ],
)
def test_each_order_is_that_of_an_index(many_tracks, order, index):
    sorting = "TEMP B-TREE" if connection.vendor == "sqlite" else "Sort"

    plan = Track.objects.order_by(*order).values_list("pk")[:50].explain()

    assert index in plan
    assert sorting not in plan


@pytest.mark.django_db
def test_what_is_not_due_is_counted_from_an_index_of_its_own(many_tracks):
    Track.objects.filter(genre="rare").update(metadata_retry_at=NOW + timedelta(days=1))

    plan = Track.objects.order_by().filter(metadata_retry_at__gt=NOW).stale(now=NOW).values("pk").explain()

    assert "track_not_awaited" in plan
