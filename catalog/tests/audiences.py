"""Audiences for tests: series of days as a fetch would have saved them."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from catalog.models import AudienceDay, AudienceRecording, Track, TrackAudience
from catalog.series import summarize, totals


def days_from(first: date, values: list[int | None]) -> dict[date, int]:
    """Return a value for each day from the first on; None is a day that is missing."""
    return {first + timedelta(days=number): value for number, value in enumerate(values) if value is not None}


def add_audience(
    track: Track, *recordings: Mapping[date, int], platform: str = "spotify", **fields: Any
) -> TrackAudience:
    """Add a track's audience on a platform: the days of each of its recordings, and their summary."""
    series = dict(enumerate(recordings))
    summary, known = summarize(series), {day for days in recordings for day in days}
    values = {
        "latest_day": summary.latest_day,
        "latest_value": summary.latest_value,
        "gain": summary.gain,
        "trend": summary.trend,
        "fetched_from": min(known, default=None),
        "fetched_until": max(known, default=None),
    }
    audience = TrackAudience(track=track, platform=platform, **values | fields)
    audience.count_days(first=min(known, default=None), last=max(known, default=None), known=len(known))
    audience.save()
    for number, days in enumerate(recordings):
        recording = AudienceRecording.objects.create(audience=audience, identifier=f"{track.pk}-{number}")
        AudienceDay.objects.bulk_create(
            AudienceDay(recording=recording, day=day, value=value) for day, value in days.items()
        )
    Track.objects.filter(pk=track.pk).update(
        audience_total=summary.latest_value or 0, audience_gain=summary.gain or 0
    )
    return audience


def series_of(track: Track, platform: str = "spotify") -> dict[str, dict[date, int]]:
    """Return what is saved of a track on a platform: values by identifier and day."""
    found: dict[str, dict[date, int]] = {}
    days = AudienceDay.objects.filter(
        recording__audience__track=track, recording__audience__platform=platform
    ).order_by("day")
    for identifier, day, value in days.values_list("recording__identifier", "day", "value"):
        found.setdefault(identifier, {})[day] = value
    return found


def totals_of(track: Track, platform: str = "spotify") -> dict[date, int]:
    """Return the sum of all identifiers of a track, by day."""
    return totals(dict(enumerate(series_of(track, platform).values())))
