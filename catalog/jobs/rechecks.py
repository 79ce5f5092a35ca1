"""Later checks of an import's unknown ISRCs: Soundcharts adds many of them within hours or days."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Min, Q, QuerySet, Sum
from django.db.models.functions import Now

from catalog.jobs.import_requests import request_list_import
from catalog.models import ImportRow, MetadataFetchTask, tracks_by_identifier
from catalog.song_lists import Entry, identifier_in, isrc_in

logger = logging.getLogger(__name__)

# Hours after the row was not found.
RECHECK_HOURS = (2, 24, 72)
MOST_RECHECKS = len(RECHECK_HOURS)
# Rows due this soon after others join the same task.
TAKEN_ALONG = timedelta(minutes=15)
# The next check of an import waits this long while one is in progress.
BUSY_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Rechecks:
    """Scheduled checks of an import: `rows` rows, the first at `next_at`, with at most `calls` calls.

    `offered` rows are unknown and not scheduled; checking them takes at most `offered_calls` calls.
    """

    rows: int
    next_at: datetime | None
    calls: int
    offered: int

    @property
    def offered_calls(self) -> int:
        return self.offered * MOST_RECHECKS


def first_recheck(job: MetadataFetchTask, value: str, *, now: datetime) -> datetime | None:
    """Return when an identifier that was not found is checked again, None for never."""
    is_wanted = job.request.get("recheck") and isrc_in(value)
    return now + timedelta(hours=RECHECK_HOURS[0]) if is_wanted else None


def rechecks_of(job: MetadataFetchTask) -> Rechecks:
    """Return the scheduled and the possible checks of an import's unknown ISRCs."""
    if not job.is_list_import or "recheck_of" in job.request:
        return Rechecks(0, None, 0, 0)
    planned = ImportRow.objects.filter(job=job, recheck_at__isnull=False).aggregate(
        rows=Count("pk"), next_at=Min("recheck_at"), calls=Sum(MOST_RECHECKS - F("rechecks"), default=0)
    )
    # Rows checked before are not offered again.
    offered = 0 if job.is_active or planned["rows"] else len(_unchecked(job))
    return Rechecks(**planned, offered=offered)


def schedule_rechecks(job: MetadataFetchTask) -> int:
    """Schedule checks of an ended import's unknown ISRCs; return their number."""
    keys = [] if job.is_active else _unchecked(job)
    rows = ImportRow.objects.filter(pk__in=keys, recheck_at=None)
    return rows.update(recheck_at=Now() + timedelta(hours=RECHECK_HOURS[0]))


def cancel_rechecks(job: MetadataFetchTask) -> int:
    """Cancel the scheduled checks of an import; return their number."""
    with transaction.atomic():
        MetadataFetchTask.objects.select_for_update().filter(pk=job.pk).first()
        return ImportRow.objects.filter(job=job, recheck_at__isnull=False).update(recheck_at=None)


def imports_to_recheck() -> list[int]:
    """Return the imports with rows that are due for a check."""
    due = ImportRow.objects.filter(recheck_at__lte=Now()).order_by()
    return list(due.values_list("job_id", flat=True).distinct())


def note_rechecked(job: MetadataFetchTask, tracks: Mapping[str, int]) -> None:
    """Write the tracks that a check found to the import's report: `tracks` by row entry."""
    for item, track_id in tracks.items():
        rows = ImportRow.objects.filter(
            job_id=job.request["recheck_of"], outcome=ImportRow.Outcome.NOT_FOUND, item=item
        )
        rows.update(
            recheck_at=None, track_id=track_id, message=f"Not found at first; found later by task #{job.pk}."
        )


def recheck_import(job_id: int) -> bool:
    """Make a task for the due rows of an import; return whether one was made."""
    with transaction.atomic():
        # If two sweeps run together, the second finds nothing due.
        job = MetadataFetchTask.objects.select_for_update().get(pk=job_id)
        due = list(ImportRow.objects.filter(job=job, recheck_at__lte=Now() + TAKEN_ALONG).order_by("number"))
        due = _without_known(job, due)
        if not due:
            return False
        rows = ImportRow.objects.filter(pk__in=[row.pk for row in due])
        checks = MetadataFetchTask.objects.filter(parent=job, request__has_key="recheck_of")
        if checks.filter(status__in=MetadataFetchTask.ACTIVE).exists():
            rows.update(recheck_at=Now() + BUSY_WAIT)
            return False
        requested = request_list_import(
            [Entry(row.line or row.number, row.item, identifier_in(row.item)) for row in due],
            parent=job,
            title=f"Recheck of unknown ISRCs from import #{job.pk}",
            extra={"recheck_of": job.pk},
        )
        if requested.is_joined:
            rows.update(recheck_at=Now() + BUSY_WAIT)
            return False
        _plan_next(rows)
    logger.info("job %s: %s unknown ISRCs are checked by job %s", job_id, len(due), requested.job.pk)
    return True


def _plan_next(rows: "QuerySet[ImportRow]") -> None:
    """Count a check of rows and schedule the next one, if any."""
    rows.filter(rechecks=MOST_RECHECKS - 1).update(rechecks=MOST_RECHECKS, recheck_at=None)
    for done in reversed(range(MOST_RECHECKS - 1)):
        wait = timedelta(hours=RECHECK_HOURS[done + 1] - RECHECK_HOURS[done])
        rows.filter(rechecks=done).update(rechecks=done + 1, recheck_at=Now() + wait)


def _without_known(job: MetadataFetchTask, rows: list[ImportRow]) -> list[ImportRow]:
    """Return the rows whose songs are not here yet; the others need no call."""
    here = tracks_by_identifier([identifier_in(row.item) for row in rows])
    left: list[ImportRow] = []
    for row in rows:
        if (track_id := here.get(identifier_in(row.item))) is None:
            left.append(row)
            continue
        ImportRow.objects.filter(pk=row.pk).update(
            recheck_at=None, track_id=track_id, message="Not found at first; added since then."
        )
    return left


def _unchecked(job: MetadataFetchTask) -> list[int]:
    rows: Any = ImportRow.objects.filter(
        Q(recheck_at=None, rechecks=0, track=None), job=job, outcome=ImportRow.Outcome.NOT_FOUND
    )
    return [pk for pk, item in rows.order_by().values_list("pk", "item") if isrc_in(item)]
