"""Tracks for tests: the first songs of the simulated Soundcharts."""

from datetime import datetime
from typing import Any

from catalog.models import Track
from soundcharts.simulator import Simulator


def add_tracks(
    simulator: Simulator, count: int, *, first: int = 0, fetched_at: datetime | None = None, **fields: Any
) -> list[Track]:
    """Add the simulator's songs from number `first` on, as tracks; never fetched unless told when."""
    return Track.objects.bulk_create(
        Track(uuid=simulator.song_uuid(number), metadata_fetched_at=fetched_at, **fields)
        for number in range(first, first + count)
    )
