"""Which active jobs are waiting, and for how long."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Case, Exists, Min, OuterRef, Q, Subquery, When
from django.db.models.functions import Now

from catalog.jobs.states import Status
from catalog.models import FetchChunk, MetadataFetchTask


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a job waits, in seconds by the database's clock.

    `seconds` is None if no time is set; `is_for_import` means that an import still has to add its tracks.
    """

    seconds: float | None
    is_for_import: bool = False


def waits_of(job_ids: Iterable[int]) -> dict[int, Wait]:
    """Return the waits of active jobs that have no chunk to hand out now, in one query.

    A job with a chunk that is leased or free does not wait, nor does one that is still to be planned.
    """
    unfinished = FetchChunk.objects.filter(job=OuterRef("pk"), finished_at=None).order_by()
    is_at_work = Exists(unfinished.filter(Q(not_before=None) | Q(not_before__lte=Now())))
    # Read all chunks only if all of them wait.
    chunk_at = Case(
        When(is_at_work, then=None), default=Subquery(unfinished.values("job").values(at=Min("not_before")))
    )
    found = MetadataFetchTask.objects.filter(
        pk__in=list(job_ids), status__in=(Status.PENDING, Status.RUNNING)
    ).annotate(now=Now(), is_at_work=is_at_work, chunk_at=chunk_at)
    waits = {}
    for job in found.only("planned_at", "not_before", "request"):
        is_planned = job.planned_at is not None
        is_imported = job.request.get("what") == "imported"
        until = [] if job.not_before is None else [job.not_before]
        if (is_planned or is_imported) and job.chunk_at is not None:
            until.append(job.chunk_at)
        if until and max(until) > job.now:
            waits[job.pk] = Wait((max(until) - job.now).total_seconds())
        elif is_imported and not is_planned and not job.is_at_work and job.chunk_at is None:
            waits[job.pk] = Wait(None, is_for_import=True)
    return waits
