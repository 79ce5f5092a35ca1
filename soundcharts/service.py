"""What Liner Notes asks of Soundcharts, in terms of songs: typed values out, typed errors raised."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Literal
from urllib.parse import quote
from uuid import UUID

from soundcharts.audience import (
    PAGE_SIZE,
    SAFE_PERIOD_DAYS,
    AudienceFetcher,
)
from soundcharts.batching import SongBatch, SongFetcher
from soundcharts.budget import CallBudget
from soundcharts.client import SoundchartsClient
from soundcharts.credentials import ApiKeyCredentials, Credentials, OAuthCredentials
from soundcharts.envelopes import require_whole
from soundcharts.errors import AuthenticationFailed, InvalidRequest
from soundcharts.limiter import RateLimiter
from soundcharts.metering import CallMeter
from soundcharts.payloads import (
    ArtistSummary,
    AudiencePage,
    AudiencePoint,
    Page,
    Song,
    SongSummary,
    Usage,
    parse_artist_summary,
    parse_page,
    parse_ranked_song,
    parse_song_envelope,
    parse_song_summary,
)

__all__ = ["SongBatch", "SoundchartsService", "get_service"]

# The most uuids for which a batch call is documented.
DEFAULT_BATCH_SIZE = 10

SongOrder = Literal[
    "name",
    "releaseDate",
    "spotifyStream",
    "shazamCount",
    "youtubeViews",
    "spotifyPopularity",
    "soundchartsScore",
]

_NOT_IN_A_PATH = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

_MOST_STREAMED = {
    "sort": {
        "platform": "spotify",
        "metricType": "streams",
        "period": "month",
        "sortBy": "total",
        "order": "desc",
    },
    "filters": [],
}


class SoundchartsService:
    """Ask Soundcharts for songs, lists of songs and audiences. May be shared by threads.

    Every method spends one call of the quota per answer unless it says otherwise, and raises an error of
    `soundcharts.errors`. Identifiers that cannot stand in an address raise InvalidRequest and cost
    nothing.
    """

    def __init__(
        self,
        client: SoundchartsClient,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        audience_period_days: int = SAFE_PERIOD_DAYS,
    ) -> None:
        self._client = client
        self._fetcher = SongFetcher(client, batch_size=batch_size)
        self._audiences = AudienceFetcher(client, period_days=audience_period_days)

    @property
    def batch_size(self) -> int:
        """Return how many uuids `get_songs` takes."""
        return self._fetcher.batch_size

    @property
    def effective_batch_size(self) -> int:
        """Return how many songs one call brings: 1 for an account that is known to have no batch calls."""
        return self._fetcher.effective_batch_size

    @property
    def knows_batches(self) -> bool:
        """Return whether it is known, one way or the other, if this account has batch calls."""
        return self._fetcher.knows_batches

    @property
    def is_interactive(self) -> bool:
        """Return whether somebody waits for these calls: then they overtake, and may use the reserve."""
        return self._client.is_interactive

    @property
    def account(self) -> str:
        """Return what tells this account from others: a hash, none of its secrets."""
        return self._client.account

    @property
    def quota_remaining(self) -> int | None:
        """Return the calls left in the plan as of the last answer, None before the first."""
        return self._client.quota_remaining

    @property
    def is_quota_told(self) -> bool:
        """Return whether an answer has told lately what is left: until then, one call alone is enough."""
        return self._client.is_quota_told

    @property
    def seconds_since_answer(self) -> float | None:
        """Return how long ago the last answer came that was of use, None before the first."""
        answered_at = self._client.answered_at
        return None if answered_at is None else max(0.0, time.monotonic() - answered_at)

    def pause_left(self) -> float:
        """Return the seconds for which the rate limit holds back all calls, 0 when it does not.

        Blocks for at most a second when Redis is away.
        """
        return self._client.limiter.pause_left()

    def count_calls(self) -> AbstractContextManager[CallMeter]:
        """Return a context manager whose value counts the calls that are charged inside (`.spent`)."""
        return self._client.count_calls()

    def get_song_metadata_enhanced(self, uuid: UUID) -> Song:
        """Return the metadata of one song."""
        return self._fetcher.fetch_song(uuid)

    def get_songs(self, uuids: Sequence[UUID]) -> SongBatch:
        """Return the metadata of up to `batch_size` songs, with one call if possible.

        Raises nothing but ValueError for too many uuids: what went wrong is in the SongBatch.
        """
        return self._fetcher.fetch_songs(uuids)

    def get_song_by_isrc(self, isrc: str) -> Song:
        """Return the song of an ISRC. Raises AmbiguousIsrc if several have it."""
        return parse_song_envelope(self._client.get(f"/api/v2.25/song/by-isrc/{_segment(isrc)}"))

    def get_song_by_platform(self, platform: str, identifier: str) -> Song:
        """Return the song that a platform ("spotify", "apple-music") knows by this identifier."""
        path = f"/api/v2.25/song/by-platform/{_segment(platform)}/{_segment(identifier)}"
        return parse_song_envelope(self._client.get(path))

    def search_songs(self, term: str, *, offset: int = 0, limit: int = 20) -> Page[SongSummary]:
        """Return songs whose name or artist fits the term, at most 20 a page, be it whole or not."""
        path = f"/api/v2/song/search/{_segment(term)}"
        payload = self._client.get(path, params=_paging(offset, limit, max_limit=20))
        return parse_page(payload, parse_song_summary, offset=offset, limit=limit)

    def search_artists(self, term: str, *, offset: int = 0, limit: int = 20) -> Page[ArtistSummary]:
        """Return artists whose name fits the term, at most 20 a page, be it whole or not."""
        path = f"/api/v2/artist/search/{_segment(term)}"
        payload = self._client.get(path, params=_paging(offset, limit, max_limit=20))
        return parse_page(payload, parse_artist_summary, offset=offset, limit=limit)

    def get_artist_songs(
        self,
        artist_uuid: UUID,
        *,
        offset: int = 0,
        limit: int = 100,
        sort_by: SongOrder = "name",
        sort_order: Literal["asc", "desc"] = "asc",
    ) -> Page[SongSummary]:
        """Return an artist's songs, at most 100 a page.

        The default order is by name because it stays the same while pages are walked; counts move. Raises
        IncompleteResponse, with what came, for a page that is not whole.
        """
        params = {**_paging(offset, limit, max_limit=100), "sortBy": sort_by, "sortOrder": sort_order}
        payload = self._client.get(f"/api/v2.21/artist/{artist_uuid}/songs", params=params)
        return require_whole(parse_page(payload, parse_song_summary, offset=offset, limit=limit))

    def get_top_songs(self, *, offset: int = 0, limit: int = 100) -> Page[SongSummary]:
        """Return the songs most streamed on Spotify this month, at most 100 a page.

        Raises Forbidden on plans without it, and IncompleteResponse, with what came, for a page that is not
        whole.
        """
        params = _paging(offset, limit, max_limit=100)
        payload = self._client.post("/api/v2/top/songs", params=params, json=_MOST_STREAMED)
        return require_whole(parse_page(payload, parse_ranked_song, offset=offset, limit=limit))

    def get_audience(
        self,
        uuid: UUID,
        platform: str,
        *,
        start_date: date | None = None,
        end_date: date | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> Page[AudiencePoint]:
        """Return a song's daily counts on a platform, newest first, both dates included.

        Without dates the API answers for the last 30 days. Raises InvalidRequest for a longer period than
        `audience_period_days`, which the API refuses too, but for the price of a call.
        """
        params: dict[str, object] = {**_paging(offset, limit, max_limit=100)}
        if start_date and end_date:
            _check_period(start_date, end_date, longest=self.audience_period_days)
        if start_date:
            params["startDate"] = start_date.isoformat()
        if end_date:
            params["endDate"] = end_date.isoformat()
        return require_whole(self._audiences.fetch_page(uuid, _text(platform), params))

    def get_audience_series(
        self, uuid: UUID, platform: str, *, start_date: date, end_date: date
    ) -> AudiencePage:
        """Return all daily counts of a period, both dates included, newest first.

        One call for each page of 100 and each part of `audience_period_days`. Raises what keeps the first
        page from coming; what keeps a later one from it is in the answer.
        """
        _check_period(start_date, end_date)
        return self._audiences.fetch_period(uuid, _text(platform), start_date, end_date)

    @property
    def audience_period_days(self) -> int:
        """Return how many days an audience request may cover, as far as is known."""
        return self._audiences.period_days

    @property
    def audience_days_a_call(self) -> int:
        """Return how many audience days one call brings: a period, but at most a page."""
        return min(self.audience_period_days, PAGE_SIZE)

    def has_audience(self, platform: str) -> bool | None:
        """Return whether the plan has the audience of a platform; None where that is not known."""
        return self._audiences.has(platform)

    def get_usage(self) -> Usage:
        """Return what the account may still spend. Free of charge."""
        return self._client.get_usage()


def get_service(*, interactive: bool = False) -> SoundchartsService:
    """Return the service that the Django settings describe, always the same one for the same settings.

    `interactive` is for calls that a person waits for; both kinds share one rate limit. OAuth is used
    if a client id is set. Raises AuthenticationFailed if no usable credentials are set, and ValueError
    for a URL that is none.
    """
    # Only here: the package itself works without Django.
    from django.conf import settings

    return _build_service(
        _Configuration(
            api_url=settings.SOUNDCHARTS_API_URL,
            app_id=settings.SOUNDCHARTS_APP_ID,
            api_key=settings.SOUNDCHARTS_API_KEY,
            client_id=settings.SOUNDCHARTS_CLIENT_ID,
            client_secret=settings.SOUNDCHARTS_CLIENT_SECRET,
            team_id=settings.SOUNDCHARTS_TEAM_ID,
            auth_url=settings.SOUNDCHARTS_AUTH_URL,
            batch_size=settings.SOUNDCHARTS_BATCH_SIZE,
            audience_period_days=settings.SOUNDCHARTS_AUDIENCE_PERIOD_DAYS,
            calls_per_minute=settings.SOUNDCHARTS_CALLS_PER_MINUTE,
            quota_reserve=settings.SOUNDCHARTS_QUOTA_RESERVE,
            timeout=settings.SOUNDCHARTS_TIMEOUT,
            redis_url=settings.REDIS_URL,
            proxy=settings.SOUNDCHARTS_PROXY,
            ca_bundle=settings.SOUNDCHARTS_CA_BUNDLE,
        ),
        interactive=interactive,
    )


@dataclass(frozen=True, slots=True)
class _Configuration:
    api_url: str
    app_id: str
    api_key: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)
    team_id: str
    auth_url: str
    batch_size: int
    audience_period_days: int
    calls_per_minute: int
    quota_reserve: int
    timeout: float
    redis_url: str = field(repr=False)
    proxy: str = field(repr=False)
    ca_bundle: str

    def credentials(self) -> Credentials:
        """Return the credentials that are set. Raises AuthenticationFailed if there are none to use."""
        if not (self.client_id or self.app_id):
            raise AuthenticationFailed(
                "No Soundcharts credentials are set. Set SOUNDCHARTS_APP_ID and SOUNDCHARTS_API_KEY, or "
                "SOUNDCHARTS_CLIENT_ID and SOUNDCHARTS_CLIENT_SECRET."
            )
        try:
            if self.client_id:
                return OAuthCredentials(
                    self.client_id, self.client_secret, team_id=self.team_id or None, auth_url=self.auth_url
                )
            return ApiKeyCredentials(self.app_id, self.api_key)
        except ValueError as error:
            raise AuthenticationFailed(str(error)) from None


@lru_cache(maxsize=16)
def _build_service(configuration: _Configuration, *, interactive: bool) -> SoundchartsService:
    credentials = configuration.credentials()
    limiter = _build_limiter(configuration.redis_url, credentials.fingerprint, configuration.calls_per_minute)
    client = SoundchartsClient(
        base_url=configuration.api_url,
        credentials=credentials,
        limiter=limiter,
        budget=_build_budget(limiter, configuration.quota_reserve),
        interactive=interactive,
        deadline=configuration.timeout,
        proxy=configuration.proxy,
        ca_bundle=configuration.ca_bundle,
    )
    return SoundchartsService(
        client,
        batch_size=configuration.batch_size,
        audience_period_days=configuration.audience_period_days,
    )


@lru_cache(maxsize=16)
def _build_limiter(redis_url: str, fingerprint: str, calls_per_minute: int) -> RateLimiter:
    return RateLimiter(redis_url, fingerprint, calls_per_minute)


@lru_cache(maxsize=16)
def _build_budget(limiter: RateLimiter, reserve: int) -> CallBudget:
    return CallBudget(limiter, reserve=reserve)


def _paging(offset: int, limit: int, *, max_limit: int) -> dict[str, int]:
    """Return the parameters of a page. Raises ValueError for what no page can be."""
    if offset < 0 or not 1 <= limit <= max_limit:
        raise ValueError(f"A page starts at 0 or later and has 1 to {max_limit} items.")
    return {"offset": offset, "limit": limit}


def _check_period(start_date: date, end_date: date, *, longest: int | None = None) -> None:
    """Raise InvalidRequest for a period that the API refuses, for the price of a call."""
    days = (end_date - start_date).days
    if days < 0 or (longest is not None and days > longest):
        limit = "" if longest is None else f" over at most {longest} days,"
        raise InvalidRequest(f"Ask for an audience{limit} from first to last.")


def _segment(text: str) -> str:
    """Return the text as one segment of a path. Raises InvalidRequest for text that cannot be one."""
    return quote(_text(text), safe="")


def _text(text: str) -> str:
    """Return text that can be a segment of a path once it is escaped. Raises InvalidRequest for other text.

    "." and ".." are none, whatever the escaping: they would name another path. Nor can an address hold
    a lone surrogate.
    """
    text = text.strip()
    if not text or text in (".", "..") or _NOT_IN_A_PATH.search(text):
        raise InvalidRequest("An identifier or search term is empty, or has characters that it cannot have.")
    return text
