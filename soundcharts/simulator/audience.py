"""Compute how a song is doing on a platform: a series of days that looks and misbehaves like a real one.

A count grows every day: steadily, more on Fridays and Saturdays, more after the release, for some songs
more again when they are rediscovered. Days are missing for good, figures come late, and the figures of the
last days are provisional: they are revised when they are four days old. Everything follows from the song, the
platform and the day, so nothing is held.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import accumulate
from math import exp
from typing import Any

from soundcharts.platforms import AUDIENCE_PLATFORMS
from soundcharts.simulator.catalogue import UNDATED_RELEASE, Catalogue
from soundcharts.simulator.numbering import mix

# A day's figure is published the day after.
PUBLISHED_AFTER = timedelta(days=1)
# By then a figure is final, and one that is missing stays so.
FINAL_AFTER = timedelta(days=4)

_PLATFORM_SALTS = {name: 10_000_000 * number for number, name in enumerate(AUDIENCE_PLATFORMS, start=1)}
# What each weekday gains, Monday first, in tenths of a usual day: 70 in a week.
_WEEK = (9, 9, 9, 10, 12, 12, 9)
_WEEK_SUMS = tuple(accumulate(_WEEK, initial=0))
_REDISCOVERED_FROM = date(2025, 1, 1).toordinal()


class AudienceSeries:
    """Answer what was counted for the songs of a catalogue, day by day."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def total(self, index: int, platform: str, day: date, *, place: int = 0) -> int | None:
        """Return the final count at the end of a day, None before the release.

        Counts never fall from one day to the next, and those of popular songs exceed 32 bits. `place` is
        the place of the identifier in `Catalogue.identifiers`.
        """
        release = (self._catalogue.release_date(index) or UNDATED_RELEASE).toordinal()
        today = day.toordinal()
        if today < release:
            return None
        daily = self._daily(index, platform, place)
        draw = mix(index, _PLATFORM_SALTS[platform])
        steady = daily * (_tenths(today) - _tenths(release)) // 10
        days, height = 20 + draw % 40, (draw >> 8) % 6
        fame = daily * height * days * (1 - exp((release - today) / days))
        if (draw >> 16) % 6 == 0:
            days, height = 5 + (draw >> 24) % 20, 1 + (draw >> 32) % 4
            moment = _REDISCOVERED_FROM + (draw >> 40) % 900
            fame += daily * height * days / (1 + exp(min(700.0, (moment - today) / days)))
        # Less than the smallest gain of a day, so that nothing falls.
        chance = mix(index + place, _PLATFORM_SALTS[platform] + today) % max(1, daily * 3 // 10)
        return steady + int(fame) + chance

    def published_days(self, index: int, platform: str, start: date, end: date, *, today: date) -> list[date]:
        """Return the days from start to end that have a figure when `today` is today, newest first."""
        first = max(start, self._catalogue.release_date(index) or date.min)
        last = min(end, today - PUBLISHED_AFTER)
        days = (last - timedelta(days=number) for number in range((last - first).days + 1))
        return [day for day in days if not self._is_missing(index, platform, day, today)]

    def plots(self, index: int, platform: str, day: date, *, today: date) -> list[dict[str, Any]]:
        """Return what stands under a published day: a value for each identifier."""
        draw = self._draw(index, platform, day)
        plots = []
        for place, identifier in enumerate(self._catalogue.identifiers(index, platform)):
            if place and (draw >> 8) % 50 == 0:
                continue
            value = self.total(index, platform, day, place=place) or 0
            if today - day < FINAL_AFTER and (draw >> 16) % 4 == 0:
                value -= self._daily(index, platform, place) // 5
            plots.append({"identifier": identifier, "value": max(0, value)})
        return plots

    def _is_missing(self, index: int, platform: str, day: date, today: date) -> bool:
        draw = self._draw(index, platform, day)
        return draw % 45 == 0 or (today - day < FINAL_AFTER and (draw >> 32) % 12 == 0)

    def _daily(self, index: int, platform: str, place: int) -> int:
        return max(1, self._catalogue.daily_audience(index, platform) >> place)

    def _draw(self, index: int, platform: str, day: date) -> int:
        return mix(index, 5_000_000 + _PLATFORM_SALTS[platform] + day.toordinal())


def _tenths(ordinal: int) -> int:
    """Return what all days before an ordinal gain together, in tenths of a usual day."""
    weeks, days = divmod(ordinal - 1, 7)
    return weeks * _WEEK_SUMS[-1] + _WEEK_SUMS[days]
