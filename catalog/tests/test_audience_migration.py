"""A catalogue that has been there for long gets its audience tables, and can go back."""

from datetime import date

import pytest
from django.core.management import call_command

from catalog.models import Track
from catalog.search import HasWords
from catalog.tests.audiences import add_audience, days_from

pytestmark = pytest.mark.django_db(transaction=True)


def migrate(*target: str) -> None:
    call_command("migrate", "catalog", *target, verbosity=0)


def names_with(words: str) -> list[str]:
    return list(Track.objects.filter(HasWords(words, key="pk")).values_list("name", flat=True))


def test_tracks_stay_and_are_found_by_their_words_on_the_way_back_and_forth(make_track):
    track = make_track(name="Blue")
    add_audience(track, days_from(date(2026, 1, 1), [1, 2, 3]))
    try:
        migrate("0009")
        Track.objects.filter(pk=track.pk).update(name="Green")
        assert names_with("green") == ["Green"]
    finally:
        migrate()
    Track.objects.filter(pk=track.pk).update(name="Grey")
    assert names_with("grey") == ["Grey"]
    assert not names_with("blue") + names_with("green")
