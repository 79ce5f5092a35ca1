"""The command that forgets old track changes."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from catalog.management.commands import prune_track_changes
from catalog.models import Track, TrackChange


@pytest.fixture
def track(make_track) -> Track:
    """A track that was changed 10, 20, 30, 40 and 50 days ago."""
    track = make_track(name="A name")
    now = timezone.now()
    TrackChange.objects.bulk_create(
        TrackChange(track=track, at=now - timedelta(days=days), changes={"label": ["a", "b"]})
        for days in (10, 20, 30, 40, 50)
    )
    return track


def prune(*options: str) -> str:
    out = StringIO()
    call_command("prune_track_changes", *options, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_what_is_older_goes_and_the_rest_stays(track):
    said = prune("--older-than", "25")

    assert "3 track changes older than 25 days were deleted." in said
    assert track.changes.count() == 2
    assert track.changes.latest("at").at > track.changes.earliest("at").at > timezone.now() - timedelta(25)


@pytest.mark.django_db
def test_a_dry_run_counts_and_deletes_nothing(track):
    assert "3 track changes are older than 25 days. Nothing was deleted." in prune(
        "--older-than", "25", "--dry-run"
    )
    assert track.changes.count() == 5


@pytest.mark.django_db
def test_a_year_is_kept_unless_told_otherwise(track):
    TrackChange.objects.create(track=track, at=timezone.now() - timedelta(days=366), changes={})

    prune()

    assert track.changes.count() == 5


@pytest.mark.django_db
def test_many_are_deleted_in_steps(track, monkeypatch):
    monkeypatch.setattr(prune_track_changes, "STEP", 2)

    said = prune("--older-than", "1")

    assert [line for line in said.splitlines() if "..." in line] == [
        "2 deleted ...",
        "4 deleted ...",
        "5 deleted ...",
    ]
    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_tracks_are_left_alone(track):
    before = Track.objects.values().get()

    prune("--older-than", "1")

    assert Track.objects.values().get() == before


@pytest.mark.django_db
@pytest.mark.parametrize("days", ["0", "-1", "36501"])
def test_a_nonsensical_age_is_refused(track, days):
    with pytest.raises(CommandError, match="from 1 to 36,500 days"):
        prune(f"--older-than={days}")
    assert track.changes.count() == 5
