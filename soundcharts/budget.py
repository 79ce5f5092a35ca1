"""The reserve: before every bulk call, all processes together check the calls remaining.

Every answer says how many calls are left (`x-quota-remaining`). While that is far above the reserve, nothing
else is needed. Near it, the processes of one credential keep two things in Redis: how many calls are left
once all started ones are charged, and which calls are in flight. Checking and counting a call is one step
there, so no number of processes and threads can start a call too many.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from soundcharts import calling_off
from soundcharts.errors import QuotaExhausted, QuotaReserved, RateLimited
from soundcharts.limiter import LOCAL_SHARE, RateLimiter

# Seconds for which an answer about the quota is trusted. After that, one call alone finds out how much has
# been spent meanwhile, by others too.
TOLD_FOR = 10.0
# Seconds after which the free usage call is made before bulk work is refused: the plan may have been renewed.
REFUSED_FOR = 5.0
# Seconds that others wait for the call that finds out.
ASKING_FOR = 10.0
# Seconds after which a call in flight is taken for lost with its process. No call lasts so long.
LOST_AFTER = 180.0
# Fewer calls than this above the reserve, and every call is counted in Redis. It must be more than all
# processes can start while one call lasts, so it is at least half a minute's calls.
NEAR = 2000

_POLL_SECONDS = 0.05

# KEYS: a hash of `left`, `started`, `noted_at`, `asking_until` and `asked_at`; the set of calls in flight.
# ARGV: call id, reserve ("" for a call that may use it), TOLD_FOR, REFUSED_FOR, ASKING_FOR and LOST_AFTER.
# All times are in microseconds of the server's clock.
# Returns "given", "wait", "ask" (make the usage call), "refused" or "used up"; and for a given call its mark:
# the calls that have started, less those that were in flight.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, now - tonumber(ARGV[6]))
local stored = redis.call('HMGET', KEYS[1], 'left', 'noted_at', 'asking_until', 'asked_at')
local left, noted_at = tonumber(stored[1]), tonumber(stored[2]) or 0
local asking_until, asked_at = tonumber(stored[3]) or 0, tonumber(stored[4]) or 0
-- From a server whose clock was ahead.
if noted_at > now then noted_at = 0 end
if asked_at > now then asked_at = 0 end
local function set_time(name, moment) redis.call('HSET', KEYS[1], name, string.format('%.0f', moment)) end

if ARGV[2] ~= '' then
  local is_enough = left == nil or left - 1 >= tonumber(ARGV[2])
  if asking_until > now and asking_until <= now + tonumber(ARGV[5]) then return {'wait', 0} end
  if not is_enough then
    if now - math.max(noted_at, asked_at) < tonumber(ARGV[4]) then
      return {left > 0 and 'refused' or 'used up', 0}
    end
    set_time('asked_at', now)
    set_time('asking_until', now + tonumber(ARGV[5]))
    redis.call('EXPIRE', KEYS[1], 86400)
    return {'ask', 0}
  end
  if now - noted_at > tonumber(ARGV[3]) then
    set_time('asking_until', now + tonumber(ARGV[5]))
  end
end
if left then redis.call('HINCRBY', KEYS[1], 'left', -1) end
local mark = redis.call('HINCRBY', KEYS[1], 'started', 1) - redis.call('ZCARD', KEYS[2])
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
redis.call('EXPIRE', KEYS[1], 86400)
redis.call('EXPIRE', KEYS[2], 86400)
return {'given', mark}
"""

# KEYS as above. Returns the mark of a call that starts now and is not counted, such as the usage call.
_MARK = """
return (tonumber(redis.call('HGET', KEYS[1], 'started')) or 0) - redis.call('ZCARD', KEYS[2])
"""

# KEYS as above. ARGV: call id ("" for none), the calls left by the answer ("" if it does not say), 1 if there
# was an answer, 1 if the call is not charged, the call's mark ("" if it was not counted).
#
# Answers come in any order, so what an answer says is the most that can be left. The least is that minus the
# calls that the server may have charged after it: those in flight when this one started, and all since.
_NOTE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local mark = tonumber(ARGV[5])
if ARGV[1] ~= '' then
  local was_open = redis.call('ZREM', KEYS[2], ARGV[1]) == 1
  -- The server has forgotten what the mark refers to.
  if not was_open then mark = nil end
  if was_open and ARGV[4] == '1' and redis.call('HEXISTS', KEYS[1], 'left') == 1 then
    redis.call('HINCRBY', KEYS[1], 'left', 1)
  end
end
if ARGV[2] ~= '' then
  local said = tonumber(ARGV[2])
  local left = tonumber(redis.call('HGET', KEYS[1], 'left'))
  local started = tonumber(redis.call('HGET', KEYS[1], 'started')) or 0
  if mark and started >= mark then
    local least = said - (started - mark)
    left = left and math.max(least, math.min(left, said)) or least
  else
    left = said - redis.call('ZCARD', KEYS[2])
  end
  redis.call('HSET', KEYS[1], 'left', string.format('%.0f', left))
end
if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'noted_at', string.format('%.0f', now)) end
redis.call('HDEL', KEYS[1], 'asking_until')
redis.call('EXPIRE', KEYS[1], 86400)
return 1
"""


class OpenCall:
    """A call that the budget allowed, until its answer reports the calls remaining.

    `has_started` is set by the client right before it sends the request: from then on it may be charged.
    """

    def __init__(self, budget: CallBudget, call_id: str, mark: int | None) -> None:
        self._budget = budget
        self._id = call_id
        self._mark = mark
        self._is_settled = False
        self.has_started = False

    def answered(self, remaining: int | None, *, is_charged: bool) -> None:
        """Record an answer: the calls remaining, and whether the call was charged."""
        self._settle(remaining, is_answer=True, is_free=not is_charged)

    def end(self) -> None:
        """Say that no answer will come: a call that never started is given back."""
        if not self._is_settled:
            self._settle(None, is_answer=False, is_free=not self.has_started)

    def _settle(self, remaining: int | None, *, is_answer: bool, is_free: bool) -> None:
        self._is_settled = True
        self._budget.note(remaining, call_id=self._id, mark=self._mark, is_answer=is_answer, is_free=is_free)


class CallBudget:
    """Allow calls while the reserve permits, for all processes of one credential together.

    Bulk work leaves the last `reserve` calls alone; interactive calls may use them and are counted. Without
    Redis, a process assumes that `LOCAL_SHARE` processes like itself spend the same quota. Safe to share
    between threads.
    """

    def __init__(self, limiter: RateLimiter, *, reserve: int) -> None:
        self._limiter = limiter
        self._reserve = reserve
        self._keys = [f"{limiter.key}:budget", f"{limiter.key}:in-flight"]
        self._take_script = limiter.register_script(_TAKE)
        self._note_script = limiter.register_script(_NOTE)
        self._mark_script = limiter.register_script(_MARK)
        self._near = max(NEAR, limiter.calls_per_minute // 2)
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        # This process's own state: the last answer and its time, and the calls in flight.
        self._remaining: int | None = None
        self._told_at: float | None = None
        self._asked_at = 0.0
        self._open: set[str] = set()

    @property
    def is_told(self) -> bool:
        """Return whether an answer has told this process lately what is left, or that it does not tell."""
        told_at = self._told_at
        return told_at is not None and time.monotonic() - told_at < TOLD_FOR

    @contextmanager
    def call(
        self, *, interactive: bool, max_wait: float, ask: Callable[[], int | None]
    ) -> Iterator[OpenCall]:
        """Let one call start inside the with statement, and count it.

        `ask` makes the free usage call and returns what is left, or None. Raises QuotaReserved or
        QuotaExhausted when bulk work must not start another call, CalledOff when it is called off
        meanwhile, and RateLimited when nobody found out what is left within `max_wait` seconds.
        """
        call_id, mark = self._take(interactive=interactive, give_up_at=time.monotonic() + max_wait, ask=ask)
        open_call = OpenCall(self, call_id, mark)
        try:
            yield open_call
        finally:
            open_call.end()

    def mark(self) -> int | None:
        """Return what `note` needs for a free call that starts now: which counted calls came before it."""
        return self._limiter.on_redis(lambda: int(self._mark_script(keys=self._keys)))

    def note(
        self,
        remaining: int | None,
        *,
        mark: int | None,
        call_id: str = "",
        is_answer: bool = True,
        is_free: bool = False,
    ) -> None:
        """Record the calls remaining from an answer; `call_id` belongs to a call of the budget."""
        with self._lock:
            was_near = not self._is_far()
            self._open.discard(call_id)
            if is_answer:
                self._told_at = time.monotonic()
            if remaining is not None:
                self._remaining = remaining
            is_near = not self._is_far()
        # A call that was counted in Redis is taken out of it, also when the quota was renewed meanwhile.
        if call_id.startswith("far:") and not (was_near or is_near):
            return
        arguments: list[str | int] = [
            call_id,
            "" if remaining is None else remaining,
            int(is_answer),
            int(is_free),
            "" if mark is None else mark,
        ]
        self._limiter.on_redis(lambda: self._note_script(keys=self._keys, args=arguments))

    def _take(
        self, *, interactive: bool, give_up_at: float, ask: Callable[[], int | None]
    ) -> tuple[str, int | None]:
        """Return the id of a call that may start, and its mark if it is counted in Redis."""
        call_id = f"{os.getpid()}:{uuid.uuid4().hex[:8]}:{next(self._numbers)}"
        with self._lock:
            if self._is_far():
                call_id = f"far:{call_id}"
                self._open.add(call_id)
                return call_id, None
        while True:
            calling_off.wait(0)
            verdict, mark = self._ask_redis(call_id, interactive=interactive) or (
                self._decide_alone(call_id, interactive=interactive),
                None,
            )
            if verdict == "given":
                return call_id, mark
            if verdict == "refused":
                raise QuotaReserved
            if verdict == "used up":
                raise QuotaExhausted
            if verdict == "ask":
                # Others wait for it, so whatever comes of it ends their wait.
                remaining, mark = None, self.mark()
                try:
                    remaining = ask()
                finally:
                    self.note(remaining, mark=mark, is_answer=remaining is not None)
            elif time.monotonic() >= give_up_at:
                raise RateLimited(retry_after=1.0)
            else:
                calling_off.wait(_POLL_SECONDS)

    def _ask_redis(self, call_id: str, *, interactive: bool) -> tuple[str, int] | None:
        """Return the shared verdict and the call's mark, or None while Redis is away."""
        seconds = (TOLD_FOR, REFUSED_FOR, ASKING_FOR, LOST_AFTER)
        arguments = [
            call_id,
            "" if interactive else self._reserve,
            *(int(each * 1_000_000) for each in seconds),
        ]
        answer = self._limiter.on_redis(lambda: self._take_script(keys=self._keys, args=arguments))
        if answer is None:
            return None
        verdict, mark = answer[0].decode(), int(answer[1])
        if verdict == "given":
            with self._lock:
                self._open.add(call_id)
        return verdict, mark

    def _decide_alone(self, call_id: str, *, interactive: bool) -> str:
        """Return the verdict of a process that cannot reach Redis."""
        with self._lock:
            now = time.monotonic()
            if not interactive:
                spent_by_all = LOCAL_SHARE * (len(self._open) + 1)
                if self._remaining is not None and self._remaining - spent_by_all < self._reserve:
                    if now - max(self._told_at or 0.0, self._asked_at) < REFUSED_FOR:
                        return "wait" if self._open else "refused"
                    self._asked_at = now
                    return "ask"
                if not self.is_told and self._open:
                    return "wait"
            self._open.add(call_id)
            return "given"

    def _is_far(self) -> bool:
        """Return whether so many calls remain that counting each one is unnecessary."""
        return self._remaining is not None and self.is_told and self._remaining - self._reserve > self._near
