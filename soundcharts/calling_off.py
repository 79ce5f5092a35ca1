"""Calling calls off: whoever waits for a call's turn, or for its next try, looks at a flag meanwhile.

A call that has begun is paid for, so it is never broken off.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from soundcharts.errors import CalledOff

_flag: ContextVar[threading.Event | None] = ContextVar("soundcharts_called_off", default=None)


@contextmanager
def called_off_by(flag: threading.Event) -> Iterator[None]:
    """Let calls of this thread inside the with statement begin only while `flag` is not set.

    What waits when it is set raises CalledOff at once, and so does what would begin after that.
    """
    token = _flag.set(flag)
    try:
        yield
    finally:
        _flag.reset(token)


def wait(seconds: float) -> None:
    """Sleep before a call or a try of one. Raises CalledOff as soon as that is called off."""
    flag = _flag.get()
    if flag is None:
        time.sleep(seconds)
    elif flag.wait(seconds):
        raise CalledOff
