from __future__ import annotations

import json
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundcharts.errors import IncompleteResponse, InvalidResponse
from soundcharts.payloads import (
    AudiencePoint,
    Song,
    SongSummary,
    Usage,
    parse_audience,
    parse_error_message,
    parse_page,
    parse_ranked_song,
    parse_song,
    parse_song_collection,
    parse_song_envelope,
    parse_song_summary,
    parse_token,
    parse_usage,
)

UUID_TEXT = "11111111-2222-3333-4444-555555555555"
OTHER_TEXT = "99999999-2222-3333-4444-555555555555"


def song(**fields: Any) -> Song:
    return parse_song({"uuid": UUID_TEXT, **fields})


# --- Each field in every shape that versions of the API have given it ------------------------------


def test_name_and_credit_are_read() -> None:
    parsed = song(name="bad guy", creditName="Billie Eilish")

    assert (parsed.name, parsed.credit_name) == ("bad guy", "Billie Eilish")


@pytest.mark.parametrize("written", ["0\x1f", " 7 ", "\u20037"])
def test_a_count_is_read_without_the_blanks_around_it(written: str) -> None:
    """Python's strip() takes off more characters than int() does."""
    assert song(duration=written).duration == (int(written.strip()) or None)


def test_slug_is_read_where_it_exists() -> None:
    assert song(slug="bad-guy").slug == "bad-guy"
    assert song().slug is None


@pytest.mark.parametrize(
    "written",
    ["2019-03-29T00:00:00+00:00", "2019-03-29", "2019-03-29T00:00:00Z", "2019-03-29T23:59:59-11:00"],
)
def test_release_date_is_the_day_as_written(written: str) -> None:
    assert song(releaseDate=written).release_date == date(2019, 3, 29)


@pytest.mark.parametrize("written", ["", None, "  "])
def test_absent_release_date_is_no_warning(written: str | None) -> None:
    parsed = song(releaseDate=written)

    assert (parsed.release_date, parsed.warnings) == (None, ())


@pytest.mark.parametrize("written", [194, "194", " 194 "])
def test_duration_is_a_number_or_a_string_of_digits(written: object) -> None:
    assert song(duration=written).duration == 194


@pytest.mark.parametrize("written", [None, 0, "0", ""])
def test_unknown_duration_is_none_without_a_warning(written: object) -> None:
    parsed = song(duration=written)

    assert (parsed.duration, parsed.warnings) == (None, ())


@pytest.mark.parametrize("written", [{"value": "USUM71900764", "countryCode": "US"}, "USUM71900764"])
def test_isrc_is_an_object_or_a_string(written: object) -> None:
    assert song(isrc=written).isrc == "USUM71900764"


@pytest.mark.parametrize("written", [None, {}, {"value": None}, ""])
def test_absent_isrc_is_none_without_a_warning(written: object) -> None:
    parsed = song(isrc=written)

    assert (parsed.isrc, parsed.warnings) == (None, ())


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": [{"name": "Interscope", "type": "Universal"}, {"name": "Darkroom"}]},
        {"label": {"name": "Interscope"}},
        {"label": "Interscope"},
        {"labels": [], "label": "Interscope"},
        {"labels": [{"name": None}, {"name": "Interscope"}]},
    ],
)
def test_label_is_the_first_name_in_any_shape(fields: dict[str, Any]) -> None:
    assert song(**fields).label == "Interscope"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([{"root": "alternative", "sub": ["alternative"]}, {"root": "rock"}], "alternative"),
        ([{"name": "pop"}], "pop"),
        (["pop"], "pop"),
        ([{"name": "k-pop", "root": "pop"}], "k-pop"),
        ([], None),
        (None, None),
    ],
)
def test_genre_is_the_first_name_or_root_in_any_shape(written: object, expected: str | None) -> None:
    parsed = song(genres=written)

    assert (parsed.genre, parsed.warnings) == (expected, ())


def test_image_may_be_null() -> None:
    assert song(imageUrl="https://assets.example/song.jpg").image_url == "https://assets.example/song.jpg"
    assert song(imageUrl=None).image_url is None


def test_fields_that_nobody_asked_for_are_ignored() -> None:
    assert song(audio={"tempo": "NaN"}, composers=[1], explicit="?").warnings == ()


# --- What is malformed ----------------------------------------------------------------------------


def test_malformed_fields_leave_a_warning_that_names_field_and_value() -> None:
    parsed = song(releaseDate="2019-99-99", duration=True, name=7)

    assert (parsed.release_date, parsed.duration, parsed.name) == (None, None, None)
    assert parsed.warnings == (
        "name: 7 is not text",
        "releaseDate: '2019-99-99' is not a date",
        "duration: true is not a number of seconds",
    )


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 20 + "\udfff"])
def test_text_that_databases_refuse_is_malformed(text: str) -> None:
    parsed = song(name=text)

    assert parsed.name is None
    assert len(parsed.warnings) == 1
    parsed.warnings[0].encode()
    assert "\0" not in parsed.warnings[0]


def test_text_is_one_line() -> None:
    assert parse_song({"uuid": UUID_TEXT, "name": "two\nlines\tand  more"}).name == "two lines and more"


def test_text_is_stripped_and_blank_text_is_absent() -> None:
    parsed = song(name="  bad guy\n", creditName="   ")

    assert (parsed.name, parsed.credit_name, parsed.warnings) == ("bad guy", None, ())


@pytest.mark.parametrize("duration", [True, -1, 2**31, 2**70, 1.5, 194.0, "3:14", "٣", [], {}, "9" * 5000])
def test_duration_that_is_no_number_of_seconds_is_malformed(duration: object) -> None:
    parsed = song(duration=duration)

    assert parsed.duration is None
    assert len(parsed.warnings) == 1


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//assets.example/x.jpg",
        "https://",
        "https:///x.jpg",
        "https://[::1/x.jpg",
        "https://host:port/x.jpg",
        "java\nscript:alert(1)",
        "https://host/a b",
        "https://host\\@other/",
        "ftp://host/x.jpg",
    ],
)
def test_image_that_is_no_web_address_is_malformed(url: str) -> None:
    parsed = song(imageUrl=url)

    assert parsed.image_url is None
    assert len(parsed.warnings) == 1


@pytest.mark.parametrize(
    "written", ["0000-01-01", "20190329", "2019-W13-5", "29/03/2019", 20190329, "2019-03-29Tx"]
)
def test_release_date_in_no_known_shape_is_malformed(written: object) -> None:
    parsed = song(releaseDate=written)

    assert parsed.release_date is None
    assert len(parsed.warnings) == 1


def test_warnings_are_short_whatever_they_are_about() -> None:
    parsed = song(releaseDate="x" * 10_000, labels=[7] * 10_000, genres="x" * 10_000)

    assert sum(map(len, parsed.warnings)) < 3000


def test_long_text_is_kept_whole_for_the_caller_to_judge() -> None:
    name = song(name="x" * 10_000).name

    assert name is not None
    assert len(name) == 10_000


@pytest.mark.parametrize(
    "item",
    [None, [], "5", 5, True, {}, {"uuid": None}, {"uuid": 5}, {"uuid": "not-a-uuid"}, {"uuid": "1" * 32}],
)
def test_song_without_a_valid_uuid_is_an_invalid_response(item: object) -> None:
    with pytest.raises(InvalidResponse):
        parse_song(item)


# --- Envelopes ------------------------------------------------------------------------------------


def test_single_answer_holds_its_song_in_object() -> None:
    payload = {"type": "song", "object": {"uuid": UUID_TEXT, "name": "bad guy"}, "errors": []}

    assert parse_song_envelope(payload) == Song(uuid=UUID(UUID_TEXT), name="bad guy")


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"object": None}, {"object": []}, {"items": []}, "5", True]
)
def test_single_answer_in_another_envelope_is_an_invalid_response(payload: object) -> None:
    with pytest.raises(InvalidResponse):
        parse_song_envelope(payload)


def test_batch_answer_keeps_the_servers_order() -> None:
    payload = {"items": [{"uuid": OTHER_TEXT}, {"uuid": UUID_TEXT}]}

    assert [each.uuid for each in parse_song_collection(payload).items] == [UUID(OTHER_TEXT), UUID(UUID_TEXT)]


def test_unreadable_item_is_a_warning_and_spares_its_neighbours() -> None:
    page = parse_song_collection({"items": [{"uuid": "?"}, None, {"uuid": UUID_TEXT}]})

    assert [each.uuid for each in page.items] == [UUID(UUID_TEXT)]
    assert len(page.warnings) == 2


def test_errors_beside_a_song_become_one_of_its_warnings() -> None:
    payload = {"object": {"uuid": UUID_TEXT, "name": "bad guy"}, "errors": [{"code": 500, "message": "x"}]}

    song = parse_song_envelope(payload)

    assert (song.name, song.warnings) == ("bad guy", ("Soundcharts named an error (500) beside the song",))


@pytest.mark.parametrize("missing", [{}, {"object": None}, {"object": []}, {"object": {"name": "no uuid"}}])
@pytest.mark.parametrize("errors", [[{"code": 404}], ["x"], "x", {"code": 500}])
def test_errors_in_the_place_of_a_song_are_an_incomplete_answer(missing: Any, errors: object) -> None:
    with pytest.raises(IncompleteResponse):
        parse_song_envelope({**missing, "errors": errors})


@pytest.mark.parametrize("payload", [None, [], {}, {"items": None}, {"items": {}}, {"object": {}}, "5"])
def test_collection_without_a_list_of_items_is_an_invalid_response(payload: object) -> None:
    with pytest.raises(InvalidResponse):
        parse_page(payload, parse_song_summary)


def test_ranked_song_is_taken_out_of_its_wrapping() -> None:
    item = {"song": {"uuid": UUID_TEXT, "name": "bad guy"}, "audience": [], "popularity": []}

    assert parse_ranked_song(item) == SongSummary(uuid=UUID(UUID_TEXT), name="bad guy")


# --- Audience, usage, tokens, errors --------------------------------------------------------------


def test_audience_is_flattened_to_a_point_per_day_and_identifier() -> None:
    payload = {
        "items": [
            {"date": "2025-08-28T00:00:00+00:00", "plots": [{"identifier": "a", "value": 2783193386}]},
            {"date": "2025-08-27T00:00:00+00:00", "plots": [{"identifier": "a", "value": 1}, {"value": 2}]},
        ],
        "page": {"offset": 0, "limit": 100, "total": 2, "next": None},
    }

    page = parse_audience(payload)

    assert page.items == (
        AudiencePoint(date(2025, 8, 28), "a", 2783193386),
        AudiencePoint(date(2025, 8, 27), "a", 1),
        AudiencePoint(date(2025, 8, 27), None, 2),
    )
    assert not page.has_next


@pytest.mark.parametrize(
    "plot", [None, {}, {"value": None}, {"value": -1}, {"value": 2**70}, {"value": True}, {"value": 1.5}]
)
def test_plot_without_a_count_is_a_warning(plot: object) -> None:
    page = parse_audience({"items": [{"date": "2025-08-28", "plots": [plot]}]})

    assert page.items == ()
    assert len(page.warnings) == 1


def test_malformed_plot_spares_the_others_of_its_day() -> None:
    plots = [
        {"identifier": "a", "value": 1},
        {"identifier": "b", "value": None},
        {"identifier": "c", "value": 3},
    ]

    page = parse_audience({"items": [{"date": "2025-08-28", "plots": plots}]})

    assert [point.identifier for point in page.items] == ["a", "c"]
    assert len(page.warnings) == 1


@pytest.mark.parametrize(
    "payload",
    [
        {"object": {"quota": {"remaining": 900, "total": 1000}, "rateLimit": {"limit": 5000}}},
        {"quotaRemaining": 900, "quotaLimit": 1000, "callsPerMinute": 5000},
        {"object": {"quota": {"used": 100, "limit": 1000}, "rate_limit": 5000}},
    ],
)
def test_usage_is_recognised_in_several_spellings(payload: object) -> None:
    assert parse_usage(payload) == Usage(quota_remaining=900, quota_total=1000, calls_per_minute=5000)


@pytest.mark.parametrize(
    ("payload", "remaining", "total"),
    [
        # What was read as 4,999 calls: each name belongs to the object that it stands in.
        ({"quota": {"total": 1000, "used": 990}, "rateLimit": {"remaining": 4999}}, 10, 1000),
        ({"rate_limit": {"remaining": 4999}, "quota": {"total": 1000, "consumed": 990}}, 10, 1000),
        ({"limits": {"remaining": 4999, "total": 5000}, "quota": {"limit": 1000, "used": 990}}, 10, 1000),
        ({"quota": {"rateLimit": {"remaining": 4999}, "total": 1000, "used": 990}}, 10, 1000),
        ({"quota": {"total": 1000}, "remaining": 4999}, None, 1000),
        ({"object": {"plan": {"quota": {"included": "1000", "spent": "990"}}}}, 10, 1000),
        ({"data": {"usage": {"quotaTotal": 1000, "quotaConsumed": 990}}}, 10, 1000),
        ({"quota": 1000, "used": 990}, 10, 1000),
        ({"quota": {"remaining": "10", "total": 1000.0}}, 10, 1000),
        ({"quota": {"available": 10}}, 10, None),
        ({"quotaLeft": 10, "rateLimitRemaining": 4999}, 10, None),
        ({"apiCalls": {"limit": 1000, "used": 990}}, 10, 1000),
        ({"monthly": {"limit": 1000, "left": 10}, "daily": {"limit": 100, "left": 1}}, 10, 1000),
        ({"limits": {"perMinute": 5000, "perMonth": 1000}, "callsUsed": 990}, 10, 1000),
        ({"remaining": 10, "total": 1000}, 10, 1000),
        # More was spent than there was: none left.
        ({"quota": {"total": 1000, "used": 1010}}, -10, 1000),
        ({"quota": {"remaining": -10}}, -10, None),
        ({"quota": {"remaining": "-10", "total": 1000, "used": 1010}}, -10, 1000),
    ],
)
def test_each_number_of_the_usage_is_read_by_the_object_that_it_belongs_to(
    payload: object, remaining: int | None, total: int | None
) -> None:
    usage = parse_usage(payload)

    assert (usage.quota_remaining, usage.quota_total) == (remaining, total)


@pytest.mark.parametrize(
    "payload",
    [
        {"object": {"plan": "free"}},
        {"rateLimit": {"remaining": 4999}},
        {"rate_limit": {"total": 5000, "used": 1}, "throttling": {"remaining": 3}},
        {"whatever": {"remaining": 4999, "total": 5000}},
        {"today": {"used": 5, "remaining": 95}},
        {"period": {"year": 2026, "month": 11}, "used": 5},
        {"quota": {"total": -1, "used": 990}},
        {"quota": {"calls": 990}},
        {"quota": {"remaining": True, "total": "many", "used": 1.5}},
        {"quota": {"remaining": 2**64}},
    ],
)
def test_usage_that_says_nothing_of_the_quota_stays_unknown(payload: object) -> None:
    usage = parse_usage(payload)

    assert (usage.quota_remaining, usage.quota_total) == (None, None)


@pytest.mark.parametrize(
    ("payload", "calls"),
    [
        ({"rateLimit": {"minute": {"limit": 5000}, "second": {"limit": 83}}}, 5000),
        ({"rateLimit": {"second": {"limit": 83}}}, None),
        ({"limits": {"perMinute": "5000"}}, 5000),
        ({"rateLimit": {"remaining": 4999}}, None),
    ],
)
def test_only_the_calls_of_a_minute_are_the_rate(payload: object, calls: int | None) -> None:
    assert parse_usage(payload).calls_per_minute == calls


def test_token_is_not_in_its_repr() -> None:
    token = parse_token({"access_token": "top-secret", "token_type": "bearer", "expires_in": 3600})

    assert (token.value, token.expires_in) == ("top-secret", 3600)
    assert "top-secret" not in repr(token)


@pytest.mark.parametrize("value", [None, "", 5, "two words", "line\nbreak", "naïve"])
def test_token_that_cannot_stand_in_a_header_is_an_invalid_response(value: object) -> None:
    with pytest.raises(InvalidResponse):
        parse_token({"access_token": value, "expires_in": 3600})


# --- Garbage --------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        *("uuid", "name", "slug", "creditName", "imageUrl", "isrc", "value", "label", "labels", "genres"),
        *("root", "releaseDate", "duration", "object", "items", "page", "offset", "limit", "total", "next"),
        *("song", "date", "plots", "identifier", "quota", "remaining", "access_token", "expires_in"),
        *("errors", "message"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**4400, max_value=10**4401)
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=()))
    | st.sampled_from(
        [UUID_TEXT, "2019-03-29", "https://host/x", "https://[", "javascript:", "0000-00-00", ""]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=25,
)
SONGS = st.fixed_dictionaries({"uuid": st.just(UUID_TEXT)}, optional={"name": JSON, "isrc": JSON}).flatmap(
    lambda base: st.dictionaries(NAMES, JSON, max_size=10).map(lambda more: {**more, **base})
)


@pytest.mark.parametrize(
    "parse",
    [
        *(parse_song, parse_song_summary, parse_ranked_song, parse_song_envelope, parse_song_collection),
        *(parse_audience, parse_usage, parse_token),
    ],
)
@settings(deadline=None)
@given(garbage=JSON)
def test_garbage_is_parsed_or_an_invalid_response(parse: Any, garbage: object) -> None:
    message = ""
    try:
        parse(garbage)
    except InvalidResponse as error:
        message = str(error)
    assert len(message.encode()) < 500


@settings(deadline=None)
@given(garbage=JSON)
def test_error_message_of_garbage_is_text_or_nothing(garbage: object) -> None:
    assert isinstance(parse_error_message(garbage), str | None)


@settings(deadline=None)
@given(item=SONGS)
def test_song_with_a_uuid_is_always_understood_and_storable(item: dict[str, Any]) -> None:
    parsed = parse_song(item)

    texts = (
        parsed.name,
        parsed.slug,
        parsed.credit_name,
        parsed.image_url,
        parsed.isrc,
        parsed.label,
        parsed.genre,
    )
    for text in (*texts, *parsed.warnings):
        if text is not None:
            assert text == text.strip() != ""
            assert "\0" not in text
            json.dumps(text).encode()
            text.encode()
    assert parsed.duration is None or 1 <= parsed.duration < 2**31
