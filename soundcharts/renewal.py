"""When the quota renews: on a day of every month, or once a year."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date

_DAY = re.compile(r"[0-9]{1,2}", re.ASCII)
# Days between two renewals that were noticed, each perhaps a little late.
_MONTHS_DAYS = range(26, 35)
_YEARS_DAYS = range(358, 373)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A day of every month, or of one `month` of every year; in shorter months their last day. In UTC."""

    day: int
    month: int | None = None

    @classmethod
    def parse(cls, text: str) -> Renewal | None:
        """Return what "15" or "2026-03-01" means (a date repeats every year), None for nothing.

        Raises ValueError for anything else.
        """
        text = text.strip()
        if not text:
            return None
        if _DAY.fullmatch(text):
            if not 1 <= int(text) <= 31:
                raise ValueError("not a day of a month")
            return cls(int(text))
        day = date.fromisoformat(text)
        return cls(day.day, day.month)

    @classmethod
    def between(cls, one: date | None, other: date | None) -> Renewal | None:
        """Return the rule behind two renewals in a row; None if it is not clear."""
        if one is None or other is None:
            return None
        days = (other - one).days
        if days in _MONTHS_DAYS:
            return cls(other.day)
        return cls(other.day, other.month) if days in _YEARS_DAYS else None

    def next_after(self, today: date) -> date:
        """Return the next renewal day after today."""
        if self.month is not None:
            on = _day_of(today.year, self.month, self.day)
            return on if on > today else _day_of(today.year + 1, self.month, self.day)
        on = _day_of(today.year, today.month, self.day)
        if on > today:
            return on
        year, month = (today.year + 1, 1) if today.month == 12 else (today.year, today.month + 1)
        return _day_of(year, month, self.day)


def _day_of(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, monthrange(year, month)[1]))
