"""Series as CSV, a line a day: never more than some tracks in memory."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone

from catalog.admin.csv_export import stream_csv
from catalog.models import AudienceDay, Track
from catalog.selection import TrackFilter

COLUMNS = ("uuid", "name", "credit", "platform", "identifier", "day", "value")
TRACKS_A_QUERY = 100


def pages_of(selection: TrackFilter) -> Iterator[list[int]]:
    """Yield the keys of all that a filter selects, some at a time."""
    now = timezone.now()
    last_id = Track.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    after_id = 0
    while page := list(
        selection.walk(now=now, after_id=after_id, last_id=last_id).values_list("pk", flat=True)[
            :TRACKS_A_QUERY
        ]
    ):
        yield page
        after_id = page[-1]


def export_audience(pages: Iterable[list[int]]) -> StreamingHttpResponse:
    """Return the series of these tracks as a file: by track, platform, identifier and day."""
    name = f"audience-{timezone.now():%Y-%m-%d}"
    return stream_csv(name, COLUMNS, (row for page in pages for row in _rows(page)))


def _rows(track_ids: list[int]) -> Iterator[tuple[Any, ...]]:
    tracks = Track.objects.filter(pk__in=track_ids)
    names = {pk: rest for pk, *rest in tracks.values_list("pk", "uuid", "name", "credit_name")}
    order = (
        *("recording__audience__track_id", "recording__audience__platform"),
        *("recording__identifier", "day"),
    )
    days = AudienceDay.objects.filter(recording__audience__track__in=track_ids).order_by(*order)
    for track_id, platform, identifier, day, value in days.values_list(*order, "value").iterator():
        if track_id in names:
            yield (*names[track_id], platform, identifier, day.isoformat(), value)
