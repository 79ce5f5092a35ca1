"""Fetch how songs are doing on a platform, and remember which platforms the account's plan has.

A plan may lack a platform: then every call for it is answered 403, and charged. What was seen is remembered
for a day for all processes, so that it is found out once. But a 403 may also be about the whole account, or
about this song alone ("not in your plan, or not allowed", says the API's reference): that says nothing of the
platform.
"""

from __future__ import annotations

import threading
import time
from datetime import date
from urllib.parse import quote
from uuid import UUID

from soundcharts.client import USAGE_PATH, SoundchartsClient
from soundcharts.errors import AuthenticationFailed, Forbidden, SoundchartsError
from soundcharts.payloads import AudiencePoint, Page, parse_audience
from soundcharts.platforms import AUDIENCE_PLATFORMS

REMEMBERED_FOR = 24 * 60 * 60.0
# Seconds for which a process trusts what it has seen or asked of a platform.
ASK_AGAIN_AFTER = 5.0


class PlatformForbidden(Forbidden):
    """Say that the plan does not include the audience of a platform (403)."""

    default_message = "The Soundcharts plan does not include the audience of this platform."


class SongForbidden(Forbidden):
    """Say that the audience of this song is refused (403), on a platform that the plan has."""

    code = "song_forbidden"
    default_message = "Soundcharts refuses the audience of this song, on a platform that the plan includes."
    stops_all = False


class AudienceFetcher:
    """Fetch series of counts, remembering which platforms answer. May be shared by threads."""

    def __init__(self, client: SoundchartsClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        # What is known of a platform: whether the plan has it, and until when that is trusted.
        self._known: dict[str, tuple[bool | None, float]] = {}

    def fetch_page(self, uuid: UUID, platform: str, params: dict[str, object]) -> Page[AudiencePoint]:
        """Return a page of a series.

        Raises PlatformForbidden where the plan lacks the platform, SongForbidden where only this song is
        refused, and Forbidden or AuthenticationFailed where the account is.
        """
        path = f"/api/v2/song/{uuid}/audience/{quote(platform, safe='')}"
        try:
            page = parse_audience(self._client.get(path, params=params))
        except Forbidden as error:
            raise self._meaning_of(error, platform) from None
        if self.has(platform) is None:
            self._learn(platform, has_it=True)
        return page

    def fetch_period(self, uuid: UUID, platform: str, start: date, end: date) -> Page[AudiencePoint]:
        """Return every count of a period of at most 90 days: one call, as long as it fits on one page."""
        points: list[AudiencePoint] = []
        warnings: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = self.fetch_page(
                uuid,
                platform,
                {
                    "offset": offset,
                    "limit": 100,
                    "startDate": start.isoformat(),
                    "endDate": end.isoformat(),
                },
            )
            points += page.items
            warnings += page.warnings
            # A page that leads back would be asked for without end.
            offset = page.next_offset if (page.next_offset or 0) > offset else None
        return Page(tuple(points), limit=len(points), total=len(points), warnings=tuple(warnings))

    def has(self, platform: str) -> bool | None:
        """Return whether the plan has a platform; None where nobody has found out within a day."""
        now = time.monotonic()
        with self._lock:
            has_it, trusted_until = self._known.get(platform, (None, 0.0))
        if now < trusted_until:
            return has_it
        limiter = self._client.limiter
        if limiter.recalls(_refused(platform)):
            has_it = False
        else:
            has_it = True if limiter.recalls(_works(platform)) else None
        with self._lock:
            self._known[platform] = (has_it, now + ASK_AGAIN_AFTER)
        return has_it

    def _meaning_of(self, error: Forbidden, platform: str) -> SoundchartsError:
        """Return what a 403 is about, and learn from it what it says of the platform."""
        try:
            # Free of charge. An account that may not even ask this may ask nothing.
            self._client.get(USAGE_PATH, is_free=True)
        except (Forbidden, AuthenticationFailed) as refused:
            return refused
        except SoundchartsError:
            pass  # It says nothing of what the account may do.
        if self.has(platform):
            # It has answered within a day, so this is about the song; unless the next song is refused, too.
            self._unlearn(platform)
            return SongForbidden(status=error.status, path=error.path)
        self._learn(platform, has_it=False)
        return refusal_of(platform, error)

    def _unlearn(self, platform: str) -> None:
        self._client.limiter.forget(_works(platform))
        with self._lock:
            self._known[platform] = (None, time.monotonic() + ASK_AGAIN_AFTER)

    def _learn(self, platform: str, *, has_it: bool) -> None:
        with self._lock:
            self._known[platform] = (has_it, time.monotonic() + ASK_AGAIN_AFTER)
        self._client.limiter.remember(_works(platform) if has_it else _refused(platform), REMEMBERED_FOR)


def refusal_of(platform: str, error: Forbidden | None = None) -> PlatformForbidden:
    """Return the error that says, in a sentence, that the plan lacks a platform."""
    name = AUDIENCE_PLATFORMS[platform].name if platform in AUDIENCE_PLATFORMS else platform
    return PlatformForbidden(
        f"The Soundcharts plan does not include audience figures of {name}. "
        "It is asked again in a day at the earliest.",
        status=403,
        path=error.path if error else None,
    )


def _refused(platform: str) -> str:
    return f"audience_refused:{platform}"


def _works(platform: str) -> str:
    return f"audience_works:{platform}"
