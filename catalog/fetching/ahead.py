"""Batches of a chunk: several calls under way at once, their answers handed out strictly in order."""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import replace
from functools import lru_cache, partial
from time import monotonic
from typing import ParamSpec, Protocol, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings

from catalog import jobs
from catalog.fetching.kinds import Kind, kind_of
from catalog.fetching.results import Answers, Result
from catalog.models import FetchChunk, MetadataFetchTask
from soundcharts.calling_off import called_off_by
from soundcharts.errors import QuotaReserved, SoundchartsError
from soundcharts.service import SoundchartsService

# Tracks that are worth a transaction, and how long answers may wait in memory to become so many.
SAVED_TOGETHER = 100
LONGEST_WAIT_SECONDS = 0.25
# Batches under way or waiting for a thread, in multiples of the threads.
QUEUED = 2
# Seconds between two looks, while an answer is waited for, whether the calls are still wanted.
LOOK_EVERY = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class HasCalls(Protocol):
    """The result of a call, and the number of calls charged to the quota."""

    @property
    def calls(self) -> int: ...


C = TypeVar("C", bound=HasCalls)

# What is done about every second while answers are waited for; it is told how to call off what has not begun.
Look = Callable[[Callable[[], None]], None]


def useful_depth(service: SoundchartsService, *, is_proven: bool) -> int:
    """Return how many calls one process should keep in flight.

    One, until it is known how the account answers (whether it has batch calls, or a platform) and how many
    calls remain. Then no more than may start within a second: others would only wait for their turn.
    """
    if not is_proven or not service.is_quota_told:
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
    ) -> None:
        """Begin at the chunk's position, and end with it or after `limit` tracks.

        `depth` calls are kept in flight; by default as many as are useful.
        """
        self._job = job
        self._kind = kind_of(job)
        self._track_ids = chunk.track_ids if limit is None else chunk.track_ids[: chunk.position + limit]
        self._service = service
        self._batch_size = batch_size
        self._depth = depth
        self._cursor = chunk.position
        self._open: list[Result] = []
        self._under_way: deque[tuple[list[Result], Future[Answers]]] = deque()
        self._called_off = threading.Event()

    def fill(self, *, room: int | None = None) -> int:
        """Queue batches, at most `room`, so that no thread is idle while answers are saved.

        Returns how many more may be queued: above 0 only when the chunk has no more.
        """
        depth = self._depth
        if depth is None:
            is_proven = self._kind.is_proven(self._job, self._service)
            depth = useful_depth(self._service, is_proven=is_proven)
        # Behind the calls that all threads make there are always some to begin when one of them ends.
        wanted = QUEUED * depth if depth == settings.FETCH_AHEAD > 1 else depth
        wanted -= len(self._under_way)
        batches = self._next_batches(wanted if room is None else min(wanted, room))
        for batch in batches:
            answers = submit(_fetch, self._kind, self._service, batch, self._called_off)
            self._under_way.append((batch, answers))
        return wanted - len(batches)

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
        futures = [future for _, future in self._under_way]
        self._under_way.clear()
        return count_spent(futures)

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


def _fetch(
    kind: Kind, service: SoundchartsService, batch: list[Result], called_off: threading.Event
) -> Answers:
    wanted = [result for result in batch if result.is_to_be_asked]
    if not wanted:
        return Answers(batch)
    found: dict[int, Result] = {}
    error: SoundchartsError | None
    with called_off_by(called_off), service.count_calls() as meter:
        try:
            found, error = kind.fetch(service, wanted)
        except SoundchartsError as raised:
            error = raised
        except Exception as unexpected:  # The calls are counted, and the other batches are saved.
            error = jobs.internal_error(unexpected, during="fetching a batch")
    # A refusal meets every call that waits for its turn, but the reserve has let those through already.
    if error is not None and error.stops_all and not isinstance(error, QuotaReserved):
        called_off.set()
    return Answers([found.get(result.track_id, result) for result in batch], meter.spent, error)


def wait_for(call: "Future[T]", look: Callable[[], None]) -> T:
    """Return what a call returns; `look` is called about every second until then."""
    while not wait({call}, timeout=min(LOOK_EVERY, settings.CHUNK_LEASE_SECONDS / 3)).done:
        look()
    return call.result()


def count_spent(calls: "Iterable[Future[C]]") -> int:
    """Wait for all calls, even if one fails; return the number of calls charged to the quota."""
    spent = 0
    for call in calls:
        try:
            spent += call.result().calls
        except CancelledError:
            continue
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            jobs.internal_error(error, during="waiting for a call that nobody needs any more")
    return spent


def submit(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run a call in another thread with this thread's context, so its log lines name the same task."""
    context, work = copy_context(), partial(call, *args, **kwargs)
    return fetch_threads().submit(lambda: context.run(work))


def fetch_threads() -> ThreadPoolExecutor:
    """Return this process's threads for calls."""
    # A pool does not survive the fork that makes a worker process.
    return _threads_of(os.getpid(), settings.FETCH_AHEAD)


@lru_cache(maxsize=1)
def _threads_of(process_id: int, count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="fetch")
