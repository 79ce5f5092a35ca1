"""Selecting tracks: one language of filters, for the list that people see and for the jobs they make of it.

A filter comes as parameters: text of an address, or the JSON of a job. `TrackFilter.parse` takes nothing
that it does not understand: whoever selects tracks by a filter that was half ignored would fetch too many.
"""

import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, Literal

from django.db import connection
from django.db.models import Count, F, Func, Q, Value
from django.db.models.functions import Concat, Upper
from django.utils import timezone

from catalog.models import SortKey, Track, TrackQuerySet, is_stale, stale_before
from catalog.search import HasWords, search_text
from catalog.song_lists import identifier_in, is_uuid

FRESHNESS = {
    "never": "never fetched",
    "stale": "stale (never fetched or aged)",
    "aged": "aged (fetched too long ago)",
    "fresh": "fresh",
    "failing": "last fetch failed",
    "moved": "moved to another UUID",
}
_FRESHNESS_IN_SENTENCES = {
    "never": "never fetched",
    "stale": "that are stale (never fetched or aged)",
    "aged": "that are aged (fetched too long ago)",
    "fresh": "that are fresh",
    "failing": "whose last fetch failed",
    "moved": "that moved to another UUID",
}
AUDIENCE = {"with": "with audience figures", "without": "without audience figures"}

# Whatever is longer was not typed by anyone.
LONGEST_TEXT = 500
# More genres than Soundcharts has.
MOST_GENRES = 200

# Before anything was fetched.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
# From so many rows on, reading a whole table is quicker than looking up each; than looking up each again and
# again, step by step, sooner.
_MANY_ONCE = 250_000
_MANY = 100_000
# After every text that begins with what stands before it, byte by byte.
_LAST_CHARACTER = "\U0010ffff"


class Unselectable(ValueError):
    """Say what of a filter makes no sense, for the person who made it."""


class Unindexed(Func):
    """A column that SQLite is to compare row by row, and not to look up in an index."""

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return super().as_sql(compiler, connection, template="+%(expressions)s", **extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFilter:
    """Which tracks: those that meet every condition; without any, all.

    `label` is its beginning, in any case; `search` as in `catalog.search`, or a whole uuid; the years
    are the first and last of the release.
    """

    search: str = ""
    label: str = ""
    genre: str = ""
    year_from: int | None = None
    year_to: int | None = None
    audience: str = ""
    freshness: str = ""

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> "TrackFilter":
        """Return the filter that such parameters mean; empty ones mean nothing.

        Raises Unselectable, a sentence, for an unknown name or value.
        """
        names = {field.name for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in parameters.items():
            if name not in names:
                raise Unselectable(f"“{_shortened(name)}” is no filter of tracks.")
            if value not in (None, ""):
                values[name] = _year(value) if name.startswith("year") else _text(name, value)
        for name, known in (("freshness", FRESHNESS), ("audience", AUDIENCE)):
            if name in values and values[name] not in known:
                raise Unselectable(
                    f"“{_shortened(values[name])}” is no {name}: choose one of {', '.join(known)}."
                )
        made = cls(**values)
        if made.year_from and made.year_to and made.year_from > made.year_to:
            raise Unselectable(f"No year is from {made.year_from} on and up to {made.year_to}.")
        return made

    def as_parameters(self) -> dict[str, Any]:
        """Return what `parse` makes this filter of, without what it leaves open: the same for the same."""
        return {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) not in (None, "")
        }

    @property
    def is_everything(self) -> bool:
        return not self.as_parameters()

    def __str__(self) -> str:
        """The filter in words: "Tracks of label Northern…, released 1990 to 1999, that are fresh"."""
        years = {
            (True, True): f"released {self.year_from} to {self.year_to}",
            (True, False): f"released {self.year_from} or later",
            (False, True): f"released {self.year_to} or earlier",
        }
        parts = (
            f"with “{self.search}”" if self.search else "",
            f"of label {self.label}…" if self.label else "",
            f"of genre {self.genre}" if self.genre else "",
            years.get((self.year_from is not None, self.year_to is not None), ""),
            AUDIENCE.get(self.audience, ""),
            _FRESHNESS_IN_SENTENCES.get(self.freshness, ""),
        )
        return f"Tracks {', '.join(part for part in parts if part)}" if any(parts) else "All tracks"

    def apply(
        self, tracks: TrackQuerySet, *, now: datetime | None = None, by: Literal["filter", "order"] = "filter"
    ) -> TrackQuerySet:
        """Keep the tracks that this selects, as of `now`.

        `by` says to a database that keeps no statistics (SQLite) how to find them: by an index of the
        condition that leaves least, or, where most tracks meet them all, by walking their order.
        """
        for number, (source, condition) in enumerate(self._conditions(now or timezone.now())):
            is_looked_up = number == 0 and by == "filter"
            name = f"condition_{number}"
            tracks = tracks.alias(**{name: source if is_looked_up else Unindexed(source)})
            tracks = tracks.filter(condition(name))
        return tracks

    def walk(self, *, now: datetime, after_id: int, last_id: int) -> TrackQuerySet:
        """Return the tracks that this selects, as of `now`, between two keys and in their order.

        For who comes back with the last key that it got, again and again.
        """
        # Of many, the keys are walked, once through the table for all steps; few are looked up at each step.
        is_walked = self.selects_many(now=now)
        tracks = self.apply(Track.objects.all(), now=now, by="order" if is_walked else "filter")
        tracks = tracks.alias(key=F("pk") if is_walked else Unindexed("pk"))
        return tracks.filter(Q(key__gt=after_id, key__lte=last_id)).order_by("pk")

    def selects_many(self, *, now: datetime | None = None, is_once: bool = False) -> bool:
        """Return whether so many tracks meet this that reading them all is quicker than looking up each.

        False on a database that finds out by itself.
        """
        if connection.vendor != "sqlite":
            return False
        many = _MANY_ONCE if is_once else _MANY
        return self.apply(Track.objects.order_by(), now=now)[:many].count() == many

    def _conditions(self, now: datetime) -> list[tuple[Any, Callable[[str], Any]]]:
        """Return each condition and the expression that it is about, those first that leave fewest tracks."""
        found: list[tuple[Any, Callable[[str], Any]]] = []
        if self.freshness == "moved":
            found.append((F("moved_to"), lambda moved: Q(**{f"{moved}__isnull": False})))
        if self.search:
            found.append((F("pk"), self._is_found))
        if self.label:
            start = Upper(Value(self.label))
            end = Concat(start, Value(_LAST_CHARACTER))
            found.append((SortKey("label"), lambda key: Q(**{f"{key}__gte": start, f"{key}__lt": end})))
        if self.genre:
            found.append((F("genre"), lambda genre: Q(**{genre: self.genre})))
        if self.year_from is not None:
            first = date(self.year_from, 1, 1)
            found.append((F("release_date"), lambda released: Q(**{f"{released}__gte": first})))
        if self.year_to is not None:
            last = date(self.year_to, 12, 31)
            found.append((F("release_date"), lambda released: Q(**{f"{released}__lte": last})))
        if self.audience == "with":
            # Not IS NOT NULL, for which SQLite looks into no index.
            found.append((F("audience_fetched_at"), lambda fetched: Q(**{f"{fetched}__gt": LONG_AGO})))
        match self.freshness:
            case "failing":
                # Not an inequality, which no index answers.
                found.append((F("metadata_error"), lambda error: Q(**{f"{error}__gt": ""})))
            case "never":
                found.append((F("metadata_fetched_at"), lambda fetched: Q(**{fetched: None})))
            case "stale":
                found.append((F("metadata_fetched_at"), lambda fetched: is_stale(now, column=fetched)))
            case "aged":
                before = stale_before(now)
                found.append((F("metadata_fetched_at"), lambda fetched: Q(**{f"{fetched}__lt": before})))
            case "fresh":
                after = stale_before(now)
                found.append((F("metadata_fetched_at"), lambda fetched: Q(**{f"{fetched}__gte": after})))
        if self.audience == "without":
            found.append((F("audience_fetched_at"), lambda fetched: Q(**{fetched: None})))
        return found

    def _is_found(self, key: str) -> Any:
        identifier = identifier_in(self.search)
        return Q(uuid=identifier) if is_uuid(identifier) else HasWords(self.search, key=key)


@dataclass(frozen=True, slots=True)
class Extent:
    """How many tracks a filter selects, how many of them are stale, and how many of those are not due.

    `waiting` are those that Soundcharts did not know and that are not to be asked for again by themselves.
    """

    tracks: int
    stale: int
    waiting: int

    @property
    def due(self) -> int:
        return self.stale - self.waiting


def measure(selection: TrackFilter | Collection[int]) -> Extent:
    """Return the exact number of tracks of a filter, or of these keys."""
    now = timezone.now()
    tracks = Track.objects.all()
    if not isinstance(selection, TrackFilter):
        return _count(tracks.filter(pk__in=selection), now=now)
    match selection.as_parameters():
        # Each from an index alone.
        case {"freshness": "never", **others} if not others:
            never = tracks.never_fetched()
            return Extent(count := never.count(), count, never.count_waiting(now=now))
        case {"freshness": "stale", **others} if not others:
            return Extent(count := tracks.count_stale(now=now), count, tracks.count_waiting(now=now))
        case {**others} if not others:
            return Extent(tracks.count(), tracks.count_stale(now=now), tracks.count_waiting(now=now))
    by: Literal["filter", "order"] = "order" if selection.selects_many(now=now, is_once=True) else "filter"
    return _count(selection.apply(tracks, now=now, by=by), now=now)


def _count(tracks: TrackQuerySet, *, now: datetime) -> Extent:
    return Extent(
        **tracks.aggregate(
            tracks=Count("pk"),
            stale=Count("pk", filter=is_stale(now)),
            waiting=Count("pk", filter=is_stale(now) & Q(metadata_retry_at__gt=now)),
        )
    )


def known_genres() -> list[str]:
    """Return the genres that tracks have, in order: one look into the index for each."""
    table = Track._meta.db_table
    with connection.cursor() as cursor:
        # Not SELECT DISTINCT, which reads the whole index. Only our own names are put into the text.
        cursor.execute(
            f"WITH RECURSIVE found (genre) AS (SELECT MIN(genre) FROM {table} WHERE genre > '' "  # noqa: S608
            f"UNION ALL SELECT (SELECT MIN(genre) FROM {table} WHERE genre > found.genre) FROM found "
            "WHERE found.genre IS NOT NULL) SELECT genre FROM found WHERE genre IS NOT NULL LIMIT %s",
            [MOST_GENRES],
        )
        return [genre for (genre,) in cursor.fetchall()]


def _text(name: str, value: Any) -> str:
    # A genre comes from the list of those that tracks have, whatever is in it.
    tidy = search_text if name != "genre" else str.strip
    text = tidy(value) if isinstance(value, str) else ""
    # Not isprintable, which refuses letters and emoji that are younger than our Python.
    has_control = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)
    if not isinstance(value, str) or len(text) > LONGEST_TEXT or has_control:
        raise Unselectable(
            f"“{_shortened(value)}” cannot be a {name}: it is a text of at most {LONGEST_TEXT} characters."
        )
    return text


def _year(value: Any) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and int(text)):
        raise Unselectable(f"“{_shortened(value)}” is no year: it is a number such as 1994.")
    return int(text)


def _shortened(value: Any) -> str:
    text = "".join(character if character.isprintable() else "�" for character in str(value)[:60])
    return text if len(str(value)) <= 60 else f"{text}…"
