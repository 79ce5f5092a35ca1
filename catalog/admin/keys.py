"""Numbers out of addresses and forms: whatever anybody types, a query can take what these return."""


def key_in(text: str | None) -> int | None:
    """Return the key of a row that a text is, None for what cannot be one."""
    # Up to 18 digits: a longer number is an error to both databases.
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 18 else None


def page_in(text: str, *, last: int) -> int:
    """Return the number of a page that a text is, at most the last one; the first for what is none."""
    return min(max(1, key_in(text) or 1), last)
