"""Turn credentials into the headers that prove them, fetching OAuth tokens when they are needed."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import requests

from soundcharts.credentials import ApiKeyCredentials, Credentials, OAuthCredentials
from soundcharts.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    InvalidResponse,
    RateLimited,
    SoundchartsError,
    UpstreamUnavailable,
)
from soundcharts.fields import decode_json
from soundcharts.payloads import AccessToken, parse_token
from soundcharts.refusals import rate_pause_in, was_not_taken
from soundcharts.transport import CALL_ERRORS, HeaderAuth, Transport, translate

# A token is renewed this many seconds before it ends, so that none dies on its way.
RENEW_BEFORE = 60.0


class Authorization(Protocol):
    """What a client asks before every call."""

    def auth(self, *, seconds: float) -> HeaderAuth:
        """Return the headers for a call, within that many seconds. Raises SoundchartsError."""

    def forget(self, auth: HeaderAuth) -> bool:
        """Drop headers that were answered by 401. Return whether others may do better."""


def authorize(credentials: Credentials, *, transport: Transport) -> Authorization:
    """Return the way to authorize calls with these credentials."""
    if isinstance(credentials, OAuthCredentials):
        return TokenAuthorization(credentials, transport=transport)
    return ApiKeyAuthorization(credentials)


class ApiKeyAuthorization:
    """The same two headers, always."""

    def __init__(self, credentials: ApiKeyCredentials) -> None:
        self._auth = HeaderAuth({"x-app-id": credentials.app_id, "x-api-key": credentials.api_key})

    def auth(self, *, seconds: float) -> HeaderAuth:
        """Return the headers."""
        return self._auth

    def forget(self, auth: HeaderAuth) -> bool:
        """Return False: there are no others."""
        return False


class TokenAuthorization:
    """A bearer token, fetched once for all threads and again shortly before it ends.

    Soundcharts issues no refresh tokens: the client credentials are simply sent again.
    """

    def __init__(self, credentials: OAuthCredentials, *, transport: Transport) -> None:
        self._credentials = credentials
        self._transport = transport
        self._lock = threading.Lock()
        self._auth: HeaderAuth | None = None
        self._renew_at = 0.0

    def auth(self, *, seconds: float) -> HeaderAuth:
        """Return the header with a living token, waiting if another thread is fetching one.

        Raises AuthenticationFailed if the client is not accepted, DeadlineExceeded when `seconds` were
        not enough, and what else may befall a call.
        """
        give_up_at = time.monotonic() + seconds
        auth = self._current()
        if auth is not None:
            return auth
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise DeadlineExceeded
        try:
            auth = self._current()
            if auth is None:
                seconds = give_up_at - time.monotonic()
                if seconds <= 0:
                    raise DeadlineExceeded
                token = self._fetch_token(seconds=seconds)
                auth = HeaderAuth({"Authorization": f"Bearer {token.value}"})
                # Of a token that lives for less than two minutes, half of the life is used.
                life = max(token.expires_in - RENEW_BEFORE, token.expires_in / 2)
                self._renew_at = time.monotonic() + life
                self._auth = auth
            return auth
        finally:
            self._lock.release()

    def forget(self, auth: HeaderAuth) -> bool:
        """Drop the token, unless another thread has replaced it already. Return True: ask for another."""
        with self._lock:
            if self._auth is auth:
                self._auth = None
        return True

    def _current(self) -> HeaderAuth | None:
        auth = self._auth
        return auth if time.monotonic() < self._renew_at else None

    def _fetch_token(self, *, seconds: float) -> AccessToken:
        credentials = self._credentials
        path = urlsplit(credentials.auth_url).path
        form = {"grant_type": "client_credentials"}
        if credentials.team_id:
            form["team_id"] = credentials.team_id
        try:
            with self._transport.send(
                "POST", credentials.auth_url, auth=_basic_auth(credentials), data=form, seconds=seconds
            ) as response:
                error = _token_error(response, path=path, read=lambda: self._transport.read_body(response))
                if error is not None:
                    raise error
                return parse_token(decode_json(self._transport.read_body(response)))
        except CALL_ERRORS as error:
            raise translate(error, path=path) from None


def _basic_auth(credentials: OAuthCredentials) -> HeaderAuth:
    pair = f"{credentials.client_id}:{credentials.client_secret}"
    return HeaderAuth({"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()})


def _token_error(
    response: requests.Response, *, path: str, read: Callable[[], bytes]
) -> SoundchartsError | None:
    """Return the error that an answer of the auth server means, None for a success.

    A refusal is about the client, or about the address of the auth server. It is JSON (RFC 6749, section 5.2)
    or empty; a page beside any status but 401 comes from a gateway, so it is an outage. No refusal may become
    NotFound or InvalidRequest, which would be held against the song.
    """
    status = response.status_code
    if 200 <= status < 300:
        return None
    if status == 429:
        return RateLimited(status=status, path=path, retry_after=rate_pause_in(response))
    if was_not_taken(status):
        return UpstreamUnavailable(status=status, path=path)
    if 400 <= status < 500:
        if status != 401 and _is_page(read):
            return UpstreamUnavailable(
                f"A gateway or proxy answered instead of Soundcharts' auth server (HTTP {status}).",
                status=status,
                path=path,
            )
        return AuthenticationFailed(
            "Soundcharts gives us no access token. Check the OAuth client, its secret and the auth URL.",
            status=status,
            path=path,
        )
    return InvalidResponse(status=status, path=path)


def _is_page(read: Callable[[], bytes]) -> bool:
    body = read()
    try:
        decode_json(body)
    except InvalidResponse:
        return bool(body.strip())
    return False
