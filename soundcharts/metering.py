"""Count the calls that a piece of work really spent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class CallMeter:
    """The number of calls charged to the quota so far. May be shared by threads."""

    def __init__(self) -> None:
        self.spent = 0
        self._lock = threading.Lock()

    def add(self, calls: int) -> None:
        """Count `calls` more."""
        with self._lock:
            self.spent += calls


_meters: ContextVar[tuple[CallMeter, ...]] = ContextVar("soundcharts_meters", default=())


@contextmanager
def count_calls() -> Iterator[CallMeter]:
    """Yield a meter of the calls that are charged inside the with statement; they may be nested.

    A call is charged when the API answered it, whether or not the answer was of use (`is_charged` in
    `soundcharts.refusals`). Calls made by other threads are counted if these run in a copy of this context
    (`contextvars.copy_context().run`).
    """
    meter = CallMeter()
    token = _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:
        _meters.reset(token)


def charge_call() -> None:
    """Count one call on every meter that is running."""
    for meter in _meters.get():
        meter.add(1)
