"""The whole package against the simulator, over real HTTP and a real Valkey."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from soundcharts.client import SoundchartsClient
from soundcharts.credentials import ApiKeyCredentials, Credentials, OAuthCredentials
from soundcharts.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    InvalidResponse,
    NotFound,
    QuotaExhausted,
    RateLimited,
    SoundchartsError,
    TruncatedResponse,
    UpstreamUnavailable,
)
from soundcharts.limiter import RateLimiter
from soundcharts.payloads import Song
from soundcharts.service import SoundchartsService
from soundcharts.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(songs=200, calls_per_minute=100_000) as simulator:
        yield simulator


def make_service(
    simulator: Simulator,
    redis_url: str,
    *,
    credentials: Credentials | None = None,
    calls_per_minute: int = 60_000,
    batch_size: int = 10,
    **options: Any,
) -> SoundchartsService:
    credentials = credentials or ApiKeyCredentials("soundcharts", "soundcharts")
    client = SoundchartsClient(
        base_url=simulator.url,
        credentials=credentials,
        limiter=RateLimiter(redis_url, credentials.fingerprint, calls_per_minute),
        **{"max_retries": 0, "deadline": 30.0, **options},
    )
    return SoundchartsService(client, batch_size=batch_size)


@pytest.fixture
def service(simulator: Simulator, redis_url: str) -> SoundchartsService:
    return make_service(simulator, redis_url)


def uuids_of(simulator: Simulator, count: int) -> list[UUID]:
    return [simulator.song_uuid(index) for index in range(count)]


# --- Everything works -----------------------------------------------------------------------------


def test_every_song_is_understood_without_a_warning(
    simulator: Simulator, service: SoundchartsService
) -> None:
    songs: list[Song] = []
    for first in range(0, 200, 10):
        wanted = [simulator.song_uuid(index) for index in range(first, first + 10)]
        songs += service.get_songs(wanted).songs.values()

    assert len(songs) == 200
    assert [song.warnings for song in songs if song.warnings] == []
    assert all(song.name and song.credit_name for song in songs)


def test_single_and_batch_answers_agree(simulator: Simulator, service: SoundchartsService) -> None:
    wanted = uuids_of(simulator, 3)

    batch = service.get_songs(wanted)

    assert batch.songs == {uuid: service.get_song_metadata_enhanced(uuid) for uuid in wanted}


def test_song_is_found_by_its_isrc(simulator: Simulator, service: SoundchartsService) -> None:
    song = service.get_song_metadata_enhanced(simulator.song_uuid(7))
    assert song.isrc is not None

    assert service.get_song_by_isrc(song.isrc) == song


def test_search_finds_an_artist_by_a_part_of_the_name(
    simulator: Simulator, service: SoundchartsService
) -> None:
    name = simulator.catalogue.artist_name(6)

    found = service.search_artists(name[1:]).items

    assert simulator.artist_uuid(6) in {artist.uuid for artist in found}
    assert all(artist.image_url for artist in found)


def test_search_finds_a_song_by_its_name(simulator: Simulator, service: SoundchartsService) -> None:
    song = service.get_song_metadata_enhanced(simulator.song_uuid(7))
    assert song.name is not None

    assert song.uuid in {found.uuid for found in service.search_songs(song.name).items}


def test_top_songs_are_walked_page_by_page_to_the_end(service: SoundchartsService) -> None:
    found: list[UUID] = []
    offset: int | None = 0
    while offset is not None:
        page = service.get_top_songs(offset=offset, limit=60)
        found += [song.uuid for song in page.items]
        offset = page.next_offset

    assert len(found) == len(set(found)) == 200


def test_artist_songs_are_listed(simulator: Simulator, service: SoundchartsService) -> None:
    page = service.get_artist_songs(simulator.artist_uuid(0))

    assert page.items
    assert page.warnings == ()


def test_audience_is_a_series_of_counts(simulator: Simulator, service: SoundchartsService) -> None:
    page = service.get_audience(
        simulator.song_uuid(0), "spotify", start_date=date(2025, 8, 1), end_date=date(2025, 8, 10)
    )

    assert page.warnings == ()
    assert {point.date for point in page.items} <= {date(2025, 8, day) for day in range(1, 11)}


def test_usage_and_quota_agree(simulator: Simulator, service: SoundchartsService) -> None:
    service.get_song_metadata_enhanced(simulator.song_uuid(0))

    usage = service.get_usage()

    assert usage.quota_remaining == service.quota_remaining == 999_999
    assert usage.quota_total == 1_000_000
    assert usage.calls_per_minute == 100_000


def test_oauth_works_and_replaces_a_dead_token(simulator: Simulator, redis_url: str) -> None:
    oauth = OAuthCredentials("simulator", "simulator", auth_url=simulator.auth_url)
    service = make_service(simulator, redis_url, credentials=oauth)
    service.get_song_metadata_enhanced(simulator.song_uuid(0))
    simulator.state.expire_tokens()

    assert service.get_song_metadata_enhanced(simulator.song_uuid(1)).name


# --- Faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "options", "kind"),
    [
        ("error", {"status": 500}, UpstreamUnavailable),
        ("error", {"status": 502}, UpstreamUnavailable),
        ("error", {"status": 401}, AuthenticationFailed),
        ("error", {"status": 404}, NotFound),
        ("error", {"status": 400}, InvalidRequest),
        ("quota_exhausted", {}, QuotaExhausted),
        ("html_200", {}, InvalidResponse),
        ("empty_200", {}, InvalidResponse),
        ("truncated_json", {"full_length": True}, TruncatedResponse),
        ("truncated_json", {"full_length": False}, TruncatedResponse),
        ("redirect", {}, InvalidResponse),
        ("gateway_page", {"status": 403}, UpstreamUnavailable),
        ("gateway_page", {"status": 404}, UpstreamUnavailable),
        ("gateway_page", {"status": 410}, UpstreamUnavailable),
        ("error", {"status": 408}, UpstreamUnavailable),
        ("drip", {"interval": 0.3}, DeadlineExceeded),
        ("drip_headers", {"interval": 0.3}, DeadlineExceeded),
        ("huge", {"mib": 64, "declare_length": True}, InvalidResponse),
        ("huge", {"mib": 64, "declare_length": False}, InvalidResponse),
        ("gzip_bomb", {"mib": 256}, InvalidResponse),
        ("deep_json", {}, InvalidResponse),
        ("giant_int", {}, InvalidResponse),
        ("wrong_shape", {"value": None}, InvalidResponse),
        ("wrong_shape", {"value": [], "where": "body"}, InvalidResponse),
        ("wrong_shape", {"value": "5", "where": "object"}, InvalidResponse),
        ("wrong_shape", {"value": True, "where": "object"}, InvalidResponse),
        ("reset", {}, ConnectionFailed),
        ("reset", {"after_bytes": 300}, ConnectionFailed),
        ("closed", {}, ConnectionFailed),
        ("hang", {}, DeadlineExceeded),
        ("slow", {"seconds": 60.0}, DeadlineExceeded),
    ],
)
def test_fault_is_the_error_that_it_should_be_and_soon(
    simulator: Simulator, redis_url: str, fault: str, options: dict[str, Any], kind: type[SoundchartsError]
) -> None:
    service = make_service(simulator, redis_url)
    hurried = make_service(simulator, redis_url, deadline=1.0) if kind is DeadlineExceeded else service
    simulator.faults.set(fault, **options)
    started_at = time.monotonic()

    with pytest.raises(SoundchartsError) as raised:
        hurried.get_song_metadata_enhanced(simulator.song_uuid(0))

    assert type(raised.value) is kind
    assert time.monotonic() - started_at < 20

    simulator.faults.clear()
    assert service.get_song_metadata_enhanced(simulator.song_uuid(0)).name


def test_keys_are_never_sent_to_where_a_redirect_points(
    simulator: Simulator, service: SoundchartsService
) -> None:
    simulator.faults.set("redirect")

    batch = service.get_songs(uuids_of(simulator, 10))

    assert isinstance(batch.interrupted_by, InvalidResponse)
    assert (simulator.state.elsewhere, simulator.state.keys_sent_elsewhere) == (0, 0)


def test_short_outage_is_ridden_out(simulator: Simulator, redis_url: str) -> None:
    simulator.faults.set("error", status=503, times=2)

    batch = make_service(simulator, redis_url, max_retries=3).get_songs(uuids_of(simulator, 10))

    assert (len(batch.songs), batch.interrupted_by) == (10, None)


def test_429_storm_pauses_and_then_everything_is_answered_once(simulator: Simulator, redis_url: str) -> None:
    simulator.faults.set("rate_limited", reset=1, times=1)
    service = make_service(simulator, redis_url)
    started_at = time.monotonic()

    batch = service.get_songs(uuids_of(simulator, 10))

    assert time.monotonic() - started_at >= 1.0
    assert len(batch.songs) == 10
    assert simulator.state.answered_more_than_once() == {}


def test_interactive_call_does_not_sit_out_a_429(simulator: Simulator, redis_url: str) -> None:
    simulator.faults.set("rate_limited", reset=60, times=1)
    service = make_service(simulator, redis_url, interactive=True)

    with pytest.raises(RateLimited) as raised:
        service.get_song_metadata_enhanced(simulator.song_uuid(0))

    assert raised.value.retry_after == pytest.approx(60, abs=2)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_account_without_batch_calls_is_served_singly_and_recognised_by_all(
    simulator: Simulator, redis_url: str, status: int
) -> None:
    simulator.faults.set("batch_refused", status=status)

    first = make_service(simulator, redis_url).get_songs(uuids_of(simulator, 10))
    other = make_service(simulator, redis_url)

    assert (len(first.songs), first.interrupted_by) == (10, None)
    assert (other.batch_size, other.effective_batch_size) == (10, 1)
    assert simulator.state.answered_more_than_once() == {}


def test_poisoned_and_unknown_songs_fail_alone(simulator: Simulator, service: SoundchartsService) -> None:
    wanted = uuids_of(simulator, 10)
    simulator.faults.set("poisoned_uuids", uuids=[wanted[2]])
    simulator.faults.set("unknown_uuids", uuids=[wanted[5]])

    batch = service.get_songs(wanted)

    assert {uuid: error.code for uuid, error in batch.errors.items()} == {
        wanted[2]: "invalid_request",
        wanted[5]: "not_found",
    }
    assert (len(batch.songs), batch.interrupted_by) == (8, None)


def test_hostile_fields_are_warnings_and_spare_the_neighbours(
    simulator: Simulator, service: SoundchartsService
) -> None:
    wanted = uuids_of(simulator, 10)
    hostile = {
        wanted[0]: {"name": "a\x00b", "imageUrl": "javascript:alert(1)", "duration": 2**70},
        wanted[1]: {"name": "\ud800", "releaseDate": "2019-99-99"},
        wanted[2]: {"isrc": [], "labels": "x", "genres": {"a": 1}},
    }
    simulator.faults.set("payloads", songs={str(uuid): fields for uuid, fields in hostile.items()})

    batch = service.get_songs(wanted)

    assert len(batch.songs) == 10
    assert [len(batch.songs[uuid].warnings) for uuid in wanted[:4]] == [3, 2, 3, 0]


def test_nan_in_one_song_fails_that_song_alone(simulator: Simulator, service: SoundchartsService) -> None:
    wanted = uuids_of(simulator, 10)
    simulator.faults.set("payloads", songs={str(wanted[4]): {"duration": float("nan")}})

    batch = service.get_songs(wanted)

    assert {uuid: error.code for uuid, error in batch.errors.items()} == {wanted[4]: "invalid_response"}
    assert len(batch.songs) == 9


def test_songs_that_are_no_objects_fail_alone(simulator: Simulator, service: SoundchartsService) -> None:
    wanted = uuids_of(simulator, 10)
    simulator.faults.set("payloads", songs={str(wanted[4]): None, str(wanted[5]): "5"})

    batch = service.get_songs(wanted)

    assert set(batch.errors) == {wanted[4], wanted[5]}
    assert len(batch.songs) == 8


# --- Quota and rate -------------------------------------------------------------------------------


def test_spent_calls_are_what_the_server_charges(simulator: Simulator, service: SoundchartsService) -> None:
    simulator.faults.set("poisoned_uuids", uuids=[simulator.song_uuid(2)])
    simulator.faults.set("error", status=503, after=3, times=1)

    with service.count_calls() as meter:
        service.get_songs(uuids_of(simulator, 10))
        service.get_songs(uuids_of(simulator, 10))
        service.get_usage()

    assert meter.spent == simulator.state.quota_used > 5


def test_quota_that_ends_in_the_middle_keeps_what_was_paid_for(redis_url: str) -> None:
    with Simulator(songs=20, quota=4) as simulator:
        simulator.faults.set("batch_refused")
        batch = make_service(simulator, redis_url).get_songs(uuids_of(simulator, 10))

    assert isinstance(batch.interrupted_by, QuotaExhausted)
    assert len(batch.songs) in (3, 4)
    assert batch.errors == {}


def test_threads_of_several_services_keep_to_one_rate(simulator: Simulator, redis_url: str) -> None:
    services = [make_service(simulator, redis_url, calls_per_minute=1200) for _ in range(3)]
    since = time.monotonic()

    def work(service: SoundchartsService) -> None:
        for _ in range(4):
            service.get_song_metadata_enhanced(simulator.song_uuid(0))

    threads = [threading.Thread(target=work, args=(service,)) for service in services * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # One every 51 ms at most; a busy machine only makes them later.
    starts = simulator.state.starts
    assert len(starts) == 9 * 4
    assert all(start - since >= number * 0.050 for number, start in enumerate(starts))
