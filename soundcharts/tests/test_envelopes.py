"""Pages and what they promise: what was asked for counts, whatever the server says of itself."""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundcharts.envelopes import Page, errors_beside, parse_error_message, parse_page, require_whole
from soundcharts.errors import IncompleteResponse
from soundcharts.payloads import SongSummary, parse_song_summary

NEXT = "/api/v2/next"


def page_of(
    count: int, *, asked: tuple[int, int] | None = None, errors: object = None, **page: Any
) -> Page[SongSummary]:
    payload = {"items": [{"uuid": str(UUID(int=n))} for n in range(count)], "page": page, "errors": errors}
    offset, limit = asked or (None, None)
    return parse_page(payload, parse_song_summary, offset=offset, limit=limit)


def test_page_says_where_it_stands() -> None:
    page = page_of(2, offset=20, limit=2, total=50, next=None)

    assert (page.offset, page.limit, page.total, page.has_next, page.next_offset) == (20, 2, 50, True, 22)


def test_page_has_a_next_one_if_the_server_links_it() -> None:
    assert page_of(2, offset=0, limit=2, next=NEXT).has_next


def test_last_page_has_no_next_one() -> None:
    page = page_of(2, offset=48, limit=2, total=50, next=None)

    assert (page.has_next, page.next_offset) == (False, None)


def test_empty_page_has_no_next_one_whatever_it_claims() -> None:
    assert not page_of(0, offset=0, limit=100, total=5000, next=NEXT).has_next


@pytest.mark.parametrize("page", [None, [], {"offset": "x", "limit": -1, "total": True}])
def test_page_without_usable_numbers_is_a_page_of_its_own(page: object) -> None:
    parsed = parse_page({"items": [{"uuid": str(UUID(int=1))}], "page": page}, parse_song_summary)

    assert (parsed.offset, parsed.limit, parsed.total, parsed.has_next) == (0, 1, None, False)
    assert parsed.is_whole


@pytest.mark.parametrize(
    "page",
    [
        *({"offset": 0, "limit": 0}, {"offset": 0, "limit": -5}, {"offset": 10**9, "limit": 10**9}),
        *({"offset": "5", "limit": None}, {"offset": -100, "limit": 100}, {}),
    ],
)
def test_place_of_a_page_is_the_one_that_was_asked_for(page: dict[str, Any]) -> None:
    found = page_of(20, asked=(200, 20), next=NEXT, **page)

    assert (found.offset, found.next_offset) == (200, 220)


def test_items_beyond_what_was_asked_for_are_cut_with_a_word_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="soundcharts")

    page = page_of(100, asked=(0, 5), offset=0, limit=100, total=300)

    assert [song.uuid.int for song in page.items] == [0, 1, 2, 3, 4]
    assert (page.limit, page.listed, page.next_offset, page.is_whole, page.warnings) == (5, 5, 5, True, ())
    assert "100 items where 5 were asked for" in caplog.text


def test_server_with_smaller_pages_is_walked_without_a_gap() -> None:
    page = page_of(20, asked=(40, 100), offset=40, limit=20, total=300)

    assert (page.is_whole, page.next_offset) == (True, 60)


@pytest.mark.parametrize(
    ("count", "asked", "page"),
    [
        (0, (0, 100), {"total": 300}),
        (97, (0, 100), {"total": 300}),
        (97, (0, 100), {"offset": 0, "limit": 100, "total": 300, "next": NEXT}),
        (49, (250, 100), {"offset": 250, "limit": 100, "total": 300, "next": None}),
        (19, (0, 100), {"offset": 0, "limit": 20, "total": 300}),
        (97, (0, 100), {"offset": 0, "limit": 100, "next": NEXT}),
        (4, (0, 5), {"offset": 0, "limit": 100, "total": 300}),
    ],
)
def test_page_with_fewer_items_than_it_promises_is_not_whole(
    count: int, asked: tuple[int, int], page: dict[str, Any]
) -> None:
    found = page_of(count, asked=asked, **page)

    assert (found.is_whole, found.listed) == (False, count)
    assert f"sent {count} of" in found.shortfall


@pytest.mark.parametrize(
    ("count", "asked", "page"),
    [
        (100, (0, 100), {"total": 300}),
        (50, (250, 100), {"offset": 250, "limit": 100, "total": 300, "next": None}),
        (0, (300, 100), {"offset": 300, "limit": 100, "total": 300, "next": NEXT}),
        (0, (0, 100), {"total": 0}),
        (100, (0, 100), {"total": 3}),
        (7, (0, 100), {"offset": 0, "limit": 100, "next": None}),
        (7, (0, 100), {"next": NEXT}),
        (7, (0, 100), {}),
    ],
)
def test_page_with_all_that_it_promises_is_whole(
    count: int, asked: tuple[int, int], page: dict[str, Any]
) -> None:
    found = page_of(count, asked=asked, **page)

    assert require_whole(found) is found


@pytest.mark.parametrize("errors", [[{"code": 500, "message": "x"}], [{}], ["x"], "x", {"code": 500}, 5])
def test_page_beside_errors_is_not_whole_and_keeps_what_came(errors: object) -> None:
    page = page_of(100, asked=(0, 100), errors=errors, total=100)

    with pytest.raises(IncompleteResponse) as raised:
        require_whole(page)

    assert raised.value.page is page
    assert "error" in str(raised.value)


@pytest.mark.parametrize("errors", [None, [], {}, "", False, 0])
def test_no_errors_are_none(errors: object) -> None:
    assert errors_beside({"errors": errors}) is None
    assert page_of(1, errors=errors).is_whole


def test_what_the_server_says_of_its_errors_is_not_quoted() -> None:
    page = page_of(0, errors=[{"code": 500, "message": "the key is top-secret"}])

    assert "top-secret" not in page.shortfall
    assert "(500)" in page.shortfall


def test_error_message_is_the_first_one() -> None:
    payload = {"errors": [{"key": "x", "code": 0}, {"message": " Not logged in "}, {"message": "second"}]}

    assert parse_error_message(payload) == "Not logged in"


SAID = st.none() | st.integers(-10, 500) | st.sampled_from(["", "5", NEXT, True, [], {}, 2**70])


@settings(deadline=None, max_examples=300)
@given(
    pages=st.lists(
        st.tuples(
            st.integers(0, 30), st.dictionaries(st.sampled_from(["offset", "limit", "total", "next"]), SAID)
        ),
        max_size=40,
    ),
    limit=st.integers(1, 20),
)
def test_a_walk_goes_on_by_what_came_and_never_back(
    pages: list[tuple[int, dict[str, Any]]], limit: int
) -> None:
    offset, listed = 0, 0
    for count, page in pages:
        found = page_of(count, asked=(offset, limit), **page)
        assert len(found.items) == found.listed == min(count, limit)
        listed += found.listed
        if found.next_offset is None:
            break
        assert offset < found.next_offset <= offset + limit
        offset = found.next_offset
        assert offset == listed


@settings(deadline=None)
@given(payload=st.fixed_dictionaries({}, optional={"items": st.lists(st.none() | st.just({})), "page": SAID}))
def test_a_page_can_be_kept_as_json(payload: dict[str, Any]) -> None:
    payload.setdefault("items", [])
    assert json.dumps(parse_page(payload, parse_song_summary).shortfall)
