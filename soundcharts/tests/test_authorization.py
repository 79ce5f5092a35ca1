from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
import responses

from soundcharts.client import SoundchartsClient
from soundcharts.credentials import OAuthCredentials
from soundcharts.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidResponse,
    RateLimited,
    SoundchartsError,
    UpstreamUnavailable,
)
from soundcharts.metering import count_calls
from soundcharts.tests.doubles import FakeLimiter, make_client
from soundcharts.tests.raw_server import RawServer, hangs, http, sends

URL = "https://api.example/x"
AUTH_URL = "https://account.example/oauth/token"
SECRET = "the-client-secret"


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def oauth_client(*, team_id: str | None = None, auth_url: str = AUTH_URL, **kwargs: Any) -> SoundchartsClient:
    return make_client(
        credentials=OAuthCredentials("client", SECRET, team_id=team_id, auth_url=auth_url), **kwargs
    )


def issues(api: responses.RequestsMock, *tokens: str, expires_in: object = 3600) -> None:
    for token in tokens:
        api.post(AUTH_URL, json={"access_token": token, "token_type": "bearer", "expires_in": expires_in})


def sent_tokens(api: responses.RequestsMock) -> list[str]:
    return [call.request.headers["Authorization"] for call in api.calls if call.request.url == URL]


def test_token_is_asked_for_with_basic_auth_and_a_form(api: responses.RequestsMock) -> None:
    issues(api, "token-1")
    api.get(URL, json={})

    oauth_client(team_id="team").get("/x")

    request = api.calls[0].request
    assert request.headers["Authorization"] == "Basic Y2xpZW50OnRoZS1jbGllbnQtc2VjcmV0"
    assert parse_qs(str(request.body)) == {"grant_type": ["client_credentials"], "team_id": ["team"]}
    assert sent_tokens(api) == ["Bearer token-1"]


def test_token_serves_many_calls(api: responses.RequestsMock) -> None:
    issues(api, "token-1", "token-2")
    api.get(URL, json={})
    client = oauth_client()

    client.get("/x")
    client.get("/x")

    assert sent_tokens(api) == ["Bearer token-1"] * 2


def test_token_is_renewed_before_it_ends(
    api: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    issues(api, "token-1", "token-2")
    api.get(URL, json={})
    client = oauth_client()
    client.get("/x")

    now = time.monotonic()
    monkeypatch.setattr("soundcharts.authorization.time.monotonic", lambda: now + 3600 - 59)
    client.get("/x")

    assert sent_tokens(api) == ["Bearer token-1", "Bearer token-2"]


def test_token_that_ages_while_a_turn_is_waited_for_is_renewed_before_it_is_sent(
    api: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    issues(api, "token-1", "token-2", expires_in=120)
    api.get(URL, json={})

    class SlowLimiter(FakeLimiter):
        def acquire(self, *, interactive: bool, max_wait: float) -> None:
            super().acquire(interactive=interactive, max_wait=max_wait)
            later = time.monotonic() + 80
            monkeypatch.setattr("soundcharts.authorization.time.monotonic", lambda: later)

    oauth_client(limiter=SlowLimiter()).get("/x")

    assert sent_tokens(api) == ["Bearer token-2"]


def test_short_lived_token_is_used_for_half_of_its_life(api: responses.RequestsMock) -> None:
    issues(api, "token-1", "token-2", expires_in=30)
    api.get(URL, json={})
    client = oauth_client()

    client.get("/x")
    client.get("/x")

    assert sent_tokens(api) == ["Bearer token-1"] * 2


def test_401_gets_another_token_once_and_uses_up_no_retry(api: responses.RequestsMock) -> None:
    issues(api, "token-1", "token-2")
    api.get(URL, status=401)
    api.get(URL, json={"ok": True})

    assert oauth_client(max_retries=0).get("/x") == {"ok": True}
    assert sent_tokens(api) == ["Bearer token-1", "Bearer token-2"]


def test_second_401_is_an_authentication_error(api: responses.RequestsMock) -> None:
    issues(api, "token-1", "token-2", "token-3")
    api.get(URL, status=401)

    with pytest.raises(AuthenticationFailed) as raised:
        oauth_client(max_retries=3).get("/x")

    assert (raised.value.status, len(sent_tokens(api))) == (401, 2)


def test_401_with_an_api_key_is_final_at_once(api: responses.RequestsMock) -> None:
    api.get(URL, status=401)

    with pytest.raises(AuthenticationFailed):
        make_client(max_retries=3).get("/x")

    assert len(api.calls) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418])
def test_refusal_of_a_token_is_about_the_client_never_about_a_song(
    api: responses.RequestsMock, status: int
) -> None:
    api.post(AUTH_URL, status=status)

    with pytest.raises(AuthenticationFailed) as raised:
        oauth_client(max_retries=3).get("/x")

    assert (raised.value.status, raised.value.path, len(api.calls)) == (status, "/oauth/token", 1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"status": 500}, UpstreamUnavailable),
        ({"status": 302, "headers": {"Location": "https://thief.example"}}, InvalidResponse),
        ({"body": "<html>"}, InvalidResponse),
        ({"json": {"token": "x"}}, InvalidResponse),
        ({"json": {"access_token": "line\nbreak"}}, InvalidResponse),
        ({"json": []}, InvalidResponse),
    ],
)
def test_token_that_does_not_come_is_the_error_of_the_call(
    api: responses.RequestsMock, answer: dict[str, Any], kind: type[SoundchartsError]
) -> None:
    api.post(AUTH_URL, **answer)

    with pytest.raises(SoundchartsError) as raised:
        oauth_client().get("/x")

    assert type(raised.value) is kind


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_gateways_page_in_place_of_a_token_is_an_outage(api: responses.RequestsMock, status: int) -> None:
    api.post(AUTH_URL, status=status, body="<html><h1>Blocked</h1></html>")

    with pytest.raises(UpstreamUnavailable) as raised:
        oauth_client().get("/x")

    assert (raised.value.status, raised.value.path) == (status, "/oauth/token")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_in_json_is_about_the_client(api: responses.RequestsMock, status: int) -> None:
    api.post(AUTH_URL, status=status, json={"error": "invalid_client"})

    with pytest.raises(AuthenticationFailed):
        oauth_client().get("/x")


@pytest.mark.parametrize("status", [408, 425, 500, 503])
def test_failure_to_get_a_token_is_retried_like_a_call(
    api: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("soundcharts.client.FIRST_RETRY_WAIT", 0.0)
    api.post(AUTH_URL, status=status)
    issues(api, "token-1")
    api.get(URL, json={"ok": True})

    assert oauth_client(max_retries=1).get("/x") == {"ok": True}


def test_too_many_token_requests_are_a_rate_limit_that_pauses(api: responses.RequestsMock) -> None:
    api.post(AUTH_URL, status=429)
    limiter = FakeLimiter()

    with pytest.raises(RateLimited):
        oauth_client(limiter=limiter).get("/x")

    assert limiter.pauses == [60.0] * 4


def test_advice_to_wait_for_a_token_is_followed(api: responses.RequestsMock) -> None:
    api.post(AUTH_URL, status=429, headers={"Retry-After": "7"})
    issues(api, "token-1")
    api.get(URL, json={"ok": True})
    limiter = FakeLimiter()

    assert oauth_client(limiter=limiter).get("/x") == {"ok": True}
    assert limiter.pauses == [7]


def test_token_requests_are_neither_charged_nor_paced(api: responses.RequestsMock) -> None:
    issues(api, "token-1")
    api.get(URL, json={})
    limiter = FakeLimiter()

    with count_calls() as meter:
        oauth_client(limiter=limiter).get("/x")

    assert (meter.spent, len(limiter.acquired)) == (1, 1)


def test_no_turn_is_taken_when_there_is_no_token(api: responses.RequestsMock) -> None:
    api.post(AUTH_URL, status=401)
    limiter = FakeLimiter()

    with pytest.raises(AuthenticationFailed):
        oauth_client(limiter=limiter).get("/x")

    assert limiter.acquired == []


def test_neither_secret_nor_token_is_logged(
    api: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    issues(api, "token-1", "token-2")
    api.get(URL, json={"errors": [{"message": f"token-2 of {SECRET} is bad"}]}, status=401)
    caplog.set_level(logging.DEBUG)

    with pytest.raises(AuthenticationFailed) as raised:
        oauth_client().get("/x")

    assert "token-" not in caplog.text
    assert SECRET not in caplog.text
    assert str(raised.value).endswith("Soundcharts says: [hidden] of [hidden] is bad")


def test_threads_that_start_together_ask_for_one_token() -> None:
    token = http(b'{"access_token": "token-1", "expires_in": 3600}')
    with RawServer(sends(token, every=0.2)) as auth, RawServer(sends(http())) as api:
        client = oauth_client(url=api.url, auth_url=auth.url + "/oauth/token")
        threads = [threading.Thread(target=client.get, args=("/x",)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(auth.requests), len(api.requests)) == (1, 5)


def test_auth_server_that_hangs_costs_every_thread_one_deadline() -> None:
    errors: list[SoundchartsError] = []

    def call(client: SoundchartsClient) -> None:
        try:
            client.get("/x")
        except SoundchartsError as error:
            errors.append(error)

    with RawServer(hangs()) as auth:
        client = oauth_client(auth_url=auth.url + "/oauth/token", deadline=0.4)
        threads = [threading.Thread(target=call, args=(client,)) for _ in range(30)]
        started_at = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # One after the other they would take 12 s.
    assert time.monotonic() - started_at < 8
    assert [type(error) for error in errors] == [DeadlineExceeded] * 30


def test_auth_server_that_is_down_is_a_failed_connection() -> None:
    with RawServer(sends(b"", closes=True)) as auth, pytest.raises(ConnectionFailed):
        oauth_client(auth_url=auth.url + "/oauth/token").get("/x")
