"""The arithmetic of the rate limit: how far apart calls start, and in which lane.

This is GCRA, the leaky bucket that remembers a single time per lane: the "theoretical arrival time"
(tat) before which the lane is spent. The same arithmetic runs in Redis for all processes together
(`limiter.py`) and here for one process that cannot reach it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

# A minute, and 0.3 seconds for the differing ways from here to the server: calls that start in one minute may
# arrive in a slightly shorter one.
WINDOW = 60.3

# Turns are given out at most this long before they come. So, whatever happens to Redis, at most so many
# seconds' worth of turns are unknown to whoever starts from nothing, and WINDOW leaves room for these.
HORIZON = 0.3

# Kept for people. They also take a turn of the bulk lane where that comes sooner, so little is enough.
INTERACTIVE_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Pace:
    """The rhythm of one lane: a turn every `interval` seconds, after a rest up to `tolerance` s early."""

    interval: float
    tolerance: float

    @classmethod
    def of(cls, calls_per_minute: int) -> Pace:
        """Return the pace at which no 60-second window holds more than `calls_per_minute` turns.

        The worst window begins with a whole burst and goes on at the interval, so the burst is taken off
        the rate.
        """
        # A quarter of a second at high rates, so that a pause of that length costs nothing.
        burst = max(min(10, 1 + calls_per_minute // 50), calls_per_minute // 240)
        interval = WINDOW / (calls_per_minute - burst + 1)
        return cls(interval=interval, tolerance=(burst - 1) * interval)


@dataclass(frozen=True, slots=True)
class Paces:
    """The lane of bulk work and the lane that is kept for people."""

    bulk: Pace
    interactive: Pace

    @classmethod
    def of(cls, calls_per_minute: int) -> Paces:
        """Split the calls of a minute among the lanes, at least one to each."""
        calls = max(2, calls_per_minute)
        kept = max(1, round(calls * INTERACTIVE_SHARE))
        return cls(bulk=Pace.of(calls - kept), interactive=Pace.of(kept))


class LocalPacer:
    """Give out turns within this process, with its own monotonic clock."""

    def __init__(self, paces: Paces) -> None:
        self._lanes = {"bulk": paces.bulk, "interactive": paces.interactive}
        self._tats: dict[str, float] = {}
        self._lock = threading.Lock()

    def ask(self, *, interactive: bool, max_wait: float) -> tuple[bool, float]:
        """Return whether a turn was given, and the seconds until it comes or until asking again.

        No turn is given that comes later than `max_wait`.
        """
        names = ("interactive", "bulk") if interactive else ("bulk",)
        with self._lock:
            now = time.monotonic()
            # Without a past, a lane starts as one that has no burst left.
            tats = {name: self._tats.get(name, now + self._lanes[name].tolerance) for name in names}
            starts = {name: max(now, tats[name] - self._lanes[name].tolerance) for name in names}
            name = min(names, key=lambda each: starts[each])
            wait = starts[name] - now
            # A nanosecond of grace for the rounding of sums.
            if wait > min(max_wait, HORIZON) + 1e-9:
                return False, wait
            self._tats[name] = max(tats[name], starts[name]) + self._lanes[name].interval
            return True, max(0.0, wait)
