"""Audience in the list of tracks: the latest figure, and the last days as a small line."""

from collections.abc import Iterable, Sequence

from django.conf import settings
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from catalog.models import TREND_DAYS, Track, TrackAudience, platform_names

SPARK_WIDTH, SPARK_HEIGHT = 84, 22


def attach_audiences(tracks: Iterable[Track]) -> None:
    """Put on each track what the list shows of it (`shown_audience`, None where there is none): one query."""
    shown = TrackAudience.objects.filter(
        track__in=[track.pk for track in tracks], platform=settings.SOUNDCHARTS_AUDIENCE_PLATFORMS[0]
    )
    found = {audience.track_id: audience for audience in shown}
    for track in tracks:
        track.shown_audience = found.get(track.pk)  # type: ignore[attr-defined]


def _heading() -> str:
    return f"Audience on {platform_names(settings.SOUNDCHARTS_AUDIENCE_PLATFORMS[:1])}"


class AudienceColumns:
    """The two columns of the list, each of which orders it by an index."""

    @display(description=lazy(_heading, str)(), ordering="audience_total")
    def audience_figure(self, track: Track) -> str | SafeString:
        audience = getattr(track, "shown_audience", None)
        if audience is None or audience.latest_value is None:
            return ""
        return format_html(
            '<span class="ln-number" title="{} {} on {}, {}">{}</span>',
            *(f"{audience.latest_value:,}", audience.noun, audience.platform_name, audience.latest_day),
            compact(audience.latest_value),
        )

    @display(description=f"{TREND_DAYS} days", ordering="audience_gain")
    def audience_trend(self, track: Track) -> str | SafeString:
        audience = getattr(track, "shown_audience", None)
        if audience is None or audience.gain is None:
            return ""
        return format_html(
            '<span class="ln-trend" title="{} in {} days">'
            '<svg class="ln-spark" viewBox="0 0 {} {}" aria-hidden="true" focusable="false">'
            '<path d="{}"/></svg><span class="ln-number">{}</span></span>',
            *(f"{audience.gain:+,}", TREND_DAYS, SPARK_WIDTH, SPARK_HEIGHT),
            *(spark_path(audience.trend), f"{'+' if audience.gain >= 0 else ''}{compact(audience.gain)}"),
        )


def compact(value: int) -> str:
    """Return a count in as few characters as say it to three digits: "7.30 B", "812 k"."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        # What would be rounded up to 1,000 of a unit is 1 of the next.
        if abs(value) >= size * 0.9995:
            scaled = value / size
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:,.{digits}f} {unit}"
    return f"{value:,}"


def spark_path(trend: Sequence[int | None]) -> str:
    """Return the line of a trend as an SVG path, broken where days are missing."""
    known = [gain for gain in trend if gain is not None]
    if not known:
        return ""
    low, high = min(0, *known), max(*known, 1)
    step = (SPARK_WIDTH - 4) / max(1, len(trend) - 1)
    parts, is_drawing = [], False
    for number, gain in enumerate(trend):
        if gain is not None:
            y = 2 + (SPARK_HEIGHT - 4) * (high - gain) / (high - low)
            # A day alone between missing ones is a dot.
            parts.append(f"{'L' if is_drawing else 'M'}{2 + number * step:.1f} {y:.1f}")
            if not is_drawing:
                parts.append("h0")
        is_drawing = gain is not None
    return "".join(parts)
