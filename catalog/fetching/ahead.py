"""Batches of a chunk: several calls under way at once, their answers handed out strictly in order."""

import math
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import lru_cache
from time import monotonic
from typing import TypeVar
from uuid import UUID

from django.conf import settings

from catalog import jobs, quota
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.quota import QuotaReserved
from soundcharts.calling_off import called_off_by
from soundcharts.errors import CalledOff, SoundchartsError
from soundcharts.payloads import Song
from soundcharts.service import SoundchartsService

# Tracks that are worth a transaction, and how long answers may wait in memory to become so many.
SAVED_TOGETHER = 100
LONGEST_WAIT_SECONDS = 0.25
# From how far away the reserve is watched more closely, in multiples of what all workers have queued.
NEAR_RESERVE = 10
# Batches under way or waiting for a thread, in multiples of the threads.
QUEUED = 2
# Seconds between two looks, while an answer is waited for, whether the calls are still wanted.
LOOK_EVERY = 1.0

T = TypeVar("T")
# What is done about every second while answers are waited for; it is told how to call off what has not begun.
Look = Callable[[Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Result:
    """A track's part in a batch.

    `item` is the uuid of a track that is to be fetched, empty for one that is fresh or gone. `answer` is
    a song or an error, None for one that is not to be fetched or has no answer yet. `is_elsewhere` says
    that a worker of another job has the track under way: here it waits until that has an end.
    """

    track_id: int
    item: str = ""
    answer: Song | SoundchartsError | None = None
    is_elsewhere: bool = False

    @property
    def is_unanswered(self) -> bool:
        return bool(self.item) and self.answer is None

    @property
    def is_to_be_asked(self) -> bool:
        return bool(self.item) and not self.is_elsewhere


@dataclass(slots=True)
class Answers:
    """What came of one or several batches, in the chunk's order.

    `calls` of the quota were spent. `error` is what left some of the tracks without an answer.
    """

    results: list[Result] = field(default_factory=list)
    calls: int = 0
    error: SoundchartsError | None = None

    def add(self, other: "Answers") -> None:
        """Put the answers of the next batch behind these.

        The first error is the one that is told, and before any that only says that a call never began.
        """
        self.results += other.results
        self.calls += other.calls
        if self.error is None or (isinstance(self.error, CalledOff) and other.error is not None):
            self.error = other.error


def useful_depth(service: SoundchartsService) -> int:
    """Return how many calls one process should keep under way.

    One, until it is known whether the account has batch calls, and what is left of the quota: that is asked
    once, not by many calls at the same time. Else no more than may start within a second: others would only
    wait for their turn.
    """
    if not service.knows_batches or not quota.is_told(service):
        return 1
    return max(1, min(settings.FETCH_AHEAD, math.ceil(settings.SOUNDCHARTS_CALLS_PER_MINUTE / 60)))


class BatchesAhead:
    """Fetch the batches of a leased chunk ahead of the one that is being saved.

    The threads only talk to Soundcharts; the database is the caller's.
    """

    def __init__(
        self,
        job: MetadataFetchTask,
        chunk: FetchChunk,
        service: SoundchartsService,
        *,
        batch_size: int,
        depth: int | None = None,
        limit: int | None = None,
        workers: int = 1,
    ) -> None:
        """Begin at the chunk's position, and end with it or after `limit` tracks.

        `depth` calls are kept under way; by default as many as are of use. `workers` spend the same quota.
        """
        self._job = job
        self._track_ids = chunk.track_ids if limit is None else chunk.track_ids[: chunk.position + limit]
        self._service = service
        self._batch_size = batch_size
        self._depth = depth
        self._workers = max(1, workers)
        self._cursor = chunk.position
        self._open: list[Result] = []
        self._under_way: deque[tuple[list[Result], Future[Answers]]] = deque()
        self._called_off = threading.Event()

    def fill(self, *, room: int | None = None) -> int:
        """Queue batches, at most `room`, so that no thread is idle while answers are saved.

        Returns how many more may be queued: above 0 only when the chunk has no more.
        """
        depth = useful_depth(self._service) if self._depth is None else self._depth
        if not quota.leaves_reserve(self._service, calls=NEAR_RESERVE * QUEUED * depth * self._workers):
            # Others may have begun since this chunk did.
            self._workers = max(1, jobs.count_living_leases())
        if not quota.leaves_reserve(self._service, calls=2 * QUEUED * depth * self._workers):
            # Near the reserve one call at a time, so that what others spend meanwhile is a few calls at most.
            depth = 1
        # Behind the calls that all threads make there are always some to begin when one of them ends.
        wanted = QUEUED * depth if depth == settings.FETCH_AHEAD > 1 else depth
        wanted -= len(self._under_way)
        batches = self._next_batches(wanted if room is None else min(wanted, room))
        for batch in batches:
            answers = fetch_threads().submit(_fetch, self._service, batch, self._margin, self._called_off)
            self._under_way.append((batch, answers))
        return wanted - len(batches)

    @property
    def _margin(self) -> int:
        # A call of one's own, and what each other worker may have spent since the last answer told.
        return 1 + 2 * (self._workers - 1)

    def start_nothing_more(self) -> None:
        """Take back the batches whose calls have not begun; they are the last ones, and come next again."""
        self._cursor -= len(self._open)
        self._open = []
        while self._under_way and self._under_way[-1][1].cancel():
            batch, _ = self._under_way.pop()
            self._cursor -= len(batch)

    def call_off(self) -> None:
        """Start nothing more, not even the calls that wait for their turn: their tracks have no answer."""
        self._called_off.set()
        self.start_nothing_more()

    @property
    def is_called_off(self) -> bool:
        return self._called_off.is_set()

    @property
    def is_busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._under_way)

    def peek(self) -> list[Result]:
        """Return the next batch without starting its call; nothing may be under way."""
        return next(iter(self._next_batches(1)), [])

    def take(self, *, look: Callable[[], None]) -> Answers:
        """Wait for the first batch, and return it with what can be saved together with it.

        `look` is called about every second, to keep the lease or to call off; what it raises ends the
        wait. When a batch was left without an answer, all that is under way is waited for and returned:
        what is paid for is to be saved, whatever becomes of the rest.
        """
        taken = self._wait_for_first(look)
        give_up_at = monotonic() + LONGEST_WAIT_SECONDS
        while self._under_way and taken.error is None and len(taken.results) < SAVED_TOGETHER:
            try:
                answers = self._under_way[0][1].result(timeout=max(0.0, give_up_at - monotonic()))
            except TimeoutError:
                break
            self._under_way.popleft()
            taken.add(answers)
        if taken.error is not None:
            self.start_nothing_more()
            while self._under_way:
                taken.add(self._wait_for_first(look))
        return taken

    def _wait_for_first(self, look: Callable[[], None]) -> Answers:
        answers = wait_for(self._under_way[0][1], look)
        self._under_way.popleft()
        return answers

    def abandon(self) -> int:
        """Start nothing more, wait for what is under way, and return the calls that this has spent."""
        self.call_off()
        spent = sum(future.result().calls for _, future in self._under_way)
        self._under_way.clear()
        return spent

    def _next_batches(self, count: int) -> list[list[Result]]:
        """Return the next batches: full ones, but for the last, with the tracks to skip among them."""
        batches: list[list[Result]] = []
        # Kept here until all queries have worked: after one that fails, the same tracks come next.
        cursor, opened = self._cursor, list(self._open)
        # A person who waits for one track does not wait for a bulk job to come to it.
        elsewhere = set() if self._service.is_interactive else jobs.tracks_under_way(except_job=self._job.pk)
        while len(batches) < count and cursor < len(self._track_ids):
            window = self._track_ids[cursor : cursor + (count - len(batches)) * self._batch_size]
            known = {
                pk: (uuid, fetched_at)
                for pk, uuid, fetched_at in Track.objects.filter(pk__in=window).values_list(
                    "pk", "uuid", "metadata_fetched_at"
                )
            }
            for track_id in window:
                uuid, fetched_at = known.get(track_id, (None, None))
                is_wanted = uuid is not None and (fetched_at is None or fetched_at < self._job.fresh_after)
                opened.append(
                    Result(
                        track_id,
                        str(uuid) if is_wanted else "",
                        is_elsewhere=is_wanted and track_id in elsewhere,
                    )
                )
                if sum(result.is_to_be_asked for result in opened) == self._batch_size:
                    batches.append(opened)
                    opened = []
            cursor += len(window)
        if opened and cursor >= len(self._track_ids) and len(batches) < count:
            batches.append(opened)
            opened = []
        self._cursor, self._open = cursor, opened
        return batches


def _fetch(
    service: SoundchartsService, batch: list[Result], margin: int, called_off: threading.Event
) -> Answers:
    wanted = {UUID(result.item): result for result in batch if result.is_to_be_asked}
    if not wanted:
        return Answers(batch)
    if not service.is_interactive and quota.is_reserved(service, calls=margin):
        return Answers(batch, error=QuotaReserved())
    with called_off_by(called_off), service.count_calls() as meter:
        answer = service.get_songs(list(wanted))
    if answer.interrupted_by is not None and answer.interrupted_by.stops_all:
        called_off.set()  # Each of the calls that wait for their turn would be refused, too.
    found = {
        result.item: answer.songs.get(uuid) or answer.errors.get(uuid) for uuid, result in wanted.items()
    }
    results = [replace(result, answer=found.get(result.item)) for result in batch]
    return Answers(results, meter.spent, answer.interrupted_by)


def wait_for(call: "Future[T]", look: Callable[[], None]) -> T:
    """Return what a call returns; `look` is called about every second until then."""
    while not wait({call}, timeout=min(LOOK_EVERY, settings.CHUNK_LEASE_SECONDS / 3)).done:
        look()
    return call.result()


def fetch_threads() -> ThreadPoolExecutor:
    """Return this process's threads for calls."""
    # A pool does not survive the fork that makes a worker process.
    return _threads_of(os.getpid(), settings.FETCH_AHEAD)


@lru_cache(maxsize=1)
def _threads_of(process_id: int, count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="fetch")
