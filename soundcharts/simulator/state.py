"""Count what was asked and answered, and enforce the quota and the rate; thread-safe."""

from __future__ import annotations

import math
import secrets
import threading
import time
from array import array
from collections import Counter, deque
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from soundcharts.simulator.catalogue import Catalogue

_KEPT_STARTS = 200_000
_KEPT_STRANGERS = 10_000
_LISTED = 100


class State:
    """The account's counters, and the counters that tests assert on.

    `calls` counts the calls by kind and `statuses` the answers by status (administration under
    /_simulator/ is in neither). A song counts as asked for when a call that was let in names its uuid,
    whatever came of it, and as answered when a sound answer holding it was about to be sent.

    `quota`, `quota_used`, `calls_per_minute` and `latency` (seconds) may be assigned at any time, and so may
    `today`, up to which there are audience figures: a date, or None for that of the clock; and
    `longest_period`, the days between the first and the last of an audience, or None for any number.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        quota: int,
        quota_tolerance: float,
        calls_per_minute: int,
        rate_window: float,
        token_lifetime: float,
        latency: float,
    ) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._initial = (quota, calls_per_minute, latency)
        self._rate_window = rate_window
        self.quota_tolerance = quota_tolerance
        self.token_lifetime = token_lifetime
        self._tokens: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """Go back to the beginning: counters, quota, rate, latency, revisions. OAuth tokens stay valid."""
        with self._lock:
            self.quota, self.calls_per_minute, self.latency = self._initial
            self._today: date | None = None
            self.longest_period: int | None = 90
            self.quota_used = 0
            self.calls: Counter[str] = Counter()
            self.statuses: Counter[int] = Counter()
            self.concurrency = 0
            self.max_concurrency = 0
            self.hung_up = 0
            self.rate_refusals = 0
            self.quota_refusals = 0
            self.elsewhere = 0
            self.keys_sent_elsewhere = 0
            self.team_ids: list[str | None] = []
            self._starts: deque[float] = deque(maxlen=_KEPT_STARTS)
            self._window_start = -math.inf
            self._window_calls = 0
            self._revisions: dict[int, int] = {}
            self._asked = array("I", bytes(4 * self._catalogue.songs))
            self._answered = array("I", bytes(4 * self._catalogue.songs))
            self._audience_answered: dict[str, array[int]] = {}
            self._strangers: Counter[str] = Counter()

    # What tests ask -------------------------------------------------------------------------------

    @property
    def quota_remaining(self) -> int:
        """Return the calls left of the plan, never below 0."""
        return max(0, self.quota - self.quota_used)

    @property
    def today(self) -> date:
        """Return the day on which the audience is asked for."""
        return self._today or datetime.now(UTC).date()

    @today.setter
    def today(self, day: date | None) -> None:
        self._today = day

    @property
    def starts(self) -> list[float]:
        """Return when the latest 200,000 calls arrived, oldest first, in seconds of `time.monotonic`.

        On Linux that clock is the same for all processes. Token requests are left out.
        """
        with self._lock:
            return list(self._starts)

    def max_calls_in(self, seconds: float = 60.0) -> int:
        """Return the largest number of calls that arrived within any window of so many seconds."""
        starts, first, most = self.starts, 0, 0
        for last, moment in enumerate(starts):
            while moment - starts[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def asked(self, song: UUID | int) -> int:
        """Return how many calls have asked for the metadata of a song (an index, or any uuid) by its uuid."""
        index = self._index(song)
        return self._strangers[str(song)] if index is None else self._asked[index]

    def answered(self, song: UUID | int, *, platform: str | None = None) -> int:
        """Return how many times the metadata of a song was answered, or its audience on a platform."""
        index = self._index(song)
        counts = self._answered if platform is None else self._audience_answered.get(platform)
        return 0 if index is None or counts is None else counts[index]

    def answered_songs(self) -> int:
        """Return how many different songs have been answered."""
        return len(self._answered) - self._answered.count(0)

    def answered_more_than_once(self) -> dict[UUID, int]:
        """Return the songs that were answered more than once and how often: what was paid for twice."""
        return {self._catalogue.song_uuid(index): n for index, n in enumerate(self._answered) if n > 1}

    def revision(self, index: int) -> int:
        """Return the revision of a song, 0 at first."""
        return self._revisions.get(index, 0)

    def revise(self, song: UUID | int) -> int:
        """Change the title, cover and length of a song upstream; return its revision. Raises LookupError."""
        index = self._index(song)
        if index is None or not 0 <= index < self._catalogue.songs:
            raise LookupError(f"There is no song {song}.")
        with self._lock:
            self._revisions[index] = self._revisions.get(index, 0) + 1
            return self._revisions[index]

    def as_json(self) -> dict[str, Any]:
        """Return the counters as the administration shows them."""
        repeated = self.answered_more_than_once()
        in_a_minute = self.max_calls_in(60.0)
        starts = self.starts
        with self._lock:
            return {
                "calls": dict(self.calls),
                "total_calls": sum(self.calls.values()) - self.calls["token"],
                "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
                "concurrency": self.concurrency,
                "max_concurrency": self.max_concurrency,
                "max_calls_in_60_s": in_a_minute,
                "shortest_gap": min((b - a for a, b in pairwise(starts)), default=None),
                "quota": self.quota,
                "quota_used": self.quota_used,
                "quota_remaining": self.quota_remaining,
                "calls_per_minute": self.calls_per_minute,
                "latency": self.latency,
                "rate_refusals": self.rate_refusals,
                "quota_refusals": self.quota_refusals,
                "hung_up": self.hung_up,
                "elsewhere": self.elsewhere,
                "keys_sent_elsewhere": self.keys_sent_elsewhere,
                "team_ids": self.team_ids[-_LISTED:],
                "songs": {
                    "total": self._catalogue.songs,
                    "asked": len(self._asked) - self._asked.count(0),
                    "answered": self.answered_songs(),
                    "answers": sum(self._answered),
                    "answered_more_than_once": len(repeated),
                    "repeated": {str(uuid): n for uuid, n in list(repeated.items())[:_LISTED]},
                    "revised": len(self._revisions),
                },
                "audiences_answered": {
                    platform: sum(counts) for platform, counts in self._audience_answered.items()
                },
                "strangers_asked": dict(self._strangers.most_common(_LISTED)),
            }

    def _index(self, song: UUID | int) -> int | None:
        return self._catalogue.song_index(song) if isinstance(song, UUID) else song

    # What the endpoints report --------------------------------------------------------------------

    def start_call(self, kind: str) -> None:
        """Count a call that has arrived."""
        with self._lock:
            self.calls[kind] += 1
            self.concurrency += 1
            self.max_concurrency = max(self.max_concurrency, self.concurrency)
            if kind != "token":
                self._starts.append(time.monotonic())

    def finish_call(self) -> None:
        """Count a call as over, whatever became of it."""
        with self._lock:
            self.concurrency = max(0, self.concurrency - 1)

    def admit(self) -> float | None:
        """Count a call against the rate; return the seconds to wait if there were too many in this window."""
        now = time.monotonic()
        with self._lock:
            if now - self._window_start >= self._rate_window:
                self._window_start, self._window_calls = now, 0
            if self._window_calls >= self.calls_per_minute:
                self.rate_refusals += 1
                return self._window_start + self._rate_window - now
            self._window_calls += 1
            return None

    def charge(self) -> bool:
        """Take one call of the quota; return False, and take none, when it is used up."""
        with self._lock:
            if self.quota_used >= math.floor(self.quota * (1 + self.quota_tolerance)):
                self.quota_refusals += 1
                return False
            self.quota_used += 1
            return True

    def refund(self) -> None:
        """Give one call back: what the server fails to answer is not counted (help.soundcharts.com)."""
        with self._lock:
            self.quota_used = max(0, self.quota_used - 1)

    def record_asked(self, uuids: tuple[str, ...], indexes: list[int | None]) -> None:
        """Count the songs whose metadata a call asks for."""
        with self._lock:
            for uuid, index in zip(uuids, indexes, strict=True):
                if index is not None:
                    self._asked[index] += 1
                elif uuid in self._strangers or len(self._strangers) < _KEPT_STRANGERS:
                    self._strangers[uuid] += 1

    def record_answer(self, status: int, *, songs: tuple[int, ...] = (), platform: str | None = None) -> None:
        """Count an answer and the songs it holds: their metadata, or their audience on a platform."""
        with self._lock:
            self.statuses[status] += 1
            counts = self._answered
            if platform is not None and songs:
                if platform not in self._audience_answered:
                    self._audience_answered[platform] = array("I", bytes(4 * self._catalogue.songs))
                counts = self._audience_answered[platform]
            for index in songs:
                counts[index] += 1

    def record_hang_up(self) -> None:
        """Count a client that went away before its answer was complete."""
        with self._lock:
            self.hung_up += 1

    def record_elsewhere(self, *, with_keys: bool) -> None:
        """Count a request that followed a redirect, and whether it brought credentials along."""
        with self._lock:
            self.elsewhere += 1
            self.keys_sent_elsewhere += with_keys

    # OAuth ----------------------------------------------------------------------------------------

    def issue_token(self, team_id: str | None) -> str:
        """Return a new OAuth token, valid for `token_lifetime` seconds."""
        token, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._tokens = {old: expiry for old, expiry in self._tokens.items() if expiry > now}
            self._tokens[token] = now + self.token_lifetime
            self.team_ids = [*self.team_ids, team_id][-_LISTED:]
        return token

    def knows_token(self, token: str) -> bool:
        """Say whether a token was issued here and is still valid."""
        with self._lock:
            return self._tokens.get(token, -math.inf) > time.monotonic()

    def expire_tokens(self) -> None:
        """Make every token invalid at once, as when Soundcharts revokes them."""
        with self._lock:
            self._tokens.clear()
