"""Imports: the pages of an upstream list become tracks."""

import logging
from uuid import UUID

from django.db import transaction

from catalog import jobs
from catalog.fetching.saving import move_on, with_database_back
from catalog.mapping import new_track
from catalog.models import FetchChunk, MetadataFetchTask, Track
from soundcharts.errors import SoundchartsError
from soundcharts.payloads import Page, SongSummary
from soundcharts.service import SoundchartsService

logger = logging.getLogger(__name__)

# Songs that a call of an upstream list returns at most (API notes).
LIST_PAGE = 100


def import_page(job: MetadataFetchTask, chunk: FetchChunk, service: SoundchartsService) -> None:
    """List and save the next page of an import; raise what prevented it."""
    offset = job.request["offset"] + chunk.position
    limit = min(LIST_PAGE, chunk.size - chunk.position)
    with service.count_calls() as meter:
        try:
            if job.request["artist_uuid"]:
                page = service.get_artist_songs(
                    UUID(job.request["artist_uuid"]),
                    offset=offset,
                    limit=limit,
                    sort_by="spotifyStream",
                    sort_order="desc",
                )
            else:
                page = service.get_top_songs(offset=offset, limit=limit)
        except SoundchartsError:
            jobs.record_calls(job.pk, meter.spent)
            raise
    with_database_back(lambda: commit_page(job, chunk, page, calls=meter.spent), chunk, calls=meter.spent)


def why_import_failed(job: MetadataFetchTask, error: SoundchartsError) -> str:
    """Return what an error means for an import, in words that say what to do."""
    if error.code == "forbidden" and not job.request["artist_uuid"]:
        return "The Soundcharts plan does not include top songs. Give an artist's UUID to import their songs."
    if error.code == "not_found" and job.request["artist_uuid"]:
        return f"Soundcharts knows no artist {job.request['artist_uuid']}. Check the UUID."
    return str(error)


def commit_page(job: MetadataFetchTask, chunk: FetchChunk, page: Page[SongSummary], *, calls: int) -> None:
    """Save a page: new tracks, their place in the import's metadata job, position and counters."""
    listed = len(page.items) + len(page.warnings)
    size = chunk.size if page.has_next and listed else chunk.position + listed
    with transaction.atomic():
        is_done = jobs.advance_chunk(chunk, count=listed, size=size)
        uuids = {song.uuid for song in page.items}
        here_before = set(Track.objects.filter(uuid__in=uuids).values_list("uuid", flat=True))
        added = {song.uuid: new_track(song) for song in page.items if song.uuid not in here_before}
        # In the list's order, most wanted first. Two imports that add the same songs in another order can
        # wait for each other in a ring: the database ends one's transaction, which is then done again.
        Track.objects.bulk_create(added.values(), ignore_conflicts=True)
        jobs.add_imported_tracks(job, list(Track.objects.filter(uuid__in=uuids).values_list("pk", flat=True)))
        failures = [
            jobs.Failure(
                f"position {job.request['offset'] + chunk.position} #{number}", "invalid_response", warning
            )
            for number, warning in enumerate(page.warnings, start=1)
        ]
        counts = jobs.Counts(updated=len(added), unchanged=len(page.items) - len(added), failed=len(failures))
        jobs.record_outcomes(chunk, counts=counts, failures=failures, calls=calls, is_done=is_done, size=size)
    move_on(chunk, count=listed, size=size)
    logger.info(
        "job %s: %s songs listed: %s added, %s already here", job.pk, listed, counts.updated, counts.unchanged
    )
