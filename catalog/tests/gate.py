"""A gate before the simulator's answers, so that tests can do things while a call is under way."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

import redis

from catalog.tests.workers import wait_until
from soundcharts.simulator import Simulator
from soundcharts.simulator.faults import Strike

GIVE_UP_SECONDS = 60
# After these all turns that were given out before a pause have come, and all processes know of the pause.
KNOWN_TO_ALL_SECONDS = 0.5


class Gate:
    """Where calls wait for their answers until it is opened."""

    def __init__(self) -> None:
        self.waiting = 0
        self._is_open = threading.Event()

    def wait_for_calls(self, count: int = 1) -> None:
        """Return when so many calls wait here."""
        wait_until(lambda: self.waiting >= count)

    def open(self) -> None:
        """Let all calls be answered, those that wait and those to come."""
        self._is_open.set()

    def pass_through(self) -> None:
        self.waiting += 1
        self._is_open.wait(GIVE_UP_SECONDS)


def wait_until_all_wait(simulator: Simulator, broker: redis.Redis) -> None:
    """Return when a 429 has let all calls of all processes wait for a turn that is far away."""
    wait_until(
        lambda: any(broker.hexists(key, "paused_until") for key in broker.scan_iter("soundcharts:limit:*"))
    )
    # Those that had their turn before may have begun since; each meets a 429, too.
    time.sleep(KNOWN_TO_ALL_SECONDS)
    wait_until(lambda: simulator.state.concurrency == 0)


@contextmanager
def gate(simulator: Simulator, *, after: int = 0, uuids: Iterable[UUID] | None = None) -> Iterator[Gate]:
    """Hold all calls but the first `after` at a gate until it is opened, at the latest afterwards.

    With `uuids`, only calls that ask for one of these.
    """
    gate = Gate()
    decide, passed = simulator.faults.next_strike, iter(range(after))
    held = None if uuids is None else {str(uuid) for uuid in uuids}

    def decide_at_gate(kind: str, uuids: Iterable[str]) -> Strike:
        if (held is None or not held.isdisjoint(uuids)) and next(passed, None) is None:
            gate.pass_through()
        return decide(kind, uuids)

    simulator.faults.next_strike = decide_at_gate
    try:
        yield gate
    finally:
        gate.open()
        simulator.faults.next_strike = decide
