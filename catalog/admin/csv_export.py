"""Lists as CSV files: read in steps, sent as they are read, and safe to open in a spreadsheet."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

# Rows that are read, and sent, at a time: what a file of any length takes of memory.
STEP = 1000
# Characters that a spreadsheet may skip, and then one that starts a formula.
_BEGINNING = r"[\s\ufeff\u200b-\u200f]*[=+\-@＝＋－＠]"
_FORMULA = re.compile(rf"[\t\r\n]|{_BEGINNING}")
# The start of a further cell for readers that split at semicolons or tabs, even inside quotes.
_FORMULA_INSIDE = re.compile(rf'([;\t\r\n])(?="*{_BEGINNING})')


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def safe_cell(value: Any) -> str:
    """Return a value as text with a quote before anything that a spreadsheet would run as a formula.

    Also inside a cell, because some readers end cells at semicolons or tabs.
    """
    # A zero byte would end the cell, or the file, for some readers.
    text = "" if value is None else str(value).replace("\0", "")
    start = len(text) - len(text.lstrip())
    text = text[:start] + _FORMULA_INSIDE.sub(r"\1'", text[start:])
    return f"'{text}" if _FORMULA.match(text) else text


def in_steps(rows: "QuerySet[Any, tuple[Any, ...]]", *, by: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows in the order of a number that is their first value, reading on from the last one.

    So no query is long, and none is held open for as long as somebody takes to receive a file.
    """
    rest = rows.order_by(by)
    while page := list(rest[:STEP]):
        yield from page
        rest = rows.order_by(by).filter(**{f"{by}__gt": page[-1][0]})


def stream_csv(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Return rows as a CSV file, which is sent while it is written: memory stays the same for any number."""
    writer = csv.writer(_Echo())

    def parts() -> Iterator[str]:
        # A mark by which spreadsheets know UTF-8.
        yield "\ufeff" + writer.writerow(header)
        lines = (writer.writerow([safe_cell(value) for value in row]) for row in rows)
        while part := "".join(islice(lines, STEP)):
            yield part

    return StreamingHttpResponse(
        parts(),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}.csv"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )
