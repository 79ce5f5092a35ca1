"""Asking for imports: the songs of an upstream list, or a list that somebody brought."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from catalog.jobs.events import User
from catalog.jobs.making import Requested, make_job
from catalog.jobs.planning import add_item_chunks
from catalog.jobs.requests import metadata_fresh_after
from catalog.models import FetchChunk, ImportRow, MetadataFetchTask
from catalog.models.import_rows import SHOWN_LENGTH
from catalog.song_lists import Entry
from catalog.words import plural

Type = MetadataFetchTask.Type

# Soundcharts lists go no further by offset (the API's reference: past 50,000 a cursor is needed).
LAST_OFFSET = 50_000


def request_import(
    *,
    limit: int,
    offset: int = 0,
    artist_uuid: UUID | None = None,
    artist_name: str = "",
    calls: int = 0,
    requested_by: User = None,
    parent: MetadataFetchTask | None = None,
) -> Requested:
    """Ask for the import of an artist's songs, or of the top songs; their metadata is queued as they come.

    `artist_name` is for the title. The first page of a draft that leads to this job is not bought again;
    `calls` are those that it has cost, and are in their day already.

    Raises ValueError for a limit or offset outside what Soundcharts lists.
    """
    if limit < 1 or offset < 0 or offset + limit > LAST_OFFSET:
        raise ValueError(
            f"The limit must be at least 1, the offset at least 0, and both together at most {LAST_OFFSET:,}."
        )
    source = (artist_name[:80] or f"artist {artist_uuid}") if artist_uuid else "top songs"
    return make_job(
        task_type=Type.IMPORT,
        title=f"Import of {source}, {limit:,} from place {offset + 1:,}",
        request={
            "what": "import",
            "artist_uuid": str(artist_uuid) if artist_uuid else None,
            "offset": offset,
            "limit": limit,
        },
        dedupe_key=f"import:{artist_uuid or 'top'}:{offset}:{limit}",
        fresh_after=metadata_fresh_after(),
        total=limit,
        add_plan=lambda job: FetchChunk.objects.create(job=job, size=limit),
        calls=calls,
        requested_by=requested_by,
        parent=parent,
    )


def request_list_import(
    entries: Sequence[Entry],
    *,
    requested_by: User = None,
    title: str = "",
    parent: MetadataFetchTask | None = None,
    is_rechecked: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> Requested:
    """Ask for the import of a list of UUIDs and ISRCs that somebody brought.

    What is invalid or stands twice has its outcome at once; the others are looked up by workers. With
    `is_rechecked` ISRCs that are unknown are looked up again later. `extra` is added to the request.
    Raises ValueError for a list without a single identifier.
    """
    rows = list(enumerate(entries, start=1))
    wanted = [
        [number, entry.line, entry.value, entry.given[:SHOWN_LENGTH]]
        for number, entry in rows
        if entry.is_wanted
    ]
    if not wanted:
        raise ValueError("There is not a single UUID or ISRC in the list.")
    uuids = sum(entry.is_uuid for entry in entries if entry.is_wanted)
    values = sorted(str(value) for _, _, value, _ in wanted)

    def add_plan(job: MetadataFetchTask) -> None:
        add_item_chunks(job, wanted)
        ImportRow.objects.bulk_create(
            ImportRow(
                job=job,
                number=number,
                line=entry.line,
                item=entry.given[:SHOWN_LENGTH],
                outcome=ImportRow.Outcome.DUPLICATE if entry.value else ImportRow.Outcome.INVALID,
                message=f"The same as in line {entry.same_as}." if entry.value else entry.problem,
            )
            for number, entry in rows
            if not entry.is_wanted
        )

    return make_job(
        task_type=Type.IMPORT,
        title=title or f"Import of a list, {plural(len(wanted), 'song')}",
        request={"what": "import", "list": {"uuids": uuids, "isrcs": len(wanted) - uuids}}
        | ({"recheck": True} if is_rechecked else {})
        | dict(extra or {}),
        dedupe_key=f"import:list:{hashlib.sha256(repr(values).encode()).hexdigest()[:32]}",
        fresh_after=metadata_fresh_after(),
        total=len(wanted),
        add_plan=add_plan,
        requested_by=requested_by,
        parent=parent,
    )
