"""Searching tracks: every word of a search begins a word of the name, of the credit, or of the ISRC.

Case and accents do not matter, nor does the order of the words, nor what a pasted text has between and
inside of them. Both databases keep the words in an index of their own, whoever writes the track (see
migration 0002).
"""

import unicodedata
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func
from django.db.models.sql.compiler import SQLCompiler

from catalog.song_lists import isrc_in
from soundcharts.values import JOINERS, visible_text

_AsSql = tuple[str, list[Any]]


_SPACED = str.maketrans(dict.fromkeys(JOINERS, " "))
_JOINED = str.maketrans(dict.fromkeys(JOINERS, ""))


def search_text(text: str) -> str:
    """Return a typed or pasted search text as one line that can be searched and shown.

    Blanks of every kind are spaces; invisible characters go, but for joiners, at which the index cuts.
    """
    return visible_text(text, keep=JOINERS)


class HasWords(Func):
    """Whether the words of a track begin with those of a search; no track has those of a search without any.

    `key` is the track's key, for SQLite.
    """

    output_field = BooleanField()

    def __init__(self, term: str, *, key: Any = "pk", **extra: Any) -> None:
        # A label prints an ISRC with hyphens, which elsewhere stand between words.
        term = isrc_in(term) or search_text(term)
        # A joiner is part of a name, or came along in the middle of a word.
        self.terms = list(dict.fromkeys((term.translate(_SPACED), term.translate(_JOINED))))
        super().__init__(key, "name", "credit_name", "isrc", **extra)

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> Any:
        matches = [match for term in self.terms if (match := _match(words_of(term)))]
        if not matches:
            return "0", []
        pk, _ = compiler.compile(self.source_expressions[0])
        found = "SELECT rowid FROM catalog_track_words WHERE catalog_track_words MATCH %s"
        return f"{pk} IN ({found})", [" OR ".join(f"({match})" for match in matches)]

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any) -> _AsSql:
        _, *columns = (compiler.compile(source)[0] for source in self.source_expressions)
        # The expression of the index, to the letter.
        text = " || ' ' || ".join(columns)
        query = " || ".join(["catalog_track_query(%s)"] * len(self.terms))
        return f"array_to_tsvector(catalog_track_fold({text})) @@ ({query})", self.terms


def words_of(term: str) -> list[str]:
    """Return the words of a search, cut as SQLite's tokenizer cuts them: letters and digits of any script."""
    spaced = (
        character if unicodedata.category(character)[0] in "LN" else " "
        for character in unicodedata.normalize("NFC", term)
    )
    return "".join(spaced).split()


def _match(words: list[str]) -> str:
    """Return a prefix query of these words for SQLite's index."""
    return " AND ".join(f'"{word}"' if _is_letter(word) else f'"{word}"*' for word in words)


def _is_letter(word: str) -> bool:
    """Whether a word stands for itself: one letter begins a tenth of all words, and means none of them."""
    return len(word) == 1 and word.isascii()
