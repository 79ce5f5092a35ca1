"""Series as CSV, a line a day, made while it is sent: never more than some tracks in memory."""

import csv
from collections.abc import Iterator, Sequence

from catalog.models import AudienceDay, Track

COLUMNS = ("uuid", "name", "credit", "platform", "identifier", "day", "value")
TRACKS_A_QUERY = 100
# What makes a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, line: str) -> str:
        return line


def plain(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def audience_csv(track_ids: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the series of these tracks: by track, platform, identifier and day."""
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for start in range(0, len(track_ids), TRACKS_A_QUERY):
        part = track_ids[start : start + TRACKS_A_QUERY]
        names = {
            pk: (str(uuid), plain(name), plain(credit))
            for pk, uuid, name, credit in Track.objects.filter(pk__in=part).values_list(
                "pk", "uuid", "name", "credit_name"
            )
        }
        days = (
            AudienceDay.objects.filter(recording__audience__track__in=part)
            .order_by(
                "recording__audience__track_id",
                "recording__audience__platform",
                "recording__identifier",
                "day",
            )
            .values_list(
                "recording__audience__track_id",
                "recording__audience__platform",
                "recording__identifier",
                "day",
                "value",
            )
        )
        lines = (
            writer.writerow((*names[track_id], platform, plain(identifier), day.isoformat(), value))
            for track_id, platform, identifier, day, value in days.iterator(chunk_size=5000)
            if track_id in names
        )
        yield "".join(lines)
