"""The meaning of unsuccessful answers: their status, headers, and whether the API itself wrote them.

Only the API's own error envelope, {"errors": [...]}, is its word. A 4xx without it comes from a gateway or
a proxy: that is an outage like a 5xx, and says nothing about a song, a plan or a quota.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit
from uuid import UUID

import requests

from soundcharts.envelopes import ApiError, parse_api_errors
from soundcharts.errors import (
    AmbiguousIsrc,
    AuthenticationFailed,
    Forbidden,
    InvalidRequest,
    InvalidResponse,
    Moved,
    NotFound,
    QuotaExhausted,
    RateLimited,
    SoundchartsError,
    TruncatedResponse,
    UpstreamUnavailable,
)
from soundcharts.fields import decode_json
from soundcharts.transport import CALL_ERRORS, translate

# Seconds that all calls wait after a 429 without a usable time, and the longest wait.
DEFAULT_RATE_PAUSE = 60.0
MAX_RATE_PAUSE = 120.0

_ERRORS_BY_STATUS: dict[int, type[SoundchartsError]] = {
    401: AuthenticationFailed,
    403: Forbidden,
    404: NotFound,
    410: AmbiguousIsrc,
}
# The server did not get the request in time, or did not want it yet: it was not answered.
_NOT_ANSWERED = frozenset({408, 425})
# These need no word of the API: who refuses our credentials, or a request for its size, need not be asked
# again.
_TRUSTED_FROM_ANYBODY = frozenset({401, 413, 414, 431})
_REDIRECTS_TO_A_SONG = frozenset({301, 302, 307, 308})
_ADVICE = ("retry-after", "x-ratelimit-reset")
# Larger numbers of seconds are moments since 1970.
_FIRST_MOMENT = 1_000_000_000

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_QUOTA = re.compile(r"-?[0-9]{1,18}")
_ABOUT_RATE = re.compile(r"maximum request count|per (minute|second)|rate[ _-]?limit", re.IGNORECASE)
_SONG_PATH = re.compile(
    r"/api/v2(?:\.[0-9]{1,3})?/song/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})((?:/.*)?)", re.IGNORECASE
)


def refusal_in(
    response: requests.Response,
    *,
    url: str,
    read: Callable[[], bytes],
    hide: Callable[[str], str],
) -> SoundchartsError | None:
    """Return the error that an answer means, None for a success.

    `url` was asked for; `read` returns the whole body; `hide` takes secrets out of what is quoted. Raises
    what goes wrong with reading a body that decides.
    """
    status = response.status_code
    if 200 <= status < 300:
        return None
    if status < 400:
        return _meaning_of_redirect(response, url)
    if status == 429:
        return _meaning_of_429(response, read)
    if was_not_taken(status):
        return UpstreamUnavailable(status=status, retry_after=seconds_in(response, "retry-after"))
    try:
        errors = _errors_in(read)
    except CALL_ERRORS:
        if status not in _TRUSTED_FROM_ANYBODY:
            raise
        errors = None
    is_from_api = errors is not None and not any(500 <= (error.code or 0) < 600 for error in errors)
    if not is_from_api and status not in _TRUSTED_FROM_ANYBODY:
        return UpstreamUnavailable(
            f"A gateway or proxy answered instead of Soundcharts (HTTP {status}).",
            status=status,
            retry_after=seconds_in(response, "retry-after"),
        )
    kind = _ERRORS_BY_STATUS.get(status, InvalidRequest)
    said = next((error.message for error in errors or () if error.message), "")
    return kind(_quote(kind.default_message, hide(said)), status=status)


def is_charged(response: requests.Response, error: SoundchartsError | None) -> bool:
    """Return whether an answer costs a call of the quota; `error` is what it means.

    One request is one call, whatever it returns, except what the server fails to answer
    (help.soundcharts.com). The page of a gateway is the API's answer only if it carries the API's header.
    """
    status = response.status_code
    if status == 429 or was_not_taken(status):
        return False
    return not isinstance(error, UpstreamUnavailable) or quota_remaining_in(response) is not None


def quota_remaining_in(response: requests.Response) -> int | None:
    """Return the calls remaining, None if the answer does not say."""
    value = response.headers.get("x-quota-remaining", "").strip()
    return int(value) if _QUOTA.fullmatch(value) else None


def seconds_in(response: requests.Response, header: str) -> float | None:
    """Return the seconds that a header tells to wait, as a number or until a date; None if it tells none.

    A date is compared with the server's own clock where the answer has it. One that has passed is 0.
    """
    value = response.headers.get(header, "").strip()
    if _NUMBER.fullmatch(value):
        seconds = float(value)
        return max(0.0, seconds - time.time()) if seconds >= _FIRST_MOMENT else seconds
    until = _moment(value)
    if until is None:
        return None
    now = _moment(response.headers.get("date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def rate_pause_in(response: requests.Response) -> float:
    """Return the seconds for which everybody waits after a 429 for the rate, within reason."""
    advice = _advice_in(response)
    return min(max(1.0, *advice), MAX_RATE_PAUSE) if advice else DEFAULT_RATE_PAUSE


def was_not_taken(status: int) -> bool:
    """Return whether a status says that the server did not take the request: 5xx, 408 or 425."""
    return status >= 500 or status in _NOT_ANSWERED


def _advice_in(response: requests.Response) -> list[float]:
    return [seconds for name in _ADVICE if (seconds := seconds_in(response, name)) is not None]


def _meaning_of_429(response: requests.Response, read: Callable[[], bytes]) -> SoundchartsError:
    """Tell a 429 for the calls of a minute from one for the plan's quota.

    It is the quota only if the API says so, in its own envelope or by its header, and nothing speaks against
    it: calls that are left, advice to wait, or words about the rate.
    """
    try:
        errors = _errors_in(read)
    except CALL_ERRORS:
        errors = None
    said = " ".join(f"{error.key} {error.message}" for error in errors or ())
    remaining = quota_remaining_in(response)
    advice = _advice_in(response)
    is_about_rate = (remaining or 0) > 0 or bool(_ABOUT_RATE.search(said))
    signs = ("quota" in said.lower()) + (remaining is not None and remaining <= 0)
    if not is_about_rate and (signs == 2 or (signs == 1 and not advice)):
        return QuotaExhausted(status=429)
    return RateLimited(status=429, retry_after=rate_pause_in(response))


def _meaning_of_redirect(response: requests.Response, url: str) -> SoundchartsError:
    """Return Moved for a redirect from one song to another on the API's own host, InvalidResponse else.

    A redirect is never followed: it would carry the API key to wherever it points.
    """
    status = response.status_code
    new_uuid = _song_behind(response, url) if status in _REDIRECTS_TO_A_SONG else None
    if new_uuid is not None:
        return Moved(new_uuid=new_uuid, status=status)
    return InvalidResponse("Soundcharts sent a redirect, which is never followed.", status=status)


def _song_behind(response: requests.Response, url: str) -> UUID | None:
    """Return the uuid to which a redirect leads from another song's address, if that is what it does."""
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, response.headers.get("location", "")))
        ports = [parts.port or {"http": 80, "https": 443}.get(parts.scheme) for parts in (here, there)]
    except ValueError:
        return None
    is_same_host = (here.scheme, here.hostname) == (there.scheme, there.hostname) and len(set(ports)) == 1
    asked = _SONG_PATH.search(here.path)
    if not is_same_host or "@" in there.netloc or asked is None:
        return None
    before = here.path[: asked.start()]
    named = _SONG_PATH.fullmatch(there.path.removeprefix(before)) if there.path.startswith(before) else None
    if named is None or asked.end() != len(here.path) or named[2].rstrip("/") != asked[2].rstrip("/"):
        return None
    new_uuid = UUID(named[1])
    return None if new_uuid == UUID(asked[1]) else new_uuid


def _errors_in(read: Callable[[], bytes]) -> tuple[ApiError, ...] | None:
    """Return the errors that the API names in a body, None for a body that it did not write.

    Raises CALL_ERRORS where the body did not come to its end.
    """
    try:
        return parse_api_errors(decode_json(read()))
    except CALL_ERRORS as error:
        meaning = translate(error)
        if not isinstance(meaning, InvalidResponse) or isinstance(meaning, TruncatedResponse):
            raise
        return None


def _quote(message: str, said: str) -> str:
    """Return the message plus Soundcharts' own, printable and short."""
    if not said:
        return message
    printable = "".join(character if character.isprintable() else " " for character in said)
    return f"{message} Soundcharts says: {printable[:200]}"


def _moment(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970, None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
