"""Counts and lengths of time as people say them."""

import pytest

from catalog.words import duration, length_of_time, plural


@pytest.mark.parametrize(("count", "words"), [(0, "0 calls"), (1, "1 call"), (1240, "1,240 calls")])
def test_one_is_one_and_everything_else_is_many(count, words):
    assert plural(count, "call") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 seconds"),
        (1, "1 second"),
        (59.6, "60 seconds"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (200_000, "2 days"),
    ],
)
def test_lengths_of_time_are_said_in_the_largest_unit_that_leaves_two(seconds, words):
    assert length_of_time(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
        (3600, "1 h"),
    ],
)
def test_durations_are_said_to_the_second_unit(seconds, words):
    assert duration(seconds) == words
