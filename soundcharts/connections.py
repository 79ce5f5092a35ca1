"""Connections within the time and size of one call, straight to a host or through a proxy.

What goes wrong before a request is sent is raised from here in our own words, since urllib3 hands on one
error for a name that is not found, a refused connection and a proxy that wants a password.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from itertools import chain, zip_longest
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager

from soundcharts.errors import (
    ConnectionFailed,
    ConnectionRefused,
    ConnectTimedOut,
    HostNotFound,
    InvalidResponse,
    ProxyFailed,
    TlsFailed,
)

_CONNECT_TIMEOUT = 60.0

DEFAULT_HEADERS = {
    "Accept": "application/json",
    # urllib3 decompresses more than this where more is installed; only gzip is needed.
    "Accept-Encoding": "gzip",
    "User-Agent": "liner-notes",
}

# By OpenSSL's number of what is wrong with a certificate; the message that it gives can hold host names.
_CERTIFICATE_FAULTS = {
    9: "is not valid yet. Check this machine's clock.",
    10: "has expired. Check this machine's clock.",
    62: "belongs to another host name. Check the address in the settings.",
    64: "belongs to another address. Check the address in the settings.",
}
_UNTRUSTED = (
    "is not signed by a trusted authority. Behind a proxy that re-signs, set the proxy's CA certificate."
)

_REFUSALS_OF_PROXIES = {
    403: "The proxy does not allow connections to Soundcharts.",
    407: "The proxy refused the user or password.",
    502: "The proxy could not reach Soundcharts.",
    503: "The proxy could not reach Soundcharts.",
    504: "The proxy did not reach Soundcharts in time.",
}

_Address = tuple[int, int, int, str, Any]


def too_large() -> InvalidResponse:
    return InvalidResponse("Soundcharts sent an answer that is too large.")


def proxy_refusal(status: int) -> ProxyFailed:
    """Return the error for a proxy that answers instead of Soundcharts."""
    words = _REFUSALS_OF_PROXIES.get(status, "The proxy refused to connect to Soundcharts.")
    return ProxyFailed(f"{words} (The proxy's answer: {status}.)", status=status)


class Bounds:
    """The remaining time and size of one call."""

    def __init__(self, *, seconds: float, max_bytes: int) -> None:
        self._end = time.monotonic() + seconds
        self._bytes_left = max_bytes

    @property
    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def time_left(self, at_most: float | None = None) -> float:
        """Return the seconds that one socket operation may take. Raises TimeoutError if there are none."""
        left = self.seconds_left
        if left <= 0:
            raise TimeoutError("The deadline of the call has passed.")
        return left if at_most is None else min(left, at_most)

    def take(self, count: int) -> None:
        """Count bytes from the wire. Raises InvalidResponse when they are more than allowed."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise too_large()


_current_bounds: ContextVar[Bounds | None] = ContextVar("soundcharts_bounds", default=None)


@contextmanager
def bounds(*, seconds: float, max_bytes: int) -> Iterator[None]:
    """Bound everything that this thread reads inside the with statement."""
    token = _current_bounds.set(Bounds(seconds=seconds, max_bytes=max_bytes))
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
        current = _current_bounds.get()
        if current is None:
            return self._raw.readinto(buffer)
        self._sock.settimeout(current.time_left(self._read_timeout))
        count = self._raw.readinto(buffer)
        current.take(count or 0)
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
        """Connect to the first address that answers, of Soundcharts or of the proxy before it.

        Every address gets an equal share of the time that is left, and an address that fails sooner leaves
        its share to the others. Raises ConnectionFailed, or TimeoutError if the whole call ran out of time.
        """
        try:
            addresses = _resolve(self._dns_host, self.port)
        except ConnectionFailed as error:
            raise self._in_words(error) from None
        allowance = Bounds(seconds=self.timeout or _CONNECT_TIMEOUT, max_bytes=0)
        current = _current_bounds.get() or allowance
        failures: list[OSError] = []
        for number, address in enumerate(addresses):
            left = min(allowance.seconds_left, current.seconds_left)
            if left <= 0:
                failures.append(TimeoutError())
                break
            try:
                sock = self._connect(address, seconds=left / (len(addresses) - number))
            except OSError as error:
                failures.append(error)
                continue
            # The TLS handshake that may follow has to fit in as well.
            sock.settimeout(max(0.001, min(allowance.seconds_left, current.seconds_left)))
            return sock
        if any(isinstance(failure, TimeoutError) for failure in failures):
            current.time_left()  # Says so if it was the whole call that ran out of time.
        raise self._in_words(_sum_up(failures)) from None

    def _connect(self, address: _Address, *, seconds: float) -> socket.socket:
        family, kind, protocol, _, place = address
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds)
            if self.source_address:
                sock.bind(self.source_address)
            sock.connect(place)
        except BaseException:
            sock.close()
            raise
        return sock

    def _in_words(self, error: ConnectionFailed) -> ConnectionFailed:
        """Return the error, or a ProxyFailed if the target was the proxy."""
        if self.proxy is None:
            return error
        return ProxyFailed(
            {
                HostNotFound: "The proxy's host name was not found.",
                ConnectionRefused: "The proxy refused the connection.",
                ConnectTimedOut: "The proxy did not accept a connection in time.",
            }.get(type(error), "The proxy could not be reached.")
            + " Check the proxy in the settings."
        )

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel. Raises ProxyFailed, or TimeoutError after the whole call's time."""
        try:
            super()._tunnel()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if isinstance(error, TimeoutError):
                if current := _current_bounds.get():
                    current.time_left()
                raise ProxyFailed("The proxy did not answer in time.") from None
            # http.client tells the status in its message alone.
            refused = re.match(r"Tunnel connection failed: (\d{3})\b", str(error))
            if refused:
                raise proxy_refusal(int(refused[1])) from None
            raise ProxyFailed(
                "The proxy broke the connection, or is not a proxy. Check the proxy in the settings."
            ) from None


class _BoundedSecureConnection(_BoundedConnection, HTTPSConnection):
    def connect(self) -> None:
        """Connect and agree on encryption. Raises ConnectionFailed, TlsFailed for what is wrong with that."""
        try:
            super().connect()
        except ssl.SSLCertVerificationError as error:
            fault = _CERTIFICATE_FAULTS.get(error.verify_code, _UNTRUSTED)
            raise TlsFailed(f"No secure connection: the certificate of Soundcharts {fault}") from None
        except ssl.SSLError:
            raise TlsFailed from None
        except TimeoutError:
            if current := _current_bounds.get():
                current.time_left()
            raise ConnectTimedOut("Soundcharts did not agree on a secure connection in time.") from None


class _BoundedPool(HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _BoundedSecurePool(HTTPSConnectionPool):
    ConnectionCls = _BoundedSecureConnection


_POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _BoundedPool, "https": _BoundedSecurePool}


class _BoundedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Say that there is none. With allow_redirects=False requests still reads the redirect's whole
        body, past all our bounds, to prepare a next request."""
        return None


def new_session(*, proxy: str = "", ca_bundle: str = "") -> requests.Session:
    """Return a session that takes nothing from the environment and keeps no cookies."""
    session = _Session()
    session.trust_env = False
    session.headers.clear()
    session.headers.update(DEFAULT_HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    if ca_bundle:
        session.verify = ca_bundle
    for scheme in ("https://", "http://"):
        session.mount(scheme, _BoundedAdapter(pool_connections=2, pool_maxsize=1, max_retries=0))
    return session


def _resolve(host: str, port: int) -> list[_Address]:
    """Return the addresses of a host, IPv6 and IPv4 in turn, in the resolver's order otherwise."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise HostNotFound("No DNS server answered. Check this machine's DNS.") from None
        raise HostNotFound from None
    except UnicodeError:
        raise HostNotFound from None
    if not found:
        raise HostNotFound
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    return [address for address in chain(*zip_longest(first, others)) if address]


def _sum_up(failures: list[OSError]) -> ConnectionFailed:
    """Return the most informative of the errors of several addresses."""
    if any(isinstance(failure, ConnectionRefusedError) for failure in failures):
        return ConnectionRefused()
    if any(isinstance(failure, TimeoutError) for failure in failures):
        return ConnectTimedOut()
    return ConnectionFailed()
