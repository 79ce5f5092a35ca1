"""Searching tracks: every word of a search begins a word of the name, of the credit, or of the ISRC.

Case and accents do not matter, nor does the order of the words. Both databases keep the words in an
index of their own, whoever writes the track (see migration 0002).
"""

import unicodedata
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func
from django.db.models.sql.compiler import SQLCompiler

from catalog.song_lists import identifier_in, is_uuid

_AsSql = tuple[str, list[Any]]


class HasWords(Func):
    """Whether the words of a track begin with those of a search; no track has those of a search without any.

    `key` is the track's key, for SQLite.
    """

    output_field = BooleanField()

    def __init__(self, term: str, *, key: Any = "pk", **extra: Any) -> None:
        identifier = identifier_in(term)
        # A label prints an ISRC with hyphens, which elsewhere stand between words.
        self.term = identifier if identifier and not is_uuid(identifier) else term
        super().__init__(key, "name", "credit_name", "isrc", **extra)

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Any:
        words = words_of(self.term)
        if not words:
            return "0", []
        pk, _ = compiler.compile(self.source_expressions[0])
        match = " AND ".join(f'"{word}"' if _is_letter(word) else f'"{word}"*' for word in words)
        found = "SELECT rowid FROM catalog_track_words WHERE catalog_track_words MATCH %s"
        return f"{pk} IN ({found})", [match]

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> _AsSql:
        _, *columns = (compiler.compile(source)[0] for source in self.source_expressions)
        # The expression of the index, to the letter.
        text = " || ' ' || ".join(columns)
        return f"array_to_tsvector(catalog_track_fold({text})) @@ catalog_track_query(%s)", [self.term]


def words_of(term: str) -> list[str]:
    """Return the words of a search, cut as SQLite's tokenizer cuts them: letters and digits of any script."""
    spaced = (
        character if unicodedata.category(character)[0] in "LN" else " "
        for character in unicodedata.normalize("NFC", term)
    )
    return "".join(spaced).split()


def _is_letter(word: str) -> bool:
    """Whether a word stands for itself: one letter begins a tenth of all words, and means none of them."""
    return len(word) == 1 and word.isascii()
