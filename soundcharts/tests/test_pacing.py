"""The rate limit by arithmetic, over simulated hours."""

from __future__ import annotations

from bisect import bisect_right

import pytest

from soundcharts import pacing
from soundcharts.pacing import HORIZON, LocalPacer, Pace, Paces
from soundcharts.tests.doubles import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def start_all_day(pacer: LocalPacer, clock: Clock, *, seconds: float, interactive: bool) -> list[float]:
    """Start calls as fast as the pacer allows, and return when they started."""
    starts = []
    end = clock.now + seconds
    while clock.now < end:
        is_given, wait = pacer.ask(interactive=interactive, max_wait=10_000.0)
        if is_given:
            starts.append(clock.now + wait)
        clock.now += wait
    return starts


def most_in_a_minute(starts: list[float]) -> int:
    starts = sorted(starts)
    return max(bisect_right(starts, start + 60.0) - index for index, start in enumerate(starts))


@pytest.mark.parametrize("calls_per_minute", [2, 3, 10, 59, 60, 61, 100, 1000, 5000])
@pytest.mark.parametrize("interactive", [False, True])
def test_no_minute_holds_more_calls_than_allowed(
    calls_per_minute: int, interactive: bool, clock: Clock
) -> None:
    pacer = LocalPacer(Paces.of(calls_per_minute))
    starts = start_all_day(pacer, clock, seconds=200, interactive=interactive)
    clock.now += 500
    starts += start_all_day(pacer, clock, seconds=200, interactive=interactive)
    starts += start_all_day(pacer, clock, seconds=200, interactive=not interactive)

    assert most_in_a_minute(starts) <= calls_per_minute


@pytest.mark.parametrize("calls_per_minute", [100, 1000, 5000])
def test_bulk_work_gets_nearly_the_whole_limit(calls_per_minute: int, clock: Clock) -> None:
    starts = start_all_day(LocalPacer(Paces.of(calls_per_minute)), clock, seconds=600, interactive=False)

    assert len(starts) / 10 > (0.97 if calls_per_minute >= 1000 else 0.9) * calls_per_minute


def test_people_alone_get_nine_tenths_of_the_limit_too(clock: Clock) -> None:
    starts = start_all_day(LocalPacer(Paces.of(1000)), clock, seconds=600, interactive=True)

    assert len(starts) / 10 > 900


def test_person_is_served_at_once_while_bulk_work_queues(clock: Clock) -> None:
    pacer = LocalPacer(Paces.of(60))
    pacer.ask(interactive=False, max_wait=0)
    is_given, wait = pacer.ask(interactive=False, max_wait=0)
    assert not is_given
    assert wait > 0.9

    assert pacer.ask(interactive=True, max_wait=0) == (True, 0.0)


def test_rest_earns_a_small_burst_and_a_start_none(clock: Clock) -> None:
    pacer = LocalPacer(Paces.of(5000))

    def burst() -> int:
        count = 0
        while pacer.ask(interactive=False, max_wait=0)[0]:
            count += 1
        return count

    assert burst() == 1
    clock.now += 60
    assert burst() == 20


def test_turn_is_given_only_shortly_before_it_comes(clock: Clock) -> None:
    pacer = LocalPacer(Paces.of(60))
    waits = []
    for _ in range(5):
        waits.append(pacer.ask(interactive=False, max_wait=90.0))

    assert waits[0] == (True, 0.0)
    assert [is_given for is_given, _ in waits[1:]] == [False] * 4
    assert all(wait > HORIZON for _, wait in waits[1:])


def test_refused_turn_costs_nothing(clock: Clock) -> None:
    pacer = LocalPacer(Paces.of(60))
    pacer.ask(interactive=False, max_wait=0)
    before = pacer.ask(interactive=False, max_wait=0)

    assert pacer.ask(interactive=False, max_wait=0) == before


@pytest.mark.parametrize("calls_per_minute", range(2, 400))
def test_both_lanes_have_a_turn_each_and_no_more_than_all_together(calls_per_minute: int) -> None:
    def most(pace: Pace) -> int:
        return 1 + int((60.0 + pace.tolerance) / pace.interval + 1e-9)

    paces = Paces.of(calls_per_minute)

    assert most(paces.bulk) >= 1
    assert most(paces.interactive) >= 1
    assert most(paces.bulk) + most(paces.interactive) <= calls_per_minute
