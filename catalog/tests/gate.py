"""A gate before the simulator's answers, so that tests can do things while a call is under way."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from catalog.tests.workers import wait_until
from soundcharts.simulator import Simulator
from soundcharts.simulator.faults import Strike

# Longer than any test waits.
GIVE_UP_SECONDS = 120


class Gate:
    """Where calls wait for their answers until it is opened."""

    def __init__(self) -> None:
        self.waiting = 0
        self._lock = threading.Lock()
        self._is_open = threading.Event()

    def wait_for_calls(self, count: int = 1) -> None:
        """Return when so many calls wait here."""
        wait_until(lambda: self.waiting >= count)

    def open(self) -> None:
        """Let all calls be answered, those that wait and those to come."""
        self._is_open.set()

    def pass_through(self) -> None:
        with self._lock:
            self.waiting += 1
        self._is_open.wait(GIVE_UP_SECONDS)


def refuse_calls(simulator: Simulator, held: Gate, *, count: int, reset: float) -> None:
    """Let so many calls, held at a gate, meet a 429 together: from now on everybody waits for their turn.

    They are all that may be under way at once, so no other has had its turn before and begins after this.
    """
    held.wait_for_calls(count)
    simulator.faults.set("rate_limited", reset=reset, times=count)
    held.open()
    wait_until(lambda: simulator.state.statuses[429] == count)


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
