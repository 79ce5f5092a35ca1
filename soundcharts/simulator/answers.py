"""Build the answers of the API: envelopes, errors, and the broken ones that faults ask for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_MIB = 1 << 20
_HTML = (
    "<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
    "<body><center><h1>{title}</h1></center><hr><center>gateway</center></body></html>\n"
)
_REASONS = {
    502: ("502 Bad Gateway", "The gateway got no answer."),
    503: ("503 Service Unavailable", "The service is temporarily unavailable."),
    504: ("504 Gateway Time-out", "The gateway got no answer in time."),
    400: ("invalid_request", "The request is invalid."),
    401: ("unauthenticated", "You are not logged in."),
    403: ("forbidden", "This endpoint is not included in your plan."),
    404: ("not_found", "The requested entity does not exist."),
    405: ("method_not_allowed", "The method is not allowed here."),
    410: ("ambiguous_isrc", "This ISRC is ambiguous: several recordings share it."),
    413: ("too_large", "The request is too large."),
    500: ("internal_error", "An internal error occurred."),
}


class Refused(Exception):
    """The API answers with an error; raised where the error is found."""

    def __init__(self, status: int, message: str | None = None, *, key: str | None = None) -> None:
        super().__init__(status, message)
        self.answer = error(status, message, key=key)


@dataclass(slots=True)
class Answer:
    """One HTTP answer: `body`, or for what is too big to hold, `chunks` of `length` bytes (None: undeclared).

    `songs` are the songs whose metadata (whose audience on `platform`, if that is set) the answer gives away.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    chunks: Callable[[], Iterator[bytes]] | None = None
    length: int | None = None
    songs: tuple[int, ...] = ()
    platform: str | None = None


def encode(value: Any) -> bytes:
    """Return JSON in UTF-8, as the API writes it; escaped where UTF-8 cannot hold it (lone surrogates)."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def ok(value: Any, *, songs: tuple[int, ...] = (), platform: str | None = None) -> Answer:
    """Return a sound answer."""
    return Answer(200, encode(value), songs=songs, platform=platform)


def one(kind: str, value: Any, *, songs: tuple[int, ...] = ()) -> Answer:
    """Return one object in the envelope of objects."""
    return ok({"type": kind, "object": value, "errors": []}, songs=songs)


def error(status: int, message: str | None = None, *, key: str | None = None) -> Answer:
    """Return a documented error; 502 and 504 come as HTML, because gateways write them."""
    default_key, default_message = _REASONS.get(status, ("error", f"Error {status}."))
    if status in (502, 504):
        return html(status, title=default_key)
    body = {"errors": [{"key": key or default_key, "code": status, "message": message or default_message}]}
    return Answer(status, encode(body))


def rate_limited(reset: float | None) -> Answer:
    """Return the 429 of the per-minute rate: only its message and its header tell it from the other 429."""
    message = (
        "You have reached the maximum request count per minute. Please wait before you send another request."
    )
    answer = error(429, message, key="rate_limit")
    if reset is not None:
        answer.headers["x-ratelimit-reset"] = str(max(1, -int(-reset // 1)))
    return answer


def quota_exhausted() -> Answer:
    """Return the 429 of the plan's quota."""
    return error(
        429, "Your API quota is used up. Please upgrade your plan or wait for its renewal.", key="quota"
    )


def html(status: int, *, title: str) -> Answer:
    """Return an HTML page, as gateways and login walls answer."""
    return Answer(status, _HTML.format(title=title).encode(), content_type="text/html; charset=UTF-8")


# Broken answers -----------------------------------------------------------------------------------


def huge(mib: float, *, declare_length: bool) -> Answer:
    """Return valid JSON of so many MiB, made while it is sent."""
    start, end, block = b'{"type":"song","object":{"name":"', b'"},"errors":[]}', b"a" * (_MIB // 4)
    blocks = max(1, int(mib * 4))

    def chunks() -> Iterator[bytes]:
        yield start
        for _ in range(blocks):
            yield block
        yield end

    length = len(start) + blocks * len(block) + len(end)
    return Answer(200, chunks=chunks, length=length if declare_length else None)


def gzip_bomb(mib: float) -> Answer:
    """Return a gzip stream of about a thousandth of the size it inflates to; the JSON inside is valid."""
    return Answer(200, _bomb(max(1, int(mib))), headers={"Content-Encoding": "gzip"})


@lru_cache(maxsize=4)
def _bomb(mib: int) -> bytes:
    start, end, block = b'{"type":"song","object":{"name":"', b'"},"errors":[]}', b"a" * _MIB
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = squeeze.compress(start) + squeeze.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the compressor remembers nothing, so the same bytes may be repeated.
    repeated = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    tail = squeeze.compress(end) + squeeze.flush()
    checksum = zlib.crc32(start)
    for _ in range(mib):
        checksum = zlib.crc32(block, checksum)
    checksum = zlib.crc32(end, checksum)
    size = (len(start) + mib * _MIB + len(end)) & 0xFFFFFFFF
    trailer = checksum.to_bytes(4, "little") + size.to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + head + repeated * mib + tail + trailer


def deep_json(depth: int) -> Answer:
    """Return JSON nested so deep that recursive parsers give up."""
    return Answer(200, b'{"type":"song","object":' + b"[" * depth + b"]" * depth + b',"errors":[]}')


def giant_int(digits: int) -> Answer:
    """Return a duration of so many digits; from 4,301 on, Python refuses to read it."""
    return Answer(200, b'{"type":"song","object":{"duration":' + b"9" * max(1, digits) + b'},"errors":[]}')


def wrong_shape(sound: Answer, value: Any, *, where: str) -> Answer:
    """Return any JSON value in the place of the answer, or of the object or items that it holds."""
    if where != "object":
        return Answer(200, encode(value))
    envelope = json.loads(sound.body)
    envelope["items" if "items" in envelope else "object"] = value
    return Answer(200, encode(envelope))


def incomplete(sound: Answer, *, leave_out: int, at: int, code: int | None) -> Answer:
    """Return an answer without some of its items (an object: without it), and perhaps with an error."""
    envelope = json.loads(sound.body)
    if "items" in envelope:
        del envelope["items"][at : at + leave_out]
    elif leave_out:
        envelope["object"] = None
    if code is not None:
        key, message = _REASONS.get(code, ("error", f"Error {code}."))
        envelope["errors"] = [{"key": key, "code": code, "message": message}]
    return Answer(200, encode(envelope), songs=sound.songs, platform=sound.platform)


def no_figures(sound: Answer) -> Answer:
    """Return an answer about an audience that is whole and has no day."""
    envelope = json.loads(sound.body)
    page = envelope["page"] | {"total": 0, "next": None}
    return Answer(200, encode(envelope | {"items": [], "page": page}))


def unreadable_figures(sound: Answer, value: Any, *, where: str, days: list[str] | None) -> Answer:
    """Return an answer about an audience with another value in the place of the figures of some days.

    `where` is "value", "plots" or "date": what the value stands for.
    """
    envelope = json.loads(sound.body)
    for item in envelope["items"]:
        if days is not None and item["date"][:10] not in days:
            continue
        for holder in item["plots"] if where == "value" else [item]:
            holder[where] = value
    return Answer(200, encode(envelope))


BROKEN: dict[str, Callable[[Answer, dict[str, Any]], Answer]] = {
    "html_200": lambda sound, options: html(200, title="Please log in"),
    "empty_200": lambda sound, options: Answer(200),
    "huge": lambda sound, options: huge(options["mib"], declare_length=options["declare_length"]),
    "gzip_bomb": lambda sound, options: gzip_bomb(options["mib"]),
    "deep_json": lambda sound, options: deep_json(int(options["depth"])),
    "giant_int": lambda sound, options: giant_int(int(options["digits"])),
    "no_figures": lambda sound, options: no_figures(sound) if sound.status == 200 else sound,
    "unreadable_figures": lambda sound, options: (
        unreadable_figures(sound, options["value"], where=options["where"], days=options["days"])
        if sound.status == 200
        else sound
    ),
    "wrong_shape": lambda sound, options: wrong_shape(sound, options["value"], where=options["where"]),
}
