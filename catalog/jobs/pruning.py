"""Forgetting: ended jobs of long ago, with all that belongs to them, in small steps."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db import models, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from catalog.models import FailureCount, FetchChunk, FetchFailure, ImportRow, JobEvent, MetadataFetchTask

logger = logging.getLogger(__name__)

# Rows a transaction: short enough that nobody notices.
STEP = 2000


@dataclass(slots=True)
class Pruned:
    """What was deleted, or would be."""

    jobs: int = 0
    failures: int = 0
    chunks: int = 0
    events: int = 0
    rows: int = 0


def prune_ended_jobs(*, older_than: timedelta, dry_run: bool = False) -> Pruned:
    """Delete the jobs that ended longer ago than this, and return how many rows that were.

    A job stays while one that came of it is active: it may still be read. Tracks are never touched. May be
    stopped at any moment, and run again.
    """
    pruned = Pruned()
    for job_id in list(_outdated(older_than).order_by("pk").values_list("pk", flat=True)):
        failures = FetchFailure.objects.filter(job_id=job_id)
        chunks = FetchChunk.objects.filter(job_id=job_id)
        events = JobEvent.objects.filter(job_id=job_id)
        rows = ImportRow.objects.filter(job_id=job_id)
        if dry_run:
            pruned.jobs += 1
            pruned.failures += failures.count()
            pruned.chunks += chunks.count()
            pruned.events += events.count()
            pruned.rows += rows.count()
            continue
        # The job itself at the end: whatever stops this, the rest is found again.
        pruned.failures += _delete(failures)
        pruned.chunks += _delete(chunks)
        pruned.events += _delete(events)
        pruned.rows += _delete(rows)
        FailureCount.objects.filter(job_id=job_id).delete()
        with transaction.atomic():
            # Looked at again: somebody may have tried its failures again meanwhile.
            if MetadataFetchTask.objects.select_for_update().filter(pk=job_id).exists():
                pruned.jobs += bool(_outdated(older_than).filter(pk=job_id).delete()[0])
        logger.info("job %s: pruned", job_id)
    return pruned


def _outdated(older_than: timedelta) -> QuerySet[MetadataFetchTask]:
    active_follow_up = MetadataFetchTask.objects.filter(
        parent=OuterRef("pk"), status__in=MetadataFetchTask.ACTIVE
    )
    rechecked = ImportRow.objects.filter(job=OuterRef("pk"), recheck_at__isnull=False)
    return MetadataFetchTask.objects.filter(
        ~Exists(active_follow_up),
        ~Exists(rechecked),
        status__in=MetadataFetchTask.ENDED,
        completed_at__lt=Now() - older_than,
    )


def _delete(rows: "QuerySet[models.Model]") -> int:
    """Delete rows step by step, each step a transaction of its own; return how many they were."""
    count = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:STEP]):
        count += rows.filter(pk__in=keys).delete()[0]
    return count
