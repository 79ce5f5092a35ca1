from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
import requests
import responses

from soundcharts.batching import BATCH_REFUSED, SongBatch, SongFetcher
from soundcharts.errors import (
    AmbiguousIsrc,
    AuthenticationFailed,
    Forbidden,
    IncompleteResponse,
    InvalidRequest,
    InvalidResponse,
    Moved,
    NotFound,
    QuotaExhausted,
    RateLimited,
    TruncatedResponse,
    UpstreamUnavailable,
)
from soundcharts.tests.doubles import FakeLimiter, make_client

UUIDS = [UUID(int=n) for n in range(1, 11)]
Reply = tuple[int, dict[str, str], str]


@dataclass
class Songs:
    """An API that knows the songs of UUIDS; every attribute makes something go wrong."""

    # The status of every batch call.
    refused: int | None = None
    # Statuses of single calls; a batch with such a uuid is answered 400.
    poisoned: dict[UUID, int] = field(default_factory=dict)
    # Songs whose object is no JSON.
    garbled: set[UUID] = field(default_factory=set)
    unknown: set[UUID] = field(default_factory=set)
    # What a batch answer has besides.
    more: dict[str, object] = field(default_factory=dict)
    more_items: list[object] = field(default_factory=list)
    # Called before every answer, with the uuids; may return another.
    before: Callable[[list[UUID]], Reply | None] = lambda uuids: None
    calls: list[list[UUID]] = field(default_factory=list)

    def answer(self, request: requests.PreparedRequest) -> Reply:
        uuids = [UUID(text) for text in str(request.url).rpartition("/")[2].split(",")]
        self.calls.append(uuids)
        other = self.before(uuids)
        if other is not None:
            return other
        if self.garbled & set(uuids):
            return 200, {}, '{"object": {"duration": NaN}}'
        if len(uuids) == 1:
            return self._single(uuids[0])
        if self.refused or set(uuids) & set(self.poisoned):
            return self.refused or 400, {}, '{"errors": []}'
        items = [song(uuid) for uuid in reversed(uuids) if uuid not in self.unknown]
        return 200, {}, json.dumps({"items": [*items, *self.more_items], **self.more})

    def _single(self, uuid: UUID) -> Reply:
        if uuid in self.poisoned or uuid in self.unknown:
            return self.poisoned.get(uuid, 404), {}, '{"errors": []}'
        return 200, {}, json.dumps({"type": "song", "object": song(uuid)})

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]


def song(uuid: UUID) -> dict[str, object]:
    return {"uuid": str(uuid), "name": f"Song {uuid.int}"}


@pytest.fixture
def api() -> Iterator[Songs]:
    songs = Songs()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(
            responses.GET, re.compile(".*/api/v2.25/song/.*"), callback=lambda r: songs.answer(r)
        )
        yield songs


@pytest.fixture
def limiter() -> FakeLimiter:
    return FakeLimiter()


@pytest.fixture
def fetcher(limiter: FakeLimiter) -> SongFetcher:
    """A fetcher that has not seen a batch call yet."""
    return SongFetcher(make_client(limiter=limiter), batch_size=10)


@pytest.fixture
def seasoned(fetcher: SongFetcher, api: Songs) -> SongFetcher:
    """A fetcher that has seen a batch call work."""
    fetcher.fetch_songs(UUIDS)
    api.calls.clear()
    return fetcher


def assert_complete(batch: SongBatch, *, errors: dict[UUID, type[Exception]] | None = None) -> None:
    """Check that every uuid has one outcome, and which of them failed."""
    assert batch.interrupted_by is None
    assert {uuid: type(error) for uuid, error in batch.errors.items()} == (errors or {})
    assert set(batch.songs) == set(UUIDS) - set(batch.errors)
    assert all(found.name == f"Song {uuid.int}" for uuid, found in batch.songs.items())


# --- Batches that work ----------------------------------------------------------------------------


def test_ten_songs_cost_one_call_in_any_order(api: Songs, fetcher: SongFetcher) -> None:
    assert_complete(fetcher.fetch_songs(UUIDS))
    assert api.sizes == [10]


def test_one_song_is_a_single_call(api: Songs, fetcher: SongFetcher) -> None:
    assert set(fetcher.fetch_songs(UUIDS[:1]).songs) == {UUIDS[0]}
    assert api.calls == [[UUIDS[0]]]


def test_no_song_costs_nothing(api: Songs, fetcher: SongFetcher) -> None:
    assert fetcher.fetch_songs([]) == SongBatch()
    assert api.calls == []


def test_song_asked_for_twice_is_fetched_once(api: Songs, fetcher: SongFetcher) -> None:
    fetcher.fetch_songs([UUIDS[0], UUIDS[1], UUIDS[0]])

    assert api.calls == [[UUIDS[0], UUIDS[1]]]


def test_more_songs_than_a_batch_holds_are_refused(api: Songs, fetcher: SongFetcher) -> None:
    with pytest.raises(ValueError, match="11 uuids"):
        fetcher.fetch_songs([*UUIDS, UUID(int=99)])


def test_song_missing_from_a_whole_answer_is_not_found(api: Songs, fetcher: SongFetcher) -> None:
    api.unknown = {UUIDS[3], UUIDS[7]}

    batch = fetcher.fetch_songs(UUIDS)

    assert_complete(batch, errors={UUIDS[3]: NotFound, UUIDS[7]: NotFound})
    assert batch.errors[UUIDS[3]].path == f"/api/v2.25/song/{UUIDS[3]}"
    assert api.sizes == [10]


@pytest.mark.parametrize("item", [None, {"name": "no uuid"}, "5", {"uuid": "?"}])
def test_song_missing_beside_an_unreadable_item_is_asked_for_alone(
    api: Songs, fetcher: SongFetcher, item: object
) -> None:
    api.unknown = {UUIDS[3]}
    api.more_items = [item]

    assert_complete(fetcher.fetch_songs(UUIDS), errors={UUIDS[3]: NotFound})
    assert api.calls[1:] == [[UUIDS[3]]]


def test_songs_missing_from_an_answer_that_goes_on_are_asked_for_alone(
    api: Songs, fetcher: SongFetcher
) -> None:
    api.unknown = {UUIDS[3]}
    api.more = {"page": {"offset": 0, "limit": 9, "total": 10}}

    fetcher.fetch_songs(UUIDS)

    assert api.calls[1:] == [[UUIDS[3]]]


def test_songs_nobody_asked_for_are_ignored_with_a_warning(
    api: Songs, fetcher: SongFetcher, caplog: pytest.LogCaptureFixture
) -> None:
    api.more_items = [song(UUID(int=77)), song(UUID(int=78))]

    assert_complete(fetcher.fetch_songs(UUIDS))
    assert "2 songs that nobody asked for" in caplog.text


def test_empty_answer_is_believed_only_from_an_account_with_batch_calls(
    api: Songs, fetcher: SongFetcher
) -> None:
    api.unknown = set(UUIDS)
    fetcher.fetch_songs(UUIDS)
    assert api.sizes == [10] + [1] * 10

    api.unknown = set()
    fetcher.fetch_songs(UUIDS)
    api.calls.clear()
    api.unknown = set(UUIDS)
    assert len(fetcher.fetch_songs(UUIDS).errors) == 10
    assert api.sizes == [10]


# --- Accounts without batch calls -----------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_account_without_batch_calls_is_found_out_and_remembered(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter, status: int
) -> None:
    api.refused = status

    assert_complete(fetcher.fetch_songs(UUIDS))
    assert_complete(fetcher.fetch_songs(UUIDS))

    assert api.sizes == [10] + [1] * 20
    assert limiter.memories == {BATCH_REFUSED: 86400.0}
    assert fetcher.effective_batch_size == 1


def test_refusal_with_a_bad_song_among_them_proves_nothing(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    api.refused = 400
    api.poisoned = {UUIDS[4]: 400}

    assert_complete(fetcher.fetch_songs(UUIDS), errors={UUIDS[4]: InvalidRequest})
    assert limiter.memories == {}
    assert fetcher.effective_batch_size == 10


def test_403_is_about_the_account_even_with_a_bad_song_among_them(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    api.refused = 403
    api.poisoned = {UUIDS[4]: 404}

    assert_complete(fetcher.fetch_songs(UUIDS), errors={UUIDS[4]: NotFound})
    assert BATCH_REFUSED in limiter.memories


def test_403_for_everything_interrupts_and_teaches_nothing(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    api.before = lambda uuids: (403, {}, '{"errors": []}')

    batch = fetcher.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.songs, batch.errors) == (Forbidden, {}, {})
    assert api.sizes == [10, 1]
    assert limiter.memories == {}


def test_account_that_loses_batch_calls_is_found_out_too(
    api: Songs, seasoned: SongFetcher, limiter: FakeLimiter
) -> None:
    api.refused = 400

    assert_complete(seasoned.fetch_songs(UUIDS))
    assert BATCH_REFUSED in limiter.memories


# --- Bad songs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "kind"), [(400, InvalidRequest), (404, NotFound), (410, AmbiguousIsrc)])
def test_one_bad_song_is_found_by_halving(
    api: Songs, seasoned: SongFetcher, status: int, kind: type[Exception], limiter: FakeLimiter
) -> None:
    api.poisoned = {UUIDS[6]: status}

    assert_complete(seasoned.fetch_songs(UUIDS), errors={UUIDS[6]: kind})
    assert len(api.calls) <= 9
    assert BATCH_REFUSED not in limiter.memories


def test_several_bad_songs_are_all_found(api: Songs, seasoned: SongFetcher) -> None:
    api.poisoned = {UUIDS[0]: 400, UUIDS[1]: 404, UUIDS[9]: 410}

    errors: dict[UUID, type[Exception]] = {
        UUIDS[0]: InvalidRequest,
        UUIDS[1]: NotFound,
        UUIDS[9]: AmbiguousIsrc,
    }
    assert_complete(seasoned.fetch_songs(UUIDS), errors=errors)


def test_bad_song_in_the_first_batch_ever_fails_alone(api: Songs, fetcher: SongFetcher) -> None:
    api.poisoned = {UUIDS[6]: 400}

    assert_complete(fetcher.fetch_songs(UUIDS), errors={UUIDS[6]: InvalidRequest})
    assert api.sizes == [10] + [1] * 10


def test_song_that_spoils_the_json_of_its_batch_fails_alone(api: Songs, seasoned: SongFetcher) -> None:
    api.garbled = {UUIDS[6]}

    assert_complete(seasoned.fetch_songs(UUIDS), errors={UUIDS[6]: InvalidResponse})


def test_song_that_spoils_the_first_batch_ever_fails_alone_and_proves_nothing(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    api.garbled = {UUIDS[0]}

    assert_complete(fetcher.fetch_songs(UUIDS), errors={UUIDS[0]: InvalidResponse})
    assert limiter.memories == {}


def test_batch_that_was_once_unreadable_does_not_condemn_batch_calls(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    api.before = lambda uuids: (200, {}, "<html>") if len(uuids) > 1 else None

    assert_complete(fetcher.fetch_songs(UUIDS))
    assert limiter.memories == {}


# --- Merged songs ---------------------------------------------------------------------------------

HEIR = UUID(int=77)


def test_single_answer_about_another_song_is_a_move(api: Songs, fetcher: SongFetcher) -> None:
    api.before = lambda uuids: (200, {}, json.dumps({"type": "song", "object": song(HEIR)}))

    with pytest.raises(Moved, match=str(HEIR)) as raised:
        fetcher.fetch_song(UUIDS[0])

    assert (raised.value.new_uuid, raised.value.path) == (HEIR, f"/api/v2.25/song/{UUIDS[0]}")
    assert raised.value.song is not None
    assert raised.value.song.name == "Song 77"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"type": "artist", "object": song(HEIR), "errors": []}, InvalidResponse),
        ({"type": "song", "object": song(HEIR), "errors": [{"code": 500}]}, IncompleteResponse),
    ],
)
def test_answer_that_may_not_be_about_a_song_is_no_move(
    api: Songs, fetcher: SongFetcher, answer: object, kind: type[Exception]
) -> None:
    api.before = lambda uuids: (200, {}, json.dumps(answer))

    with pytest.raises(InvalidResponse) as raised:
        fetcher.fetch_song(UUIDS[0])

    assert type(raised.value) is kind


def test_redirect_to_another_song_is_a_move_without_it(api: Songs, fetcher: SongFetcher) -> None:
    api.before = lambda uuids: (301, {"Location": f"/api/v2.25/song/{HEIR}"}, "")

    with pytest.raises(Moved) as raised:
        fetcher.fetch_song(UUIDS[0])

    assert (raised.value.new_uuid, raised.value.song) == (HEIR, None)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_song_that_redirects_spares_its_neighbours_in_a_batch(
    api: Songs, seasoned: SongFetcher, status: int
) -> None:
    location = {"Location": f"/api/v2.25/song/{HEIR}"}
    api.before = lambda uuids: (status, location, "") if UUIDS[3] in uuids else None

    assert_complete(seasoned.fetch_songs(UUIDS), errors={UUIDS[3]: Moved})


def test_the_one_stranger_in_a_batch_is_the_heir_of_the_one_that_is_missing(
    api: Songs, fetcher: SongFetcher
) -> None:
    api.unknown = {UUIDS[3]}
    api.more_items = [song(HEIR)]

    batch = fetcher.fetch_songs(UUIDS)

    assert_complete(batch, errors={UUIDS[3]: Moved})
    error = batch.errors[UUIDS[3]]
    assert isinstance(error, Moved)
    assert (error.new_uuid, error.song and error.song.name) == (HEIR, "Song 77")
    assert api.sizes == [10]


@pytest.mark.parametrize(
    ("unknown", "strangers"),
    [
        # Two of each; more strangers; more that are missing; a song that came twice.
        ({3, 4}, [77, 78]),
        ({3}, [77, 78]),
        ({3, 4}, [77]),
        ({3}, [1]),
    ],
)
def test_which_of_several_was_merged_only_single_answers_tell(
    api: Songs, seasoned: SongFetcher, unknown: set[int], strangers: list[int]
) -> None:
    api.unknown = {UUIDS[n] for n in unknown}
    api.more_items = [song(UUID(int=number)) for number in strangers]

    assert_complete(seasoned.fetch_songs(UUIDS), errors=dict.fromkeys(api.unknown, NotFound))
    assert api.calls[1:] == [[UUIDS[n]] for n in sorted(unknown)]


# --- Answers that are not whole -------------------------------------------------------------------

TROUBLES = [
    {"errors": [{"key": "internal_error", "code": 500, "message": "It broke."}]},
    {"errors": [{}]},
    {"errors": ["It broke."]},
    {"errors": "It broke."},
    {"errors": {"code": 500}},
    {"page": {"offset": 0, "limit": 10, "total": 10}},
    {"page": {"offset": 0, "limit": 100, "total": 100}},
    {"page": {"offset": 0, "limit": 10, "next": "/api/v2.25/song/more"}},
]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_song_missing_from_an_answer_that_is_not_whole_stays_unanswered(
    api: Songs, seasoned: SongFetcher, trouble: dict[str, object]
) -> None:
    api.unknown = {UUIDS[3], UUIDS[7], UUIDS[9]}
    api.more = trouble

    batch = seasoned.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.errors) == (IncompleteResponse, {})
    assert set(batch.songs) == set(UUIDS) - api.unknown
    assert api.sizes == [10]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_answer_with_every_song_is_used_whatever_stands_beside_it(
    api: Songs, seasoned: SongFetcher, trouble: dict[str, object]
) -> None:
    api.more = trouble

    assert_complete(seasoned.fetch_songs(UUIDS))


@pytest.mark.parametrize("page", [{}, {"total": 8}, {"offset": 0, "limit": 10, "total": 8, "next": None}])
def test_song_missing_from_a_whole_answer_is_absent_however_the_page_says_so(
    api: Songs, seasoned: SongFetcher, page: dict[str, object]
) -> None:
    api.unknown = {UUIDS[3], UUIDS[7]}
    api.more = {"page": page, "errors": []}

    assert_complete(seasoned.fetch_songs(UUIDS), errors={UUIDS[3]: NotFound, UUIDS[7]: NotFound})


def test_stranger_beside_errors_is_nobodys_heir(api: Songs, seasoned: SongFetcher) -> None:
    api.unknown = {UUIDS[3]}
    api.more_items = [song(HEIR)]
    api.more = {"errors": [{"code": 500}]}

    batch = seasoned.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.errors) == (IncompleteResponse, {})


@pytest.mark.parametrize("items", [{"items": []}, {"items": None}, {}])
def test_errors_instead_of_songs_spend_one_call(
    api: Songs, fetcher: SongFetcher, items: dict[str, object]
) -> None:
    api.before = lambda uuids: (200, {}, json.dumps({"errors": [{"code": 500}], **items}))

    batch = fetcher.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.songs, batch.errors) == (IncompleteResponse, {}, {})
    assert api.sizes == [10]


def test_errors_instead_of_one_song_spare_its_neighbours(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    limiter.remember(BATCH_REFUSED, 60)
    trouble: Reply = (200, {}, json.dumps({"object": None, "errors": [{"code": 500}]}))
    api.before = lambda uuids: trouble if uuids == [UUIDS[3]] else None

    batch = fetcher.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.errors) == (IncompleteResponse, {})
    assert set(batch.songs) == set(UUIDS) - {UUIDS[3]}


def test_nothing_but_errors_instead_of_single_songs_ends_after_two(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    limiter.remember(BATCH_REFUSED, 60)
    api.before = lambda uuids: (200, {}, json.dumps({"object": None, "errors": [{"code": 500}]}))

    batch = fetcher.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), api.sizes) == (IncompleteResponse, [1, 1])


# --- Interruptions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((500, {}, ""), UpstreamUnavailable),
        ((401, {}, "{}"), AuthenticationFailed),
        ((429, {}, '{"errors": [{"message": "Quota used up"}]}'), QuotaExhausted),
        ((404, {}, "<html>Not here</html>"), UpstreamUnavailable),
        ((403, {}, "{}"), UpstreamUnavailable),
        ((410, {}, ""), UpstreamUnavailable),
        ((429, {}, '{"message": "maximum request count"}'), RateLimited),
        ((200, {}, '{"items": ['), TruncatedResponse),
    ],
)
def test_error_that_is_about_no_song_interrupts_at_once(
    api: Songs, seasoned: SongFetcher, reply: Reply, kind: type[Exception]
) -> None:
    api.before = lambda uuids: reply

    batch = seasoned.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.songs, batch.errors) == (kind, {}, {})
    assert set(api.sizes) == {10}


def test_answers_paid_for_before_an_interruption_are_kept(api: Songs, fetcher: SongFetcher) -> None:
    api.refused = 400
    api.unknown = {UUIDS[1]}
    api.before = lambda uuids: (503, {}, "") if uuids == [UUIDS[4]] else None

    batch = fetcher.fetch_songs(UUIDS)

    assert isinstance(batch.interrupted_by, UpstreamUnavailable)
    assert set(batch.songs) == {UUIDS[0], UUIDS[2], UUIDS[3]}
    assert set(batch.errors) == {UUIDS[1]}


def test_nothing_but_unreadable_answers_interrupts_after_two_songs(
    api: Songs, fetcher: SongFetcher, limiter: FakeLimiter
) -> None:
    api.before = lambda uuids: (200, {}, "<html>Maintenance</html>")

    batch = fetcher.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.songs, batch.errors) == (InvalidResponse, {}, {})
    assert api.sizes == [10, 1, 1]
    assert limiter.memories == {}


def test_nothing_but_unreadable_answers_interrupts_soon_where_batches_have_worked(
    api: Songs, seasoned: SongFetcher
) -> None:
    api.before = lambda uuids: (200, {}, "<html>Maintenance</html>")

    batch = seasoned.fetch_songs(UUIDS)

    assert (type(batch.interrupted_by), batch.errors) == (InvalidResponse, {})
    assert len(api.calls) <= 6


def test_unreadable_answer_about_the_only_song_is_held_against_it(api: Songs, fetcher: SongFetcher) -> None:
    api.garbled = {UUIDS[0]}

    batch = fetcher.fetch_songs(UUIDS[:1])

    assert batch.interrupted_by is None
    assert isinstance(batch.errors[UUIDS[0]], InvalidResponse)


def test_refused_batch_is_logged_without_its_uuids(
    api: Songs, seasoned: SongFetcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="soundcharts.batching")
    api.poisoned = {UUIDS[6]: 400}

    seasoned.fetch_songs(UUIDS)

    assert "A batch of 10 songs was refused: invalid_request" in caplog.text
