"""Plan a job in this new process, and print what it took: `python -m benchmarks.planning JOB_ID`."""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import django
import psutil

from benchmarks.workers import MEGABYTE

SAMPLE_SECONDS = 0.01


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Yield a list of the bytes that this process holds: at first, and at its largest."""
    process = psutil.Process()
    idle = process.memory_info().rss
    found = [idle, idle]
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_SECONDS):
            found[1] = max(found[1], process.memory_info().rss)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def main() -> None:
    """Plan the job to its end, and print the seconds, the megabytes above idle and whether it is planned."""
    django.setup()
    logging.disable(logging.INFO)
    from catalog import jobs
    from catalog.models import MetadataFetchTask

    job = MetadataFetchTask.objects.get(pk=int(sys.argv[1]))
    with _peak_memory() as memory:
        started = time.monotonic()
        jobs.plan_job(job.pk, budget=3600)
        seconds = time.monotonic() - started
    job.refresh_from_db()
    above_idle = (memory[1] - memory[0]) / MEGABYTE
    print(
        json.dumps({"seconds": seconds, "above_idle": above_idle, "is_planned": job.planned_at is not None})
    )


if __name__ == "__main__":
    main()
