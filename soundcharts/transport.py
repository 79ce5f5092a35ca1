"""HTTP with two bounds that requests does not have: on the time of a whole call and on its size.

The timeout of requests and urllib3 is per read, so a server that sends one byte at a time holds a call
for ever. Here every read from the socket, of headers as of body, gets only the time that is left of the
call's own deadline. Name resolution alone is outside of it: the C library offers no way to interrupt it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.auth import AuthBase
from urllib3 import exceptions as urllib3_errors

from soundcharts.connections import bounds, new_session, proxy_refusal, too_large
from soundcharts.errors import (
    ConnectionFailed,
    ConnectTimedOut,
    DeadlineExceeded,
    HostNotFound,
    InvalidRequest,
    InvalidResponse,
    ProxyFailed,
    SoundchartsError,
    TlsFailed,
    TruncatedResponse,
)
from soundcharts.redaction import excerpt

# What requests, urllib3, http.client, ssl, socket and the codecs raise, all of it.
LOWER_LEVEL_ERRORS: tuple[type[Exception], ...] = (
    requests.RequestException,
    urllib3_errors.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
    RecursionError,
)

# What can come out of a call before it is translated.
CALL_ERRORS: tuple[type[Exception], ...] = (SoundchartsError, *LOWER_LEVEL_ERRORS)

# The first row that fits an error, or an error that it was made from, says what it means. What is left
# (ValueError, RecursionError) comes from an answer that cannot be decoded.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[SoundchartsError]], ...] = (
    # A connection that ends in the middle breaks, encrypted or not.
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), ConnectionFailed),
    ((urllib3_errors.NameResolutionError,), HostNotFound),
    # A kind of ConnectTimeoutError that is none.
    ((urllib3_errors.NewConnectionError,), ConnectionFailed),
    ((requests.ConnectTimeout, urllib3_errors.ConnectTimeoutError), ConnectTimedOut),
    ((requests.exceptions.SSLError, urllib3_errors.SSLError, ssl.SSLError, ssl.CertificateError), TlsFailed),
    ((requests.Timeout, urllib3_errors.TimeoutError, TimeoutError), DeadlineExceeded),
    ((requests.exceptions.ProxyError, urllib3_errors.ProxyError), ProxyFailed),
    (
        (requests.exceptions.ChunkedEncodingError, urllib3_errors.IncompleteRead, http.client.IncompleteRead),
        TruncatedResponse,
    ),
    (
        (
            requests.exceptions.InvalidURL,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidSchema,
            urllib3_errors.LocationValueError,
        ),
        InvalidRequest,
    ),
    (
        (
            requests.TooManyRedirects,
            requests.exceptions.ContentDecodingError,
            requests.exceptions.InvalidHeader,
            requests.exceptions.InvalidJSONError,
            requests.exceptions.StreamConsumedError,
            urllib3_errors.BodyNotHttplibCompatible,
            urllib3_errors.DecodeError,
            urllib3_errors.InvalidHeader,
            urllib3_errors.ResponseError,
            urllib3_errors.ResponseNotChunked,
        ),
        InvalidResponse,
    ),
    ((OSError, urllib3_errors.HTTPError, http.client.HTTPException), ConnectionFailed),
)

# Off unless LOG_LEVEL is DEBUG.
_answers = logging.getLogger("soundcharts.responses")
_SHOWN_CHARACTERS = 2048
_SHOWN_HEADERS = re.compile(
    r"content-(type|length|encoding)|date|location|retry-after|server|via|x-(quota|ratelimit|request)-.*",
    re.IGNORECASE,
)

_PIECE = 64 * 1024
_HEADERS_ALLOWANCE = 1024 * 1024


class Transport:
    """Send requests on one session per thread, each call within its bounds; never follow a redirect.

    `proxy` is http://host:port, with user:password@ before the host if it wants them; `ca_bundle` the path of
    a file of certificates to trust instead of the public ones. `secrets`, and those of the headers and of the
    proxy, are kept out of the log.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        read_timeout: float,
        max_bytes: int,
        proxy: str = "",
        ca_bundle: str = "",
        secrets: Sequence[str] = (),
    ) -> None:
        self._secrets = [*secrets, *_secrets_of_url(proxy)]
        self._timeouts = (connect_timeout, read_timeout)
        self._max_bytes = max_bytes
        self._proxy = proxy
        self._ca_bundle = ca_bundle
        self._local = threading.local()

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        *,
        auth: AuthBase,
        seconds: float,
        params: Mapping[str, Any] | None = None,
        json: object = None,
        data: Mapping[str, str] | None = None,
    ) -> Iterator[requests.Response]:
        """Yield the answer once its headers are there; `read_body` then reads the rest.

        `seconds` bounds everything inside the with statement. Raises LOWER_LEVEL_ERRORS, of which
        `translate` says what they mean, and InvalidResponse for an answer beyond all size.
        """
        with bounds(seconds=seconds, max_bytes=self._max_bytes + _HEADERS_ALLOWANCE):
            response = self._session().request(
                method,
                url,
                params=params,
                json=json,
                data=data,
                auth=auth,
                timeout=self._timeouts,
                allow_redirects=False,
                stream=True,
            )
            self._local.unlogged = response
            try:
                if response.status_code == 407:
                    raise proxy_refusal(407)
                yield response
            finally:
                if self._local.unlogged is response and _answers.isEnabledFor(logging.DEBUG):
                    self._log(response, _glance(response))
                # Gives the connection back if the body was read to its end, and drops it otherwise.
                response.close()

    def read_body(self, response: requests.Response) -> bytes:
        """Return the whole body, decompressed.

        Raises InvalidResponse as soon as it exceeds `max_bytes`: compressed content is inflated piece by
        piece, so a small "gzip bomb" never becomes a large one in memory. Raises TruncatedResponse if
        the body ends too early.
        """
        body = bytearray()
        try:
            for piece in response.raw.stream(_PIECE, decode_content=True):
                body += piece
                if len(body) > self._max_bytes:
                    raise too_large()
        except urllib3_errors.ProtocolError as error:
            # A connection that broke has an OSError inside; without one, it ended in good order.
            if not any(isinstance(reason, OSError) for reason in _reasons(error)):
                raise TruncatedResponse from None
            raise
        finally:
            self._local.unlogged = None
            if _answers.isEnabledFor(logging.DEBUG):
                self._log(response, bytes(body))
        return bytes(body)

    def close(self) -> None:
        """Close the connections of the calling thread; those of other threads end with them."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is not None:
            session.close()
            self._local.session = None

    def _log(self, response: requests.Response, body: bytes) -> None:
        """Log an answer: its status, some headers and the first 2 kB, without secrets."""
        request = response.request
        secrets = [*self._secrets, *_secrets_of(request.headers)]
        headers = [
            f"{name}: {value}" for name, value in response.headers.items() if _SHOWN_HEADERS.fullmatch(name)
        ]
        head = f"{request.method} {request.path_url} {response.status_code} {'; '.join(headers)}"
        _answers.debug(
            "%s | %s",
            excerpt(head.encode(errors="replace"), secrets=secrets, length=_SHOWN_CHARACTERS),
            excerpt(body, secrets=secrets, length=_SHOWN_CHARACTERS),
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        # A forked child must not talk on the connections of its parent.
        if session is None or self._local.pid != os.getpid():
            session = self._local.session = new_session(proxy=self._proxy, ca_bundle=self._ca_bundle)
            self._local.pid = os.getpid()
        return session


class HeaderAuth(AuthBase):
    """Add secret headers to a request; repr() does not show them, so neither do error reports."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return what must never be shown: the last word of each header."""
        return tuple(value.split()[-1] for value in self._headers.values())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def translate(error: Exception, *, path: str | None = None) -> SoundchartsError:
    """Return what a lower-level error means to a caller of the API.

    The text of the original is left out, and the result should be raised `from None`, on purpose: the
    messages and frames of requests and urllib3 hold request headers, hence keys, and error reports
    print both.
    """
    if isinstance(error, SoundchartsError):
        error.path = error.path or path
        return error
    chain = (error, *_reasons(error))
    for kinds, meaning in _MEANINGS:
        if any(isinstance(link, kinds) for link in chain):
            return meaning(path=path)
    return InvalidResponse(path=path)


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors from which an error of requests or urllib3 was made, outermost first."""
    for reason in {id(each): each for each in (*error.args, getattr(error, "reason", None))}.values():
        if isinstance(reason, BaseException) and reason is not error:
            yield reason
            yield from _reasons(reason)


def _glance(response: requests.Response) -> bytes:
    """Return what is there of a body that nobody has read."""
    with contextlib.suppress(*CALL_ERRORS):
        start: bytes = response.raw.read1(_SHOWN_CHARACTERS, decode_content=True)
        return start
    return b""


def _secrets_of(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets of a request: the last word of each authentication header."""
    for name, value in headers.items():
        if (
            name.lower() in ("x-app-id", "x-api-key", "authorization", "proxy-authorization")
            and value.split()
        ):
            yield value.split()[-1]


def _secrets_of_url(url: str) -> list[str]:
    """Return the password of a URL, as written and as sent."""
    parts = urlsplit(url)
    if not parts.password:
        return []
    user, password = unquote(parts.username or ""), unquote(parts.password)
    return [parts.password, password, base64.b64encode(f"{user}:{password}".encode()).decode()]
