"""One rate limit per API credential for all processes, in Redis, with a lane for people.

`limits` and `pyrate-limiter` count with the clocks of the clients, and `throttled-py` (GCRA on the
server's clock) forgets a spent burst when its key expires; none has lanes, a shared pause or an answer
for an unreachable Redis. Hence the script below.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from soundcharts import calling_off
from soundcharts.errors import RateLimited
from soundcharts.pacing import HORIZON, LocalPacer, Pace, Paces

logger = logging.getLogger("soundcharts.limiter")

T = TypeVar("T")

MAX_PAUSE = 3600.0
REDIS_TIMEOUT = 1.0
REDIS_RETRY_AFTER = 5.0
WARN_EVERY = 60.0

# All processes without Redis, of which nobody knows the number, share the limit by this guess.
LOCAL_SHARE = 8

_SHORTEST_SLEEP = 0.005

# Seconds for which the threads of a process go by one answer of whether there is a pause.
_PAUSE_KNOWN_FOR = 0.05

# KEYS[1] is a hash of tat_bulk, tat_interactive and paused_until, in microseconds of the server's clock.
# ARGV: 1 if interactive, max_wait, horizon; then interval, tolerance and the last known tat of the bulk
# lane and the same of the interactive lane, all in microseconds.
# Returns {1 if a turn was given, microseconds to wait, tat_bulk, tat_interactive}.
#
# The tats that the caller knows matter when the server has lost its own (FLUSHALL, a restart): then the
# lanes go on from there, after all turns that others may have been given. Where nobody knows anything, a
# lane starts as one that has no burst left. A tat or a pause beyond what can have been given out comes from
# a server whose clock was ahead: it is dropped.
_ASK = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local max_wait, horizon = tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = redis.call('HMGET', KEYS[1], 'tat_bulk', 'tat_interactive', 'paused_until')
local paused_until = tonumber(stored[3]) or 0
if paused_until > now + 3600000000 then paused_until = 0 end

local function read_lane(name, stored_tat, first)
  local lane = {name = name, interval = tonumber(ARGV[first]), tolerance = tonumber(ARGV[first + 1])}
  local latest = math.max(now, paused_until) + horizon + lane.tolerance + lane.interval
  lane.tat = now + lane.tolerance
  local is_known = false
  for _, tat in ipairs({tonumber(stored_tat) or 0, tonumber(ARGV[first + 2])}) do
    if tat > 0 and tat <= latest then
      lane.tat = is_known and math.max(lane.tat, tat) or tat
      is_known = true
    end
  end
  if not stored_tat and is_known and lane.tat > now - 60000000 then
    lane.tat = math.max(lane.tat, now + horizon + lane.tolerance)
  end
  lane.start = math.max(now, lane.tat - lane.tolerance, paused_until)
  return lane
end

local bulk = read_lane('tat_bulk', stored[1], 4)
local interactive = read_lane('tat_interactive', stored[2], 7)
local lane = bulk
if ARGV[1] == '1' and interactive.start <= bulk.start then lane = interactive end

local wait = lane.start - now
local is_given = wait <= math.min(max_wait, horizon)
if is_given then
  lane.tat = math.max(lane.tat, lane.start) + lane.interval
  for _, each in ipairs({bulk, interactive}) do
    redis.call('HSET', KEYS[1], each.name, string.format('%.0f', each.tat))
  end
  redis.call('EXPIRE', KEYS[1], 7200)
end
return {is_given and 1 or 0, wait, bulk.tat, interactive.tat}
"""

# KEYS[1] as above; ARGV[1] is the length of the pause in microseconds. The longest pause wins.
_PAUSE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local until_then = now + tonumber(ARGV[1])
local paused_until = tonumber(redis.call('HGET', KEYS[1], 'paused_until') or 0)
if until_then > paused_until or paused_until > now + 3600000000 then
  redis.call('HSET', KEYS[1], 'paused_until', string.format('%.0f', until_then))
  redis.call('EXPIRE', KEYS[1], 7200)
end
return 1
"""


# KEYS[1] as above. Returns the microseconds until the pause ends.
_PAUSE_LEFT = """
local time = redis.call('TIME')
local paused_until = tonumber(redis.call('HGET', KEYS[1], 'paused_until') or 0)
local left = paused_until - time[1] * 1000000 - time[2]
return left <= 3600000000 and math.max(0, left) or 0
"""


class Limiter(Protocol):
    """What a client needs of a rate limit; `RateLimiter` is the real one."""

    def acquire(self, *, interactive: bool, max_wait: float) -> None:
        """Return when a call may start, or raise RateLimited if that is too late."""

    def pause(self, seconds: float) -> None:
        """Let nobody start a call before so many seconds from now."""

    def pause_left(self) -> float:
        """Return the seconds until calls may start again, 0 when none are held back."""

    def remember(self, name: str, ttl: float) -> None:
        """Remember a fact about the account for `ttl` seconds."""

    def recalls(self, name: str) -> bool:
        """Return whether a fact is remembered."""

    def forget(self, name: str) -> None:
        """Remember a fact no longer."""


class RateLimiter:
    """Pace the calls of one credential, over all processes that use the same Redis.

    In no 60 seconds do more than `calls_per_minute` calls start. A share of them (0.5 %, at least one) is
    a lane of its own for interactive callers, who also take a bulk turn where that comes sooner; bulk
    callers keep to the rest. Times are the Redis server's, so the clocks of workers do not matter.

    Without Redis every process keeps to an eighth of the limit, says so once a minute, and asks again
    after some seconds; no error of Redis comes out of here. Safe to share between threads.
    """

    def __init__(self, redis_url: str, credential: str, calls_per_minute: int) -> None:
        """Prepare a limit; nothing is connected yet. `credential` is hashed, and never stored as it is."""
        if calls_per_minute < 2:
            raise ValueError("calls_per_minute must be at least 2: one for people, one for bulk work.")
        name = hashlib.sha256(credential.encode()).hexdigest()[:16]
        self._key = f"soundcharts:limit:{name}"
        self._memory_prefix = f"soundcharts:memory:{name}:"
        self.calls_per_minute = calls_per_minute
        self._paces = Paces.of(calls_per_minute)
        self._local = LocalPacer(Paces.of(calls_per_minute // LOCAL_SHARE))
        self._known_tats = (0, 0)
        self._paused_until = 0.0
        self._memories: dict[str, float] = {}
        self._lock = threading.Lock()
        # By whether the caller is interactive.
        self._queues = {True: threading.Lock(), False: threading.Lock()}
        self._pause_asked_at = -math.inf
        self._redis_again_at = 0.0
        self._warn_again_at = 0.0
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=REDIS_TIMEOUT,
            socket_connect_timeout=REDIS_TIMEOUT,
            # One immediate retry, for a pooled connection that the server has closed. redis-py's own
            # default of several, with time-outs too, would turn one second into many.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._ask_script = self._redis.register_script(_ASK)
        self._pause_script = self._redis.register_script(_PAUSE)
        self._pause_left_script = self._redis.register_script(_PAUSE_LEFT)

    def acquire(self, *, interactive: bool, max_wait: float) -> None:
        """Wait until a call may start.

        Raises RateLimited, without having taken a turn, when that would be (or has turned out to be)
        later than `max_wait` seconds from now; its `retry_after` says how much longer it would take.
        Raises CalledOff when it is called off meanwhile.
        """
        give_up_at = time.monotonic() + max_wait
        while True:
            wait = self._take_turn(interactive=interactive, give_up_at=give_up_at)
            calling_off.wait(wait)
            # Somebody may have asked for a pause while this call waited for its turn.
            if not wait or self.pause_left() <= 0:
                return

    def _take_turn(self, *, interactive: bool, give_up_at: float) -> float:
        """Return the seconds until a turn that is now this caller's. Raises RateLimited."""
        # One thread of a lane asks for all: the others could not get an earlier turn by asking, too.
        queue = self._queues[interactive]
        is_first = queue.acquire(timeout=max(0.0, give_up_at - time.monotonic()))
        try:
            calling_off.wait(0)
            while True:
                left = max(0.0, give_up_at - time.monotonic())
                is_given, wait = self._ask(interactive=interactive, max_wait=left)
                if is_given:
                    return wait
                if wait > left:
                    raise RateLimited(retry_after=wait)
                # Turns are given out only shortly before they come, and not all should ask at once.
                calling_off.wait(max(_SHORTEST_SLEEP, wait - HORIZON * random.random()))  # noqa: S311
        finally:
            if is_first:
                queue.release()

    def pause(self, seconds: float) -> None:
        """Let nobody start a call before `seconds` from now, at most an hour. The longest pause wins."""
        seconds = min(max(0.0, seconds), MAX_PAUSE)
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        self._with_redis(lambda: self._pause_script(keys=[self._key], args=[_microseconds(seconds)]))

    def remember(self, name: str, ttl: float) -> None:
        """Remember a fact about this account ("batch_refused") for `ttl` seconds, for all processes."""
        with self._lock:
            self._memories[name] = time.monotonic() + ttl
        self._with_redis(lambda: self._redis.set(self._memory_prefix + name, 1, px=max(1, int(ttl * 1000))))

    def recalls(self, name: str) -> bool:
        """Return whether a fact is remembered, also by this process alone: Redis may be away or emptied."""
        if self._with_redis(lambda: self._redis.exists(self._memory_prefix + name)):
            return True
        with self._lock:
            return self._memories.get(name, 0.0) > time.monotonic()

    def forget(self, name: str) -> None:
        """Remember a fact no longer, for all processes."""
        with self._lock:
            self._memories.pop(name, None)
        self._with_redis(lambda: self._redis.delete(self._memory_prefix + name))

    def _ask(self, *, interactive: bool, max_wait: float) -> tuple[bool, float]:
        """Return whether a turn was given, and the seconds until it comes or until asking again."""
        # Also kept here, for a Redis that is away or has forgotten it.
        paused = self._own_pause_left()
        if paused > 0:
            return False, paused
        bulk_tat, interactive_tat = self._known_tats
        arguments = [
            *(int(interactive), _microseconds(max_wait), _microseconds(HORIZON)),
            *(*_in_microseconds(self._paces.bulk), bulk_tat),
            *(*_in_microseconds(self._paces.interactive), interactive_tat),
        ]
        answer = self._with_redis(lambda: self._ask_script(keys=[self._key], args=arguments))
        if answer is None:
            return self._local.ask(interactive=interactive, max_wait=max_wait)
        is_given, wait, *tats = (int(number) for number in answer)
        self._known_tats = (tats[0], tats[1])
        return bool(is_given), wait / 1_000_000

    def pause_left(self) -> float:
        """Return the seconds until calls may start again, 0 when none are held back.

        Blocks for at most a second when Redis is away; then only this process's own pauses count.
        """
        now = time.monotonic()
        if now - self._pause_asked_at < _PAUSE_KNOWN_FOR:
            return max(0.0, self._own_pause_left())
        self._pause_asked_at = now
        if left := self._with_redis(lambda: self._pause_left_script(keys=[self._key])):
            with self._lock:
                self._paused_until = max(self._paused_until, now + left / 1_000_000)
        return max(0.0, self._own_pause_left())

    def _own_pause_left(self) -> float:
        return self._paused_until - time.monotonic()

    @property
    def key(self) -> str:
        """Return the name under which Redis keeps what the processes of this credential share."""
        return self._key

    def register_script(self, text: str) -> Script:
        """Return a script for the Redis that all processes of this credential share."""
        return self._redis.register_script(text)

    def on_redis(self, action: Callable[[], T]) -> T | None:
        """Return what `action` returns, or None while Redis is away."""
        return self._with_redis(action)

    def _with_redis(self, action: Callable[[], T]) -> T | None:
        """Return what `action` returns, or None if Redis is away. One thread at a time sees if it is back."""
        with self._lock:
            now = time.monotonic()
            if now < self._redis_again_at:
                return None
            if self._redis_again_at:
                self._redis_again_at = now + REDIS_RETRY_AFTER
        try:
            result = action()
        except (redis.RedisError, OSError) as error:
            self._note_failure(error)
            return None
        self._redis_again_at = 0.0
        return result

    def _note_failure(self, error: Exception) -> None:
        with self._lock:
            now = time.monotonic()
            self._redis_again_at = now + REDIS_RETRY_AFTER
            is_time_to_warn = now >= self._warn_again_at
            if is_time_to_warn:
                self._warn_again_at = now + WARN_EVERY
        if is_time_to_warn:
            # Of the error only the kind: its text can hold the address, and that a password.
            logger.warning(
                "Redis does not answer (%s); this process keeps to 1/%d of the rate limit by itself",
                *(type(error).__name__, LOCAL_SHARE),
            )


def _microseconds(seconds: float) -> int:
    return math.ceil(min(seconds, 86_400.0) * 1_000_000)


def _in_microseconds(pace: Pace) -> tuple[int, int]:
    return _microseconds(pace.interval), _microseconds(pace.tolerance)
