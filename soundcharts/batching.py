"""Fetch several songs with as few calls as the account and the identifiers allow.

A batch call costs as much as a single one, but it is all or nothing: one bad uuid can spoil it, accounts
exist that have no batch calls, and the API words both refusals alike. What was seen decides:

- A refused batch, after one has worked: some uuid is bad. Halve the batch until it stands alone.
- A refused batch, when none has worked yet: ask one by one. If every song comes, it was not the uuids:
  the account has no batch calls, which all processes are told for a day.
- An answer that is not whole (it names errors, or lacks items that it promises) proves nothing of what it
  lacks: those songs stay unanswered.
- An answer that makes no sense (one song with NaN in it makes the whole answer invalid JSON) is handled
  alike, but says nothing of the account.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from soundcharts.client import SoundchartsClient
from soundcharts.envelopes import Page
from soundcharts.errors import (
    AmbiguousIsrc,
    Forbidden,
    IncompleteResponse,
    InvalidRequest,
    InvalidResponse,
    Moved,
    NotFound,
    SoundchartsError,
    TruncatedResponse,
)
from soundcharts.payloads import Song, parse_song_collection, parse_song_envelope

logger = logging.getLogger("soundcharts.batching")

BATCH_REFUSED = "batch_refused"
BATCH_REFUSED_FOR = 24 * 60 * 60.0
BATCH_WORKS = "batch_works"
BATCH_WORKS_FOR = 24 * 60 * 60.0
# Seconds for which a process trusts that an account still has the batch calls that it has used.
ASK_AGAIN_AFTER = 5.0

_REFUSALS = (InvalidRequest, NotFound, AmbiguousIsrc)


@dataclass(frozen=True, slots=True)
class SongBatch:
    """What became of each song that was asked for.

    Every uuid is in `songs` or in `errors`, unless `interrupted_by` is set: then an error that is not
    about any one song (a temporary one, or one that stops all work) ended the fetch early, and uuids
    that are in neither have no answer. The answers that were paid for until then are kept.
    """

    songs: Mapping[UUID, Song] = field(default_factory=dict)
    errors: Mapping[UUID, SoundchartsError] = field(default_factory=dict)
    interrupted_by: SoundchartsError | None = None


class SongFetcher:
    """Fetch songs by uuid, remembering whether batch calls work. May be shared by threads."""

    def __init__(self, client: SoundchartsClient, *, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1.")
        self.batch_size = batch_size
        self._client = client
        self._is_batch_proven = False
        self._ask_again_at = 0.0

    @property
    def effective_batch_size(self) -> int:
        """Return how many songs a call brings: `batch_size`, or 1 for an account without batch calls."""
        return 1 if self._is_batch_refused() else self.batch_size

    @property
    def knows_batches(self) -> bool:
        """Return whether a batch has worked for some process, or the account is known to have none."""
        return (
            self._is_batch_proven
            or self._client.limiter.recalls(BATCH_WORKS)
            or self.effective_batch_size == 1
        )

    def fetch_song(self, uuid: UUID) -> Song:
        """Return one song. Raises Moved if the answer is about another, or a redirect to it."""
        path = _path_of([uuid])
        try:
            return parse_song_envelope(self._client.get(path), asked=uuid)
        except SoundchartsError as error:
            error.path = error.path or path
            raise

    def fetch_songs(self, uuids: Sequence[UUID]) -> SongBatch:
        """Return what became of each of up to `batch_size` songs; errors are in it, not raised.

        Raises ValueError for more uuids than `batch_size`.
        """
        if len(uuids) > self.batch_size:
            raise ValueError(f"{len(uuids)} uuids asked for, but a batch holds {self.batch_size}.")
        fetch = _Fetch()
        wanted = list(dict.fromkeys(uuids))
        try:
            self._fetch(wanted, fetch)
        except SoundchartsError as error:
            fetch.interrupted_by = error
        self._learn(wanted, fetch)
        return SongBatch(fetch.songs, fetch.errors, fetch.interrupted_by)

    def _fetch(self, uuids: Sequence[UUID], fetch: _Fetch) -> None:
        """Answer these uuids in `fetch`. Raises the error that makes going on useless."""
        if len(uuids) < 2 or self._is_batch_refused():
            self._fetch_singly(uuids, fetch)
            return
        try:
            page = parse_song_collection(self._client.get(_path_of(uuids)))
        except TruncatedResponse:
            raise
        except IncompleteResponse as error:
            fetch.note_incomplete(error)
        except (*_REFUSALS, Forbidden, InvalidResponse) as error:
            fetch.refusals.append(error)
            logger.info("A batch of %d songs was refused: %s", len(uuids), error.code)
            # 403 is about the account, never about one uuid: there is nothing to search for.
            if self._is_batch_proven and not isinstance(error, Forbidden):
                middle = len(uuids) // 2
                self._fetch(uuids[:middle], fetch)
                self._fetch(uuids[middle:], fetch)
            else:
                self._fetch_singly(uuids, fetch)
        else:
            self._sort_answer(page, uuids, fetch)

    def _sort_answer(self, page: Page[Song], uuids: Sequence[UUID], fetch: _Fetch) -> None:
        songs: dict[UUID, Song] = {}
        strangers: list[Song] = []
        for song in page.items:
            if song.uuid in uuids and song.uuid not in songs:
                songs[song.uuid] = song
            else:
                strangers.append(song)
        missing = [uuid for uuid in uuids if uuid not in songs]
        fetch.songs.update(songs)
        if strangers:
            logger.warning("Soundcharts sent %d songs that nobody asked for", len(strangers))
        if songs:
            if not self._is_batch_proven:
                self._client.limiter.remember(BATCH_WORKS, BATCH_WORKS_FOR)
            fetch.has_batch = self._is_batch_proven = True
        if not missing:
            return
        if not page.is_whole:
            # What it lacks may be there all the same.
            fetch.note_incomplete(IncompleteResponse(page.shortfall, status=200, path=_path_of(missing[:1])))
        elif page.warnings or page.has_next or not self._is_batch_proven:
            # A song is unknown if it is missing from an answer that is whole and readable, given by an
            # account of which it is certain that it answers batches.
            self._fetch_singly(missing, fetch)
        elif not strangers:
            fetch.errors.update((uuid, NotFound(path=_path_of([uuid]))) for uuid in missing)
        elif len(missing) == len(strangers) == 1 and strangers[0].uuid not in songs:
            # The one that is missing was merged into the one that came instead.
            (uuid,), (heir,) = missing, strangers
            fetch.errors[uuid] = Moved(new_uuid=heir.uuid, song=heir, status=200, path=_path_of([uuid]))
        else:
            # Which of them became which, if any did, only single answers tell.
            self._fetch_singly(missing, fetch)

    def _fetch_singly(self, uuids: Sequence[UUID], fetch: _Fetch) -> None:
        for uuid in uuids:
            try:
                fetch.songs[uuid] = self.fetch_song(uuid)
            except IncompleteResponse as error:
                fetch.note_incomplete(error)
            except InvalidResponse as error:
                if isinstance(error, TruncatedResponse):
                    raise
                fetch.note_unreadable(uuid, error)
            except SoundchartsError as error:
                if error.is_temporary or error.stops_all:
                    raise
                fetch.errors[uuid] = error

    def _is_batch_refused(self) -> bool:
        """Return whether the account is known to have no batch calls.

        Where batches have worked it is asked now and then only: it would take a change of the plan.
        """
        now = time.monotonic()
        if self._is_batch_proven and now < self._ask_again_at:
            return False
        is_refused = self._client.limiter.recalls(BATCH_REFUSED)
        if not is_refused:
            self._ask_again_at = now + ASK_AGAIN_AFTER
        return is_refused

    def _learn(self, wanted: Sequence[UUID], fetch: _Fetch) -> None:
        """Conclude that the account has no batch calls, if nothing else explains what happened."""
        if fetch.has_batch or not fetch.songs:
            return
        is_forbidden = any(isinstance(error, Forbidden) for error in fetch.refusals)
        is_refused = any(isinstance(error, _REFUSALS) for error in fetch.refusals)
        if is_forbidden or (is_refused and len(fetch.songs) == len(wanted)):
            logger.warning("This account has no batch calls: songs are fetched one by one for a day")
            self._is_batch_proven = False
            self._client.limiter.remember(BATCH_REFUSED, BATCH_REFUSED_FOR)


@dataclass(slots=True)
class _Fetch:
    """What one fetch has brought so far."""

    songs: dict[UUID, Song] = field(default_factory=dict)
    errors: dict[UUID, SoundchartsError] = field(default_factory=dict)
    interrupted_by: SoundchartsError | None = None
    # What batch calls were refused with, and whether any was answered.
    refusals: list[SoundchartsError] = field(default_factory=list)
    has_batch: bool = False

    def note_incomplete(self, error: IncompleteResponse) -> None:
        """Hold an incomplete answer against no song: those that it lacks are asked for again later.

        Raises a second one if nothing came but the like: then the rest would only spend calls.
        """
        if self.interrupted_by is not None and not self.songs:
            raise error
        self.interrupted_by = error

    def note_unreadable(self, uuid: UUID, error: InvalidResponse) -> None:
        """Hold an unreadable answer against its song, or raise it if it is not about the song.

        When all that came so far were unreadable answers to two songs, it is Soundcharts (or something
        on the way) that fails, and asking for the rest would only spend calls.
        """
        if self.errors and not self.songs and all(_is_unreadable(each) for each in self.errors.values()):
            self.errors.clear()
            raise error
        self.errors[uuid] = error


def _is_unreadable(error: SoundchartsError) -> bool:
    return isinstance(error, InvalidResponse)


def _path_of(uuids: Sequence[UUID]) -> str:
    return "/api/v2.25/song/" + ",".join(map(str, uuids))
