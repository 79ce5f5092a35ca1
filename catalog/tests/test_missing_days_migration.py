"""Stored audiences: days that were asked for and never came are counted as missing, and back."""

from datetime import date, timedelta

import pytest
from django.core.management import call_command

from catalog.models import TrackAudience
from catalog.tests.audiences import add_audience, days_from

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = date(2026, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


# Of each: days with a figure, from when until when was asked for, the release; missing days before and after.
ROWS = {
    "all known": (range(90), (0, 89), None, 0, 0),
    "a gap": ([*range(40), *range(42, 90)], (0, 89), None, 2, 2),
    "an empty first answer, then the last days": (range(75, 90), (0, 89), None, 0, 75),
    "younger than what was asked for": (range(75, 90), (0, 89), 75, 0, 0),
    "known from before its release": (range(75, 90), (0, 89), 80, 0, 0),
    "released while nothing came": (range(75, 90), (0, 89), 70, 0, 5),
    "no figures": ([], (0, 89), None, 0, 90),
    "no figures, asked for a year": ([], (0, 364), None, 0, 90),
    "no figures before its release": ([], (0, 89), 80, 0, 10),
    "wholly pruned": ([], (100, 89), None, 0, 0),
    "never answered": ([], None, None, 0, 0),
}


def migrate(*target: str) -> None:
    call_command("migrate", "catalog", *target, verbosity=0)


def missing_days() -> list[int]:
    return list(TrackAudience.objects.order_by("pk").values_list("missing_days", flat=True))


def test_days_that_never_came_are_counted_and_counted_out_again(make_track):
    for number, (days, asked, released, _, _) in enumerate(ROWS.values()):
        track = make_track(number, release_date=None if released is None else day(released))
        since, until = (day(asked[0]), day(asked[1])) if asked else (None, None)
        values = [number if number in days else None for number in range(max(days, default=-1) + 1)]
        add_audience(track, days_from(FIRST, values), fetched_from=since, fetched_until=until)
    try:
        migrate("0017")
        assert missing_days() == [row[-2] for row in ROWS.values()]
        migrate()
        after = [row[-1] for row in ROWS.values()]
        assert missing_days() == after
        for audience, (*_, released, _, missing) in zip(
            TrackAudience.objects.order_by("pk"), ROWS.values(), strict=True
        ):
            audience.count_missing(None if released is None else day(released))
            assert audience.missing_days == missing
        migrate("0017")
        assert missing_days() == [row[-2] for row in ROWS.values()]
    finally:
        migrate()
