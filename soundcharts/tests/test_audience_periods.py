"""How a period is asked for: page by page, in parts where the account refuses long ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from soundcharts.audience import EndlessPages, divided
from soundcharts.credentials import ApiKeyCredentials
from soundcharts.errors import InvalidRequest, NotFound, UpstreamUnavailable
from soundcharts.service import SoundchartsService
from soundcharts.simulator import Simulator
from soundcharts.tests.doubles import FakeLimiter, make_client

LAST = date(2025, 12, 31)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(songs=20) as simulator:
        simulator.state.today = LAST + timedelta(days=9)
        yield simulator


def make_service(
    simulator: Simulator, period_days: int, limiter: FakeLimiter | None = None
) -> SoundchartsService:
    keys = ApiKeyCredentials("soundcharts", "soundcharts")
    client = make_client(simulator.url, credentials=keys, limiter=limiter)
    return SoundchartsService(client, audience_period_days=period_days)


def first_day(days: int) -> date:
    return LAST - timedelta(days=days - 1)


@pytest.mark.parametrize(
    ("period_days", "effective", "a_call"),
    [(30, 30, 30), (90, 90, 90), (100, 100, 100), (150, 100, 100), (365, 300, 100), (3650, 3600, 100)],
)
def test_a_period_is_whole_pages_and_a_call_brings_one(
    simulator: Simulator, period_days: int, effective: int, a_call: int
) -> None:
    service = make_service(simulator, period_days)
    assert (service.audience_period_days, service.audience_days_a_call) == (effective, a_call)


@pytest.mark.parametrize("days", [1, 90, 100, 101, 299, 300, 365])
def test_a_long_period_costs_a_call_for_each_page(simulator: Simulator, days: int) -> None:
    simulator.state.longest_period = None
    service = make_service(simulator, 300)
    series = service.get_audience_series(
        simulator.song_uuid(3), "spotify", start_date=first_day(days), end_date=LAST
    )
    assert series.error is None
    assert simulator.state.calls["audience"] <= -(-days // 100)
    assert {point.date for point in series.items} <= {LAST - timedelta(days=n) for n in range(days)}
    assert len({point.date for point in series.items}) > days * 0.9


def test_a_refused_period_is_divided_and_the_refusal_is_remembered_for_the_account(
    simulator: Simulator,
) -> None:
    limiter = FakeLimiter()
    first, second = (make_service(simulator, 365, limiter) for _ in range(2))
    for service, calls in ((first, 5), (second, 4)):
        simulator.state.calls.clear()
        series = service.get_audience_series(
            simulator.song_uuid(3), "spotify", start_date=first_day(300), end_date=LAST
        )
        assert series.error is None
        assert len({point.date for point in series.items}) > 270
        assert simulator.state.calls["audience"] == calls
    assert first.audience_period_days == second.audience_period_days == 90
    assert limiter.memories["audience_period_refused"] == 24 * 60 * 60


def test_a_refusal_that_is_not_about_the_period_is_not_remembered(simulator: Simulator) -> None:
    limiter = FakeLimiter()
    service = make_service(simulator, 365, limiter)
    simulator.faults.set("poisoned_uuids", uuids=[simulator.song_uuid(3)])
    with pytest.raises(InvalidRequest):
        service.get_audience_series(
            simulator.song_uuid(3), "spotify", start_date=first_day(300), end_date=LAST
        )
    assert "audience_period_refused" not in limiter.memories


def test_what_came_before_an_error_is_in_the_answer_beside_it(simulator: Simulator) -> None:
    simulator.state.longest_period = None
    simulator.faults.set("error", status=503, after=2, kinds=["audience"])
    series = make_service(simulator, 300).get_audience_series(
        simulator.song_uuid(3), "spotify", start_date=first_day(300), end_date=LAST
    )
    days = {point.date for point in series.items}
    assert isinstance(series.error, UpstreamUnavailable)
    assert len(days) == 200
    assert series.answered_from == min(days)


def test_an_error_before_anything_came_is_raised(simulator: Simulator) -> None:
    simulator.faults.set("unknown_uuids", uuids=[simulator.song_uuid(3)])
    with pytest.raises(NotFound):
        make_service(simulator, 90).get_audience_series(
            simulator.song_uuid(3), "spotify", start_date=first_day(90), end_date=LAST
        )


@pytest.mark.parametrize(("how", "calls"), [("again", 2), ("older", 2), ("identifiers", 9)])
def test_endless_pages_are_bounded_by_what_there_can_be(simulator: Simulator, how: str, calls: int) -> None:
    simulator.faults.set("endless_audience", how=how)
    series = make_service(simulator, 90).get_audience_series(
        simulator.song_uuid(3), "spotify", start_date=first_day(90), end_date=LAST
    )
    assert simulator.state.calls["audience"] == calls
    assert isinstance(series.error, EndlessPages) == (how == "identifiers")
    assert len({point.date for point in series.items if point.date >= first_day(90)}) > 80


def test_a_span_is_divided_newest_first() -> None:
    day = LAST
    assert divided(day - timedelta(days=99), day, longest=90) == [
        (day - timedelta(days=89), day),
        (day - timedelta(days=99), day - timedelta(days=90)),
    ]
    assert divided(day, day, longest=90) == [(day, day)]
