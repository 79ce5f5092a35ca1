"""Real Celery workers for tests: processes that can be killed, frozen and thawed."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection, connections

from conftest import use_broker

BASE_DIR = Path(settings.BASE_DIR)


def wait_until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Return as soon as `condition()` is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)


def database_url() -> str:
    """Return the URL of the database that this test uses."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def _is_anybody_writing() -> bool:
    """Return whether some other connection is in a transaction."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
            )
            return bool(cursor.fetchone()[0])
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


class Worker:
    """One Celery worker (a main process and its children), in a process group of its own."""

    def __init__(self, log: Path, *, processes: int = 1, **environment: str) -> None:
        self.log = log
        self._output = log.open("ab")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "config", "worker", "--loglevel", "INFO"),
                *("--concurrency", str(processes), "--hostname", f"test-{os.urandom(4).hex()}@%h"),
            ],
            cwd=BASE_DIR,
            env=os.environ
            | {
                "DATABASE_URL": database_url(),
                "REDIS_URL": settings.REDIS_URL,
                "SOUNDCHARTS_API_URL": settings.SOUNDCHARTS_API_URL,
                "SOUNDCHARTS_API_KEY": settings.SOUNDCHARTS_API_KEY,
                "SOUNDCHARTS_CALLS_PER_MINUTE": str(settings.SOUNDCHARTS_CALLS_PER_MINUTE),
                "SOUNDCHARTS_TIMEOUT": str(settings.SOUNDCHARTS_TIMEOUT),
                "CHUNK_LEASE_SECONDS": str(settings.CHUNK_LEASE_SECONDS),
                "CHUNK_SIZE": str(settings.CHUNK_SIZE),
                "FETCH_AHEAD": str(settings.FETCH_AHEAD),
                "BATCH_RETRY_DELAYS": ",".join(map(str, settings.BATCH_RETRY_DELAYS)),
            }
            | environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> "Worker":
        wait_until(lambda: " ready." in self.output or self._process.poll() is not None)
        assert self._process.poll() is None, self.output
        return self

    def children(self) -> list[int]:
        """Return the ids of the processes that do the work; a killed one is replaced by the main process."""
        found = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True)
        return [int(line) for line in found.stdout.split()]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the worker and its children."""
        os.killpg(self._process.pid, number)

    def freeze(self) -> None:
        """Stop all its processes in the middle of whatever they do, but for a write: its lock would stay."""
        self.signal_all(signal.SIGSTOP)
        while _is_anybody_writing():
            self.signal_all(signal.SIGCONT)
            time.sleep(0.05)
            self.signal_all(signal.SIGSTOP)

    def terminate(self) -> None:
        """Ask the worker to finish what it is doing and stop, as a deploy does."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        self._process.wait(timeout=seconds)

    def close(self) -> None:
        try:
            self.signal_all(signal.SIGCONT)
            self.signal_all(signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._output.close()


def die_before(step: str, work: Callable[[], object]) -> None:
    """Run `work` in a process of its own that is killed (SIGKILL) as it comes to call a function.

    `step` names the function, as in "catalog.fetching.run_chunk". Fails when it is never called.
    """
    # The child must not talk on the connections of its parent.
    connections.close_all()
    use_broker(settings.REDIS_URL)
    child = os.fork()
    if child == 0:
        try:
            module, _, name = step.rpartition(".")
            setattr(import_module(module), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{step} was never called"


@contextmanager
def workers(
    folder: Path, *, count: int = 1, processes: int = 1, **environment: str
) -> Iterator[list[Worker]]:
    """Run so many workers, ready to work, and kill what is left of them afterwards."""
    started = [Worker(folder / f"worker-{n}.log", processes=processes, **environment) for n in range(count)]
    try:
        yield [worker.wait_until_ready() for worker in started]
    finally:
        for worker in started:
            worker.close()


def startup_code(folder: Path, code: str) -> dict[str, str]:
    """Return the environment in which every Python process runs `code` before anything else."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(dedent(code))
    return {"PYTHONPATH": str(folder)}
