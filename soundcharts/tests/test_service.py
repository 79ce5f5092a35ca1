from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
import responses
from django.test import override_settings
from responses import matchers

from soundcharts.audience import PlatformForbidden
from soundcharts.credentials import ApiKeyCredentials, OAuthCredentials
from soundcharts.errors import AmbiguousIsrc, AuthenticationFailed, Forbidden, InvalidRequest, InvalidResponse
from soundcharts.payloads import AudiencePoint, Song, SongSummary, Usage
from soundcharts.service import SoundchartsService, get_service
from soundcharts.tests.doubles import FakeLimiter, make_client

BASE = "https://api.example"
SONG = UUID("11111111-2222-3333-4444-555555555555")
ARTIST = UUID("99999999-2222-3333-4444-555555555555")
ENVELOPE = {"type": "song", "object": {"uuid": str(SONG), "name": "bad guy"}, "errors": []}
PAGE = {"items": [{"uuid": str(SONG), "name": "bad guy"}], "page": {"offset": 0, "limit": 20, "total": 1}}


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def service() -> SoundchartsService:
    return SoundchartsService(make_client(BASE))


def query(**params: Any) -> Callable[..., Any]:
    return matchers.query_param_matcher({key: str(value) for key, value in params.items()})


# --- Songs ----------------------------------------------------------------------------------------


def test_song_metadata_is_one_call(api: responses.RequestsMock, service: SoundchartsService) -> None:
    api.get(f"{BASE}/api/v2.25/song/{SONG}", json=ENVELOPE, headers={"x-quota-remaining": "99"})

    with service.count_calls() as meter:
        song = service.get_song_metadata_enhanced(SONG)

    assert song == Song(uuid=SONG, name="bad guy")
    assert (meter.spent, service.quota_remaining) == (1, 99)


def test_songs_come_as_a_batch(api: responses.RequestsMock, service: SoundchartsService) -> None:
    api.get(f"{BASE}/api/v2.25/song/{SONG},{ARTIST}", json={"items": [{"uuid": str(SONG)}]})

    batch = service.get_songs([SONG, ARTIST])

    assert (set(batch.songs), set(batch.errors)) == ({SONG}, {ARTIST})


def test_batch_size_is_the_services_and_effective_once_known(service: SoundchartsService) -> None:
    limiter = FakeLimiter()
    service = SoundchartsService(make_client(limiter=limiter), batch_size=7)
    assert (service.batch_size, service.effective_batch_size) == (7, 7)

    limiter.remember("batch_refused", 60)
    assert (service.batch_size, service.effective_batch_size) == (7, 1)


def test_song_by_isrc(api: responses.RequestsMock, service: SoundchartsService) -> None:
    api.get(f"{BASE}/api/v2.25/song/by-isrc/USUM71900764", json=ENVELOPE)

    assert service.get_song_by_isrc(" USUM71900764 ").uuid == SONG


def test_isrc_of_several_recordings_is_ambiguous(
    api: responses.RequestsMock, service: SoundchartsService
) -> None:
    api.get(f"{BASE}/api/v2.25/song/by-isrc/USUM71900764", json={"errors": []}, status=410)

    with pytest.raises(AmbiguousIsrc):
        service.get_song_by_isrc("USUM71900764")


def test_song_by_platform(api: responses.RequestsMock, service: SoundchartsService) -> None:
    api.get(f"{BASE}/api/v2.25/song/by-platform/spotify/2Fxmhks0bxGSBdJ92vM42m", json=ENVELOPE)

    assert service.get_song_by_platform("spotify", "2Fxmhks0bxGSBdJ92vM42m").uuid == SONG


def test_single_answer_in_another_envelope_is_an_invalid_response(
    api: responses.RequestsMock, service: SoundchartsService
) -> None:
    api.get(f"{BASE}/api/v2.25/song/by-isrc/X", json={"items": []})

    with pytest.raises(InvalidResponse):
        service.get_song_by_isrc("X")


# --- Lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "segment"),
    [
        ("bad guy", "bad%20guy"),
        ("AC/DC", "AC%2FDC"),
        ("what? #1 100%", "what%3F%20%231%20100%25"),
        ("Сплин", "%D0%A1%D0%BF%D0%BB%D0%B8%D0%BD"),
        ("宇多田\u3000ヒカル", "%E5%AE%87%E5%A4%9A%E7%94%B0%E3%80%80%E3%83%92%E3%82%AB%E3%83%AB"),
        ("...", "..."),
    ],
)
def test_search_term_is_one_segment_whatever_is_in_it(
    api: responses.RequestsMock, service: SoundchartsService, term: str, segment: str
) -> None:
    api.get(f"{BASE}/api/v2/song/search/{segment}", json=PAGE, match=[query(offset=40, limit=20)])

    page = service.search_songs(term, offset=40)

    assert page.items == (SongSummary(uuid=SONG, name="bad guy"),)


@pytest.mark.parametrize("term", ["", "  ", ".", "..", "a\0b", "a\nb", "\ud800"])
@pytest.mark.parametrize("search", ["search_songs", "search_artists"])
def test_term_that_no_address_can_hold_costs_no_call(
    service: SoundchartsService, search: str, term: str
) -> None:
    with responses.RequestsMock(), pytest.raises(InvalidRequest):
        getattr(service, search)(term)


def test_artist_search_tells_who_can_be_chosen_and_names_what_it_cannot_read(
    api: responses.RequestsMock, service: SoundchartsService
) -> None:
    artist = {"uuid": str(SONG), "slug": "acdc", "name": "AC/DC", "appUrl": "https://x.example/a"}
    api.get(
        f"{BASE}/api/v2/artist/search/AC%2FDC",
        json={"items": [artist | {"imageUrl": "javascript:alert(1)"}, {"name": "nobody"}], "page": {}},
        match=[query(offset=0, limit=20)],
    )

    page = service.search_artists("AC/DC")

    (found,) = page.items
    assert (found.uuid, found.name, found.image_url) == (SONG, "AC/DC", None)
    assert "an artist without a valid uuid" in page.warnings[0]


def test_artist_search_takes_at_most_twenty_a_page(service: SoundchartsService) -> None:
    with pytest.raises(ValueError, match="1 to 20"):
        service.search_artists("x", limit=21)


def test_artist_songs_are_ordered_as_asked(api: responses.RequestsMock, service: SoundchartsService) -> None:
    params = query(offset=100, limit=50, sortBy="spotifyStream", sortOrder="desc")
    api.get(f"{BASE}/api/v2.21/artist/{ARTIST}/songs", json=PAGE, match=[params])

    page = service.get_artist_songs(ARTIST, offset=100, limit=50, sort_by="spotifyStream", sort_order="desc")

    assert [song.uuid for song in page.items] == [SONG]


def test_top_songs_are_posted_for_and_unwrapped(
    api: responses.RequestsMock, service: SoundchartsService
) -> None:
    payload = {
        "items": [{"song": {"uuid": str(SONG)}, "audience": []}],
        "page": {"offset": 0, "limit": 1, "total": 9},
    }
    api.post(f"{BASE}/api/v2/top/songs", json=payload, match=[query(offset=0, limit=1)])

    page = service.get_top_songs(limit=1)

    assert ([song.uuid for song in page.items], page.next_offset) == ([SONG], 1)
    assert json.loads(api.calls[0].request.body or "")["sort"]["platform"] == "spotify"


def test_top_songs_may_not_be_in_the_plan(api: responses.RequestsMock, service: SoundchartsService) -> None:
    api.post(f"{BASE}/api/v2/top/songs", json={"errors": []}, status=403)

    with pytest.raises(Forbidden):
        service.get_top_songs()


@pytest.mark.parametrize(("offset", "limit"), [(-1, 20), (0, 0), (0, 101)])
def test_page_that_cannot_be_is_a_mistake_of_the_caller(
    service: SoundchartsService, offset: int, limit: int
) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        service.get_top_songs(offset=offset, limit=limit)


# --- Audience and usage ---------------------------------------------------------------------------


def test_audience_is_asked_for_a_period(api: responses.RequestsMock, service: SoundchartsService) -> None:
    payload = {
        "items": [{"date": "2025-08-28T00:00:00+00:00", "plots": [{"identifier": "a", "value": 2**33}]}]
    }
    params = query(startDate="2025-08-01", endDate="2025-08-28", offset=0, limit=100)
    api.get(f"{BASE}/api/v2/song/{SONG}/audience/spotify", json=payload, match=[params])

    page = service.get_audience(SONG, "spotify", start_date=date(2025, 8, 1), end_date=date(2025, 8, 28))

    assert page.items == (AudiencePoint(date(2025, 8, 28), "a", 2**33),)


@pytest.mark.parametrize("days", [-1, 91])
def test_impossible_period_costs_no_call(service: SoundchartsService, days: int) -> None:
    start = date(2025, 1, 1)

    with responses.RequestsMock(), pytest.raises(InvalidRequest):
        service.get_audience(SONG, "spotify", start_date=start, end_date=start + timedelta(days=days))


def audience_page(day: str, offset: int, following: str | None) -> dict[str, Any]:
    return {
        "items": [{"date": day, "plots": [{"identifier": "a", "value": 1}]}],
        "page": {"offset": offset, "limit": 1, "total": 2, "next": following},
    }


def test_a_series_is_walked_page_by_page(api: responses.RequestsMock, service: SoundchartsService) -> None:
    address, period = f"{BASE}/api/v2/song/{SONG}/audience/youtube", ("2025-08-01", "2025-08-28")
    for offset, day, following in ((0, "2025-08-28", "more"), (1, "2025-08-27", None)):
        params = query(startDate=period[0], endDate=period[1], offset=offset, limit=100)
        api.get(address, json=audience_page(day, offset, following), match=[params])

    page = service.get_audience_series(
        SONG, "youtube", start_date=date(2025, 8, 1), end_date=date(2025, 8, 28)
    )

    assert [point.date.day for point in page.items] == [28, 27]


def test_a_series_whose_pages_lead_back_comes_to_an_end(
    api: responses.RequestsMock, service: SoundchartsService
) -> None:
    api.get(
        f"{BASE}/api/v2/song/{SONG}/audience/youtube",
        json=audience_page("2025-08-28", 0, "more") | {"page": {"offset": 0, "limit": 0, "next": "more"}},
    )

    page = service.get_audience_series(
        SONG, "youtube", start_date=date(2025, 8, 1), end_date=date(2025, 8, 28)
    )

    assert len(page.items) == 2
    assert len(api.calls) == 2


def test_a_platform_that_the_plan_lacks_is_remembered_for_the_account(api: responses.RequestsMock) -> None:
    limiter = FakeLimiter()
    first, second = (SoundchartsService(make_client(BASE, limiter=limiter)) for _ in range(2))
    api.get(f"{BASE}/api/v2/song/{SONG}/audience/tiktok", status=403, json={"errors": []})
    api.get(f"{BASE}/api/v2/team/usage", json={})
    assert first.has_audience("tiktok") is None

    with pytest.raises(PlatformForbidden, match="TikTok"):
        first.get_audience(SONG, "tiktok")

    assert first.has_audience("tiktok") is second.has_audience("tiktok") is False
    assert first.has_audience("spotify") is None


def test_a_platform_that_has_answered_is_known_to_the_account(api: responses.RequestsMock) -> None:
    limiter = FakeLimiter()
    first, second = (SoundchartsService(make_client(BASE, limiter=limiter)) for _ in range(2))
    api.get(f"{BASE}/api/v2/song/{SONG}/audience/spotify", json={"items": []})

    first.get_audience(SONG, "spotify")

    assert first.has_audience("spotify") is second.has_audience("spotify") is True


def test_usage_is_free(api: responses.RequestsMock, service: SoundchartsService) -> None:
    api.get(f"{BASE}/api/v2/team/usage", json={"object": {"quota": {"remaining": 900, "total": 1000}}})

    with service.count_calls() as meter:
        usage = service.get_usage()

    assert (usage, meter.spent) == (Usage(quota_remaining=900, quota_total=1000), 0)


# --- From the settings ----------------------------------------------------------------------------


def client_of(service: SoundchartsService) -> Any:
    return service._client


@override_settings(SOUNDCHARTS_APP_ID="app", SOUNDCHARTS_API_KEY="key", SOUNDCHARTS_CLIENT_ID="")
def test_service_is_built_once_for_the_same_settings() -> None:
    assert get_service() is get_service()
    assert get_service(interactive=True) is get_service(interactive=True)
    assert get_service() is not get_service(interactive=True)


@override_settings(SOUNDCHARTS_APP_ID="app", SOUNDCHARTS_API_KEY="key", SOUNDCHARTS_CLIENT_ID="")
def test_bulk_and_interactive_services_share_one_limit() -> None:
    assert client_of(get_service()).limiter is client_of(get_service(interactive=True)).limiter


@override_settings(SOUNDCHARTS_APP_ID="app", SOUNDCHARTS_API_KEY="key", SOUNDCHARTS_CLIENT_ID="")
def test_other_settings_give_another_service() -> None:
    before = get_service()

    with override_settings(SOUNDCHARTS_BATCH_SIZE=3):
        assert get_service().batch_size == 3
    assert get_service() is before


@override_settings(SOUNDCHARTS_APP_ID="app", SOUNDCHARTS_API_KEY="key", SOUNDCHARTS_CLIENT_ID="")
def test_keys_are_used_without_a_client_id() -> None:
    assert client_of(get_service())._credentials == ApiKeyCredentials("app", "key")


@override_settings(
    SOUNDCHARTS_APP_ID="app",
    SOUNDCHARTS_API_KEY="key",
    SOUNDCHARTS_CLIENT_ID="client",
    SOUNDCHARTS_CLIENT_SECRET="secret",
    SOUNDCHARTS_TEAM_ID="",
    SOUNDCHARTS_AUTH_URL="https://account.example/oauth/token",
)
def test_oauth_wins_when_a_client_id_is_set() -> None:
    expected = OAuthCredentials("client", "secret", auth_url="https://account.example/oauth/token")

    assert client_of(get_service())._credentials == expected


@override_settings(SOUNDCHARTS_APP_ID="", SOUNDCHARTS_API_KEY="", SOUNDCHARTS_CLIENT_ID="")
def test_missing_credentials_say_which_settings_to_set() -> None:
    with pytest.raises(AuthenticationFailed, match="SOUNDCHARTS_API_KEY"):
        get_service()


@override_settings(SOUNDCHARTS_APP_ID="app", SOUNDCHARTS_API_KEY="two words", SOUNDCHARTS_CLIENT_ID="")
def test_credentials_that_cannot_be_sent_are_not_quoted() -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        get_service()

    assert "two words" not in str(raised.value)
