"""Everything that a call of the Soundcharts API can raise.

No exception of requests, urllib3, redis, ssl or json leaves this package; callers catch these:

    SoundchartsError
    ├── ConnectionFailed          temporary     no connection, or it broke
    │   ├── HostNotFound          temporary     ... because DNS does not know the host
    │   ├── ConnectionRefused     temporary     ... because the host refuses it
    │   ├── ConnectTimedOut       temporary     ... because the host says nothing
    │   ├── TlsFailed             temporary     ... because it would not be secure
    │   └── ProxyFailed           temporary     ... because of the proxy on the way
    ├── DeadlineExceeded          temporary     no whole answer in the time allowed
    ├── UpstreamUnavailable       temporary     5xx
    ├── InvalidResponse           temporary     an answer that is not what the API documents
    │   ├── TruncatedResponse     temporary     ... because it ends in the middle
    │   └── IncompleteResponse    temporary     ... because it names errors or lacks items that it promises
    ├── RateLimited               temporary     429, too many calls a minute (has retry_after)
    ├── CalledOff                 temporary     nobody wanted it any more before it began
    ├── QuotaExhausted            stops all     429, the plan has no calls left
    ├── QuotaReserved             stops all     bulk work would spend the calls reserved for manual fetches
    ├── AuthenticationFailed      stops all     401
    ├── Forbidden                 stops all     403 (of audience: PlatformForbidden, SongForbidden)
    ├── NotFound                                404
    ├── AmbiguousIsrc                           410
    ├── Moved                                   the answer is about another song (has new_uuid)
    └── InvalidRequest                          400 and every other 4xx

"temporary": the same call may succeed later. "stops all": every further call would fail the same way,
so all work should pause. Neither: this answer is final for this one song.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from uuid import UUID

    from soundcharts.envelopes import Page
    from soundcharts.payloads import Song


class SoundchartsError(Exception):
    """Say that a call of the Soundcharts API did not give what was asked for.

    `str(error)` is a sentence that a staff member can act on; it never holds a key or a token.
    `status` is the HTTP status, if an answer came; `path` the request path without its query;
    `retry_after` the seconds after which trying again makes sense, if the server (or our own limiter)
    said so. `code` is stable and may be stored.
    """

    code: ClassVar[str] = "error"
    default_message: ClassVar[str] = "The call to Soundcharts failed."
    is_temporary: ClassVar[bool] = False
    stops_all: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        path: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = message or self.default_message
        self.status = status
        self.path = path
        self.retry_after = retry_after
        super().__init__(self.message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, status={self.status!r}, path={self.path!r})"


class ConnectionFailed(SoundchartsError):
    """Say that no connection could be made, or that it broke before the answer was complete."""

    code = "connection_failed"
    default_message = "Soundcharts could not be reached. Check the network."
    is_temporary = True


class HostNotFound(ConnectionFailed):
    """DNS does not know the host, or does not answer."""

    code = "dns_failed"
    default_message = (
        "The host name of Soundcharts was not found. Check the address in the settings and the DNS."
    )


class ConnectionRefused(ConnectionFailed):
    """The host is up, but nothing listens on that port."""

    code = "connection_refused"
    default_message = (
        "Soundcharts refused the connection. Check the address and port in the settings, and the firewall."
    )


class ConnectTimedOut(ConnectionFailed):
    """No connection was made in time."""

    code = "connect_timeout"
    default_message = "Soundcharts did not accept a connection in time. Check the network and the firewall."


class TlsFailed(ConnectionFailed):
    """The connection is not secure: a bad certificate, or no TLS at all."""

    code = "tls_failed"
    default_message = (
        "No secure connection: the server does not speak TLS. Check the address in the settings."
    )


class ProxyFailed(ConnectionFailed):
    """The proxy cannot be reached, or refuses the call."""

    code = "proxy_failed"
    default_message = "The proxy to Soundcharts failed. Check the proxy in the settings."


class DeadlineExceeded(SoundchartsError):
    """Say that no whole answer came within the time allowed for one call."""

    code = "timeout"
    default_message = "Soundcharts did not answer in time."
    is_temporary = True


class UpstreamUnavailable(SoundchartsError):
    """Say that Soundcharts, or a gateway before it, answered 5xx. Such calls are not billed."""

    code = "upstream_unavailable"
    default_message = "Soundcharts has a problem of its own."
    is_temporary = True


class InvalidResponse(SoundchartsError):
    """Say that an answer is not what the API documents.

    Not JSON, HTML with status 200, empty, another envelope, too large, too deeply nested, or a redirect
    (which is never followed: it would carry the API key to wherever it points).
    """

    code = "invalid_response"
    default_message = "Soundcharts sent an answer that could not be understood."
    is_temporary = True


class TruncatedResponse(InvalidResponse):
    """Say that an answer ends in the middle: the one kind of invalid answer worth an immediate retry."""

    default_message = "The answer from Soundcharts was cut off before its end."


class IncompleteResponse(InvalidResponse):
    """A readable answer is incomplete: it names errors, or lacks items that it promises.

    It does not prove that anything is absent. Its content may be used: for a list, `page` holds it.
    """

    code = "incomplete_response"
    default_message = "Soundcharts sent only part of the answer."

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        path: str | None = None,
        page: Page[Any] | None = None,
    ) -> None:
        super().__init__(message, status=status, path=path)
        self.page = page


class RateLimited(SoundchartsError):
    """Say that the call would exceed the calls allowed per minute; `retry_after` says how long to wait.

    Raised after a 429 whose message contains "maximum request count", and when our own limiter would
    make the caller wait for longer than it allows.
    """

    code = "rate_limited"
    default_message = "Too many calls to Soundcharts this minute. Try again in a minute."
    is_temporary = True


class CalledOff(SoundchartsError):
    """Say that a call was called off before it began: nothing was asked and nothing spent."""

    default_message = "The call was called off before it began."
    is_temporary = True


class QuotaExhausted(SoundchartsError):
    """Say that the plan has no calls left (any 429 that is not about the rate)."""

    code = "quota_exhausted"
    default_message = (
        "The Soundcharts plan has no calls left. Work can go on when the quota is renewed or raised."
    )
    stops_all = True


class QuotaReserved(SoundchartsError):
    """The calls remaining are reserved for manual fetches.

    Raised before a bulk call starts, so nothing is spent.
    """

    code = "quota_reserved"
    default_message = (
        "The calls remaining are reserved for manual fetches. "
        "Bulk work resumes automatically when the quota renews."
    )
    stops_all = True


class AuthenticationFailed(SoundchartsError):
    """Say that Soundcharts does not accept the credentials (401)."""

    code = "authentication_failed"
    default_message = "Soundcharts does not accept our credentials. Check the API keys in the settings."
    stops_all = True


class Forbidden(SoundchartsError):
    """Say that the plan does not include what was asked for (403)."""

    code = "forbidden"
    default_message = "The Soundcharts plan does not allow this. Check what the plan includes."
    stops_all = True


class NotFound(SoundchartsError):
    """Say that Soundcharts does not know what was asked for (404)."""

    code = "not_found"
    default_message = "Soundcharts does not know this identifier."


class AmbiguousIsrc(SoundchartsError):
    """Several recordings share an ISRC (410): use another identifier."""

    code = "ambiguous_isrc"
    default_message = "This ISRC belongs to several recordings. Use the Soundcharts UUID instead."


class Moved(SoundchartsError):
    """Soundcharts answered with another song: the two were merged.

    `new_uuid` is the uuid of the other song; `song` is that song, None if the answer only named it
    (a redirect).
    """

    code = "moved"
    default_message = "Soundcharts has merged this song into another one."

    def __init__(
        self,
        message: str | None = None,
        *,
        new_uuid: UUID,
        song: Song | None = None,
        status: int | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(
            message or f"{self.default_message} Its UUID is now {new_uuid}.", status=status, path=path
        )
        self.new_uuid = new_uuid
        self.song = song

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would lose the new uuid.
        return partial(type(self), self.message, new_uuid=self.new_uuid), (), self.__dict__


class InvalidRequest(SoundchartsError):
    """Say that Soundcharts rejects the request itself (400, and every 4xx without a class of its own)."""

    code = "invalid_request"
    default_message = "Soundcharts rejected the request. Check the identifier."
