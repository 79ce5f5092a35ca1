"""Fields of JSON from outside: decoded, checked, and described in words where they are malformed."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from urllib.parse import urlsplit
from uuid import UUID

from soundcharts.errors import InvalidResponse, TruncatedResponse
from soundcharts.values import LONGEST_SONG, is_placeholder, one_line, parse_isrc

Fields = dict[str, object]

MAX_SECONDS = 2**31 - 1
MAX_COUNT = 2**63 - 1
MAX_WARNINGS = 20

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([Tt ][0-9]{2}:[0-9]{2}[0-9:.]*([Zz]|[+-][0-9:]+)?)?")
_DIGITS = re.compile(r"[0-9]{1,19}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_IN_A_URL = re.compile("[\x00-\x20\x7f\ud800-\udfff\\\\]")


def decode_json(body: bytes) -> Fields:
    """Return the JSON object that a body consists of.

    Raises TruncatedResponse if the body seems to be the beginning of one, and InvalidResponse for
    everything else: empty, HTML, a list or a scalar, NaN, numbers or nesting beyond all measure.
    """
    try:
        text = body.decode("utf-8-sig").strip()
        if not text:
            raise InvalidResponse("Soundcharts sent an empty answer.")
        payload = json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float)
    except json.JSONDecodeError as error:
        if text.startswith("{") and (not text.endswith("}") or error.pos >= len(text)):
            raise TruncatedResponse from None
        raise InvalidResponse("Soundcharts sent something other than JSON.") from None
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            raise TruncatedResponse from None
        raise InvalidResponse("Soundcharts sent something other than UTF-8.") from None
    except (ValueError, RecursionError):
        raise InvalidResponse("Soundcharts sent JSON that cannot be decoded.") from None
    return as_fields(payload, what="an object")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _parse_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("The number is too large.")
    return number


class FieldReader:
    """Read an object's fields one by one, remembering in words what could not be understood."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._warnings: list[str] = []

    def warnings(self) -> tuple[str, ...]:
        """Return what was malformed so far, a sentence each."""
        return tuple(self._warnings)

    def uuid(self, *, what: str = "a song") -> UUID:
        """Return the uuid. Raises InvalidResponse without a valid one: nothing can be done with it."""
        value = self._fields.get("uuid")
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise InvalidResponse(f"Soundcharts sent {what} without a valid uuid ({shown(value)}).")
        return UUID(value)

    def text(self, name: str, *, inside: tuple[str, ...] = ()) -> str | None:
        """Return a string field, or where the field is an object, the first of the `inside` ones."""
        return self._text(name, self._fields.get(name), inside)

    def texts(self, name: str, *, inside: tuple[str, ...]) -> tuple[str, ...]:
        """Return the usable texts of a list of strings or objects; only those up to the first may warn."""
        value = self._fields.get(name)
        if _is_blank(value):
            return ()
        if not isinstance(value, list):
            self._warn(name, value, "a list")
            return ()
        texts: list[str] = []
        for index, entry in enumerate(value):
            warned = len(self._warnings)
            text = self._text(f"{name}[{index}]", entry, inside)
            if texts:
                del self._warnings[warned:]
            if text:
                texts.append(text)
        return tuple(texts)

    def isrc(self, name: str) -> str | None:
        """Return an ISRC in its one form (ISO 3901)."""
        text = self.text(name, inside=("value",))
        isrc = parse_isrc(text) if text else None
        if text and isrc is None:
            self._warn(name, text, "an ISRC")
        return isrc

    def url(self, name: str) -> str | None:
        """Return an http(s) URL with a host: anything else would be a way to smuggle in a script."""
        value = self.text(name)
        if value is not None and not is_web_url(value):
            self._warn(name, value, "a web address")
            return None
        return value

    def day(self, name: str) -> date | None:
        """Return the day as it is written, with no shift to another time zone; a placeholder is none."""
        value = self._fields.get(name)
        if _is_blank(value):
            return None
        day = parse_date(value)
        if day is None:
            self._warn(name, value, "a date")
        elif is_placeholder(day):
            self._warn(name, value, "a real date")
            return None
        return day

    def seconds(self, name: str) -> int | None:
        """Return a whole number of seconds, of a day at most: more are taken for milliseconds.

        0 is how some versions of the API write "unknown".
        """
        value = self._fields.get(name)
        if _is_blank(value):
            return None
        count = as_count(value)
        if count is None or count > LONGEST_SONG:
            self._warn(name, value, "a number of seconds")
            return None
        return count or None

    def _text(self, name: str, value: object, inside: tuple[str, ...]) -> str | None:
        if inside and isinstance(value, dict):
            texts = (self._text(f"{name}.{key}", value.get(key), ()) for key in inside)
            return next((text for text in texts if text), None)
        if value is None:
            return None
        if not isinstance(value, str) or _UNSTORABLE.search(value):
            self._warn(name, value, "text")
            return None
        # One line, as every field of the API is meant to be: forms would fold line breaks, too, and take
        # that for an edit.
        return one_line(value) or None

    def _warn(self, name: str, value: object, expected: str) -> None:
        if len(self._warnings) < MAX_WARNINGS:
            self._warnings.append(f"{name}: {shown(value)} is not {expected}")


def as_fields(value: object, *, what: str) -> Fields:
    """Return the value if it is a JSON object. Raises InvalidResponse, naming `what` was expected."""
    if not isinstance(value, dict):
        raise InvalidResponse(f"Soundcharts sent {shown(value)} where {what} was expected.")
    return value


def as_count(value: object) -> int | None:
    """Return an integer from 0 to 2^63-1, also from a string of digits; None for everything else."""
    # Stripped for both: strip takes off control characters, too, which int() does not.
    if isinstance(value, str) and _DIGITS.fullmatch(stripped := value.strip()):
        value = int(stripped)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_COUNT else None


def parse_date(value: object) -> date | None:
    """Return the date part of "2019-03-29" or "2019-03-29T00:00:00+00:00", as written; None otherwise."""
    match = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        return date.fromisoformat(match[1])
    except ValueError:
        return None


def is_web_url(value: str) -> bool:
    """Return whether the text is an absolute http(s) address that no browser would read differently."""
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and has_host and not _NOT_IN_A_URL.search(value)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def shown(value: object) -> str:
    """Return a short, printable form of anything: of upstream text only the beginning, escaped."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:59] + "…")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a giant number"
    if isinstance(value, float):
        return repr(value)
    return "a list" if isinstance(value, list) else "an object"
