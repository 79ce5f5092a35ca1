"""Imports: the pages of an upstream list become tracks."""

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from catalog import jobs
from catalog.fetching.ahead import Look, submit, wait_for
from catalog.fetching.saving import (
    count_lost,
    database_now,
    insert_tracks,
    move_on,
    with_database_back,
)
from catalog.mapping import new_track
from catalog.models import FetchChunk, ImportDraft, ImportRow, MetadataFetchTask, Track
from catalog.prices import estimate_calls
from catalog.words import plural
from soundcharts.calling_off import called_off_by
from soundcharts.errors import IncompleteResponse, SoundchartsError
from soundcharts.metering import count_calls
from soundcharts.payloads import Page, SongSummary
from soundcharts.service import SoundchartsService

logger = logging.getLogger(__name__)

# Songs that a call of an upstream list returns at most (the API's reference).
LIST_PAGE = 100
# A first page that somebody has looked at is used for their import if it is not older than this.
PAGE_KEPT_MINUTES = 30
REPEATED = (
    "From here on, Soundcharts repeats songs that this import already has. The import stopped, because more "
    "pages would bring nothing new."
)


def import_page(
    job: MetadataFetchTask, chunk: FetchChunk, service: SoundchartsService, *, look: Look = lambda _: None
) -> None:
    """List and save the next page of an import; raise what prevented it, be it the reserve.

    `look` is called about every second meanwhile.
    """
    # What a drafted page cost was counted when it was bought.
    page, calls = drafted_page(job) if chunk.position == 0 else None, 0
    offset = job.request["offset"] + chunk.position
    limit = min(LIST_PAGE, chunk.size - chunk.position)
    shortfall: IncompleteResponse | None = None
    if page is None:
        artist = UUID(job.request["artist_uuid"]) if job.request["artist_uuid"] else None
        try:
            page, calls = _ask(job, lambda: list_songs(service, artist, offset=offset, limit=limit), look)
        except IncompleteResponse as error:
            if error.page is None:
                raise
            page, shortfall = error.page, error  # Its call is recorded.
    if shortfall is None and (missing := count_missing(page, offset=offset, limit=limit)):
        # Pages smaller than requested would use more calls than quoted.
        shortfall = IncompleteResponse(
            f"Soundcharts sent {plural(limit - missing, 'song')} on a page where it promised {limit:,}."
        )
    listed = page
    try:
        with_database_back(
            lambda: commit_page(job, chunk, listed, calls=calls, is_whole=shortfall is None),
            chunk,
            calls=calls,
        )
    except Exception as error:
        count_lost(chunk, calls, error)
        raise
    if shortfall is not None:
        raise shortfall


def count_missing(page: Page[SongSummary], *, offset: int, limit: int) -> int:
    """Return how many requested songs a page lacks although the list says that they exist."""
    if page.total is None and not page.has_next:
        return 0
    promised = limit if page.total is None else min(limit, page.total - offset)
    return max(0, promised - len(page.items) - len(page.warnings))


def _ask(
    job: MetadataFetchTask, ask: Callable[[], Page[SongSummary]], look: Look
) -> tuple[Page[SongSummary], int]:
    """Return a page and the calls that it took; calls that brought none are recorded."""
    called_off = threading.Event()

    def call() -> tuple[Page[SongSummary] | SoundchartsError, int]:
        with called_off_by(called_off), count_calls() as meter:
            try:
                return ask(), meter.spent
            except SoundchartsError as error:
                return error, meter.spent
            except Exception as unexpected:  # The call is still counted.
                return jobs.internal_error(unexpected, during=f"job {job.pk}"), meter.spent

    under_way = submit(call)
    try:
        answer, calls = wait_for(under_way, partial(look, called_off.set))
    except BaseException:
        called_off.set()
        jobs.record_calls(job.pk, under_way.result()[1])
        raise
    if isinstance(answer, SoundchartsError):
        jobs.record_calls(job.pk, calls)
        raise answer
    return answer, calls


def list_songs(
    service: SoundchartsService, artist_uuid: UUID | None, *, offset: int, limit: int
) -> Page[SongSummary]:
    """Return a page of an artist's songs or of the top songs, the most streamed first."""
    if artist_uuid is None:
        return service.get_top_songs(offset=offset, limit=limit)
    return service.get_artist_songs(
        artist_uuid, offset=offset, limit=limit, sort_by="spotifyStream", sort_order="desc"
    )


def drafted_page(job: MetadataFetchTask) -> Page[SongSummary] | None:
    """Return the first page of a job as somebody saw it before asking for the job.

    None where nobody did, or so long before that the list may have moved.
    """
    draft = ImportDraft.objects.filter(
        job=job, page__isnull=False, page_at__gte=job.created_at - timedelta(minutes=PAGE_KEPT_MINUTES)
    ).first()
    return page_from_json(draft.page) if draft is not None and draft.page is not None else None


def page_as_json(page: Page[SongSummary]) -> dict[str, Any]:
    """Return a page in a form that a draft can keep."""
    kept = asdict(page)
    for song in kept["items"]:
        song["uuid"] = str(song["uuid"])
        song["release_date"] = song["release_date"].isoformat() if song["release_date"] else None
    return kept


def page_from_json(kept: dict[str, Any]) -> Page[SongSummary]:
    """Return the page that a draft has kept."""
    songs = tuple(
        SongSummary(
            **song
            | {
                "uuid": UUID(song["uuid"]),
                "release_date": date.fromisoformat(song["release_date"]) if song["release_date"] else None,
                "warnings": tuple(song["warnings"]),
            }
        )
        for song in kept["items"]
    )
    return Page(**kept | {"items": songs, "warnings": tuple(kept["warnings"])})


def count_import_calls(job: MetadataFetchTask, count: int) -> int:
    """Return the calls that so many songs of an import spend: listing them, or looking up a list's."""
    if not job.is_list_import:
        return math.ceil(count / LIST_PAGE)
    uuids, isrcs = int(job.request["list"]["uuids"]), int(job.request["list"]["isrcs"])
    share = count / max(1, uuids + isrcs)
    return estimate_calls(math.ceil(uuids * share)) + math.ceil(isrcs * share)


def count_songs_to_follow(job: MetadataFetchTask) -> int:
    """Return of how many songs an import, as far as it still goes, leaves the metadata to be asked for.

    Those of a pasted list come with their metadata.
    """
    return 0 if job.is_list_import else job.remaining_tracks


def why_listing_failed(artist_uuid: object, error: SoundchartsError) -> str:
    """Return what an error means for a list of songs, in words that say what to do."""
    if error.code == "forbidden" and not artist_uuid:
        return "The Soundcharts plan does not include top songs. Give an artist's UUID to import their songs."
    if error.code == "not_found" and artist_uuid:
        return f"Soundcharts knows no artist {artist_uuid}. Check the UUID."
    return str(error)


def commit_page(
    job: MetadataFetchTask, chunk: FetchChunk, page: Page[SongSummary], *, calls: int, is_whole: bool = True
) -> None:
    """Save a page: new tracks, their place in the import's metadata job, position, counters and report.

    Never more songs than the import asked for. Of a page that is not whole the songs that came are saved, but
    the position stays: what it lacks may be anywhere on it, so it is asked for again, and brings what is
    missing from the report. A page that only repeats what this import has listed before ends the list: its
    one row in the report says so.
    """
    room = chunk.size - chunk.position
    first = job.request["offset"] + chunk.position
    already = _listed_before(job, after=first)
    songs = _without(page.items[:room], already)[: max(0, room - already.total())]
    unreadable = page.warnings[: max(0, room - already.total() - len(songs))] if is_whole else ()
    if is_repeat := is_whole and not already and _is_repeat(job, songs):
        songs, unreadable = [], (REPEATED,)
    listed = already.total() + len(songs) + len(unreadable) if is_whole else 0
    is_more = (page.has_next and listed > 0 and not is_repeat) or not is_whole
    size = chunk.size if is_more else chunk.position + listed
    with transaction.atomic():
        is_done = jobs.advance_chunk(chunk, count=listed, size=size)
        uuids = {song.uuid for song in songs}
        here = keys_of_tracks(uuids)
        new = {song.uuid: new_track(song) for song in songs if song.uuid not in here}
        added = insert_tracks(list(new.values()), now=database_now(chunk))
        if len(added) < len(new):
            # Somebody else added them since we looked.
            here |= keys_of_tracks(new.keys() - added.keys())
        jobs.add_imported_tracks(job, [(added | here)[song.uuid] for song in songs])
        rows, failures = [], []
        unseen = dict(added)
        start = first + already.total() + 1
        for number, song in enumerate(songs, start=start):
            is_new = unseen.pop(song.uuid, None) is not None
            rows.append(
                ImportRow(
                    job=job,
                    number=number,
                    item=str(song.uuid),
                    outcome=ImportRow.Outcome.ADDED if is_new else ImportRow.Outcome.HERE,
                    track_id=added.get(song.uuid) or here[song.uuid],
                )
            )
        for number, warning in enumerate(unreadable, start=start + len(songs)):
            item = f"place {number}"
            failures.append(jobs.Failure(item, "list_repeats" if is_repeat else "invalid_response", warning))
            rows.append(
                ImportRow(
                    job=job,
                    number=number,
                    item=item,
                    outcome=ImportRow.Outcome.FAILED,
                    message=warning,
                )
            )
        ImportRow.objects.bulk_create(rows)
        counts = jobs.Counts(updated=len(added), unchanged=len(songs) - len(added), failed=len(failures))
        jobs.record_outcomes(
            chunk,
            counts=counts,
            failures=failures,
            calls=calls,
            is_done=is_done,
            size=size,
            is_read=is_whole,
        )
    move_on(chunk, count=listed, size=size)
    logger.info(
        "job %s: %s songs listed: %s added, %s already here%s",
        *(
            job.pk,
            len(songs),
            counts.updated,
            counts.unchanged,
            "" if is_whole else "; the page is not whole",
        ),
    )


def _listed_before(job: MetadataFetchTask, *, after: int) -> Counter[str]:
    """Return the songs that the report names behind a place: of a page that was not whole when it came."""
    rows = ImportRow.objects.filter(job=job, number__gt=after).order_by()
    return Counter(rows.values_list("item", flat=True))


def _without(songs: Sequence[SongSummary], already: Counter[str]) -> list[SongSummary]:
    """Return the songs of a page without those already in its report, counting duplicates."""
    left = already.copy()
    rest = []
    for song in songs:
        if left[str(song.uuid)] > 0:
            left[str(song.uuid)] -= 1
        else:
            rest.append(song)
    return rest


def _is_repeat(job: MetadataFetchTask, songs: Sequence[SongSummary]) -> bool:
    """Return whether a page has songs and this import has already listed all of them."""
    keys = keys_of_tracks({song.uuid for song in songs})
    if not songs or any(song.uuid not in keys for song in songs):
        return False
    return jobs.tracks_listed(job, keys.values()) == set(keys.values())


def keys_of_tracks(uuids: Collection[UUID]) -> dict[UUID, int]:
    """Return the keys of those of the songs that are here, by uuid."""
    return dict(Track.objects.filter(uuid__in=uuids).values_list("uuid", "pk"))
