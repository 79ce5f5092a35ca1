"""Calls through a proxy, and to servers whose certificates are signed by an authority of one's own."""

from __future__ import annotations

import logging
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.test import override_settings

from soundcharts.credentials import OAuthCredentials, check_proxy_url
from soundcharts.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidResponse,
    ProxyFailed,
    SoundchartsError,
    TlsFailed,
)
from soundcharts.service import get_service
from soundcharts.tests.doubles import API_KEY, make_client
from soundcharts.tests.proxy import Proxy
from soundcharts.tests.raw_server import Answer, RawServer, drips, hangs, http, repeats, sends
from soundcharts.tests.test_transport import closed_port

PASSWORD = "p@ss:w/rd"
AUTHORITY = trustme.CA()


@pytest.fixture
def ca_bundle(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def tls_server(
    *answers: Answer, names: tuple[str, ...] = ("127.0.0.1", "api.example"), **kwargs: Any
) -> RawServer:
    return RawServer(*answers, tls=context_of(AUTHORITY.issue_cert(*names, **kwargs)))


# --- A CA bundle ----------------------------------------------------------------------------------


def test_a_server_whose_certificate_is_signed_by_the_bundle_is_trusted(ca_bundle: str) -> None:
    with tls_server(sends(http(b'{"a": 1}'))) as server:
        assert make_client(server.url, ca_bundle=ca_bundle).get("/x") == {"a": 1}


@pytest.mark.parametrize(
    ("names", "expires", "is_trusting", "words"),
    [
        (("127.0.0.1",), None, False, "is not signed by a trusted authority"),
        (("other.example",), None, True, "another"),
        (("127.0.0.1",), datetime(2020, 1, 2, tzinfo=UTC), True, "has expired"),
    ],
    ids=["unknown authority", "another host", "expired"],
)
def test_a_certificate_that_is_not_trusted_is_told_and_no_key_is_sent(
    ca_bundle: str, names: tuple[str, ...], expires: datetime | None, is_trusting: bool, words: str
) -> None:
    kwargs = {"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": expires} if expires else {}
    with tls_server(sends(http()), names=names, **kwargs) as server, pytest.raises(TlsFailed, match=words):
        make_client(server.url, ca_bundle=ca_bundle if is_trusting else "").get("/x")

    assert server.requests == []


def test_tokens_come_from_a_server_of_the_bundle(ca_bundle: str) -> None:
    token = http(b'{"access_token": "t", "token_type": "bearer", "expires_in": 9}')
    with tls_server(sends(token)) as issuer, tls_server(sends(http(b'{"a": 1}'))) as server:
        credentials = OAuthCredentials("client", "secret", auth_url=f"{issuer.url}/token")
        client = make_client(server.url, credentials=credentials, ca_bundle=ca_bundle)

        assert client.get("/x") == {"a": 1}


# --- A proxy --------------------------------------------------------------------------------------


@pytest.fixture(params=["http", "https"])
def through(
    request: pytest.FixtureRequest, ca_bundle: str
) -> Callable[..., SoundchartsError | dict[str, object]]:
    """A function that makes a call of a server with that answer through a proxy; by both schemes."""

    def call(answer: Answer, proxy: Proxy, **kwargs: Any) -> SoundchartsError | dict[str, object]:
        with proxy, tls_server(answer) if request.param == "https" else RawServer(answer) as server:
            host = server.url.replace("127.0.0.1", "api.example")
            client = make_client(host, **{"proxy": proxy.url} | kwargs, ca_bundle=ca_bundle)
            try:
                return client.get("/x")
            except SoundchartsError as error:
                return error

    return call


def test_a_call_goes_through_the_proxy_which_resolves_the_name(through: Any) -> None:
    proxy = Proxy()

    assert through(sends(http(b'{"a": 1}')), proxy) == {"a": 1}

    (head,) = proxy.heads
    assert b"api.example" in head.split(b"\r\n")[0]
    if head.startswith(b"CONNECT"):
        assert API_KEY.encode() not in head


def test_the_user_and_password_are_sent_to_the_proxy_and_to_nobody_else(ca_bundle: str) -> None:
    with Proxy(user="me", password=PASSWORD) as proxy, tls_server(sends(http(b'{"a": 1}'))) as server:
        url = f"http://me:p%40ss%3Aw%2Frd@{proxy.host}"

        assert make_client(server.url, proxy=url, ca_bundle=ca_bundle).get("/x") == {"a": 1}
        assert b"proxy-authorization" not in server.requests[0].lower()


def test_tokens_come_through_the_proxy_too(ca_bundle: str) -> None:
    token = http(b'{"access_token": "t", "token_type": "bearer", "expires_in": 9}')
    with Proxy() as proxy, RawServer(sends(token)) as issuer, tls_server(sends(http())) as server:
        credentials = OAuthCredentials("client", "secret", auth_url=f"{issuer.url}/token")
        make_client(server.url, credentials=credentials, proxy=proxy.url, ca_bundle=ca_bundle).get("/x")

    assert [head.split()[:2] for head in proxy.heads] == [
        [b"POST", f"{issuer.url}/token".encode()],
        [b"CONNECT", server.url.removeprefix("https://").encode()],
    ]


def test_the_settings_say_which_proxy_and_whom_to_trust(ca_bundle: str) -> None:
    usage = http(b'{"object": {"quota": {"total": 10, "used": 5}}}')
    with Proxy() as proxy, tls_server(sends(usage)) as server:
        with override_settings(
            SOUNDCHARTS_API_URL=server.url, SOUNDCHARTS_PROXY=proxy.url, SOUNDCHARTS_CA_BUNDLE=ca_bundle
        ):
            get_service(interactive=True).get_usage()

        assert len(proxy.heads) == len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (b"407 Proxy Authentication Required", "refused the user or password"),
        (b"403 Forbidden", "does not allow connections to Soundcharts"),
        (b"502 Bad Gateway", "could not reach Soundcharts"),
        (b"504 Gateway Timeout", "did not reach Soundcharts in time"),
        (b"418 Oops", "refused to connect"),
    ],
)
def test_a_tunnel_that_the_proxy_refuses_is_told_in_words(status: bytes, words: str, ca_bundle: str) -> None:
    with Proxy(refusal=b"HTTP/1.1 " + status + b"\r\n\r\n") as proxy, tls_server(sends(http())) as server:
        with pytest.raises(ProxyFailed, match=words) as raised:
            make_client(server.url, proxy=proxy.url, ca_bundle=ca_bundle).get("/x")

        assert (raised.value.code, str(status[:3], "ascii") in str(raised.value)) == ("proxy_failed", True)
        assert server.requests == []


def test_a_proxy_that_wants_a_password_is_told_for_both_schemes(through: Any) -> None:
    error = through(sends(http()), Proxy(user="me", password=PASSWORD))

    assert (type(error), error.status) == (ProxyFailed, 407)
    assert "user or password" in str(error)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_told(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client(f"{scheme}://api.example", proxy=f"http://127.0.0.1:{closed_port()[1]}")
    with pytest.raises(ProxyFailed, match="proxy refused the connection"):
        client.get("/x")

    def fail(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ProxyFailed, match="proxy's host name was not found"):
        make_client(f"{scheme}://api.example", proxy="http://proxy.example:3128").get("/x")


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (sends(b"SSH-2.0-OpenSSH_9.2\r\n", closes=True), ProxyFailed),
        (sends(b"", closes=True), ProxyFailed),
        (hangs(), DeadlineExceeded),
        (drips(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500), DeadlineExceeded),
        (repeats(b"X-Header: " + b"x" * 60000 + b"\r\n", first=b"HTTP/1.1 200 OK\r\n"), InvalidResponse),
    ],
    ids=["no proxy", "closes", "hangs", "drips", "endless"],
)
def test_a_tunnel_that_does_not_come_about_ends_within_the_bounds(
    answer: Answer, meaning: type[SoundchartsError]
) -> None:
    with RawServer(answer) as proxy:
        started_at = time.monotonic()
        with pytest.raises(SoundchartsError) as raised:
            make_client("https://api.example", proxy=proxy.url, deadline=2.0, max_bytes=1024 * 1024).get("/x")

    assert isinstance(raised.value, meaning | ConnectionFailed if meaning is InvalidResponse else meaning)
    assert time.monotonic() - started_at < 20


def test_a_slow_answer_through_the_proxy_is_cut_at_the_deadline(through: Any) -> None:
    error = through(drips(b" " * 500, first=http(b"", length=500)), Proxy(), deadline=1.0)

    assert isinstance(error, DeadlineExceeded)


def test_a_large_answer_through_the_proxy_is_cut_at_its_size(through: Any) -> None:
    endless = repeats(b" " * 65536, first=http(b"", length=10**12))

    assert isinstance(through(endless, Proxy(), deadline=60.0, max_bytes=1024 * 1024), InvalidResponse)


def test_the_password_of_the_proxy_is_nowhere_to_be_seen(caplog: pytest.LogCaptureFixture) -> None:
    refusal = b"HTTP/1.1 407 No, not with p@ss:w/rd\r\n\r\n"
    with caplog.at_level(logging.DEBUG), Proxy(refusal=refusal) as proxy:
        client = make_client("https://api.example", proxy=f"http://me:p%40ss%3Aw%2Frd@{proxy.host}")
        with pytest.raises(ProxyFailed) as raised:
            client.get("/x")

    seen = "".join([caplog.text, repr(client), repr(raised.value), *traceback.format_exception(raised.value)])
    for secret in (PASSWORD, "p%40ss%3Aw%2Frd"):
        assert secret not in seen


@pytest.mark.parametrize(
    "url", ["http://proxy.example:3128", "http://me:secret@10.0.0.1:80/", "http://[::1]:3128"]
)
def test_a_proxy_url_that_is_one_is_taken(url: str) -> None:
    check_proxy_url("The proxy", url)


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:3128",
        "http://proxy.example",
        "https://me:hunter2@proxy.example:3128",
        "socks5://me:hunter2@proxy.example:3128",
        "http://me:hunter2@proxy.example:3128/path",
        "http://me:hunter2@proxy.example:99999",
        "http://me:hunter 2@proxy.example:3128",
    ],
)
def test_a_proxy_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="must look like http://host:port") as raised:
        check_proxy_url("SOUNDCHARTS_PROXY", url)

    assert "hunter" not in str(raised.value)
