"""How the cost of planning, of the stale query and of the pages grows with the number of tracks."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from benchmarks import BASE_DIR, bounds
from benchmarks.filling import LARGEST_LABEL, add_known_tracks
from benchmarks.workers import running_workers
from catalog import doorbell, jobs
from catalog.models import FetchChunk, MetadataFetchTask, Track, TrackQuerySet
from catalog.selection import TrackFilter

REPEATS = 5
# How long a run over all tracks is watched, and how long its first saved tracks are waited for.
WATCHED_SECONDS = 12
LONGEST_SECONDS = 60.0


def measure_growth(folder: Path, *, sizes: Sequence[int]) -> dict[str, float]:
    """Fill the database size by size; return each cost as "<cost>@<size>", and the largest's in full."""
    client = staff_client()
    costs: dict[str, float] = {}
    filled = 0
    for size in sizes:
        add_known_tracks(filled, size)
        filled = size
        print(f"  {size:,} tracks ...", file=sys.stderr, flush=True)
        _get(client, "")
        found = {
            "stale_query": _stale_query(),
            "changelist": milliseconds(lambda: _get(client, "")),
            **_click(),
            **_plan(),
        }
        costs |= {f"{name}@{size}": value for name, value in found.items()}
    return costs | found | _staff_at_full_size(client) | _first_saved_tracks(folder)


def staff_client() -> Client:
    """Return the browser of someone who may do everything."""
    # Where collectstatic would put its files, so that nobody is warned that it is missing.
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    return client


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def milliseconds(action: Callable[[], object]) -> float:
    """Return the time of the quickest of some repeats: what the slower ones took longer, others took."""
    return min(_seconds(action) for _ in range(REPEATS)) * 1000


def _get(client: Client, query: str) -> None:
    answer = client.get(reverse("admin:catalog_track_changelist") + query)
    if answer.status_code != 200:
        raise RuntimeError(f"The list answered {answer.status_code} to {query!r}.")


def _first_chunk(tracks: TrackQuerySet) -> TrackQuerySet:
    return tracks.awaited().order_by("metadata_fetched_at", "pk")[: settings.CHUNK_SIZE]


def _stale_query() -> float:
    """Return the milliseconds for the first chunk of whichever is slower, never fetched or aged."""
    return max(
        milliseconds(lambda: list(_first_chunk(Track.objects.never_fetched()).values_list("pk", flat=True))),
        milliseconds(lambda: list(_first_chunk(Track.objects.aged()).values_list("pk", flat=True))),
    )


def _is_found_by_index() -> bool:
    """Return whether the database takes the first chunk from the index in order, without sorting."""
    sorting = "TEMP B-TREE" if connection.vendor == "sqlite" else "Sort"
    plans = [
        _first_chunk(tracks).explain() for tracks in (Track.objects.never_fetched(), Track.objects.aged())
    ]
    return all("track_fetched" in plan and sorting not in plan for plan in plans)


def _click() -> dict[str, float]:
    """Return the milliseconds of the slowest of three clicks, the first of which has to connect."""
    slowest = 0.0
    for _ in range(3):
        slowest = max(slowest, _seconds(jobs.request_stale_metadata))
        _forget_jobs()
    return {"click": slowest * 1000}


def _plan() -> dict[str, float]:
    job = jobs.request_stale_metadata().job
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.planning", str(job.pk)],
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(answer.stdout)
    job.refresh_from_db()
    planned = sum(FetchChunk.objects.filter(job=job).values_list("size", flat=True))
    expected = Track.objects.due().count()
    _forget_jobs()
    return {
        "plan": found["seconds"],
        "plan_per_thousand": found["seconds"] * 1_000_000 / max(planned, 1),
        "plan_memory": found["above_idle"],
        "unplanned": abs(expected - planned) + abs(expected - job.total_tracks),
    }


def _forget_jobs() -> None:
    FetchChunk.objects.all().delete()
    MetadataFetchTask.objects.all().delete()
    # Their messages, too: no worker runs that would take them.
    current_app.control.purge()


def _staff_at_full_size(client: Client) -> dict[str, float]:
    """Return the milliseconds of what staff do to a list of full length."""
    dialog = reverse("admin:catalog_track_fetch_all_metadata")
    found = {name: milliseconds(partial(_get, client, query)) for name, query in bounds.PAGES.items()} | {
        "last_page": milliseconds(partial(_get, client, f"?p={-(-Track.objects.count() // 50)}")),
        "middle_page": milliseconds(partial(_get, client, f"?p={Track.objects.count() // 100}")),
        "price": milliseconds(lambda: client.get(dialog)),
        "button": _seconds(lambda: client.post(dialog, {"_form_submitted": "on"})) * 1000,
        "is_found_by_index": float(_is_found_by_index()),
    }
    if not MetadataFetchTask.objects.exists():
        raise RuntimeError("The button made no job.")
    _forget_jobs()
    return found | _select_all(client)


def _select_all(client: Client) -> dict[str, float]:
    """Return the milliseconds of selecting all of the longest label, and all there is, and of planning it."""
    found = {"confirm": 0.0, "select_all": 0.0, "first_chunk": 0.0}
    for query in (f"?label={LARGEST_LABEL.replace(' ', '+')}", "?label=nothing", ""):
        address = reverse("admin:catalog_track_changelist") + query
        form = {"action": "create_bulk_task", "select_across": "1", "_selected_action": "1"}
        found["confirm"] = max(found["confirm"], milliseconds(lambda: client.post(address, form)))  # noqa: B023
        clicked = _seconds(lambda: client.post(address, form | {"fetch": "all"})) * 1000  # noqa: B023
        found["select_all"] = max(found["select_all"], clicked)
        # For the label of none, what the page would refuse: the worst that a plan can have to look for.
        selection = TrackFilter.parse({"label": "nothing"} if "nothing" in query else {})
        job = MetadataFetchTask.objects.first() or jobs.request_filtered_metadata(selection).job
        planned = _seconds(lambda: jobs.plan_job(job.pk, budget=0)) * 1000  # noqa: B023
        found["first_chunk"] = max(found["first_chunk"], planned)
        _forget_jobs()
    return found


def _first_saved_tracks(folder: Path) -> dict[str, float]:
    """Return the seconds from a click to the first saved tracks, and the most messages that waited."""
    waiting = 0
    first_saved_after = None
    with running_workers(folder):
        started = time.monotonic()
        job = jobs.request_stale_metadata().job
        while (elapsed := time.monotonic() - started) < WATCHED_SECONDS or (
            first_saved_after is None and elapsed < LONGEST_SECONDS
        ):
            time.sleep(0.05)
            waiting = max(waiting, doorbell.count_waiting() or 0)
            job.refresh_from_db(fields=["processed_tracks"])
            if job.processed_tracks and first_saved_after is None:
                first_saved_after = time.monotonic() - started
    return {"first_saved": first_saved_after or LONGEST_SECONDS, "messages": waiting}
