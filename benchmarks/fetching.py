"""Fetching: from the click to the last committed row, by real workers."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import psutil
from django.conf import settings

from benchmarks.filling import add_unknown_tracks
from benchmarks.workers import Workers, running_workers
from catalog import jobs
from catalog.models import MetadataFetchTask, Track

POLL_SECONDS = 0.05
# Worker processes have all they keep (connections, caches, the pool of threads) after this share.
WARM_SHARE = 0.2
# Neither the start, when the plan is made, nor the end, when the last chunk has no neighbour.
STEADY_SHARE = 0.9
# Numbers of workers whose speed is compared.
WORKERS = (1, 2, 4)


def measure_fetching(folder: Path, *, tracks: int, seconds: float) -> dict[str, float]:
    """Fetch the metadata of so many tracks, giving up after so many seconds; return what it took."""
    add_unknown_tracks(tracks)
    return measure_run(folder, tracks=tracks, seconds=seconds, request=_request_metadata)


def measure_run(
    folder: Path, *, tracks: int, seconds: float, request: Callable[[], MetadataFetchTask]
) -> dict[str, float]:
    """Do a job over so many tracks that are there, giving up after so many seconds; return what it took."""
    with running_workers(folder) as workers:
        idle = workers.megabytes()
        with workers.sampled_memory() as memory:
            figures, progress = _run([workers], tracks=tracks, seconds=seconds, request=request)
    first, last = progress.reached(1 - STEADY_SHARE), progress.reached(STEADY_SHARE)
    return figures | {
        "steady_per_second": (last.saved - first.saved) / max(last.moment - first.moment, POLL_SECONDS),
        "idle_memory": idle,
        "peak_memory": max(megabytes for _, megabytes in memory),
    }


def measure_memory(folder: Path, *, tracks: int, seconds: float) -> dict[str, float]:
    """Fetch so many tracks; return the workers' memory once they are warm, and at the end."""
    add_unknown_tracks(tracks)
    with running_workers(folder) as workers, workers.sampled_memory() as memory:
        figures, progress = _run([workers], tracks=tracks, seconds=seconds, request=_request_metadata)

    def most_between(first_share: float, last_share: float) -> float:
        first, last = progress.reached(first_share).moment, progress.reached(last_share).moment
        within = [megabytes for moment, megabytes in memory if first <= moment <= last]
        return max(within or [megabytes for _, megabytes in memory])

    warm = most_between(WARM_SHARE, 2 * WARM_SHARE)
    at_the_end = most_between(1 - WARM_SHARE, 1)
    return figures | {"warm_memory": warm, "end_memory": at_the_end, "growth": at_the_end / warm - 1}


def measure_scaling(folder: Path, *, tracks: int, seconds: float) -> dict[str, float]:
    """Fetch so many tracks by one worker of one process, by two and by four; return the speed of each.

    They share a database and a broker and nothing else, as on as many machines. Returned with it is how busy
    this one machine was meanwhile: once it is busy throughout, no number of workers is any quicker on it.
    """
    figures = {}
    for count in WORKERS:
        Track.objects.all().delete()
        add_unknown_tracks(tracks)
        with ExitStack() as stack:
            for number in range(count):
                name = f"{count}-{number}"
                stack.enter_context(running_workers(folder, name=name, options="--concurrency 1"))
            psutil.cpu_percent()
            figures[f"workers@{count}"] = _run([], tracks=tracks, seconds=seconds, request=_request_metadata)[
                0
            ]["tracks_per_second"]
            figures[f"busy@{count}"] = psutil.cpu_percent() / 100
    return figures


class Saved(NamedTuple):
    """How many tracks were saved at a moment of time.monotonic()."""

    moment: float
    saved: int


class Progress(list[Saved]):
    """What was seen of a run, from the click to its last commit."""

    def reached(self, share: float) -> Saved:
        """Return when a share of what was saved in the end was saved."""
        return next(point for point in self if point.saved >= share * self[-1].saved)


def _request_metadata() -> MetadataFetchTask:
    return jobs.request_stale_metadata().job


def _run(
    workers: Sequence[Workers], *, tracks: int, seconds: float, request: Callable[[], MetadataFetchTask]
) -> tuple[dict[str, float], Progress]:
    cpu_before = sum(each.cpu_seconds() for each in workers)
    own_cpu_before = time.process_time()
    started = time.monotonic()
    job = request()
    # The click happens in a web process of ours, so that its share counts too.
    click_cpu = time.process_time() - own_cpu_before
    progress = Progress()
    while True:
        time.sleep(POLL_SECONDS)
        saved, status = MetadataFetchTask.objects.values_list("successful_tracks", "status").get(pk=job.pk)
        progress.append(Saved(time.monotonic(), saved))
        elapsed = progress[-1].moment - started
        if status not in (MetadataFetchTask.Status.PENDING, MetadataFetchTask.Status.RUNNING):
            break
        if elapsed > seconds:
            break
    cpu = sum(each.cpu_seconds() for each in workers) - cpu_before + click_cpu
    job.refresh_from_db()
    api = _api_counters()
    figures = {
        "saved": saved,
        "tracks": tracks,
        "tracks_per_second": saved / elapsed,
        "calls_per_minute": api["total_calls"] / elapsed * 60,
        "tracks_per_call": saved / max(1, api["total_calls"]),
        "cpu_per_thousand": cpu / max(saved, 1) * 1000,
        # While calls are in flight the API has counted what the job cannot yet.
        "uncounted_calls": abs(api["total_calls"] - job.api_calls) if job.status in job.ENDED else -1,
        "refusals": api["rate_refusals"],
    }
    return figures, progress


def _api_counters() -> dict[str, Any]:
    with urlopen(f"{settings.SOUNDCHARTS_API_URL}/_simulator/state") as answer:  # noqa: S310
        counters: dict[str, Any] = json.load(answer)
        return counters
