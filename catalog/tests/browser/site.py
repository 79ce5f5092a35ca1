"""The site as people meet it: gunicorn, a worker, a Valkey and a simulated Soundcharts."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from django.conf import settings
from django.test.utils import override_settings

from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.tests.workers import database_url, wait_until, workers
from conftest import API_KEY, use_broker
from soundcharts.simulator import Simulator

PASSWORD = "a password for tests"
# The real one takes its time, which is its purpose.
HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Only a test that fails waits so long, for what is started and for what is to end.
START_SECONDS = 120
# A call that waits at a gate is not tried again meanwhile.
CALL_SECONDS = "60"


@dataclass
class Site:
    """Where the site is, and the Soundcharts that it asks."""

    url: str
    simulator: Simulator

    def finish(self, job: MetadataFetchTask) -> MetadataFetchTask:
        """Wait until the workers have ended a job, and return it as it then is."""
        wait_until(lambda: not MetadataFetchTask.objects.get(pk=job.pk).is_active, seconds=60)
        return MetadataFetchTask.objects.get(pk=job.pk)

    def clear(self) -> None:
        """Make the catalogue empty and Soundcharts quick and willing again."""
        wait_until(self._is_idle, seconds=START_SECONDS)
        MetadataFetchTask.objects.all().delete()
        Track.objects.all().delete()
        self.simulator.reset()

    def _is_idle(self) -> bool:
        """Cancel every task, also those that others have led to since; return whether all calls are over."""
        active = MetadataFetchTask.objects.filter(status__in=MetadataFetchTask.ACTIVE)
        active.update(status=MetadataFetchTask.Status.CANCELLED)
        is_leased = FetchChunk.objects.filter(lease_owner__gt="").exists()
        return not is_leased and self.simulator.state.concurrency == 0


@contextmanager
def run_site(folder: Path, redis_url: str) -> Iterator[Site]:
    """Run everything on the database of the tests; yield once it answers."""
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(songs=300, api_key=API_KEY, calls_per_minute=100_000))
        stack.enter_context(
            override_settings(
                REDIS_URL=redis_url,
                SOUNDCHARTS_API_KEY=API_KEY,
                SOUNDCHARTS_API_URL=simulator.url,
                IMAGE_ORIGINS=[simulator.url],
                SOUNDCHARTS_CALLS_PER_MINUTE=100_000,
                # So that a job of some dozens of tracks has a middle that can be seen.
                FETCH_AHEAD=1,
                CHUNK_SIZE=20,
            )
        )
        use_broker(redis_url)
        # Both take their time to start: at once.
        web = stack.enter_context(_web(folder, simulator))
        stack.enter_context(workers(folder, processes=2, SOUNDCHARTS_TIMEOUT=CALL_SECONDS))
        wait_until(lambda: web.address() or not web.is_alive(), seconds=START_SECONDS)
        wait_until(lambda: web.answers() or not web.is_alive(), seconds=START_SECONDS)
        assert web.is_alive(), web.output
        yield Site(web.address(), simulator)


class Web:
    """A gunicorn, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def address(self) -> str:
        """Return where it listens, or nothing as long as it does not."""
        found = re.search(r"Listening at: (http://[\d.]+:\d+)", self.output)
        return found[1] if found else ""

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.address()}/healthz", timeout=10).ok
        except requests.RequestException:
            return False


@contextmanager
def _web(folder: Path, simulator: Simulator) -> Iterator[Web]:
    """Run gunicorn as production does, with collected static files, at a free port."""
    environment = os.environ | {
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "SOUNDCHARTS_API_URL": simulator.url,
        "IMAGE_ORIGINS": simulator.url,
        "SOUNDCHARTS_API_KEY": API_KEY,
        "SOUNDCHARTS_CALLS_PER_MINUTE": "100000",
        "SOUNDCHARTS_TIMEOUT": CALL_SECONDS,
        "VAR_DIR": str(folder / "var"),
        "DEBUG": "false",
    }
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    subprocess.run(collect, cwd=settings.BASE_DIR, env=environment, check=True, timeout=START_SECONDS)
    serve = [sys.executable, "-m", "gunicorn", "catalog.tests.browser.broken_page", "--bind", "127.0.0.1:0"]
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [*serve, "--threads", "4"], cwd=settings.BASE_DIR, env=environment, stdout=log, stderr=log
        )
        try:
            yield Web(process, folder / "web.log")
        finally:
            # Not politely, which would wait for the connections that the browser keeps open.
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=START_SECONDS)
