"""What a series says: totals, gains, summaries, gaps, periods."""

from datetime import date, timedelta

from catalog.models import TREND_DAYS
from catalog.series import gains, missing, periods, summarize, totals
from catalog.tests.audiences import days_from

FIRST = date(2026, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def test_identifiers_are_summed():
    series = {1: days_from(FIRST, [10, 20]), 2: days_from(FIRST, [1, 2])}
    assert totals(series) == {day(0): 11, day(1): 22}
    assert gains(series) == {day(1): 11}


def test_a_missing_day_has_no_total_and_no_gain_and_is_not_zero():
    series = {1: days_from(FIRST, [10, None, 30, 31])}
    assert list(totals(series)) == [day(0), day(2), day(3)]
    assert gains(series) == {day(3): 1}


def test_a_day_that_one_of_two_identifiers_lacks_is_missing():
    series = {1: days_from(FIRST, [10, 20, 30]), 2: days_from(FIRST, [1, None, 3])}
    assert totals(series) == {day(0): 11, day(2): 33}


def test_an_identifier_that_is_late_does_not_make_the_latest_figure_fall():
    series = {1: days_from(FIRST, [10, 20, 30]), 2: days_from(FIRST, [1, 2])}
    assert summarize(series).latest_day == day(1)
    assert summarize(series).latest_value == 22


def test_an_identifier_that_left_the_platform_is_not_waited_for():
    series = {1: days_from(FIRST, list(range(100, 120))), 2: days_from(FIRST, [1, 2])}
    assert summarize(series).latest_day == day(19)
    assert summarize(series).latest_value == 119


def test_an_identifier_that_is_missing_at_the_beginning_is_not_taken_for_a_new_one():
    series = {1: days_from(FIRST, [10, 20, 30]), 2: days_from(day(1), [1000, 1001])}
    assert list(totals(series)) == [day(1), day(2)]


def test_a_new_identifier_is_no_gain():
    series = {1: days_from(FIRST, list(range(10, 22))), 2: days_from(day(10), [1000, 1001])}
    assert totals(series)[day(9)] == 19
    assert gains(series)[day(10)] == 1
    assert gains(series)[day(11)] == 2
    assert summarize(series).gain == 12


def test_the_summary_is_of_the_last_28_days():
    series = {1: days_from(FIRST, [number * number for number in range(60)])}
    summary = summarize(series)
    assert (summary.latest_day, summary.latest_value) == (day(59), 59 * 59)
    assert summary.gain == 59 * 59 - 31 * 31
    assert summary.trend == [2 * number - 1 for number in range(32, 60)]


def test_the_gain_bridges_missing_days_and_the_trend_shows_them():
    values = [1000 + number for number in range(40)]
    values[30] = None
    summary = summarize({1: days_from(FIRST, values)})
    assert summary.gain == TREND_DAYS
    assert [place for place, gain in enumerate(summary.trend) if gain is None] == [18, 19]


def test_a_single_day_has_a_figure_and_no_gain():
    summary = summarize({1: days_from(FIRST, [7])})
    assert (summary.latest_value, summary.gain) == (7, None)
    assert set(summary.trend) == {None}


def test_nothing_known_says_nothing():
    assert summarize({}).latest_day is None
    assert summarize({1: {}}).latest_value is None


def test_missing_are_the_days_of_a_span_that_are_not_known():
    assert missing([day(0), day(3), day(4)], first=day(0), last=day(4)) == [day(1), day(2)]
    assert missing([], first=day(0), last=day(1)) == [day(0), day(1)]
    assert missing([day(3)], first=day(3), last=day(3)) == missing([], first=day(3), last=day(2)) == []


def test_periods_are_few_and_no_longer_than_allowed():
    days = [day(number) for number in (0, 1, 89, 90, 300)]
    assert periods(days, longest=90) == [(day(0), day(89)), (day(90), day(90)), (day(300), day(300))]
    assert periods([], longest=90) == []
