"""The reserve, kept by all processes together: on a real Valkey, with a quota counted like the API's."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from soundcharts import budget as budget_module
from soundcharts.budget import CallBudget
from soundcharts.calling_off import called_off_by
from soundcharts.client import SoundchartsClient
from soundcharts.errors import CalledOff, NotFound, QuotaExhausted, QuotaReserved, UpstreamUnavailable
from soundcharts.limiter import LOCAL_SHARE, RateLimiter
from soundcharts.service import SoundchartsService
from soundcharts.simulator import Simulator
from soundcharts.tests.doubles import KEYS

CREDENTIAL = "the-fingerprint"
# No server listens here.
NOWHERE = "redis://127.0.0.1:1/0"
RESERVE = 25
ACCOUNT: dict[str, Any] = {
    "app_id": KEYS.app_id,
    "api_key": KEYS.api_key,
    "calls_per_minute": 1_000_000,
}


def new_budget(redis_url: str, *, reserve: int = RESERVE) -> CallBudget:
    return CallBudget(RateLimiter(redis_url, CREDENTIAL, 100_000), reserve=reserve)


def make_call(budget: CallBudget, *, left: int | None, interactive: bool = False) -> None:
    """Make a call that is charged; its answer says that so many are left."""
    with budget.call(interactive=interactive, max_wait=5, ask=lambda: None) as call:
        call.has_started = True
        call.answered(left, is_charged=True)


def service_of(simulator: Simulator, redis_url: str, *, batch_size: int = 1) -> SoundchartsService:
    limiter = RateLimiter(redis_url, KEYS.fingerprint, 100_000)
    client = SoundchartsClient(
        base_url=simulator.url,
        credentials=KEYS,
        limiter=limiter,
        budget=CallBudget(limiter, reserve=RESERVE),
        max_retries=0,
    )
    return SoundchartsService(client, batch_size=batch_size)


def spend_all(simulator_url: str, redis_url: str, reserve: int, threads: int) -> None:
    """Make calls by so many threads until each is refused."""
    limiter = RateLimiter(redis_url, KEYS.fingerprint, 100_000)
    client = SoundchartsClient(
        base_url=simulator_url, credentials=KEYS, limiter=limiter, budget=CallBudget(limiter, reserve=reserve)
    )

    def work() -> None:
        with suppress(QuotaReserved, QuotaExhausted):
            while True:
                with suppress(NotFound):
                    client.get("/api/v2.25/song/00000000-0000-4000-8000-000000000000")

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(work)


@pytest.mark.parametrize(("processes", "above"), [(1, 100), (2, 100), (8, 100), (8, 0)])
def test_no_number_of_processes_and_threads_spends_the_reserve(
    redis_url: str, processes: int, above: int
) -> None:
    with Simulator(songs=1, quota=RESERVE + above + 1, latency=0.01, **ACCOUNT) as api:
        # Somebody's call has told all processes what is left.
        with suppress(NotFound):
            service_of(api, redis_url).get_song_by_isrc("USUM71900764")
        context = multiprocessing.get_context("spawn")
        running = [
            context.Process(target=spend_all, args=(api.url, redis_url, RESERVE, 32))
            for _ in range(processes)
        ]
        for process in running:
            process.start()
        for process in running:
            process.join()
        assert [process.exitcode for process in running] == [0] * processes
        assert api.state.quota_remaining == RESERVE


def test_where_nothing_is_known_one_call_alone_finds_out_what_is_left(redis_url: str) -> None:
    budgets = [new_budget(redis_url) for _ in range(2)]
    running, together = threading.Semaphore(0), []
    open_calls: list[int] = []

    def work(budget: CallBudget) -> None:
        with suppress(QuotaReserved), budget.call(interactive=False, max_wait=20, ask=lambda: None) as call:
            open_calls.append(1)
            together.append(len(open_calls))
            running.release()
            time.sleep(0.2)
            open_calls.pop()
            call.has_started = True
            call.answered(RESERVE, is_charged=True)

    threads = [threading.Thread(target=work, args=(budgets[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1]


def test_the_last_call_above_the_reserve_is_made_and_the_next_is_not(redis_url: str) -> None:
    budget = new_budget(redis_url)
    make_call(budget, left=RESERVE + 1)
    make_call(budget, left=RESERVE)
    with pytest.raises(QuotaReserved):
        make_call(budget, left=RESERVE - 1)


def test_without_a_call_left_the_quota_is_exhausted(redis_url: str) -> None:
    budget = new_budget(redis_url, reserve=0)
    make_call(budget, left=0)
    with pytest.raises(QuotaExhausted):
        make_call(budget, left=0)


def test_a_person_may_spend_the_reserve_and_bulk_work_knows_it(redis_url: str) -> None:
    bulk, person = new_budget(redis_url), new_budget(redis_url)
    make_call(bulk, left=RESERVE + 2)
    # The answer does not say what is left.
    make_call(person, left=None, interactive=True)
    make_call(bulk, left=None)
    with pytest.raises(QuotaReserved):
        make_call(bulk, left=None)
    make_call(person, left=None, interactive=True)


@pytest.mark.parametrize("is_started", [False, True], ids=["never started", "answered 503"])
def test_a_call_that_is_not_charged_is_given_back(redis_url: str, is_started: bool) -> None:
    budget = new_budget(redis_url)
    make_call(budget, left=RESERVE + 1)
    with (
        suppress(UpstreamUnavailable),
        budget.call(interactive=False, max_wait=5, ask=lambda: None) as call,
    ):
        if is_started:
            call.has_started = True
            call.answered(None, is_charged=False)
        raise UpstreamUnavailable
    make_call(budget, left=RESERVE)


def test_a_call_without_an_answer_counts_as_charged(redis_url: str) -> None:
    budget = new_budget(redis_url)
    make_call(budget, left=RESERVE + 1)
    with (
        suppress(UpstreamUnavailable),
        budget.call(interactive=False, max_wait=5, ask=lambda: None) as call,
    ):
        call.has_started = True
        raise UpstreamUnavailable
    with pytest.raises(QuotaReserved):
        make_call(budget, left=RESERVE)


def test_an_answer_that_is_late_does_not_raise_what_is_left(redis_url: str) -> None:
    budget = new_budget(redis_url)
    make_call(budget, left=RESERVE + 2)
    with budget.call(interactive=False, max_wait=5, ask=lambda: None) as late:
        late.has_started = True
        make_call(budget, left=RESERVE)
        # Charged before the other call, answered after it.
        late.answered(RESERVE + 1, is_charged=True)
    with pytest.raises(QuotaReserved):
        make_call(budget, left=RESERVE - 1)


def test_before_refusing_the_free_usage_call_is_made_and_a_renewal_is_noticed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "REFUSED_FOR", 0.0)
    budget = new_budget(redis_url)
    make_call(budget, left=RESERVE)
    questions: list[int] = []

    def ask() -> int:
        questions.append(1)
        return 1000

    with budget.call(interactive=False, max_wait=5, ask=ask) as call:
        call.answered(999, is_charged=True)
    make_call(budget, left=998)
    assert questions == [1]


def test_what_others_spent_meanwhile_is_found_out_before_many_calls_start(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = new_budget(redis_url)
    make_call(budget, left=RESERVE + 1000)
    monkeypatch.setattr(budget_module, "TOLD_FOR", 0.0)
    with budget.call(interactive=False, max_wait=5, ask=lambda: None) as first:
        flag = threading.Event()
        threading.Timer(0.2, flag.set).start()
        # Waits for the first to say what is left.
        with called_off_by(flag), pytest.raises(CalledOff):
            make_call(budget, left=None)
        first.answered(RESERVE, is_charged=True)
    with pytest.raises(QuotaReserved):
        make_call(budget, left=None)


def test_far_above_the_reserve_redis_is_not_asked(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = new_budget(redis_url)
    make_call(budget, left=1_000_000)
    monkeypatch.setattr(budget._limiter, "on_redis", lambda action: pytest.fail("Redis was asked."))
    make_call(budget, left=999_999)


def test_a_killed_process_holds_no_call_for_ever(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = new_budget(redis_url)
    make_call(budget, left=RESERVE + 1)
    killed = budget.call(interactive=False, max_wait=5, ask=lambda: None)
    killed.__enter__()
    monkeypatch.setattr(budget_module, "LOST_AFTER", 0.0)
    monkeypatch.setattr(budget_module, "REFUSED_FOR", 0.0)
    with budget.call(interactive=False, max_wait=5, ask=lambda: RESERVE + 1) as call:
        call.answered(RESERVE, is_charged=True)


def test_without_redis_a_process_assumes_that_others_spend_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = new_budget(NOWHERE)
    make_call(budget, left=RESERVE + LOCAL_SHARE)
    make_call(budget, left=RESERVE + LOCAL_SHARE - 1)
    with pytest.raises(QuotaReserved):
        make_call(budget, left=None)
    make_call(budget, left=None, interactive=True)


@pytest.mark.parametrize("fault", ["poisoned_uuids", "batch_refused", "invalid"])
@pytest.mark.parametrize("left", range(1, 6))
def test_halving_and_single_calls_stop_at_the_reserve(redis_url: str, fault: str, left: int) -> None:
    with Simulator(songs=30, quota=RESERVE + 1 + left, **ACCOUNT) as api:
        service = service_of(api, redis_url, batch_size=10)
        uuids = [api.song_uuid(number) for number in range(20)]
        service.get_songs(uuids[10:])
        if fault == "poisoned_uuids":
            api.faults.set("poisoned_uuids", uuids=[str(uuid) for uuid in uuids[:5]])
        elif fault == "batch_refused":
            api.faults.set("batch_refused", status=400)
        else:
            api.faults.set("html_200", kinds=["songs"])
        answer = service.get_songs(uuids[:10])
        assert isinstance(answer.interrupted_by, QuotaReserved)
        assert api.state.quota_remaining == RESERVE
        assert len(answer.songs) + len(answer.errors) < 10
