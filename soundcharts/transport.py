"""HTTP with two bounds that requests does not have: on the time of a whole call and on its size.

The timeout of requests and urllib3 is per read, so a server that sends one byte at a time holds a call
for ever. Here every read from the socket, of headers as of body, gets only the time that is left of the
call's own deadline. Name resolution alone is outside of it: the C library offers no way to interrupt it.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import create_connection

from soundcharts.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    InvalidResponse,
    SoundchartsError,
    TruncatedResponse,
)

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
    ((requests.ConnectTimeout, urllib3_errors.ConnectTimeoutError), ConnectionFailed),
    ((requests.Timeout, urllib3_errors.TimeoutError, TimeoutError), DeadlineExceeded),
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

_PIECE = 64 * 1024
_CONNECT_TIMEOUT = 60.0
_HEADERS_ALLOWANCE = 1024 * 1024

DEFAULT_HEADERS = {
    "Accept": "application/json",
    # urllib3 decompresses more than this where more is installed; only gzip is needed.
    "Accept-Encoding": "gzip",
    "User-Agent": "liner-notes",
}


class Transport:
    """Send requests on one session per thread, each call within its bounds; never follow a redirect."""

    def __init__(self, *, connect_timeout: float, read_timeout: float, max_bytes: int) -> None:
        self._timeouts = (connect_timeout, read_timeout)
        self._max_bytes = max_bytes
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
        with _bounds(seconds=seconds, max_bytes=self._max_bytes + _HEADERS_ALLOWANCE):
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
            try:
                yield response
            finally:
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
                    raise _too_large()
        except urllib3_errors.ProtocolError as error:
            # A connection that broke has an OSError inside; without one, it ended in good order.
            if not any(isinstance(reason, OSError) for reason in _reasons(error)):
                raise TruncatedResponse from None
            raise
        return bytes(body)

    def close(self) -> None:
        """Close the connections of the calling thread; those of other threads end with them."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is not None:
            session.close()
            self._local.session = None

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        # A forked child must not talk on the connections of its parent.
        if session is None or self._local.pid != os.getpid():
            session = self._local.session = _new_session()
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


def _too_large() -> InvalidResponse:
    return InvalidResponse("Soundcharts sent an answer that is larger than any that makes sense.")


class _Bounds:
    """What is left of one call's time and size."""

    def __init__(self, *, seconds: float, max_bytes: int) -> None:
        self._end = time.monotonic() + seconds
        self._bytes_left = max_bytes

    def time_left(self, at_most: float | None = None) -> float:
        """Return the seconds that one socket operation may take. Raises TimeoutError if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("The deadline of the call has passed.")
        return left if at_most is None else min(left, at_most)

    def take(self, count: int) -> None:
        """Count bytes from the wire. Raises InvalidResponse when they are more than allowed."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise _too_large()


_current_bounds: ContextVar[_Bounds | None] = ContextVar("soundcharts_bounds", default=None)


@contextmanager
def _bounds(*, seconds: float, max_bytes: int) -> Iterator[None]:
    """Bound everything that this thread reads inside the with statement."""
    token = _current_bounds.set(_Bounds(seconds=seconds, max_bytes=max_bytes))
    try:
        yield
    finally:
        _current_bounds.reset(token)


class _BoundedReader(io.RawIOBase):
    """The receiving end of a socket, within the bounds of the call that reads from it."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._read_timeout = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        bounds = _current_bounds.get()
        if bounds is None:
            return self._raw.readinto(buffer)
        self._sock.settimeout(bounds.time_left(self._read_timeout))
        count = self._raw.readinto(buffer)
        bounds.take(count or 0)
        return count

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock))


class _BoundedConnection(HTTPConnection):
    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        """Connect as urllib3 does, but with one time allowance for all addresses of a host, not for each."""
        allowance = _Bounds(seconds=self.timeout or _CONNECT_TIMEOUT, max_bytes=0)
        bounds = _current_bounds.get() or allowance
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise urllib3_errors.NewConnectionError(self, "The name of the host is not known.") from error
        failure: OSError | None = None
        for *_, address in addresses:
            try:
                sock = create_connection(
                    (str(address[0]), self.port),
                    bounds.time_left(allowance.time_left()),
                    source_address=self.source_address,
                    socket_options=self.socket_options,
                )
                # The TLS handshake that may follow has to fit in as well.
                sock.settimeout(bounds.time_left(allowance.time_left()))
                return sock
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            bounds.time_left()  # Says so if it was the whole call that ran out of time.
            raise urllib3_errors.ConnectTimeoutError(self, "The connection took too long.") from failure
        raise urllib3_errors.NewConnectionError(self, f"No connection: {failure}") from failure


class _BoundedSecureConnection(_BoundedConnection, HTTPSConnection):
    pass


class _BoundedPool(HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _BoundedSecurePool(HTTPSConnectionPool):
    ConnectionCls = _BoundedSecureConnection


class _BoundedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _BoundedPool, "https": _BoundedSecurePool}


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Say that there is none. With allow_redirects=False requests still reads the redirect's whole
        body, past all our bounds, to prepare a next request."""
        return None


def _new_session() -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.headers.clear()
    session.headers.update(DEFAULT_HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, _BoundedAdapter(pool_connections=2, pool_maxsize=1, max_retries=0))
    return session
