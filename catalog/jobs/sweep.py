"""The sweep: finds what has no living worker and rings for it. Beat runs it every minute."""

import logging

from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from catalog import doorbell, quota
from catalog.jobs.leases import has_work
from catalog.jobs.states import (
    IllegalTransition,
    Status,
    close_follow_up,
    finish_if_done,
    resume_job,
    ring,
)
from catalog.models import FetchChunk, MetadataFetchTask

logger = logging.getLogger(__name__)

# Messages that already wait are enough: workers are busy, or away.
WAITING_IS_ENOUGH = 20


def sweep() -> int:
    """Ring for every job that has work and nobody working on it; return how many were rung for.

    Also ends what was left open by a process that died between two transactions.
    """
    ended_imports = MetadataFetchTask.objects.filter(
        status__in=MetadataFetchTask.ENDED,
        follow_ups__planned_at=None,
        follow_ups__status__in=MetadataFetchTask.ACTIVE,
        task_type=MetadataFetchTask.Type.IMPORT,
    )
    for job in ended_imports:
        close_follow_up(job)

    resume_what_waits_for_quota()

    waiting = doorbell.count_waiting()
    if waiting is None or waiting >= WAITING_IS_ENOUGH:
        logger.info("sweep: nobody rung for, %s messages wait", waiting)
        return 0

    being_worked_on = FetchChunk.objects.filter(
        job=OuterRef("pk"), finished_at=None, lease_expires_at__gte=Now()
    )
    idle = MetadataFetchTask.objects.filter(
        ~Exists(being_worked_on), status__in=(Status.PENDING, Status.RUNNING)
    )
    rung = 0
    for job in idle.order_by("pk"):
        if finish_if_done(job.pk):
            continue
        if has_work(job.pk) and ring(job.pk):
            logger.info("sweep: job %s has no living worker, rung for it", job.pk)
            rung += 1
    return rung


def resume_what_waits_for_quota() -> None:
    """Resume the jobs that paused for want of calls, once there are calls again."""
    paused = MetadataFetchTask.objects.filter(status=Status.PAUSED, error_code__in=quota.QUOTA_CODES)
    if not paused.exists() or not quota.is_back():
        return
    for job in paused.order_by("pk"):
        try:
            resume_job(job, reason="There are calls again.")
        except IllegalTransition:
            logger.info("job %s: was resumed or cancelled by hand meanwhile", job.pk)
        else:
            logger.info("job %s: resumed, there are calls again", job.pk)
