"""What a series of days says: totals, gains, gaps. Numbers only; nothing here reads or writes.

A series is the values of each recording by day. A day that is not known is missing, never zero: it has no
total, and neither it nor the day after it has a gain.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from catalog.models import TREND_DAYS

Series = Mapping[int, Mapping[date, int]]

# A recording without a figure for this long at the end of a series has left the platform, and one without at
# the beginning has come to it; otherwise its figure is late, or missing.
LATE_DAYS = 7
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Summary:
    """The newest figure of a series, and what the last TREND_DAYS added: together, and day by day."""

    latest_day: date | None
    latest_value: int | None
    gain: int | None
    trend: list[int | None]


def totals(series: Series) -> dict[date, int]:
    """Return the sum of all recordings for every day that is known of each of them, oldest first."""
    return {
        day: sum(values[day] for values in series.values() if day in values) for day in _whole_days(series)
    }


def gains(series: Series) -> dict[date, int]:
    """Return what each day added, where it and the day before it are known, oldest first.

    A recording that is new adds nothing on its first day: what it had before was not gained on that day.
    """
    days = _whole_days(series)
    known = set(days)
    return {
        day: sum(
            values[day] - values[day - DAY]
            for values in series.values()
            if day in values and day - DAY in values
        )
        for day in days
        if day - DAY in known
    }


def summarize(series: Series) -> Summary:
    """Return what lists show of a series, of which the last TREND_DAYS and the day before them suffice."""
    by_day = totals(series)
    if not by_day:
        return Summary(None, None, None, [])
    latest = max(by_day)
    first = latest - TREND_DAYS * DAY
    daily = gains(series)
    gain = None
    for values in series.values():
        known = [day for day in values if first <= day <= latest]
        if len(known) > 1:
            gain = (gain or 0) + values[max(known)] - values[min(known)]
    trend = [daily.get(first + number * DAY) for number in range(1, TREND_DAYS + 1)]
    return Summary(latest, by_day[latest], gain, trend)


def missing(days: Collection[date], *, first: date, last: date) -> list[date]:
    """Return the days from the first to the last that are not among these."""
    span = (first + number * DAY for number in range((last - first).days + 1))
    return [day for day in span if day not in days]


def periods(days: Iterable[date], *, longest: int) -> list[tuple[date, date]]:
    """Return the fewest periods of at most `longest` days that hold these days, oldest first."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and (day - found[-1][0]).days < longest:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _whole_days(series: Series) -> list[date]:
    """Return the days on which no recording that has figures before and after lacks one, oldest first."""
    recordings = [values for values in series.values() if values]
    days = {day for values in recordings for day in values}
    if len(recordings) > 1:
        earliest, latest = min(days), max(days)
        for values in recordings:
            first, last = min(values), max(values)
            if (first - earliest).days <= LATE_DAYS:
                first = earliest
            if (latest - last).days <= LATE_DAYS:
                last = latest
            days = {day for day in days if day in values or not first <= day <= last}
    return sorted(days)
