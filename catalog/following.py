"""Following a job from a terminal: a progress bar over the job's row, which is the truth."""

import sys
import time
from typing import TextIO

from tqdm import tqdm

from catalog import doorbell
from catalog.models import MetadataFetchTask
from catalog.status import shown_status

POLL_SECONDS = 0.25
# Without any progress for this long, it is asked whether there are workers at all.
SILENCE_SECONDS = 30


class NoWorker(Exception):
    """No worker answers, so the job would not move while somebody waits for it."""


def check_workers() -> None:
    """Raise NoWorker, in a sentence that says what to do, when no worker or no broker answers."""
    count = doorbell.count_workers()
    if count is None:
        raise NoWorker("The message broker (Redis) cannot be reached: start it, or check REDIS_URL.")
    if count == 0:
        raise NoWorker("No worker answers: start one with `celery -A config worker`.")


def follow(job: MetadataFetchTask, *, stream: TextIO | None = None) -> MetadataFetchTask:
    """Show a job's progress until it ends or is paused, and return it as it then is.

    Raises NoWorker when it has not moved for SILENCE_SECONDS and no worker answers.
    """
    last_moved_at = time.monotonic()
    with tqdm(
        total=job.total_tracks,
        initial=job.processed_tracks,
        unit=" tracks",
        desc=job.title[:40],
        file=stream or sys.stderr,
        dynamic_ncols=True,
    ) as bar:
        while True:
            job.refresh_from_db()
            # The total of an import grows and shrinks as its list turns out; the bar never exceeds 100 %.
            bar.total = max(job.total_tracks, job.processed_tracks)
            if job.processed_tracks != bar.n:
                last_moved_at = time.monotonic()
                bar.update(job.processed_tracks - bar.n)
            waits = _wait_of(job)
            bar.set_postfix_str(f"{waits}{job.failed_tracks} failed, {job.api_calls} calls")
            if job.status in (*job.ENDED, job.Status.PAUSED):
                return job
            if not waits and time.monotonic() - last_moved_at > SILENCE_SECONDS:
                check_workers()
                last_moved_at = time.monotonic()
            time.sleep(POLL_SECONDS)


def _wait_of(job: MetadataFetchTask) -> str:
    status = shown_status(job)
    return f"{status.text}; " if status.is_waiting else ""
