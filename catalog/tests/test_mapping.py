"""What Soundcharts says, put onto a track."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from catalog.mapping import MAX_LENGTHS, FieldChange, apply_error, apply_song, new_track
from catalog.models import METADATA_FIELDS, Track
from soundcharts.errors import AmbiguousIsrc, NotFound, UpstreamUnavailable
from soundcharts.payloads import Song, SongSummary, parse_song

UUID = uuid4()
NOW = datetime(2026, 1, 2, tzinfo=UTC)

# Each field as v2.25 of the API writes it, and as older versions do.
SHAPES = [
    ({"name": "bad guy"}, "name", "bad guy"),
    ({"creditName": "Billie Eilish"}, "credit_name", "Billie Eilish"),
    ({"slug": "bad-guy"}, "slug", "bad-guy"),
    ({"releaseDate": "2019-03-29T00:00:00+00:00"}, "release_date", date(2019, 3, 29)),
    ({"releaseDate": "2019-03-29"}, "release_date", date(2019, 3, 29)),
    ({"releaseDate": "2019-03-29T00:00:00Z"}, "release_date", date(2019, 3, 29)),
    ({"duration": 194}, "duration", 194),
    ({"duration": "194"}, "duration", 194),
    ({"isrc": {"value": "USUM71900764", "countryCode": "US"}}, "isrc", "USUM71900764"),
    ({"isrc": "USUM71900764"}, "isrc", "USUM71900764"),
    ({"labels": [{"name": "Interscope", "type": "Universal"}, {"name": "Darkroom"}]}, "label", "Interscope"),
    ({"label": {"name": "Interscope"}}, "label", "Interscope"),
    ({"label": "Interscope"}, "label", "Interscope"),
    ({"genres": [{"root": "alternative", "sub": ["alternative"]}]}, "genre", "alternative"),
    ({"genres": [{"name": "Pop"}]}, "genre", "Pop"),
    ({"genres": ["pop"]}, "genre", "pop"),
    (
        {"imageUrl": "https://assets.soundcharts.com/a.jpg"},
        "image_url",
        "https://assets.soundcharts.com/a.jpg",
    ),
]

ABSENT = [
    {},
    {"name": None, "slug": None, "releaseDate": None, "duration": None, "isrc": None, "imageUrl": None},
    {"name": "", "releaseDate": "", "duration": 0, "isrc": "", "genres": [], "labels": [], "imageUrl": ""},
    {"name": 5, "releaseDate": "2019-99-99", "duration": True, "isrc": [], "genres": "x", "labels": 7},
    {"imageUrl": "javascript:alert(1)", "name": "NUL \0 inside", "creditName": "lone \ud800 surrogate"},
]


def known_track() -> Track:
    return Track(
        uuid=UUID,
        name="Known",
        credit_name="Somebody",
        slug="known",
        release_date=date(2000, 1, 1),
        duration=100,
        isrc="DEXXX0000001",
        label="A label",
        genre="rock",
        image_url="https://example.com/a.jpg",
    )


@pytest.mark.parametrize(("fields", "name", "value"), SHAPES, ids=lambda value: str(value)[:40])
def test_every_documented_shape_arrives_on_the_track(fields, name, value):
    track = Track(uuid=UUID)
    apply_song(track, parse_song({"uuid": str(UUID), **fields}), fetched_at=NOW)
    assert getattr(track, name) == value


@pytest.mark.parametrize("fields", ABSENT, ids=["absent", "null", "empty", "malformed", "hostile"])
def test_a_known_value_is_never_replaced_by_nothing(fields):
    track = known_track()
    report, _ = apply_song(track, parse_song({"uuid": str(UUID), **fields}), fetched_at=NOW)
    assert {name: getattr(track, name) for name in METADATA_FIELDS} == {
        name: getattr(known_track(), name) for name in METADATA_FIELDS
    }
    assert report.outcome == "unchanged"


def test_what_could_not_be_understood_is_a_warning_on_the_track():
    track = known_track()
    report, needs_write = apply_song(
        track, parse_song({"uuid": str(UUID), "releaseDate": "2019-99-99"}), fetched_at=NOW
    )
    assert needs_write
    assert "2019-99-99" in track.metadata_warnings[0]
    assert report.warnings == track.metadata_warnings


def test_a_warning_disappears_with_the_next_clean_answer():
    track = known_track()
    track.metadata_warnings = ["releaseDate: odd"]
    _, needs_write = apply_song(track, Song(uuid=UUID), fetched_at=NOW)
    assert needs_write
    assert track.metadata_warnings == []


SIGNED = "https://assets.example/a.jpg?w=300&Expires={0}&Signature=s{0}"
# A field, what is known, and what Soundcharts says to the same effect.
SAME = {
    "Unicode form": ("name", "Beyonc\u00e9", {"name": "Beyonce\u0301"}),
    "Unicode form that is stored": ("credit_name", "Beyonce\u0301", {"creditName": "Beyonc\u00e9"}),
    "hyphens of an ISRC": ("isrc", "USUM71900764", {"isrc": "US-UM7-19-00764"}),
    "case of an ISRC": ("isrc", "USUM71900764", {"isrc": {"value": "usum71900764"}}),
    "ISRC stored with hyphens": ("isrc", "US-UM7-19-00764", {"isrc": "USUM71900764"}),
    "order of labels": ("label", "B", {"labels": [{"name": "A"}, {"name": "B"}]}),
    "order of genres": ("genre", "rock", {"genres": [{"root": "pop"}, {"root": "rock"}]}),
    "Unicode form in a list": ("label", "L\u00e9o", {"labels": ["A", "Le\u0301o"]}),
    "placeholder date": ("release_date", date(2000, 1, 1), {"releaseDate": "0001-01-01"}),
    "date far ahead": ("release_date", date(2000, 1, 1), {"releaseDate": "9999-12-31"}),
    "no ISRC": ("isrc", "USUM71900764", {"isrc": "T-034.524.680-1"}),
}


@pytest.mark.parametrize("case", SAME)
def test_a_value_that_only_looks_different_changes_nothing_and_is_no_difference_to_an_edit(case):
    field, known, said = SAME[case]
    for edited in ([], [field]):
        track = Track(uuid=UUID, edited_fields=edited, metadata_fetched_at=NOW, **{field: known})
        song = parse_song({"uuid": str(UUID), **said})
        report, needs_write = apply_song(track, song, fetched_at=NOW)
        assert (getattr(track, field), report.changes, report.kept) == (known, [], [])
        assert (report.outcome, report.history) == ("unchanged", {})
        assert needs_write == bool(song.warnings)


def test_a_label_that_is_not_among_those_of_the_song_any_more_is_a_change():
    track = Track(uuid=UUID, label="Old", genre="rock", metadata_fetched_at=NOW)
    song = parse_song({"uuid": str(UUID), "labels": ["A", "B"], "genres": ["pop", "rock"]})
    report, _ = apply_song(track, song, fetched_at=NOW)
    assert report.changes == [FieldChange("label", "Old", "A")]


def test_a_placeholder_stays_out_of_a_track_without_a_date():
    track = Track(uuid=UUID)
    apply_song(track, parse_song({"uuid": str(UUID), "releaseDate": "1900-01-01"}), fetched_at=NOW)
    assert track.release_date is None
    assert track.metadata_warnings == ["releaseDate: '1900-01-01' is not a real date"]


def test_a_cover_follows_its_new_signature_and_that_is_no_change():
    track = Track(uuid=UUID, image_url=SIGNED.format(1), metadata_fetched_at=NOW)
    report, needs_write = apply_song(track, Song(uuid=UUID, image_url=SIGNED.format(2)), fetched_at=NOW)
    assert track.image_url == SIGNED.format(2)
    assert (report.outcome, report.changes, needs_write) == ("unchanged", [], True)


def test_a_cover_by_hand_keeps_its_address_whatever_signs_it():
    track = Track(uuid=UUID, image_url=SIGNED.format(1), edited_fields=["image_url"], metadata_fetched_at=NOW)
    report, needs_write = apply_song(track, Song(uuid=UUID, image_url=SIGNED.format(2)), fetched_at=NOW)
    assert (track.image_url, report.kept, needs_write) == (SIGNED.format(1), [], False)


@pytest.mark.parametrize("name", sorted(MAX_LENGTHS))
def test_a_text_too_long_for_its_column_is_a_warning_and_the_known_one_stays(name):
    track = known_track()
    too_long = "x" * (MAX_LENGTHS[name] + 1)
    apply_song(track, Song(uuid=UUID, **{name: too_long}), fetched_at=NOW)
    assert getattr(track, name) == getattr(known_track(), name)
    assert name in track.metadata_warnings[0]


def test_an_edit_by_hand_stays_and_the_difference_is_reported():
    track = known_track()
    track.edited_fields = ["name"]
    report, needs_write = apply_song(track, Song(uuid=UUID, name="Upstream"), fetched_at=NOW)
    assert track.name == "Known"
    assert report.kept == [FieldChange("name", "Known", "Upstream")]
    assert report.changes == []
    assert not needs_write


def test_a_change_is_reported_with_before_and_after():
    report, needs_write = apply_song(known_track(), Song(uuid=UUID, label="New"), fetched_at=NOW)
    assert report.changes == [FieldChange("label", "A label", "New")]
    assert report.outcome == "updated"
    assert needs_write


def test_an_unchanged_track_needs_only_its_stamp():
    track = known_track()
    report, needs_write = apply_song(track, Song(uuid=UUID, name="Known"), fetched_at=NOW)
    assert (report.outcome, needs_write, track.metadata_fetched_at) == ("unchanged", False, NOW)


def test_an_answer_after_an_absence_clears_it():
    track = known_track()
    apply_error(track, NotFound(), failed_at=NOW)
    _, needs_write = apply_song(track, Song(uuid=UUID), fetched_at=NOW)
    assert needs_write
    assert (track.metadata_error, track.metadata_absences, track.metadata_retry_at) == ("", 0, None)


def test_absence_upstream_is_recorded_and_asked_for_again_ever_later():
    track, error = known_track(), NotFound()
    days = []
    for _ in range(8):
        apply_error(track, error, failed_at=NOW)
        days.append((track.metadata_retry_at - NOW) // timedelta(days=1))
    assert days == [1, 2, 4, 8, 16, 32, 32, 32]
    assert track.metadata_error == error.code
    assert track.name == "Known"
    assert track.metadata_fetched_at is None


@pytest.mark.parametrize("error", [UpstreamUnavailable(), AmbiguousIsrc()], ids=lambda error: error.code)
def test_an_error_that_is_no_absence_is_recorded_and_delays_nothing(error):
    track = known_track()
    report = apply_error(track, error, failed_at=NOW)
    assert (track.metadata_error, track.metadata_absences, track.metadata_retry_at) == (error.code, 0, None)
    assert (report.outcome, report.code) == ("failed", error.code)


def test_a_listed_song_becomes_a_track_that_was_never_fetched():
    track = new_track(SongSummary(uuid=UUID, name="Listed", credit_name="Someone"))
    assert (track.uuid, track.name, track.credit_name, track.metadata_fetched_at) == (
        UUID,
        "Listed",
        "Someone",
        None,
    )
