"""Sort orders of the track list: by a column, in either direction, empty values last."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import models
from django.db.models import F
from django.db.models.expressions import BaseExpression

from catalog.models import Track, TrackQuerySet
from catalog.selection import LONG_AGO, Unindexed


@dataclass(frozen=True, slots=True)
class TrackOrder:
    """An order of tracks by a column, and there by key in the same direction.

    The databases put NULL at different ends, and an empty text before all others. So an order is two lists,
    filled values and then empty ones; each is a range of the column's index.
    """

    column: str | BaseExpression = "pk"
    is_descending: bool = True

    @property
    def is_by_key(self) -> bool:
        return self.column == "pk"

    @property
    def terms(self) -> list[Any]:
        """What `order_by` takes."""
        key = "-pk" if self.is_descending else "pk"
        if self.is_by_key:
            return [key]
        column = F(self.column) if isinstance(self.column, str) else self.column
        return [column.desc() if self.is_descending else column.asc(), key]

    def slice(self, tracks: TrackQuerySet, bottom: int, top: int, *, by_index: bool) -> list[int]:
        """Return the keys of the tracks from a place in this order up to another.

        `by_index` says whether a database without statistics is to walk the column's index.
        """
        return _across(self.lists(tracks, by_index=by_index), bottom, top)

    def slice_from_end(self, tracks: TrackQuerySet, bottom: int, top: int, *, by_index: bool) -> list[int]:
        """Return the keys of the tracks between two places that are counted from the end, in this order."""
        lists = [tracks.reverse() for tracks in reversed(self.lists(tracks, by_index=by_index))]
        return _across(lists, bottom, top)[::-1]

    def lists(self, tracks: TrackQuerySet, *, by_index: bool) -> list[TrackQuerySet]:
        """Return the tracks with a value and those without, or one list if every track has a value."""
        ordered = tracks.order_by(*self.terms)
        if (ends := self._ends()) is None:
            return [ordered]
        column = F(self.column) if isinstance(self.column, str) else self.column
        ordered = ordered.alias(order_value=column if by_index else Unindexed(column))
        filled, empty = ends
        return [ordered.filter(**{f"order_value__{lookup}": value}) for lookup, value in (filled, empty)]

    def _ends(self) -> tuple[tuple[str, Any], tuple[str, Any]] | None:
        """Return the conditions of having a value and of being empty, None where nothing is empty.

        Not IS NOT NULL, for which SQLite looks into no index.
        """
        if self.is_by_key:
            return None
        if not isinstance(self.column, str):
            return ("gt", ""), ("exact", "")
        match Track._meta.get_field(self.column):
            case models.DateTimeField():
                return ("gte", LONG_AGO), ("isnull", True)
            case models.DateField():
                return ("gte", date.min), ("isnull", True)
            case models.CharField():
                return ("gt", ""), ("exact", "")
        # No figures yet: shown as nothing.
        return (("gt", 0), ("lte", 0)) if self.column == "audience_total" else None


def _across(lists: list[TrackQuerySet], bottom: int, top: int) -> list[int]:
    """Return the keys between two places of lists that follow each other; most pages need only one."""
    keys: list[int] = []
    for number, tracks in enumerate(lists):
        found = list(tracks.values_list("pk", flat=True)[bottom:top])
        keys += found
        if len(found) == top - bottom or number == len(lists) - 1:
            break
        # The next list begins where this one ends.
        end = bottom + len(found) if found else tracks[:bottom].count()
        bottom, top = max(0, bottom - end), top - end
    return keys
