"""The transport against servers that misbehave, over real sockets."""

from __future__ import annotations

import gzip
import inspect
import os
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http import client as http_client
from types import ModuleType
from typing import Any

import pytest
import requests
import urllib3

from soundcharts import connections
from soundcharts.errors import (
    ConnectionFailed,
    ConnectionRefused,
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
from soundcharts.tests.doubles import API_KEY, Clock, make_client
from soundcharts.tests.raw_server import Answer, RawServer, drips, hangs, http, repeats, resets, sends
from soundcharts.transport import LOWER_LEVEL_ERRORS, translate

MiB = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def takes_less_than(seconds: float) -> Iterator[None]:
    """Fail if it takes longer: more than a busy machine needs, less than without what is tested."""
    started_at = time.monotonic()
    yield
    assert time.monotonic() - started_at < seconds


def failure(answer: Answer, *, deadline: float = 30.0, max_bytes: int = 8 * MiB) -> SoundchartsError:
    with RawServer(answer) as server, pytest.raises(SoundchartsError) as raised:
        make_client(server.url, deadline=deadline, max_bytes=max_bytes).get("/x")
    return raised.value


# --- Time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hangs(), id="nothing"),
        pytest.param(drips(http(b'{"a": 1}' + b" " * 500)), id="headers byte by byte"),
        pytest.param(drips(b" " * 500, first=http(b"", length=500)), id="body byte by byte"),
        pytest.param(
            drips(b"1\r\n \r\n" * 100, first=HEAD + b"Transfer-Encoding: chunked\r\n\r\n"), id="chunks"
        ),
        pytest.param(drips(b" " * 500, first=HEAD + b"\r\n"), id="body without a length"),
        pytest.param(sends(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200, every=0.05), id="continue for ever"),
    ],
)
def test_slow_answer_is_cut_at_the_deadline(answer: Answer) -> None:
    with takes_less_than(8):
        error = failure(answer, deadline=0.6)

    assert isinstance(error, DeadlineExceeded)


def test_slow_gzip_answer_is_cut_at_the_deadline() -> None:
    body = gzip.compress(os.urandom(500))
    first = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)

    with takes_less_than(8):
        error = failure(drips(body, first=first), deadline=0.6)

    assert isinstance(error, DeadlineExceeded)


def test_slow_error_answer_is_cut_and_believed_in_nothing() -> None:
    with takes_less_than(8):
        error = failure(drips(b" " * 500, first=http(b"", status="404 Not Found", length=500)), deadline=0.6)

    assert error.code == "timeout"


def test_read_timeout_is_shorter_than_the_deadline_where_asked() -> None:
    with RawServer(hangs()) as server, takes_less_than(20), pytest.raises(DeadlineExceeded):
        make_client(server.url, deadline=60.0, read_timeout=0.3).get("/x")


def test_deadline_starts_anew_on_a_kept_connection() -> None:
    with RawServer(sends(http())) as server:
        client = make_client(server.url, deadline=2.0)
        client.get("/x")
        time.sleep(2.1)
        client.get("/x")

        assert server.connections == 1


def test_tls_handshake_that_never_ends_is_cut_at_the_deadline() -> None:
    with RawServer(hangs()) as server, takes_less_than(8), pytest.raises(SoundchartsError) as raised:
        make_client(server.url.replace("http:", "https:"), deadline=0.6).get("/x")

    assert raised.value.is_temporary


# A listener whose queue is full drops further connections without a word, as a firewall does.
@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as filler:
        filler.connect(full.getsockname())
        yield full.getsockname()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    """Let many.example have these addresses, in this order."""
    resolve = socket.getaddrinfo
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **kwargs: entries if host == "many.example" else resolve(host, *args, **kwargs),
    )


def test_unreachable_addresses_share_one_deadline(
    monkeypatch: pytest.MonkeyPatch, silent: tuple[str, int]
) -> None:
    resolve_to(monkeypatch, *[silent] * 30)

    with takes_less_than(8), pytest.raises(DeadlineExceeded):
        make_client("http://many.example", deadline=0.6).get("/x")


@pytest.mark.parametrize("silent_ones", [1, 2, 5])
def test_an_address_that_drops_packets_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, silent: tuple[str, int], silent_ones: int
) -> None:
    with RawServer(sends(http(b'{"a": 1}'))) as server:
        resolve_to(monkeypatch, *[silent] * silent_ones, server.address)

        assert make_client("http://many.example", deadline=30.0, connect_timeout=3.0).get("/x") == {"a": 1}


def test_every_address_gets_an_equal_share_of_the_time_to_connect(
    monkeypatch: pytest.MonkeyPatch, silent: tuple[str, int]
) -> None:
    refuses = closed_port()
    resolve_to(monkeypatch, silent, refuses, silent, silent)
    granted: list[float] = []

    class NotingSocket(socket.socket):
        def connect(self, address: Any) -> None:
            granted.append(self.gettimeout() or 0)
            # As if the clock stood still: an address that says nothing has used up its share.
            raise ConnectionRefusedError if address == refuses else TimeoutError

    monkeypatch.setattr(socket, "socket", NotingSocket)
    clock = Clock()
    monkeypatch.setattr(connections, "time", clock)
    connect = connections._BoundedConnection._connect

    def connect_and_wait(self: Any, address: Any, *, seconds: float) -> socket.socket:
        if address[4] != refuses:
            clock.now += seconds
        return connect(self, address, seconds=seconds)

    monkeypatch.setattr(connections._BoundedConnection, "_connect", connect_and_wait)

    with pytest.raises(ConnectionRefused):
        make_client("http://many.example", deadline=30.0, connect_timeout=4.0).get("/x")

    # A second each; what the one that refused at once did not need is shared by those after it.
    assert granted == pytest.approx([1.0, 1.0, 1.5, 1.5])


def test_an_address_of_the_other_family_comes_second(monkeypatch: pytest.MonkeyPatch) -> None:
    six = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (f"::{n}", 1, 0, 0)) for n in range(3)]
    four = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 1)) for n in range(2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: six + four)

    assert connections._resolve("many.example", 1) == [six[0], four[0], six[1], four[1], six[2]]


# --- Size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(repeats(b" " * 65536, first=http(b"", length=10**12)), id="with a length"),
        pytest.param(repeats(b" " * 65536, first=HEAD + b"\r\n"), id="without a length"),
        pytest.param(
            repeats(
                b"10000\r\n" + b" " * 65536 + b"\r\n", first=HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
            ),
            id="chunked",
        ),
        pytest.param(
            repeats(b" " * 65536, first=HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"),
            id="negative chunk",
        ),
        pytest.param(repeats(b"X-Header: " + b"x" * 60000 + b"\r\n", first=HEAD), id="headers without end"),
        pytest.param(repeats(b"x" * 65536), id="not even HTTP"),
    ],
)
def test_endless_answer_is_cut_at_the_size_limit(answer: Answer) -> None:
    tracemalloc.start()
    try:
        with takes_less_than(30):
            error = failure(answer, deadline=30.0, max_bytes=1 * MiB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert isinstance(error, InvalidResponse | ConnectionFailed)
    assert peak < 16 * MiB


def bomb(levels: int) -> bytes:
    body = b" " * 64 * MiB
    for _ in range(levels):
        body = gzip.compress(body, 9)
    return body


@pytest.mark.parametrize("levels", [1, 2])
def test_gzip_bomb_is_never_inflated(levels: int) -> None:
    encoding = "Content-Encoding: " + ", ".join(["gzip"] * levels)
    answer = sends(http(bomb(levels), headers=[encoding]))
    tracemalloc.start()
    try:
        error = failure(answer, max_bytes=1 * MiB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert isinstance(error, InvalidResponse)
    assert peak < 8 * MiB


def test_gzip_bomb_in_a_redirect_is_never_inflated() -> None:
    headers = ["Location: /elsewhere", "Content-Encoding: gzip"]
    answer = sends(http(bomb(1), status="302 Found", headers=headers))
    tracemalloc.start()
    try:
        error = failure(answer, max_bytes=1 * MiB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert isinstance(error, InvalidResponse)
    assert peak < 8 * MiB


def test_answer_as_large_as_allowed_is_read() -> None:
    body = b'{"a": "' + b"x" * (MiB - 9) + b'"}'
    with RawServer(sends(http(body))) as server:
        assert len(str(make_client(server.url, max_bytes=MiB).get("/x")["a"])) == MiB - 9


# --- Content --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_answer_is_read(encoding: str) -> None:
    body = gzip.compress(b'{"a": 1}') if encoding == "gzip" else zlib.compress(b'{"a": 1}')
    with RawServer(sends(http(body, headers=[f"Content-Encoding: {encoding}"]))) as server:
        assert make_client(server.url).get("/x") == {"a": 1}


def test_chunked_answer_is_read() -> None:
    answer = sends(HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n')
    with RawServer(answer) as server:
        assert make_client(server.url).get("/x") == {"a": 1}


def test_answer_without_a_length_is_read_to_its_end() -> None:
    with RawServer(sends(HEAD + b'\r\n{"a": 1}', closes=True)) as server:
        assert make_client(server.url).get("/x") == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sends(http(b'{"a": ', length=500), closes=True), id="shorter than its length"),
        pytest.param(sends(http(b'{"a": ')), id="half a JSON object"),
        pytest.param(sends(http(b'{"a": {"b": 1}')), id="half a JSON object that ends in a brace"),
        pytest.param(sends(http(b'{"a": "b')), id="half a string"),
        pytest.param(sends(http('{"a": "é'.encode()[:-1])), id="half a character"),
        pytest.param(
            sends(HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n', closes=True),
            id="chunks without end",
        ),
        pytest.param(
            sends(HEAD + b'Transfer-Encoding: chunked\r\n\r\n9\r\n{"a"', closes=True), id="half a chunk"
        ),
        pytest.param(
            sends(http(gzip.compress(b'{"a": 1}' * 99)[:-20], headers=["Content-Encoding: gzip"])),
            id="half a gzip",
        ),
    ],
)
def test_answer_that_ends_in_the_middle_is_truncated(answer: Answer) -> None:
    assert isinstance(failure(answer), TruncatedResponse)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"  \n", id="blank"),
        pytest.param(b"<html><body>Maintenance</body></html>", id="HTML"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"5"', id="string"),
        pytest.param(b"true", id="true"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": -Infinity}', id="infinity"),
        pytest.param(b'{"a": 1e999}', id="overflowing float"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="giant integer"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="deep"),
        pytest.param(b"[" * 1_000_000, id="deep and unfinished"),
        pytest.param(b'{"a": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"a": 1} trailing}', id="trailing text"),
    ],
)
def test_answer_that_is_no_json_object_is_invalid_and_not_truncated(body: bytes) -> None:
    error = failure(sends(http(body)))

    assert type(error) is InvalidResponse


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sends(http(b"not gzip", headers=["Content-Encoding: gzip"])), id="not gzip"),
        pytest.param(
            sends(http(b"x", headers=["Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip"])),
            id="many encodings",
        ),
        pytest.param(sends(http(b"", status="204 No Content")), id="204"),
        pytest.param(sends(http(b"{}", headers=["Content-Length: 3"])), id="two lengths"),
    ],
)
def test_answer_that_cannot_be_decoded_is_invalid(answer: Answer) -> None:
    assert isinstance(failure(answer), InvalidResponse)


# --- Connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sends(b"", closes=True), id="closed without a word"),
        pytest.param(resets(), id="reset before the answer"),
        pytest.param(resets(http(b'{"a"', length=500)), id="reset in the body"),
        pytest.param(sends(b"SSH-2.0-OpenSSH_9.2\r\n", closes=True), id="not HTTP"),
    ],
)
def test_broken_connection_is_a_failed_connection(answer: Answer) -> None:
    assert isinstance(failure(answer), ConnectionFailed)


def closed_port() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place: tuple[str, int] = server.getsockname()
    return place


def told(url: str, caplog: pytest.LogCaptureFixture, **bounds: Any) -> SoundchartsError:
    """Return the error of a call, which the log must name by its code."""
    with caplog.at_level("INFO", logger="soundcharts"), pytest.raises(ConnectionFailed) as raised:
        make_client(url, **bounds).get("/x")
    assert f"GET /x - {raised.value.code} " in caplog.text
    return raised.value


def test_refused_connection_is_told(caplog: pytest.LogCaptureFixture) -> None:
    error = told(f"http://127.0.0.1:{closed_port()[1]}", caplog)

    assert (type(error), error.code) == (ConnectionRefused, "connection_refused")
    assert "refused the connection" in str(error)


@pytest.mark.parametrize(
    ("number", "words"), [(socket.EAI_NONAME, "was not found"), (socket.EAI_AGAIN, "No DNS server")]
)
def test_unknown_host_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, words: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(number, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    error = told("https://unknown.example", caplog)

    assert (type(error), error.code) == (HostNotFound, "dns_failed")
    assert words in str(error)


def test_host_that_says_nothing_is_told(silent: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    error = told(f"http://127.0.0.1:{silent[1]}", caplog, deadline=30.0, connect_timeout=0.3)

    assert (type(error), error.code) == (ConnectTimedOut, "connect_timeout")


def test_tls_handshake_that_never_ends_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with RawServer(hangs()) as server:
        url = server.url.replace("http:", "https:")
        error = told(url, caplog, deadline=30.0, connect_timeout=0.3)

    assert (error.code, "secure" in str(error)) == ("connect_timeout", True)


def test_server_without_a_trusted_certificate_gets_no_key() -> None:
    # An HTTP server answers the TLS greeting with something that is no TLS.
    with RawServer(sends(b"HTTP/1.1 400 Bad Request\r\n\r\n", closes=True)) as server:
        with pytest.raises(TlsFailed, match="does not speak TLS"):
            make_client(server.url.replace("http:", "https:"), deadline=30.0).get("/x")

        assert API_KEY.encode() not in b"".join(server.requests)


def test_redirect_is_not_followed_and_the_key_not_sent_on() -> None:
    with RawServer(sends(http())) as thief:
        redirect = http(b"", status="302 Found", headers=[f"Location: {thief.url}/steal"])

        error = failure(sends(redirect))

        assert (type(error), error.status) == (InvalidResponse, 302)
        assert thief.requests == []


@pytest.mark.parametrize("location", ["http://[", "//", "\x80\xff", "javascript:x", ""])
def test_redirect_to_nonsense_is_an_invalid_response(location: str) -> None:
    answer = b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % location.encode("latin-1")

    assert type(failure(sends(answer))) is InvalidResponse


def test_cookies_are_neither_kept_nor_sent() -> None:
    with RawServer(sends(http(headers=["Set-Cookie: a=b; Path=/"]))) as server:
        client = make_client(server.url)
        client.get("/x")
        client.get("/x")

        assert b"cookie" not in server.requests[1].lower()


def test_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    with RawServer(sends(http())) as server:
        assert make_client(server.url).get("/x") == {}


def test_connection_is_kept_after_a_whole_answer_and_dropped_after_half_a_one() -> None:
    with RawServer(
        sends(http()), sends(http()), sends(http(b"", length=10, status="500 Oops")), sends(http())
    ) as server:
        client = make_client(server.url)
        client.get("/x")
        client.get("/x")
        assert server.connections == 1

        with pytest.raises(SoundchartsError):
            client.get("/x")
        client.get("/x")
        assert server.connections == 2


def test_every_thread_has_a_connection_of_its_own() -> None:
    with RawServer(sends(http())) as server:
        client = make_client(server.url)
        threads = [threading.Thread(target=client.get, args=("/x",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert server.connections == 3


def test_forked_child_does_not_use_its_parents_connection() -> None:
    with RawServer(sends(http())) as server:
        client = make_client(server.url)
        client.get("/x")
        child = os.fork()
        if child == 0:
            try:
                client.get("/x")
            finally:
                os._exit(0)
        os.waitpid(child, 0)

        assert server.connections == 2


# --- Translation ----------------------------------------------------------------------------------


def exceptions_of(*modules: ModuleType) -> list[type[Exception]]:
    found = {
        each
        for module in modules
        for name, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception) and not issubclass(each, Warning) and not name.startswith("_")
    }
    return sorted(found, key=lambda each: (each.__module__, each.__name__))


LIBRARY_ERRORS = [
    *exceptions_of(requests.exceptions, urllib3.exceptions, http_client, ssl, socket),
    *(UnicodeDecodeError, RecursionError, ConnectionResetError, BrokenPipeError, TimeoutError),
]


@pytest.mark.parametrize("kind", LIBRARY_ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_no_error_of_the_libraries_escapes(kind: type[Exception]) -> None:
    error = kind.__new__(kind)

    assert isinstance(error, LOWER_LEVEL_ERRORS)
    assert type(translate(error, path="/x")) in {
        *(ConnectionFailed, HostNotFound, ConnectTimedOut, TlsFailed, ProxyFailed),
        *(DeadlineExceeded, InvalidRequest, InvalidResponse, TruncatedResponse),
    }


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (requests.ConnectTimeout(), ConnectTimedOut),
        (requests.ReadTimeout(), DeadlineExceeded),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", TimeoutError())),
            DeadlineExceeded,
        ),
        (requests.exceptions.SSLError(), TlsFailed),
        (requests.exceptions.ChunkedEncodingError(), TruncatedResponse),
        (requests.exceptions.ContentDecodingError(), InvalidResponse),
        (requests.exceptions.InvalidURL(), InvalidRequest),
        (requests.TooManyRedirects(), InvalidResponse),
        (requests.exceptions.SSLError(ssl.SSLEOFError()), ConnectionFailed),
        (requests.exceptions.ProxyError(), ProxyFailed),
        (ssl.SSLCertVerificationError(), TlsFailed),
        (http_client.BadStatusLine("x"), ConnectionFailed),
        (ConnectionResetError(), ConnectionFailed),
        (ValueError(), InvalidResponse),
        (RecursionError(), InvalidResponse),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
def test_error_of_the_libraries_becomes_what_it_means(
    error: Exception, meaning: type[SoundchartsError]
) -> None:
    assert type(translate(error)) is meaning
