"""The Celery worker as it is deployed, and what it costs: CPU time and memory of all its processes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks import BASE_DIR

MEGABYTE = 1_000_000
READY_SECONDS = 60
# Adding up the pages of a process costs a millisecond or two of the CPU that is being measured.
SAMPLE_SECONDS = 0.5


def megabytes(process: psutil.Process) -> float:
    """Return a process's memory: its share of what is shared (PSS) on Linux, else all of it (RSS)."""
    memory = process.memory_full_info()
    return float(getattr(memory, "pss", memory.rss)) / MEGABYTE


class Workers:
    """The Procfile's worker, a main process and its children, until `close`."""

    def __init__(self, log: Path, *, options: str = "") -> None:
        line = re.search(r"^worker: (.+)$", (BASE_DIR / "Procfile").read_text(), re.MULTILINE)
        if line is None:
            raise RuntimeError("The Procfile names no worker.")
        self._log = log
        self._output = log.open("wb")
        # A shell, because the line has defaults in it; exec, so that it does not stay and count.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {line[1]} {options}"],
            cwd=BASE_DIR,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._main = psutil.Process(self._process.pid)

    def wait_until_ready(self) -> None:
        """Return once it takes messages. Raises RuntimeError when it does not come to that."""
        deadline = time.monotonic() + READY_SECONDS
        while " ready." not in (said := self._log.read_text(errors="replace")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The worker did not start:\n{said[-3000:]}")
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, of the main process and all children it ever had."""
        seconds = 0.0
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                # The latter two are of children that have ended and were waited for.
                seconds += times.user + times.system + times.children_user + times.children_system
        return seconds

    def megabytes(self) -> float:
        """Return the memory of the main process and its children together."""
        total = 0.0
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += megabytes(process)
        return total

    @contextlib.contextmanager
    def sampled_memory(self) -> Iterator[list[tuple[float, float]]]:
        """Yield a list that grows by (time.monotonic(), megabytes) twice a second."""
        samples = [(time.monotonic(), self.megabytes())]
        is_over = threading.Event()

        def sample() -> None:
            while not is_over.wait(SAMPLE_SECONDS):
                samples.append((time.monotonic(), self.megabytes()))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield samples
        finally:
            is_over.set()
            thread.join()

    def close(self) -> None:
        """End the worker at once: what it was doing does not matter any more."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()

    def _all(self) -> list[psutil.Process]:
        return [self._main, *self._main.children(recursive=True)]


@contextlib.contextmanager
def running_workers(folder: Path, *, name: str = "worker", options: str = "") -> Iterator[Workers]:
    """Run the worker with the settings of this process's environment, ready to work."""
    workers = Workers(folder / f"{name}.log", options=f"--hostname {name}@%h {options}")
    try:
        workers.wait_until_ready()
        yield workers
    finally:
        workers.close()
