"""Signs of life of workers, beat and sweep: the only writer of Heartbeat."""

import logging
import time
from datetime import timedelta

from django.db import Error, connection
from django.db.models.functions import Now

from catalog.models import Heartbeat

logger = logging.getLogger(__name__)

Kind = Heartbeat.Kind

# Seconds between two notes of a process about itself.
NOTE_EVERY = 10.0
# ... and after one that failed: whoever notes is busy with more than this.
NOTE_AGAIN_AFTER_ERROR = 30.0
# Milliseconds to wait for a SQLite that others are writing to.
SQLITE_PATIENCE = 200
# Workers often have a new name after each deploy: what was not seen for so long is forgotten.
KEPT_DAYS = 7

_next_note: dict[tuple[str, str], float] = {}


def note_seen(kind: str, name: str = "") -> None:
    """Write down that something is alive, by the database's clock."""
    Heartbeat.objects.bulk_create(
        [Heartbeat(kind=kind, name=name[:200], seen_at=Now())],
        update_conflicts=True,
        unique_fields=("kind", "name"),
        update_fields=("seen_at",),
    )


def note_seen_from_outside(kind: str, name: str = "") -> None:
    """Note a sign of life now and then, from a process that has other things to do than queries.

    For the main process of a worker, and for beat. It takes a connection for a moment only, since what
    a worker forks must inherit none, and a database that is away is nobody's trouble here.
    """
    now = time.monotonic()
    if now < _next_note.get((kind, name), now):
        return
    _next_note[kind, name] = now + NOTE_EVERY
    try:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA busy_timeout = {SQLITE_PATIENCE}")
        note_seen(kind, name)
    except Error as error:
        _next_note[kind, name] = now + NOTE_AGAIN_AFTER_ERROR
        logger.warning("%s %s could not be noted as alive: %s", kind, name, type(error).__name__)
    finally:
        if not connection.in_atomic_block:
            connection.close()


def note_outcome(kind: str, *, reference: str = "") -> None:
    """Save the reference of an unexpected error in recurring work, or clear it once the work succeeds."""
    failed_at = Now() if reference else None
    seen = Heartbeat.objects.filter(kind=kind, name="").exclude(reference=reference)
    seen.update(reference=reference, failed_at=failed_at)


def forget_old() -> None:
    """Forget the processes that were not seen for a week."""
    Heartbeat.objects.filter(seen_at__lt=Now() - timedelta(days=KEPT_DAYS)).delete()
