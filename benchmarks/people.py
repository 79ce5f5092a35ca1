"""A person presses *Fetch Metadata from API* while workers spend every call that the rate limit gives."""

import time
from pathlib import Path

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from benchmarks.filling import add_unknown_tracks, song_uuid
from benchmarks.growth import staff_client
from benchmarks.workers import running_workers
from catalog import jobs
from catalog.models import MetadataFetchTask, Track

PRESSES = 10
# Between two presses, so that the bulk run is met at different moments.
REST_SECONDS = 0.3
WARM_TRACKS = 500


def measure_people(folder: Path, *, tracks: int) -> dict[str, float]:
    """Return the seconds that a press took at most, and whether the bulk run went on all the while."""
    in_bulk = tracks - PRESSES
    add_unknown_tracks(in_bulk)
    # Fresh, so that the bulk run leaves them to the person.
    wanted = Track.objects.bulk_create(
        Track(uuid=song_uuid(number), metadata_fetched_at=timezone.now()) for number in range(in_bulk, tracks)
    )
    client = staff_client()
    with running_workers(folder):
        job = jobs.request_stale_metadata().job
        while _processed(job) < WARM_TRACKS:
            time.sleep(0.05)
        took = [_press(client, track) for track in wanted]
        processed = _processed(job)
    return {
        "slowest_press": max(took),
        "answered_presses": Track.objects.filter(pk__in=[track.pk for track in wanted])
        .exclude(name="")
        .count(),
        "bulk_went_on": float(WARM_TRACKS < processed < in_bulk),
    }


def _press(client: Client, track: Track) -> float:
    time.sleep(REST_SECONDS)
    started = time.monotonic()
    client.post(reverse("admin:catalog_track_fetch_now", args=(track.pk,)), {"_form_submitted": "on"})
    return time.monotonic() - started


def _processed(job: MetadataFetchTask) -> int:
    job.refresh_from_db(fields=["processed_tracks"])
    return job.processed_tracks
