"""The one form of each kind of value, whoever writes it."""

from datetime import UTC, date, datetime, timedelta

import pytest

from soundcharts.payloads import parse_song
from soundcharts.values import is_placeholder, is_same_picture, is_same_text, parse_isrc, visible_text

UUID_TEXT = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    "written",
    [
        "USUM71900764",
        "usum71900764",
        "US-UM7-19-00764",
        "us um7 19 00764",
        " USUM71900764\t",
        "ISRC USUM71900764",
        "isrc: US-UM7-19-00764",
        "ISRC US-UM7-19-00764",
        "ISRCUSUM71900764",
        "(ISRC) USUM71900764",
        "US\u2010UM7\u201119\u201300764",
        "US\u2212UM7\u221219\u221200764",
        "\u200eUSUM71900764\u200b",
        "US\u00a0UM7\u300019\u202f00764",
        "USUM7\u00ad1900764",
    ],
)
def test_an_isrc_has_one_form_however_it_is_written(written: str) -> None:
    assert parse_isrc(written) == "USUM71900764"
    assert parse_song({"uuid": UUID_TEXT, "isrc": written}).isrc == "USUM71900764"
    assert parse_song({"uuid": UUID_TEXT, "isrc": {"value": written}}).isrc == "USUM71900764"


def test_an_icelandic_isrc_that_begins_like_the_word_is_kept_whole() -> None:
    assert parse_isrc("ISRC12345678") == "ISRC12345678"


@pytest.mark.parametrize(
    "written",
    [
        *("USUM7190076", "USUM719007641", "1SUM71900764", "USUM7190076X", "T-034.524.680-1", "not known"),
        *("ＵＳＵＭ７１９００７６４", "uſum71900764", "USUM7190076٤", "USUM71900764, USUM71900765"),
        *("ISRC ISRC USUM71900764", "ISRC", "USUM71900764/2", "\u0130SUM71900764", "x" * 10_000),
    ],
)
def test_anything_else_is_no_isrc_and_a_warning(written: str) -> None:
    song = parse_song({"uuid": UUID_TEXT, "isrc": written})
    assert song.isrc is None
    (warning,) = song.warnings
    assert warning.startswith("isrc: ")
    assert warning.endswith(" is not an ISRC")


@pytest.mark.parametrize(
    "written",
    [
        *("0001-01-01", "0001-01-01T00:00:00+00:00", "9999-12-31", "9999-12-31T23:59:59Z", "1000-01-01"),
        *("1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1900-01-01T00:00:00+00:00"),
        f"{datetime.now(UTC).year + 3}-01-01",
        f"{datetime.now(UTC).date() + timedelta(days=732):%Y-%m-%d}",
    ],
)
def test_a_placeholder_is_no_release_date_and_a_warning(written: str) -> None:
    song = parse_song({"uuid": UUID_TEXT, "releaseDate": written})
    assert song.release_date is None
    assert song.warnings == (f"releaseDate: {written!r} is not a real date",)


@pytest.mark.parametrize(
    "day",
    [
        *(date(1860, 4, 9), date(1900, 1, 2), date(1901, 1, 1), date(1970, 1, 1), date(2000, 2, 29)),
        datetime.now(UTC).date() + timedelta(days=729),
    ],
    ids=str,
)
def test_a_date_of_a_release_is_kept(day: date) -> None:
    assert not is_placeholder(day)
    assert parse_song({"uuid": UUID_TEXT, "releaseDate": day.isoformat()}).release_date == day


@pytest.mark.parametrize("milliseconds", [194_000, "194000", 86_401])
def test_a_duration_of_more_than_a_day_is_taken_for_milliseconds(milliseconds: object) -> None:
    song = parse_song({"uuid": UUID_TEXT, "duration": milliseconds})
    assert song.duration is None
    assert song.warnings[0].endswith("is not a number of seconds")


def test_text_comes_in_one_unicode_form() -> None:
    song = parse_song({"uuid": UUID_TEXT, "name": "Beyonce\u0301", "labels": [{"name": "Le\u0301o"}]})
    assert (song.name, song.label) == ("Beyonc\u00e9", "L\u00e9o")


def test_all_labels_and_genres_are_known_with_the_first_as_the_one() -> None:
    song = parse_song(
        {
            "uuid": UUID_TEXT,
            "labels": [{"name": None}, {"name": "A"}, 7, {"name": "B"}],
            "genres": [{"root": "pop"}, "rock"],
        }
    )
    assert (song.label, song.labels, song.genre, song.genres) == ("A", ("A", "B"), "pop", ("pop", "rock"))
    assert song.warnings == ()


SIGNED = "https://assets.example/a.jpg?w=300"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{SIGNED}&Expires=1&Signature=x&Key-Pair-Id=k", f"{SIGNED}&Expires=2&Signature=y&Key-Pair-Id=k"),
        (f"{SIGNED}&X-Amz-Date=1&X-Amz-Signature=a", f"{SIGNED}&X-Amz-Date=2&X-Amz-Signature=b"),
        (f"{SIGNED}&x-goog-signature=a", f"{SIGNED}&x-goog-signature=b"),
        (f"{SIGNED}&token=a", SIGNED),
        (f"{SIGNED}&sig=a&se=2026&sp=r", f"{SIGNED}&sig=b&se=2027&sp=r"),
        ("https://assets.example/a.jpg?h=1&w=2", "https://assets.example/a.jpg?w=2&h=1"),
        ("https://ASSETS.example/a.jpg", "https://assets.example/a.jpg"),
    ],
)
def test_a_new_signature_is_the_same_picture(one: str, other: str) -> None:
    assert is_same_picture(one, other)


@pytest.mark.parametrize(
    "other",
    [
        *("https://assets.example/b.jpg?w=300", "https://other.example/a.jpg?w=300"),
        *("https://assets.example/a.jpg?w=600", f"{SIGNED}&v=2", f"{SIGNED}&se=x", "https://[", ""),
    ],
)
def test_another_address_is_another_picture(other: str) -> None:
    assert not is_same_picture(SIGNED, other)


def test_texts_differ_by_their_letters_and_not_by_how_these_are_encoded() -> None:
    assert is_same_text("Beyonce\u0301 ", "Beyonc\u00e9")
    assert not is_same_text("Beyonce", "Beyonc\u00e9")
    assert not is_same_text("A", "a")


def test_pasted_text_loses_what_nobody_sees() -> None:
    assert visible_text("\ufeff\u200fblue\u3000\u00a0sky\t\u202a") == "blue sky"
