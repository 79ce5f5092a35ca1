"""Tracks to measure with, put into the database the quick way."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from catalog.models import Track
from soundcharts.simulator import Catalogue

# What the simulator would need as many songs for is never fetched here, so that any number will do.
_SONGS = Catalogue(1_000_000)
# No multiple of it comes twice among a million numbers: it scatters what stands in an index.
_SCATTER = 7_919_993
_WORDS = (
    "Amber",
    "Coastline",
    "Echo",
    "Harbour",
    "Lantern",
    "Midnight",
    "Orchard",
    "Sparrow",
    "Velvet",
    "Winter",
)
LARGEST_LABEL = "Northern Star"
_COLUMNS = (
    *(
        "uuid",
        "name",
        "slug",
        "credit_name",
        "image_url",
        "release_date",
        "duration",
        "isrc",
        "label",
        "genre",
    ),
    *("edited_fields", "metadata_fetched_at", "metadata_warnings", "metadata_error", "metadata_absences"),
    *("metadata_retry_at", "audience_fetched_at", "created_at", "updated_at"),
)


def song_uuid(number: int) -> UUID:
    """Return the uuid of the simulator's song of this number."""
    return _SONGS.song_uuid(number)


def add_unknown_tracks(count: int) -> None:
    """Add the simulator's first songs as tracks of which only the uuid is known."""
    blank = ("", "", "", "", None, None, "", "", "", "[]", None, "[]", "", 0, None, None)
    now = datetime.now(UTC)
    _insert((_SONGS.song_uuid(number), *blank, now, now) for number in range(count))


def add_known_tracks(first: int, last: int) -> None:
    """Add songs as stale tracks with all their metadata: half never fetched, half fetched long ago.

    One in a hundred is not to be asked for again yet, one in five is of one label, one in three has
    audience figures; every word of a name begins the names, and the credits, of one in ten.
    """
    now = datetime.now(UTC)
    _insert(_known_track(number, now) for number in range(first, last))


def _known_track(number: int, now: datetime) -> tuple[Any, ...]:
    scattered = number * _SCATTER % 1_000_003
    one, other = _WORDS[scattered % 10], _WORDS[scattered // 10 % 10]
    uuid = _SONGS.song_uuid(number)
    return (
        uuid,
        f"{one} {other} {scattered}",
        f"{one}-{other}-{scattered}",
        f"{other} {scattered // 30}",
        f"https://assets.soundcharts.com/song/{uuid}.jpg",
        str((now - timedelta(days=scattered % 20_000)).date()),
        120 + scattered % 240,
        f"QZ{scattered:010}",
        LARGEST_LABEL if scattered % 5 == 0 else f"{one} Records {scattered % 5_000}",
        _WORDS[scattered % 7],
        "[]",
        now - timedelta(days=31, seconds=scattered * 20) if number % 2 else None,
        "[]",
        "not_found" if number % 100 == 0 else "",
        int(number % 100 == 0),
        now + timedelta(days=2) if number % 100 == 0 else None,
        now if scattered % 3 == 0 else None,
        now,
        now,
    )


def _for_sqlite(value: Any) -> Any:
    """Return a value as Django writes it: a text that compares otherwise would be found otherwise."""
    if isinstance(value, datetime):
        return str(value.replace(tzinfo=None))
    return value.hex if isinstance(value, UUID) else value


def _forget_words(cursor: CursorWrapper) -> list[str]:
    """Drop the index of the words, and return the statements that make it anew."""
    if connection.vendor == "postgresql":
        cursor.execute("SELECT pg_get_indexdef('track_words'::regclass)")
        (definition,) = cursor.fetchone()
        cursor.execute("DROP INDEX track_words")
        return [definition]
    cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = cursor.fetchall()
    for name, _ in triggers:
        cursor.execute(f"DROP TRIGGER {name}")
    return [
        "INSERT INTO catalog_track_words (catalog_track_words) VALUES ('rebuild')",
        *(definition for _, definition in triggers),
    ]


def _insert(rows: Iterator[tuple[Any, ...]]) -> None:
    columns = ", ".join(_COLUMNS)
    table = Track._meta.db_table
    # Built at the end, sorted, an index costs a fraction of what it costs row by row.
    with connection.schema_editor() as editor:
        for index in Track._meta.indexes:
            editor.remove_index(Track, index)
    with connection.cursor() as cursor:
        again = _forget_words(cursor)
        if connection.vendor == "postgresql":
            cursor.execute("SET statement_timeout = 0")
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            # Room for the indexes, which are written to in every place at once.
            cursor.execute("PRAGMA cache_size = -1000000")
            cursor.execute("PRAGMA synchronous = OFF")
            insert = f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['?'] * len(_COLUMNS))})"  # noqa: S608
            with transaction.atomic():
                cursor.cursor.connection.executemany(insert, (list(map(_for_sqlite, row)) for row in rows))
    with connection.schema_editor() as editor:
        for index in Track._meta.indexes:
            editor.add_index(Track, index)
    with connection.cursor() as cursor:
        for statement in again:
            cursor.execute(statement)
        if connection.vendor == "postgresql":
            # What autovacuum does in production within a minute.
            cursor.execute(f"VACUUM ANALYZE {table}")
    # With the settings of this connection: what is measured has its own.
    connection.close()
