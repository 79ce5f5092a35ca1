"""Who we are to Soundcharts: an app id with an API key, or an OAuth client.

Both kinds keep their secrets out of repr(), hence out of logs, and refuse text that cannot stand in an
HTTP header here, where the error can avoid quoting it (requests' own error would quote the whole key).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")

DEFAULT_AUTH_URL = "https://account.soundcharts.com/oauth/token"


@dataclass(frozen=True, slots=True)
class ApiKeyCredentials:
    """An app id and its API key, sent as `x-app-id` and `x-api-key`."""

    app_id: str
    api_key: str = field(repr=False)

    def __post_init__(self) -> None:
        check_header_text("The Soundcharts app id", self.app_id)
        check_header_text("The Soundcharts API key", self.api_key)

    @property
    def fingerprint(self) -> str:
        """Return a short stable name of the account, which is what limits and quotas belong to."""
        return _fingerprint("app", self.app_id)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return what must never be shown."""
        return (self.api_key,)


@dataclass(frozen=True, slots=True)
class OAuthCredentials:
    """An OAuth client, whose short-lived tokens are sent as `Authorization: Bearer`.

    `team_id` chooses one of several teams that the client may act for.
    """

    client_id: str
    client_secret: str = field(repr=False)
    team_id: str | None = None
    auth_url: str = DEFAULT_AUTH_URL

    def __post_init__(self) -> None:
        check_header_text("The Soundcharts client id", self.client_id)
        check_header_text("The Soundcharts client secret", self.client_secret)
        check_service_url("The Soundcharts auth URL", self.auth_url)

    @property
    def fingerprint(self) -> str:
        """Return a short stable name of the account, which is what limits and quotas belong to."""
        return _fingerprint("oauth", self.client_id, self.team_id or "")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return what must never be shown."""
        return (self.client_secret,)


Credentials = ApiKeyCredentials | OAuthCredentials


def check_service_url(what: str, url: str) -> None:
    """Raise ValueError unless `url` is http(s) with a host, and without a user, query or fragment."""
    try:
        parts = urlsplit(url)
        is_usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and _HEADER_TEXT.fullmatch(url) is not None
            and not {"@", "?", "#", "\\"} & {*url}
            and bool((parts.hostname or "").encode("idna"))
        )
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(f"{what} must look like https://host/path, without user, query or fragment.")


def check_proxy_url(what: str, url: str) -> None:
    """Raise ValueError unless `url` is http://host:port, with or without user:password@; never quote it."""
    try:
        parts = urlsplit(url)
        is_usable = (
            parts.scheme == "http"
            and bool(parts.hostname)
            and bool(parts.port)
            and _HEADER_TEXT.fullmatch(url) is not None
            and parts.path in ("", "/")
            and not (parts.query or parts.fragment)
            and (bool(parts.username) or parts.password is None)
        )
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(f"{what} must look like http://host:port or http://user:password@host:port.")


def check_header_text(what: str, value: str) -> None:
    """Raise ValueError unless `value` can stand in an HTTP header as one word; never quote it."""
    if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
        raise ValueError(f"{what} must be one word of printable ASCII characters, and must not be empty.")


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
