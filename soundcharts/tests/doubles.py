"""Stand-ins for the tests: a limit that lets every call through, a clock that is moved by hand."""

from __future__ import annotations

from soundcharts.client import SoundchartsClient
from soundcharts.credentials import ApiKeyCredentials, Credentials
from soundcharts.errors import RateLimited

API_KEY = "the-api-key-of-the-tests"
KEYS = ApiKeyCredentials(app_id="the-app", api_key=API_KEY)


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class FakeLimiter:
    """Never waits. `acquired` holds (interactive, max_wait) of every call, `pauses` what was asked."""

    def __init__(self, *, refuses_after: int | None = None) -> None:
        self.acquired: list[tuple[bool, float]] = []
        self.pauses: list[float] = []
        self.memories: dict[str, float] = {}
        self._refuses_after = refuses_after

    def acquire(self, *, interactive: bool, max_wait: float) -> None:
        if self._refuses_after is not None and len(self.acquired) >= self._refuses_after:
            raise RateLimited(retry_after=42.0)
        self.acquired.append((interactive, max_wait))

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def pause_left(self) -> float:
        return 0.0

    def remember(self, name: str, ttl: float) -> None:
        self.memories[name] = ttl

    def recalls(self, name: str) -> bool:
        return name in self.memories

    def forget(self, name: str) -> None:
        self.memories.pop(name, None)


def make_client(
    url: str = "https://api.example",
    *,
    credentials: Credentials = KEYS,
    limiter: FakeLimiter | None = None,
    interactive: bool = False,
    deadline: float = 10.0,
    connect_timeout: float = 5.0,
    read_timeout: float | None = None,
    max_bytes: int = 8 * 1024 * 1024,
    max_retries: int | None = 0,
    proxy: str = "",
    ca_bundle: str = "",
) -> SoundchartsClient:
    """Return a client that does not retry, unless it is told to."""
    return SoundchartsClient(
        base_url=url,
        credentials=credentials,
        limiter=limiter or FakeLimiter(),
        interactive=interactive,
        deadline=deadline,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_bytes=max_bytes,
        max_retries=max_retries,
        proxy=proxy,
        ca_bundle=ca_bundle,
    )
