"""When the quota is renewed."""

from datetime import date

import pytest

from soundcharts.renewal import Renewal


@pytest.mark.parametrize(
    ("text", "today", "renews_on"),
    [
        ("15", date(2026, 11, 14), date(2026, 11, 15)),
        ("15", date(2026, 11, 15), date(2026, 12, 15)),
        ("1", date(2026, 12, 31), date(2027, 1, 1)),
        ("31", date(2026, 11, 29), date(2026, 11, 30)),
        ("31", date(2026, 11, 30), date(2026, 12, 31)),
        ("30", date(2027, 2, 1), date(2027, 2, 28)),
        ("29", date(2028, 2, 28), date(2028, 2, 29)),
        (" 2020-03-01 ", date(2026, 11, 20), date(2027, 3, 1)),
        ("2020-03-01", date(2027, 3, 1), date(2028, 3, 1)),
        ("2024-02-29", date(2026, 11, 20), date(2027, 2, 28)),
        ("2024-02-29", date(2027, 2, 28), date(2028, 2, 29)),
        ("2030-03-01", date(2026, 11, 20), date(2027, 3, 1)),
    ],
)
def test_the_next_renewal_comes_after_today(text: str, today: date, renews_on: date) -> None:
    renewal = Renewal.parse(text)
    assert renewal is not None
    assert renewal.next_after(today) == renews_on


def test_nothing_is_no_renewal() -> None:
    assert Renewal.parse(" ") is None


@pytest.mark.parametrize("text", ["0", "32", "monthly", "2026-13-01", "-1", "1.5", "٣", "2026", "1x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Renewal.parse(text)
