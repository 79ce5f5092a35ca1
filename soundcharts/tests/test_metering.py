from __future__ import annotations

import contextvars
import threading

from soundcharts.metering import charge_call, count_calls


def test_meter_counts_what_is_charged_inside() -> None:
    charge_call()
    with count_calls() as meter:
        charge_call()
        charge_call()
    charge_call()

    assert meter.spent == 2


def test_nested_meters_both_count() -> None:
    with count_calls() as outer:
        charge_call()
        with count_calls() as inner:
            charge_call()

    assert (outer.spent, inner.spent) == (2, 1)


def test_threads_that_run_in_a_copy_of_the_context_are_counted() -> None:
    with count_calls() as meter:
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(charge_call,)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert meter.spent == 8


def test_other_threads_are_not_counted() -> None:
    with count_calls() as meter:
        thread = threading.Thread(target=charge_call)
        thread.start()
        thread.join()

    assert meter.spent == 0
