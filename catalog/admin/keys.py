"""Numbers out of addresses and forms: whatever anybody types, a query can take what these return."""

from collections.abc import Iterable

from catalog.jobs import LARGEST_SELECTION


def key_in(text: str | None) -> int | None:
    """Return the key of a row that a text is, None for what cannot be one."""
    # Up to 18 digits: a longer number is an error to both databases.
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 18 else None


TOO_MANY_TICKED = f"You can tick at most {LARGEST_SELECTION:,} tracks. Use a filter and select all."


class TooManyKeys(ValueError):
    """More rows are selected than one request may cover."""


def keys_in(texts: Iterable[str], *, most: int) -> list[int]:
    """Return the keys that ticks name, each once: a key each, or many as `as_ranges` writes them.

    Ignores what cannot be a key. Raises TooManyKeys.
    """
    found: dict[int, None] = {}
    for part in ",".join(texts).split(","):
        first, _, last = part.partition("-")
        start, end = key_in(first), key_in(last or first)
        if start is None or end is None:
            continue
        if end - start >= most:
            raise TooManyKeys
        found |= dict.fromkeys(range(start, end + 1))
        if len(found) > most:
            raise TooManyKeys
    return list(found)


def as_ranges(keys: Iterable[int]) -> str:
    """Return keys as one short text, such as "1-500,502"."""
    ranges: list[list[int]] = []
    for key in sorted(keys):
        if ranges and key == ranges[-1][1] + 1:
            ranges[-1][1] = key
        else:
            ranges.append([key, key])
    return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges)


def page_in(text: str, *, last: int) -> int:
    """Return the number of a page that a text is, at most the last one; the first for what is none."""
    return min(max(1, key_in(text) or 1), last)
