"""Doing things at the same moment, each in a thread with a database connection of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

from catalog.tests.workers import wait_until

T = TypeVar("T")


def all_at_once(action: Callable[[], T], *, times: int) -> list[T]:
    """Call `action` in so many threads at the same moment; return what each returned, or raise."""
    start = threading.Barrier(times)

    def act() -> T:
        start.wait(30)
        return _act_and_disconnect(action)

    with ThreadPoolExecutor(times) as pool:
        return [future.result(60) for future in [pool.submit(act) for _ in range(times)]]


def _act_and_disconnect(action: Callable[[], T]) -> T:
    try:
        return action()
    finally:
        connection.close()


class Meanwhile:
    """Something that another thread does while this one holds a transaction open."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(_act_and_disconnect, action)

    def wait_until_blocked(self) -> None:
        """Return when it waits for a lock of ours. On SQLite its BEGIN waits, which cannot be seen."""
        if connection.vendor == "postgresql":
            wait_until(_is_anybody_waiting)

    def result(self) -> object:
        """Return what it returned, or raise what it raised, once it is over."""
        with self._pool:
            return self._future.result(60)


def _is_anybody_waiting() -> bool:
    with connection.cursor() as cursor:
        # Of this database: others of the same server have tests of their own. And as it is now: a
        # transaction sees what it has seen once.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0
