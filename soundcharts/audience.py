"""Fetch how songs are doing on a platform, and remember which platforms the account's plan has.

A plan may lack a platform: then every call for it is answered 403, and charged. What was seen is remembered
for a day for all processes, so that it is found out once. But a 403 may also be about the whole account, or
about this song alone ("not in your plan, or not allowed", says the API's reference): that says nothing of the
platform.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from soundcharts.client import USAGE_PATH, SoundchartsClient
from soundcharts.envelopes import require_whole
from soundcharts.errors import (
    AuthenticationFailed,
    Forbidden,
    InvalidRequest,
    InvalidResponse,
    SoundchartsError,
)
from soundcharts.payloads import AudiencePage, AudiencePoint, parse_audience
from soundcharts.platforms import AUDIENCE_PLATFORMS

logger = logging.getLogger("soundcharts.audience")

# Days that one page holds, and those of a period that every account is allowed.
PAGE_SIZE = 100
SAFE_PERIOD_DAYS = 90
PERIOD_REFUSED = "audience_period_refused"
# More identifiers than a song has on a platform: what bounds the pages where each day stands once for each.
MOST_IDENTIFIERS = 10
DAY = timedelta(days=1)
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


class UnreadableFigures(SoundchartsError):
    """Some figures of a series cannot be read; the others can."""

    code = "unreadable_figures"
    default_message = "Soundcharts sent figures that cannot be read."

    @classmethod
    def of(cls, unreadable: Sequence[str]) -> UnreadableFigures:
        """Return the error that names the first of these."""
        named = "; ".join(unreadable[:3])
        more = f"; and {len(unreadable) - 3:,} more" if len(unreadable) > 3 else ""
        return cls(f"Soundcharts sent figures that cannot be read: {named}{more}.")


class EndlessPages(SoundchartsError):
    """A series has more pages than are possible."""

    code = "endless_pages"
    default_message = "Soundcharts announced more pages of figures than are possible."


def divided(start: date, end: date, *, longest: int) -> list[tuple[date, date]]:
    """Split a span into periods of at most this many days, newest first; the oldest may be shorter."""
    ends = range(0, (end - start).days + 1, longest)
    return [(max(start, end - (n + longest - 1) * DAY), end - n * DAY) for n in ends]


class AudienceFetcher:
    """Fetch series of counts, remembering which platforms answer. May be shared by threads.

    `period_days` is how many days a request may be about; where the account refuses that, it is 90.
    """

    def __init__(self, client: SoundchartsClient, *, period_days: int = SAFE_PERIOD_DAYS) -> None:
        self._client = client
        # Whole pages: the rest of a period would cost a call for some days only.
        self._period_days = period_days - period_days % PAGE_SIZE if period_days > PAGE_SIZE else period_days
        self._is_refused_until: tuple[bool, float] = (False, 0.0)
        self._lock = threading.Lock()
        # What is known of a platform: whether the plan has it, and until when that is trusted.
        self._known: dict[str, tuple[bool | None, float]] = {}

    @property
    def period_days(self) -> int:
        """Return how many days a request may cover, as far as is known for this account."""
        if self._period_days <= SAFE_PERIOD_DAYS:
            return self._period_days
        now = time.monotonic()
        is_refused, trusted_until = self._is_refused_until
        if now >= trusted_until:
            is_refused = self._client.limiter.recalls(PERIOD_REFUSED)
            self._is_refused_until = (is_refused, now + ASK_AGAIN_AFTER)
        return SAFE_PERIOD_DAYS if is_refused else self._period_days

    def fetch_page(self, uuid: UUID, platform: str, params: dict[str, Any]) -> AudiencePage:
        """Return a page of a series, be it whole or not; `params` has its offset and limit.

        Raises PlatformForbidden where the plan lacks the platform, SongForbidden where only this song is
        refused, and Forbidden or AuthenticationFailed where the account is.
        """
        path = f"/api/v2/song/{uuid}/audience/{quote(platform, safe='')}"
        try:
            payload = self._client.get(path, params=params)
        except Forbidden as error:
            raise self._meaning_of(error, platform) from None
        if self.has(platform) is None:
            self._learn(platform, has_it=True)
        return parse_audience(payload, offset=params["offset"], limit=params["limit"])

    def fetch_period(self, uuid: UUID, platform: str, start: date, end: date) -> AudiencePage:
        """Return every count of a period, with as few calls as there are pages of it.

        A period that is longer than the account allows is divided. An error after the first page is in the
        answer, beside what came before it; one before that is raised.
        """
        so_far = _SoFar(uuid, platform)
        try:
            for first, last in divided(start, end, longest=self.period_days):
                try:
                    self._walk(so_far, first, last)
                except InvalidRequest as error:
                    if error.status != 400 or (last - first).days < SAFE_PERIOD_DAYS:
                        raise
                    self._walk_in_parts(so_far, first, last)
        except SoundchartsError as error:
            if not so_far.points:
                raise
            so_far.error = error
        return AudiencePage(
            tuple(so_far.points),
            limit=len(so_far.points),
            total=len(so_far.points),
            warnings=tuple(so_far.warnings),
            unreadable=tuple(so_far.unreadable),
            error=so_far.error,
            answered_from=so_far.answered_from,
        )

    def _walk_in_parts(self, so_far: _SoFar, start: date, end: date) -> None:
        """Fetch a refused period in parts that every account accepts; remember this if they work."""
        for number, (first, last) in enumerate(divided(start, end, longest=SAFE_PERIOD_DAYS)):
            self._walk(so_far, first, last)
            if number == 0:
                logger.warning(
                    "This account refuses periods of %d days: for a day, they have 90", self._period_days
                )
                self._is_refused_until = (True, time.monotonic() + ASK_AGAIN_AFTER)
                self._client.limiter.remember(PERIOD_REFUSED, REMEMBERED_FOR)

    def _walk(self, so_far: _SoFar, start: date, end: date) -> None:
        """Add the pages of a period while each brings something new, up to the possible number of pages."""
        days = (end - start).days + 1
        for page in self._pages(so_far, start, end):
            answered_from = so_far.answered_from
            is_news = so_far.add(page, start, end)
            if not page.is_whole:
                # Any of its days may be missing.
                so_far.answered_from = answered_from
                require_whole(page)
            if not page.has_next or so_far.has_all_of(start, days):
                break
            if page.day_count < min(page.limit, PAGE_SIZE) or not is_news:
                so_far.warnings.append("Soundcharts announced a page more than it has figures for")
                break
        else:
            so_far.answered_from = start
            raise EndlessPages
        so_far.answered_from = start

    def _pages(self, so_far: _SoFar, start: date, end: date) -> Iterator[AudiencePage]:
        days = (end - start).days + 1
        offset = 0
        for _ in range(math.ceil(days * MOST_IDENTIFIERS / PAGE_SIZE)):
            page = self.fetch_page(
                so_far.uuid,
                so_far.platform,
                {
                    "offset": offset,
                    "limit": PAGE_SIZE,
                    "startDate": start.isoformat(),
                    "endDate": end.isoformat(),
                },
            )
            if page.unreadable and not page.items:
                raise InvalidResponse(f"Soundcharts sent no readable figure: {page.unreadable[0]}.")
            yield page
            offset = max(page.next_offset or 0, offset + 1)

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


@dataclass(slots=True)
class _SoFar:
    """The figures of a series so far, and how far back it is answered."""

    uuid: UUID
    platform: str
    points: list[AudiencePoint] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    error: SoundchartsError | None = None
    answered_from: date | None = None
    days: set[date] = field(default_factory=set)
    seen: set[tuple[date, str | None]] = field(default_factory=set)
    # Whether days stand once for each identifier, rather than once.
    is_by_identifier: bool = False

    def add(self, page: AudiencePage, start: date, end: date) -> bool:
        """Add a page; return whether it brings anything new for the period."""
        self.points += page.items
        self.warnings += page.warnings
        self.unreadable += page.unreadable
        inside = [point for point in page.items if start <= point.date <= end]
        days = {point.date for point in inside}
        self.is_by_identifier |= page.repeats_days
        keys = {(point.date, point.identifier) for point in inside}
        is_news = bool(keys - self.seen if self.is_by_identifier else days - self.days)
        self.days |= days
        self.seen |= keys
        if days:
            self.answered_from = min(days)
        return is_news

    def has_all_of(self, start: date, days: int) -> bool:
        """Return whether every day of a period is complete."""
        return not self.is_by_identifier and all(start + number * DAY in self.days for number in range(days))


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
