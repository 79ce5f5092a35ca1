"""What Soundcharts answers stands in the debug log, without a secret."""

from __future__ import annotations

import base64
import gzip
import html
import json
import logging
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from soundcharts.credentials import ApiKeyCredentials, OAuthCredentials
from soundcharts.errors import SoundchartsError
from soundcharts.redaction import excerpt
from soundcharts.tests.doubles import make_client
from soundcharts.tests.proxy import Proxy
from soundcharts.tests.raw_server import RawServer, drips, http, sends

KEY = 'k/e"y<&+of=the?tests'
KEYS = ApiKeyCredentials("the-app", KEY)


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, logger="soundcharts"):
        yield


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "soundcharts.responses"]


def answered(caplog: pytest.LogCaptureFixture, answer: bytes, *, path: str = "/x") -> str:
    """Return the line of the log for this answer."""
    with RawServer(sends(answer)) as server:
        try:
            make_client(server.url, credentials=KEYS).get(path)
        except SoundchartsError as error:
            assert KEY not in str(error)  # noqa: PT017
    # A 429 is met several times.
    (line,) = set(logged(caplog))
    return line


def test_an_answer_is_logged_with_its_status_headers_and_body(caplog: pytest.LogCaptureFixture) -> None:
    headers = ["x-quota-remaining: 5", "Content-Type: application/json", "Set-Cookie: a=b"]

    line = answered(caplog, http(b'{"name":\n "bad guy \xc3\xa9"}', headers=headers), path="/x?limit=5")

    assert line.startswith("GET /x?limit=5 200 ")
    assert "x-quota-remaining: 5" in line
    assert line.endswith('{"name":  "bad guy é"}')
    assert "Set-Cookie" not in line


@pytest.mark.parametrize(
    "status", ["400 Bad", "404 Not Found", "429 Slow", "500 Oops", "302 Found", "407 Proxy"]
)
def test_a_refusal_is_logged_with_what_it_says(caplog: pytest.LogCaptureFixture, status: str) -> None:
    line = answered(caplog, http(b'{"errors": [{"message": "because"}]}', status=status))

    assert f" {status[:3]} " in line
    assert "because" in line


def test_an_answer_that_does_not_end_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    slow = drips(b"x" * 500, first=http(b'{"object": {"name": "bad guy", ', length=1000))
    with RawServer(slow) as server, pytest.raises(SoundchartsError):
        make_client(server.url, deadline=0.6).get("/x")

    (line,) = logged(caplog)
    assert line.startswith("GET /x 200 Content-Length: 1000")


def test_only_the_first_two_kilobytes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    line = answered(caplog, http(json.dumps({"a": "x" * 100_000}).encode()))

    assert len(line) < 2048 + 300
    assert line.endswith(" …")


def test_a_compressed_answer_is_logged_as_text(caplog: pytest.LogCaptureFixture) -> None:
    body = gzip.compress(b'{"name": "bad guy"}')

    assert "bad guy" in answered(caplog, http(body, headers=["Content-Encoding: gzip"]))


@pytest.mark.parametrize(
    "body",
    [b"\x89PNG\r\n\0\0", bytes(range(128, 256)) * 20, gzip.compress(b'{"name": "bad guy"}' * 9, mtime=0)],
    ids=["picture", "bytes", "gzip"],
)
def test_no_binary_garbage_is_logged(caplog: pytest.LogCaptureFixture, body: bytes) -> None:
    line = answered(caplog, http(body))

    assert line.isprintable()
    assert line.endswith("bytes that are no text)")


def test_control_characters_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    line = answered(caplog, http(b'{"a": 1}\r\n2026-11-27 ERROR catalog forged \x1b[31m line'))

    assert line.isprintable()


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        json.dumps(KEY),
        json.dumps(KEY).replace("/", r"\/"),
        "".join(f"\\u{ord(each):04X}" for each in KEY),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower(),
        html.escape(KEY),
        f"x-api-key: {KEY}",
        f"https://me:{KEY}@host/",
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "503 Oops"])
@pytest.mark.parametrize("before", [0, 2040, 2048 * 16 - 5])
def test_our_key_is_hidden_however_it_is_echoed(
    caplog: pytest.LogCaptureFixture, written: str, status: str, before: int
) -> None:
    body = f"{'x' * before} {written} ".encode()
    answered(caplog, http(body, status=status, headers=[f"Location: /?key={KEY}"]))

    hidden = re.sub(r"\W", "", KEY)
    assert KEY not in caplog.text
    assert written not in caplog.text
    assert hidden not in re.sub(r"\W", "", caplog.text)


def test_a_secret_cut_at_the_end_of_what_is_looked_at_is_not_shown() -> None:
    # Everything before it is hidden, so that the end of what was looked at is shown.
    body = f"{KEY} " * 4000

    shown = excerpt(body.encode(), secrets=[KEY], length=2048)

    assert shown.startswith("[hidden] [hidden]")
    assert not [at for at in range(len(KEY) - 2) if KEY[at : at + 3] in shown]


@pytest.mark.parametrize(
    "body",
    [
        '{"access_token": "hunter2", "a": 1}',
        '{"refresh_token" : "hunter2',
        r'{"client_secret": "x\"hunter2", "a": 1}',
        '{"apiKey": "hunter2"}',
        '{"X-Api-Key":"hunter2"}',
        "access_token=hunter2&a=1",
        "Authorization: Bearer hunter2",
        'curl -H "Authorization: Basic hunter2=="',
        '{"url": "https://me:hunter2@host/x"}',
        '{"url": "https://host/x?a=1&X-Amz-Signature=hunter2&b=2"}',
        '{"password": "hunter2"}',
        '{"mail": "hunter2@example.com"}',
    ],
)
def test_what_looks_like_a_secret_is_hidden(body: str) -> None:
    shown = excerpt(body.encode(), secrets=[], length=2048)

    assert "hunter2" not in shown
    assert "[" in shown


def test_tokens_and_the_secret_that_buys_them_are_hidden(caplog: pytest.LogCaptureFixture) -> None:
    secret, token = "the-client-secret", "the-token"
    pair = base64.b64encode(f"client:{secret}".encode()).decode()
    grant = {"access_token": token, "token_type": "bearer", "expires_in": 3600, "echo": [secret, pair]}
    with (
        RawServer(sends(http(json.dumps(grant).encode()))) as issuer,
        RawServer(sends(http(json.dumps({"a": [token, secret]}).encode()))) as server,
    ):
        credentials = OAuthCredentials("client", secret, auth_url=f"{issuer.url}/token")
        make_client(server.url, credentials=credentials).get("/x")

    assert len(logged(caplog)) == 2
    for hidden in (secret, token, pair):
        assert hidden not in caplog.text


def test_the_password_of_the_proxy_is_hidden(caplog: pytest.LogCaptureFixture) -> None:
    pair = base64.b64encode(b"me:p@ss").decode()
    body = json.dumps({"a": ["p@ss", "p%40ss", pair]}).encode()
    with Proxy(user="me", password="p@ss") as proxy, RawServer(sends(http(body))) as server:
        make_client(server.url, proxy=f"http://me:p%40ss@{proxy.host}").get("/x")

    (line,) = logged(caplog)
    assert '"a"' in line
    for hidden in ("p@ss", "p%40ss", pair):
        assert hidden not in caplog.text


def test_answers_are_not_logged_unless_debugging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="soundcharts"), RawServer(sends(http())) as server:
        make_client(server.url).get("/x")

    assert logged(caplog) == []
    assert "GET /x 200" in caplog.text


def test_the_key_of_the_sandbox_hides_no_word_of_our_own_messages() -> None:
    sandbox = ApiKeyCredentials("soundcharts", "soundcharts")
    with RawServer(sends(http(b"<html>"))) as server, pytest.raises(SoundchartsError) as raised:
        make_client(server.url, credentials=sandbox).get("/x")

    assert str(raised.value).startswith("Soundcharts ")
