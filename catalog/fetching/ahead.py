"""Batches of a chunk: several calls under way at once, their answers handed out strictly in order."""

import math
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from time import monotonic

from django.conf import settings

from catalog import jobs, quota
from catalog.fetching.kinds import Kind, kind_of
from catalog.fetching.results import Answers, Result
from catalog.models import FetchChunk, MetadataFetchTask
from catalog.quota import QuotaReserved
from soundcharts.service import SoundchartsService

# Tracks that are worth a transaction, and how long answers may wait in memory to become so many.
SAVED_TOGETHER = 100
LONGEST_WAIT_SECONDS = 0.25
# From how far away the reserve is watched more closely, in multiples of what all workers have queued.
NEAR_RESERVE = 10
# Batches under way or waiting for a thread, in multiples of the threads.
QUEUED = 2


def useful_depth(*, is_proven: bool) -> int:
    """Return how many calls one process should keep under way.

    One, until it is known how the account answers, whether it has batch calls or a platform: that is asked
    once, not by many calls at the same time. Else no more than may start within a second: others would
    only wait for their turn.
    """
    if not is_proven:
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
        self._kind = kind_of(job)
        self._track_ids = chunk.track_ids if limit is None else chunk.track_ids[: chunk.position + limit]
        self._service = service
        self._batch_size = batch_size
        self._depth = depth
        self._workers = max(1, workers)
        self._cursor = chunk.position
        self._open: list[Result] = []
        self._under_way: deque[tuple[list[Result], Future[Answers]]] = deque()

    def fill(self, *, room: int | None = None) -> int:
        """Queue batches, at most `room`, so that no thread is idle while answers are saved.

        Returns how many more may be queued: above 0 only when the chunk has no more.
        """
        calls = QUEUED * self._workers * self._kind.calls_a_batch(self._job)
        depth = self._depth
        if depth is None:
            depth = useful_depth(is_proven=self._kind.is_proven(self._job, self._service))
        if not quota.leaves_reserve(self._service, calls=NEAR_RESERVE * calls * depth):
            # Others may have begun since this chunk did.
            self._workers = max(1, jobs.count_living_leases())
            calls = QUEUED * self._workers * self._kind.calls_a_batch(self._job)
        if not quota.leaves_reserve(self._service, calls=2 * calls * depth):
            # Near the reserve one call at a time, so that what others spend meanwhile is a few calls at most.
            depth = 1
        # Behind the calls that all threads make there are always some to begin when one of them ends.
        wanted = QUEUED * depth if depth == settings.FETCH_AHEAD > 1 else depth
        wanted -= len(self._under_way)
        batches = self._next_batches(wanted if room is None else min(wanted, room))
        for batch in batches:
            answers = fetch_threads().submit(_fetch, self._kind, self._service, batch, self._margin)
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

    @property
    def is_busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._under_way)

    def peek(self) -> list[Result]:
        """Return the next batch without starting its call; nothing may be under way."""
        return next(iter(self._next_batches(1)), [])

    def take(self, *, keep_waiting: Callable[[], None]) -> Answers:
        """Wait for the first batch, and return it with what can be saved together with it.

        `keep_waiting` is called again and again before the lease could run out; what it raises ends the
        wait. When a batch was left without an answer, all that is under way is waited for and returned:
        what is paid for is to be saved, whatever becomes of the rest.
        """
        taken = self._wait_for_first(keep_waiting)
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
                taken.add(self._wait_for_first(keep_waiting))
        return taken

    def _wait_for_first(self, keep_waiting: Callable[[], None]) -> Answers:
        while True:
            try:
                answers = self._under_way[0][1].result(timeout=settings.CHUNK_LEASE_SECONDS / 3)
            except TimeoutError:
                keep_waiting()
            else:
                self._under_way.popleft()
                return answers

    def abandon(self) -> int:
        """Start nothing more, wait for what is under way, and return the calls that this has spent."""
        self.start_nothing_more()
        spent = sum(future.result().calls for _, future in self._under_way)
        self._under_way.clear()
        return spent

    def _next_batches(self, count: int) -> list[list[Result]]:
        """Return the next batches: full ones, but for the last, with the tracks to skip among them."""
        batches: list[list[Result]] = []
        # Kept here until all queries have worked: after one that fails, the same tracks come next.
        cursor, opened = self._cursor, list(self._open)
        # A person who waits for one track does not wait for a bulk job to come to it.
        elsewhere = (
            set()
            if self._service.is_interactive
            else jobs.tracks_under_way(except_job=self._job.pk, task_types=self._kind.task_types)
        )
        while len(batches) < count and cursor < len(self._track_ids):
            window = self._track_ids[cursor : cursor + (count - len(batches)) * self._batch_size]
            wanted = self._kind.find(self._job, self._service, window)
            for track_id in window:
                result = wanted.get(track_id, Result(track_id))
                opened.append(
                    replace(result, is_elsewhere=True) if result.item and track_id in elsewhere else result
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


def _fetch(kind: Kind, service: SoundchartsService, batch: list[Result], margin: int) -> Answers:
    def may_call() -> bool:
        return service.is_interactive or quota.leaves_reserve(service, calls=margin)

    wanted = [result for result in batch if result.is_to_be_asked]
    if not wanted:
        return Answers(batch)
    if not may_call():
        return Answers(batch, error=QuotaReserved())
    with service.count_calls() as meter:
        found, error = kind.fetch(service, wanted, may_call=may_call)
    return Answers([found.get(result.track_id, result) for result in batch], meter.spent, error)


def fetch_threads() -> ThreadPoolExecutor:
    """Return this process's threads for calls."""
    # A pool does not survive the fork that makes a worker process.
    return _threads_of(os.getpid(), settings.FETCH_AHEAD)


@lru_cache(maxsize=1)
def _threads_of(process_id: int, count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="fetch")
