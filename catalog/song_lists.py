"""Lists that people bring: the UUIDs and ISRCs in a pasted text or a file, each with its line.

Nothing is lost silently: whatever is not an identifier is an entry of its own, which says so.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from soundcharts.values import parse_isrc, visible_text

# One list is frozen into rows while the person waits.
LARGEST_LIST = 10_000
LARGEST_FILE = 5_000_000  # bytes, and characters of a pasted text

_DELIMITERS = (";", ",", "\t", "|")
_SAMPLED_ROWS = 200
# Longer than any address with a uuid in it: nothing is looked for in such a text.
_LONGEST_PIECE = 500

_UUID = re.compile(
    r"(?<![0-9a-z])[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}(?![0-9a-z])", re.ASCII | re.IGNORECASE
)
# An identifier somewhere in a longer text.
_INSIDE = re.compile(
    rf"{_UUID.pattern}|(?<![0-9a-z])[A-Z]{{2}}-?[A-Z0-9]{{3}}-?[0-9]{{2}}-?[0-9]{{5}}(?![0-9a-z])",
    re.ASCII | re.IGNORECASE,
)
_PIECES = re.compile(r"[,;|\t]")
# Quotation marks and brackets around identifiers, as lists from programs have them.
_WRAPPING = " \u00a0\ufeff\"'`“”‘’«»()[]{}<>"

NO_IDENTIFIER = "Neither a UUID nor an ISRC."


class UnreadableList(Exception):
    """The text cannot be taken for a list; says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list: `value` is a uuid or an ISRC in its one spelling, empty for what is neither.

    `same_as` is the line where the same identifier stands first.
    """

    line: int
    given: str
    value: str = ""
    problem: str = ""
    same_as: int | None = None

    @property
    def is_wanted(self) -> bool:
        return bool(self.value) and self.same_as is None

    @property
    def is_uuid(self) -> bool:
        return is_uuid(self.value)


@dataclass(frozen=True, slots=True)
class SongList:
    """What was found in a text. `columns` names those of a table, of which `column` was read."""

    entries: tuple[Entry, ...]
    columns: tuple[str, ...] = ()
    column: int | None = None
    header: str = ""

    @property
    def wanted(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.is_wanted]

    @property
    def duplicates(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.same_as is not None]

    @property
    def invalid(self) -> list[Entry]:
        return [entry for entry in self.entries if not entry.value]


def is_uuid(value: str) -> bool:
    """Return which of the two an identifier is, in its one spelling."""
    return len(value) == 36


def identifier_in(text: str) -> str:
    """Return the uuid or ISRC that a text consists of, or the uuid in a web address; else nothing."""
    if len(text) > _LONGEST_PIECE:
        return ""
    # What is copied from pages brings invisible characters along.
    text = visible_text(text).strip(_WRAPPING)
    if isrc := parse_isrc(text):
        return isrc
    found = _UUID.findall(text)
    is_whole = len(found) == 1 and (len(found[0]) == len(text) or "/" in text or ":" in text)
    return str(UUID(found[0])) if is_whole and len(text.split()) == 1 else ""


def isrc_in(text: str) -> str:
    """Return the ISRC that a text consists of, in its one spelling; else nothing."""
    value = identifier_in(text)
    return "" if is_uuid(value) else value


def decode_file(content: bytes) -> str:
    """Return the text of a file: UTF-8, UTF-16 with its mark, or Windows-1252 as older Excel writes it.

    Raises UnreadableList for everything else.
    """
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableList(
            "This is an Excel workbook, not a text. In Excel, save it as “CSV UTF-8” and choose that file."
        )
    marked = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encodings = next(
        ((name,) for mark, name in marked.items() if content.startswith(mark)), ("utf-8", "cp1252")
    )
    for encoding in encodings:
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError as error:
            position = error.start
    else:
        raise UnreadableList(
            f"The file is not text in UTF-8, UTF-16 or Windows-1252: it breaks at byte {position + 1:,}. "
            "Save it again as “CSV UTF-8”."
        )
    return text


def check_text(text: str) -> None:
    """Raise UnreadableList for a text that is too long or holds what no list has."""
    if len(text) > LARGEST_FILE:
        raise UnreadableList(
            f"The list has {len(text):,} characters; {LARGEST_FILE:,} are the most. Import it in parts."
        )
    if "\x00" in text:
        raise UnreadableList(
            "The list holds NUL characters, as files have that are not plain text (or UTF-16 without its "
            "mark). Save it again as “CSV UTF-8”."
        )


def read_list(text: str, *, column: int | None = None, is_file: bool = False) -> SongList:
    """Return the entries of a text, in its order, with duplicates and whatever is no identifier.

    A file of several columns is read as a table: `column`, or the one with the most identifiers. Raises
    UnreadableList for more than LARGEST_LIST entries, and for a text that has none.
    """
    check_text(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    table = _Table.find(text) if is_file else None
    found = table.read(column) if table else _read_lines(text, may_have_header=is_file)
    if not found.entries:
        raise UnreadableList("The list is empty: there is not a single entry in it.")
    return replace(found, entries=tuple(_with_duplicates(found.entries)))


def _read_lines(text: str, *, may_have_header: bool) -> SongList:
    entries = tuple(_limited(_entries_of(text)))
    if not may_have_header or len(entries) < 2 or entries[0].value or entries[1].line == entries[0].line:
        return SongList(entries)
    return SongList(entries[1:], header=entries[0].given[:60])


def _limited(entries: Iterator[Entry]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, start=1):
        if number > LARGEST_LIST:
            raise UnreadableList(
                f"The list has more than {LARGEST_LIST:,} entries, which is the most of one import. "
                f"Entry {number:,} stands in line {entry.line:,}: import the list in parts."
            )
        yield entry


def _with_duplicates(entries: Sequence[Entry]) -> Iterator[Entry]:
    first: dict[str, int] = {}
    for entry in entries:
        if entry.value in first:
            yield replace(entry, same_as=first[entry.value])
            continue
        if entry.value:
            first[entry.value] = entry.line
        yield entry


def _entries_of(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), start=1):
        for piece in _PIECES.split(line):
            yield from _entries_of_piece(number, piece)


def _entries_of_piece(line: int, piece: str) -> Iterator[Entry]:
    piece = piece.strip()
    if not piece.strip(_WRAPPING) or (len(piece) <= _LONGEST_PIECE and not visible_text(piece)):
        return
    if value := identifier_in(piece):
        yield Entry(line, piece, value)
        return
    words = [(word, identifier_in(word)) for word in piece.split()]
    if not any(value for _, value in words):
        yield Entry(line, piece, problem=NO_IDENTIFIER)
        return
    for word, value in words:
        yield Entry(line, word, value, problem="" if value else NO_IDENTIFIER)


@dataclass(frozen=True, slots=True)
class _Table:
    """A file of several columns; `likeliest` is the one that holds the most identifiers."""

    text: str
    delimiter: str
    columns: tuple[str, ...]
    has_header: bool
    likeliest: int

    @classmethod
    def find(cls, text: str) -> "_Table | None":
        """Return the table that a text is, None for one that is a list in some other form."""
        tables = [table for delimiter in _DELIMITERS if (table := cls._with(text, delimiter)) is not None]
        return max(tables, key=lambda pair: pair[0])[1] if tables else None

    @classmethod
    def _with(cls, text: str, delimiter: str) -> "tuple[int, _Table] | None":
        rows = []
        try:
            for _, row in zip(range(_SAMPLED_ROWS), _rows_of(text, delimiter), strict=False):
                rows.append(row.cells)
        except UnreadableList:
            return None
        width = max(map(len, rows), default=0)
        kinds: list[set[bool]] = [set() for _ in range(width)]
        counts = [0] * width
        for cells in rows:
            for place, cell in enumerate(cells):
                if value := identifier_in(cell):
                    kinds[place].add(is_uuid(value))
                    counts[place] += 1
        holding = [place for place in range(width) if counts[place]]
        if width < 2 or not holding:
            return None
        has_header = not any(identifier_in(cell) for cell in rows[0])
        # Identifiers of one kind side by side and without a header are a list that happens to have commas.
        is_list = len(holding) > 1 and not has_header and len(set().union(*kinds)) < len(holding)
        if is_list:
            return None
        likeliest = max(holding, key=lambda place: (counts[place], -place))
        names = tuple(
            (rows[0][place].strip()[:60] if has_header and place < len(rows[0]) else "")
            or f"Column {place + 1}"
            for place in range(width)
        )
        return sum(counts), cls(text, delimiter, names, has_header, likeliest)

    def read(self, column: int | None) -> SongList:
        """Return the entries of a column; a row that has nothing there is an entry that says so."""
        place = column if column is not None and column < len(self.columns) else self.likeliest
        header = self.columns[place] if self.has_header else ""
        return SongList(tuple(_limited(self._entries(place))), self.columns, place, header)

    def _entries(self, place: int) -> Iterator[Entry]:
        for number, row in enumerate(_rows_of(self.text, self.delimiter)):
            if number == 0 and self.has_header:
                continue
            cell = row.cells[place].strip() if place < len(row.cells) else ""
            if any("\n" in other and _INSIDE.search(other) for other in row.cells):
                problem = "A quotation mark is opened here and not closed: the lines after it are swallowed."
                yield Entry(row.line, cell, problem=problem)
            elif not cell:
                yield Entry(row.line, "", problem=f"Nothing in the column “{self.columns[place]}”.")
            else:
                value = identifier_in(cell)
                yield Entry(row.line, cell, value, problem="" if value else NO_IDENTIFIER)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: list[str]


def _rows_of(text: str, delimiter: str) -> Iterator[_Row]:
    """Yield the rows of a table that are not blank, each with the line that it begins in."""
    lines = io.StringIO(text, newline="\n")
    skipped = 0
    if text[:4].lower() == "sep=":
        # What Excel writes for itself.
        lines.readline()
        skipped = 1
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        line = reader.line_num + skipped + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UnreadableList(
                f"Line {line:,} of the file cannot be read as a row of a table ({error}). "
                "Look for an open quotation mark, or save only the column of identifiers."
            ) from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield _Row(line, cells)
