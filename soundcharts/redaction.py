"""Keep secrets out of text that people read: error messages and the log of answers."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"

_TELLING_NAME = (
    r"[\w.-]{0,40}(?:token|secret|passw|authorization|api[-_]?key|app[-_]?id|signature)[\w.-]{0,40}"
)
# Patterns of secrets that are not ours, from another account or a proxy. Bounded, so that no answer takes
# long to search.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(bearer|basic)\s{1,9}[\w.~+/=-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(rf'("{_TELLING_NAME}"\s{{0,9}}:\s{{0,9}})"(?:[^"\\]|\\.)*+(?:"|\\?$)', re.IGNORECASE),
        rf'\1"{HIDDEN}"',
    ),
    (
        re.compile(rf"(?<![\w.-])({_TELLING_NAME})(=|:\s{{0,9}})(?![\s\"])[^&\s\"'<>]+", re.IGNORECASE),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}"), "[email]"),
    (re.compile(r"://[^/@\s\"']{1,200}@"), f"://{HIDDEN}@"),
)


def hide(secrets: Iterable[str], *, text: str) -> str:
    """Return the text without these secrets, also as JSON, HTML or a URL encodes them."""
    # The longest first: one may be a part of another.
    secrets = sorted(secrets, key=len, reverse=True)
    for secret in filter(None, secrets):
        text = text.replace(secret, HIDDEN)
        # Whoever writes numbers for letters writes them in either case.
        for way in _ways_to_write(secret) - {secret}:
            text = re.sub(re.escape(way), HIDDEN, text, flags=re.IGNORECASE)
    return text


def excerpt(body: bytes, *, secrets: Iterable[str], length: int) -> str:
    """Return the start of an answer's body on one line, without anything that looks like a secret."""
    if b"\0" in body[:length] or _is_mostly_binary(body[:length]):
        return f"({len(body)} bytes that are no text)"
    secrets = list(secrets)
    # What is hidden makes room for what comes after it.
    text = body[: 16 * length].decode("utf-8", "replace")
    clean = hide(secrets, text=text)
    for shape, instead in _SHAPES:
        clean = shape.sub(instead, clean)
    if len(body) > 16 * length:
        # The end may be the beginning of a secret, which nothing has found.
        clean = clean[
            : -max(len(each) for secret in ["", *secrets] for each in _ways_to_write(secret)) or None
        ]
    shown = "".join(each if each.isprintable() else " " for each in clean[:length])
    return shown if len(clean) <= length else f"{shown} …"


def _ways_to_write(secret: str) -> set[str]:
    as_json = json.dumps(secret)[1:-1]
    escaped = "".join(f"\\u{ord(each):04x}" for each in secret)
    return {
        secret,
        as_json,
        as_json.replace("/", r"\/"),
        escaped,
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        "".join(f"%{each:02x}" for each in secret.encode()),
    }


def _is_mostly_binary(start: bytes) -> bool:
    text = start.decode("utf-8", "replace")
    return text.count("\ufffd") > len(text) / 20 + 4
