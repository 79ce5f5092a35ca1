"""A local Soundcharts over real HTTP, for the demo, tests and benchmarks.

    with Simulator(songs=500) as simulator:
        requests.get(f"{simulator.url}/api/v2.25/song/{simulator.song_uuid(0)}", headers={...})

`python -m soundcharts.simulator --help` runs it alone. `simulator.faults` makes things go wrong
(faults.py lists what), `simulator.state` counts; both can be used by HTTP as well, under /_simulator/
(control.py).
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self
from uuid import UUID

from soundcharts.simulator.catalogue import Catalogue, Shape
from soundcharts.simulator.control import Control
from soundcharts.simulator.endpoints import Endpoints
from soundcharts.simulator.faults import ABSENT, Faults
from soundcharts.simulator.server import TOKEN_PATH, Credentials, Server, Site
from soundcharts.simulator.state import State

__all__ = ["ABSENT", "Catalogue", "Faults", "Simulator", "State"]


class Simulator:
    """A Soundcharts of `songs` songs; the same arguments give the same songs, on every machine.

    `latency` and `token_lifetime` are in seconds. `quota` calls may be made in all, and
    `quota_tolerance` as a share of it beyond (real plans tolerate 0.1). `calls_per_minute` is enforced
    per `rate_window` seconds, which tests may shorten. A batch holds at most `max_batch` uuids. Port 0
    takes a free one. Covers are drawn, and are at its own URL once it listens.
    """

    def __init__(
        self,
        *,
        songs: int = 500,
        latency: float = 0.0,
        shape: Shape = "v2.25",
        app_id: str = "soundcharts",
        api_key: str = "soundcharts",
        client_id: str = "simulator",
        client_secret: str = "simulator",  # noqa: S107
        token_lifetime: float = 3600.0,
        quota: int = 1_000_000,
        quota_tolerance: float = 0.0,
        calls_per_minute: int = 5000,
        rate_window: float = 60.0,
        max_batch: int = 10,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.catalogue = Catalogue(songs, shape=shape)
        self.faults = Faults()
        self.state = State(
            self.catalogue,
            quota=quota,
            quota_tolerance=quota_tolerance,
            calls_per_minute=calls_per_minute,
            rate_window=rate_window,
            token_lifetime=token_lifetime,
            latency=latency,
        )
        self._control = Control(self.catalogue, self.state, self.faults)
        self._site = Site(
            credentials=Credentials(app_id, api_key, client_id, client_secret),
            endpoints=Endpoints(self.catalogue, self.state, self.faults, max_batch=max_batch),
            control=self._control,
            state=self.state,
            faults=self.faults,
        )
        self._address = (host, port)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen, and serve in the background until `stop`. Raises OSError when the port is taken."""
        if self._server is None:
            self._server = Server(self._address, self._site)
            self.catalogue.move_pictures(self.url)
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.02,), name="simulator", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and cut every connection; calls in flight get no answer. Harmless when stopped."""
        server, thread, self._server = self._server, self._thread, None
        if server is not None:
            server.stop()
        if thread is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def reset(self) -> None:
        """Clear all faults and counters, and go back to the settings of the start."""
        self._control.reset()

    @property
    def port(self) -> int:
        """Return the port it listens on. Raises RuntimeError when it is not running."""
        if self._server is None:
            raise RuntimeError("The simulator is not running.")
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Return the base URL, without a slash at the end. Raises RuntimeError when it is not running."""
        return f"http://{self._address[0]}:{self.port}"

    @property
    def auth_url(self) -> str:
        """Return where OAuth tokens are given out. Raises RuntimeError when it is not running."""
        return self.url + TOKEN_PATH

    def song_uuid(self, index: int) -> UUID:
        """Return the uuid of a song; an index past the end gives one that nobody knows."""
        return self.catalogue.song_uuid(index)

    def artist_uuid(self, artist: int) -> UUID:
        """Return the uuid of an artist; see `song_uuid`."""
        return self.catalogue.artist_uuid(artist)
