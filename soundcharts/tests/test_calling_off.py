"""Calls that are called off while they wait, and those that have begun."""

import threading
import time

import pytest
import responses

from soundcharts import calling_off, client
from soundcharts.calling_off import called_off_by
from soundcharts.client import SoundchartsClient
from soundcharts.credentials import ApiKeyCredentials
from soundcharts.errors import CalledOff, UpstreamUnavailable
from soundcharts.limiter import RateLimiter

PATH = "/api/v2.25/song/7d534228-5165-11e9-9375-549f35161576"
URL = f"https://soundcharts.test{PATH}"
# Longer than a test may take.
LONG = 60


@pytest.fixture
def limiter() -> RateLimiter:
    """A limit without its Redis: what waits there waits in the same way."""
    return RateLimiter("redis://127.0.0.1:1/0", "key", 1000)


@pytest.fixture
def caller(limiter: RateLimiter) -> SoundchartsClient:
    return SoundchartsClient(
        base_url="https://soundcharts.test", credentials=ApiKeyCredentials("app", "key"), limiter=limiter
    )


def set_soon(flag: threading.Event) -> None:
    threading.Timer(0.1, flag.set).start()


@responses.activate
def test_a_call_that_waits_for_its_turn_is_called_off_at_once(
    caller: SoundchartsClient, limiter: RateLimiter
) -> None:
    limiter.pause(LONG)
    flag = threading.Event()
    set_soon(flag)
    started = time.monotonic()
    with called_off_by(flag), pytest.raises(CalledOff):
        caller.get(PATH)
    assert time.monotonic() - started < LONG / 2
    assert len(responses.calls) == 0


@responses.activate
def test_a_call_that_waits_for_its_next_try_is_called_off_at_once(
    caller: SoundchartsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_wait_before", lambda retry, error: LONG)
    responses.get(URL, status=503)
    flag = threading.Event()
    set_soon(flag)
    with called_off_by(flag), pytest.raises(CalledOff):
        caller.get(PATH)
    assert len(responses.calls) == 1


@responses.activate
def test_all_that_wait_behind_each_other_are_called_off_together(limiter: RateLimiter) -> None:
    limiter.pause(LONG)
    flag = threading.Event()
    outcomes: list[CalledOff] = []

    def wait_for_turn() -> None:
        with called_off_by(flag):
            try:
                limiter.acquire(interactive=False, max_wait=LONG)
            except CalledOff as error:
                outcomes.append(error)

    threads = [threading.Thread(target=wait_for_turn) for _ in range(8)]
    for thread in threads:
        thread.start()
    set_soon(flag)
    for thread in threads:
        thread.join(LONG / 2)
    assert len(outcomes) == len(threads)


@responses.activate
def test_nothing_begins_once_the_flag_is_set(caller: SoundchartsClient) -> None:
    flag = threading.Event()
    flag.set()
    with called_off_by(flag), pytest.raises(CalledOff):
        caller.get(PATH)
    assert len(responses.calls) == 0


@responses.activate
def test_an_answer_to_a_call_that_had_begun_is_kept(caller: SoundchartsClient) -> None:
    flag = threading.Event()

    def answer_after_calling_off(request: object) -> tuple[int, dict[str, str], str]:
        flag.set()
        return 200, {}, '{"object": {}}'

    responses.add_callback(responses.GET, URL, callback=answer_after_calling_off)
    with called_off_by(flag):
        assert caller.get(PATH) == {"object": {}}


@responses.activate
def test_a_flag_concerns_only_the_calls_within(
    caller: SoundchartsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_RETRY_WAIT", 0.0)
    responses.get(URL, status=503)
    flag = threading.Event()
    with called_off_by(flag):
        pass
    flag.set()
    with pytest.raises(UpstreamUnavailable):
        caller.get(PATH)


def test_without_a_flag_waiting_is_sleeping() -> None:
    started = time.monotonic()
    calling_off.wait(0.05)
    assert time.monotonic() - started >= 0.05
