"""Processes as the dashboard sees them: alive, or silent for a while."""

from datetime import timedelta

from django.db.models.functions import Now

from catalog import heartbeats
from catalog.models import Heartbeat


def see(kind: str, name: str = "", *, ago: timedelta = timedelta(0)) -> None:
    """Note that a process was last seen so long ago."""
    heartbeats.note_seen(kind, name)
    Heartbeat.objects.filter(kind=kind, name=name).update(seen_at=Now() - ago)
