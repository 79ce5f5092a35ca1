"""Audience: the daily refresh of tracks that were fetched yesterday, and the list that shows their trends."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

from django.contrib import admin
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from benchmarks.fetching import measure_run
from benchmarks.filling import add_unknown_tracks
from benchmarks.growth import milliseconds, staff_client
from catalog import jobs
from catalog.models import TREND_DAYS, AudienceDay, AudienceRecording, Track, TrackAudience
from catalog.series import DAY, summarize
from soundcharts.simulator import Catalogue
from soundcharts.simulator.audience import AudienceSeries

# Days that are there before the refresh: what it reads, and a few more.
KNOWN_DAYS = 40
AT_A_TIME = 500


def measure_audience(folder: Path, *, tracks: int, kept: int, seconds: float) -> dict[str, float]:
    """Refresh so many tracks; then return how long the list takes with `kept` of them."""
    add_unknown_tracks(kept)
    # The other tracks are fresh, so that the refresh is about so many.
    for first in range(0, kept, AT_A_TIME):
        _add_audiences(first, min(AT_A_TIME, kept - first), stale=max(0, tracks - first))
    figures = measure_run(
        folder, tracks=tracks, seconds=seconds, request=lambda: jobs.request_stale_audience().job
    )
    return figures | _pages()


@transaction.atomic
def _add_audiences(first: int, count: int, *, stale: int) -> None:
    """Add the audience of some tracks: with its days where it is stale, else with figures to show alone."""
    catalogue = Catalogue(1_000_000)
    series = AudienceSeries(catalogue)
    now = timezone.now()
    yesterday = now.date() - DAY
    found = Track.objects.in_bulk(
        [catalogue.song_uuid(number) for number in range(first, first + count)], field_name="uuid"
    )
    by_number = {number: found[catalogue.song_uuid(number)] for number in range(first, first + count)}
    audiences, values = [], {}
    for place, (number, track) in enumerate(by_number.items()):
        is_stale = place < stale
        days = {yesterday - back * DAY: 0 for back in range(KNOWN_DAYS if is_stale else 1)}
        for day in days:
            days[day] = series.total(number, "spotify", day) or 0
        summary = summarize({0: days})
        gain = summary.gain or number * 7_919 % 1_000_003
        values[number] = days if is_stale else {}
        audience = TrackAudience(
            track=track,
            platform="spotify",
            latest_day=summary.latest_day,
            latest_value=summary.latest_value,
            gain=gain,
            trend=summary.trend if is_stale else [gain // TREND_DAYS] * TREND_DAYS,
            fetched_from=min(days),
            fetched_until=yesterday,
            fetched_at=now - timedelta(days=1) if is_stale else now,
        )
        audience.count_days(first=min(days), last=max(days), known=len(days))
        audiences.append(audience)
        track.audience_fetched_at = audience.fetched_at
        track.audience_total, track.audience_gain = summary.latest_value or 0, gain
    TrackAudience.objects.bulk_create(audiences)
    Track.objects.bulk_update(
        by_number.values(), ("audience_fetched_at", "audience_total", "audience_gain"), batch_size=100
    )
    recordings = AudienceRecording.objects.bulk_create(
        AudienceRecording(audience=audience, identifier=catalogue.identifiers(number, "spotify")[0])
        for number, audience in zip(by_number, audiences, strict=True)
    )
    AudienceDay.objects.bulk_create(
        (
            AudienceDay(recording=recording, day=day, value=value)
            for number, recording in zip(by_number, recordings, strict=True)
            for day, value in values[number].items()
        ),
        batch_size=5_000,
    )


def _pages() -> dict[str, float]:
    """Return the milliseconds of the list with trends, unsorted and sorted, and of a track's page."""
    client = staff_client()
    changelist = reverse("admin:catalog_track_changelist")
    # The list has one more column before them, the boxes to tick.
    columns = ("", *admin.site.get_model_admin(Track).list_display)
    track = Track.objects.order_by("pk")[0]

    def get(address: str) -> None:
        if client.get(address).status_code != 200:
            raise RuntimeError(f"{address} could not be shown.")

    def each(direction: str) -> Iterator[float]:
        for name in ("audience_figure", "audience_trend"):
            yield milliseconds(partial(get, f"{changelist}?o={direction}{columns.index(name)}"))

    return {
        "list": milliseconds(lambda: get(changelist)),
        "sorted_list": max(each("-")),
        "rising_list": max(each("")),
        "track_page": milliseconds(
            lambda: get(reverse("admin:catalog_track_change", args=(track.pk,)) + "?audience=365")
        ),
    }
