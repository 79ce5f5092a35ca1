"""The one form of each kind of value, and whether two values say the same thing.

What the API answers, what people type, what lists hold and what a search asks all pass through here.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from urllib.parse import parse_qsl, urlsplit

# ISO 3901: country, registrant, year and designation.
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", re.ASCII)
_NAMED_ISRC = re.compile(r"\(?ISRC(?:CODE)?\)?[:#.=]*")
# With hyphens, spaces and the word before it, and room for some invisible characters.
_LONGEST_ISRC = 60
_MINUS = "\u2212"

# Invisible characters that join or separate letters, as Persian, Thai and emoji need them.
JOINERS = "\u200b\u200c\u200d"
# Dates that programs write where they know none: the zero of spreadsheets and of databases.
_ZERO_DATES = frozenset({date(1899, 12, 30), date(1899, 12, 31), date(1900, 1, 1)})
# No sound was recorded before, and nobody announces a release longer ahead.
FIRST_YEAR = 1860
MOST_YEARS_AHEAD = 2
# More seconds are taken for milliseconds: the longest songs last some hours.
LONGEST_SONG = 24 * 60 * 60

# What signs an address for some hours: Amazon, Google, CloudFront, Alibaba, Tencent, Akamai and the like.
_SIGNING = re.compile(
    r"x-(amz|goog|oss|cos)-.*|_nc_.*|expires?|exp|expiry|signature|sig|sign|hmac|token|access_?token|auth|auth_key"
    r"|key-pair-id|policy|awsaccesskeyid|googleaccessid|ossaccesskeyid|hdn(ts|ea)|oh|oe|timestamp|nonce",
    re.IGNORECASE,
)
# Azure's names are so short that they sign only beside its signature.
_SIGNING_WITH_SIG = frozenset(
    {"se", "sp", "sv", "sr", "st", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv"}
)


def one_line(text: str) -> str:
    """Return text in NFC and as one line: every run of blanks, of whatever kind, becomes one space."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def visible_text(text: str, *, keep: str = "") -> str:
    """Return typed or pasted text as one line, without the invisible characters that come along.

    Byte-order marks, soft hyphens, marks of direction and joiners go, but for those to `keep`.
    """
    if text.isascii():
        return one_line(text)
    seen = (letter for letter in text if unicodedata.category(letter) != "Cf" or letter in keep)
    return one_line("".join(seen))


def parse_isrc(text: str) -> str | None:
    """Return the ISRC that a text consists of, as ISO 3901 stores it; None for everything else.

    "ISRC US-UM7-19-00764" becomes "USUM71900764": upper case, without hyphens, spaces and the word.
    """
    if not 12 <= len(text) <= _LONGEST_ISRC:
        return None
    compact = "".join(letter for letter in text if not _is_between(letter))
    if not compact.isascii():
        return None
    compact = compact.upper()
    if _ISRC.fullmatch(compact):
        return compact
    named = _NAMED_ISRC.match(compact)
    rest = compact[named.end() :] if named else ""
    return rest if _ISRC.fullmatch(rest) else None


def _is_between(letter: str) -> bool:
    """Return whether a character is a blank, a hyphen, or invisible."""
    return (
        letter == "-" or letter.isspace() or letter == _MINUS or unicodedata.category(letter) in ("Pd", "Cf")
    )


def is_release_date(day: date) -> bool:
    """Return whether something can have been, or be about to be, released on this day."""
    today = datetime.now(UTC).date()
    last = (today.year + MOST_YEARS_AHEAD, today.month, today.day)
    return day.year >= FIRST_YEAR and (day.year, day.month, day.day) <= last


def is_placeholder(day: date) -> bool:
    """Return whether a date stands for "unknown": year 1, 9999, the zero of a program."""
    return day in _ZERO_DATES or not is_release_date(day)


def is_same_text(one: str, other: str) -> bool:
    """Return whether two texts differ in nothing but their Unicode form and their blanks."""
    return one_line(one) == one_line(other)


def is_same_picture(one: str, other: str) -> bool:
    """Return whether two web addresses differ in nothing but what signs them for a while."""
    try:
        return _unsigned(one) == _unsigned(other)
    except ValueError:
        return False


def _unsigned(address: str) -> tuple[str, str, str, list[tuple[str, str]]]:
    parts = urlsplit(address)
    query = parse_qsl(parts.query, keep_blank_values=True)
    has_sig = any(name.lower() == "sig" for name, _ in query)
    kept = [
        (name, value)
        for name, value in query
        if not _SIGNING.fullmatch(name) and not (has_sig and name.lower() in _SIGNING_WITH_SIG)
    ]
    return parts.scheme, parts.netloc.lower(), parts.path, sorted(kept)
