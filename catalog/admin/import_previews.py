"""What an import would do and cost, before anything is written: all that is known free of charge."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from catalog.fetching.imports import LIST_PAGE, PAGE_KEPT_MINUTES, page_from_json
from catalog.jobs import RECHECK_HOURS
from catalog.models import ImportDraft, Track, tracks_by_identifier
from catalog.prices import Price, estimate_calls, price_of, time_for
from catalog.song_lists import Entry, SongList, is_uuid, read_list
from soundcharts.payloads import Page, SongSummary

# Entries that are shown one by one; the report of the task names all.
SHOWN_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """The calls that an import spends on finding songs and on their metadata."""

    finding: int
    metadata: int
    is_most: bool = False

    @property
    def calls(self) -> int:
        return self.finding + self.metadata

    @property
    def price(self) -> Price:
        return price_of(self.calls)

    @property
    def duration(self) -> str:
        """How long the calls take at most calls a minute, in words."""
        return time_for(self.calls)


@dataclass(slots=True)
class _Here:
    """Which of some songs are here, and how many of those are to be fetched again."""

    identifiers: set[str]
    stale: int


def preview_of(draft: ImportDraft) -> dict[str, Any]:
    """Return what the second step shows of a draft. Raises UnreadableList for a text that is no list."""
    if draft.source == ImportDraft.Source.LIST:
        songs = read_list(draft.text, column=draft.column, is_file=bool(draft.file_name))
        return _preview_of_list(songs)
    return _preview_of_listing(draft)


def _preview_of_list(songs: SongList) -> dict[str, Any]:
    wanted = [entry.value for entry in songs.wanted]
    here = _here(wanted)
    new = [value for value in wanted if value not in here.identifiers]
    new_uuids = sum(map(is_uuid, new))
    isrcs = len(new) - new_uuids
    problems: list[Entry] = sorted((*songs.invalid, *songs.duplicates), key=lambda entry: entry.line)
    return {
        "songs": songs,
        "new": new_uuids,
        "here": len(wanted) - len(new),
        "stale": here.stale,
        "unknown": isrcs,
        "recheck_hours": "2, 24 and 72",
        "recheck_calls": isrcs * len(RECHECK_HOURS),
        "duplicates": len(songs.duplicates),
        "invalid": len(songs.invalid),
        "problems": problems[:SHOWN_ENTRIES],
        "hidden_problems": max(0, len(problems) - SHOWN_ENTRIES),
        "cost": Cost(estimate_calls(new_uuids) + isrcs, estimate_calls(here.stale)),
        "can_confirm": bool(wanted),
    }


def _preview_of_listing(draft: ImportDraft) -> dict[str, Any]:
    page = fresh_page(draft)
    limit, offset = draft.limit or 0, draft.offset or 0
    if page is None:
        cost = Cost(math.ceil(limit / LIST_PAGE), estimate_calls(limit), is_most=True)
        return {"page": None, "unknown": limit, "cost": cost, "can_confirm": True}
    # No more songs than requested, as in the import itself.
    songs = page.items[:limit]
    unreadable = min(len(page.warnings), limit - len(songs))
    shown = len(songs) + unreadable
    if not page.has_next:
        count = shown
    elif page.total is not None:
        count = min(limit, max(page.total - offset, shown))
    else:
        count = limit
    uuids = list(dict.fromkeys(str(song.uuid) for song in songs))
    here = _here(uuids)
    new, rest = len(uuids) - len(here.identifiers), max(0, count - shown)
    return {
        "page": page,
        "page_songs": [(song, str(song.uuid) in here.identifiers) for song in songs],
        "count": count,
        "new": new,
        "here": len(here.identifiers),
        "stale": here.stale,
        "invalid": unreadable,
        "unknown": rest,
        "cost": Cost(
            math.ceil(rest / LIST_PAGE), estimate_calls(new + here.stale + rest), is_most=bool(rest)
        ),
        "can_confirm": count > 0,
    }


def fresh_page(draft: ImportDraft) -> Page[SongSummary] | None:
    """Return the first page of a draft's list, if somebody has asked for it not too long ago."""
    if draft.page is None or draft.page_at is None:
        return None
    if draft.page_at < timezone.now() - timedelta(minutes=PAGE_KEPT_MINUTES):
        return None
    return page_from_json(draft.page)


def _here(identifiers: list[str]) -> _Here:
    found = tracks_by_identifier(identifiers)
    return _Here(set(found), Track.objects.filter(pk__in=set(found.values())).due().count())
