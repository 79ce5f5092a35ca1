"""The sweep: finds what has no living worker and rings for it. Beat runs it every minute."""

import logging
from functools import partial

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from catalog import doorbell, quota
from catalog.jobs.internal import Steps
from catalog.jobs.leases import has_work
from catalog.jobs.rechecks import imports_to_recheck, recheck_import
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


def sweep(steps: Steps | None = None) -> int:
    """Ring for every job that has work and nobody working on it; return how many were rung for.

    Also ends what was left open by a process that died between two transactions. What fails unexpectedly
    for one job is kept in `steps`, and keeps no other job from its turn.
    """
    steps = steps or Steps("sweep")
    steps.take(lambda: _close_follow_ups(steps))
    steps.take(lambda: resume_what_waits_for_the_account(steps))
    for job_id in steps.take(imports_to_recheck) or ():
        steps.take(partial(recheck_import, job_id))
    return steps.take(lambda: _ring_for_idle_jobs(steps)) or 0


def _close_follow_ups(steps: Steps) -> None:
    ended_imports = MetadataFetchTask.objects.filter(
        status__in=MetadataFetchTask.ENDED,
        follow_ups__planned_at=None,
        follow_ups__status__in=MetadataFetchTask.ACTIVE,
        task_type=MetadataFetchTask.Type.IMPORT,
    )
    for job in ended_imports:
        steps.take(partial(close_follow_up, job))


def _ring_for_idle_jobs(steps: Steps) -> int:
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
        if steps.take_for_job(job.pk, partial(_finish_or_ring, job.pk)):
            logger.info("sweep: job %s has no living worker, rung for it", job.pk)
            rung += 1
    return rung


def _finish_or_ring(job_id: int) -> bool:
    return not finish_if_done(job_id) and has_work(job_id) and ring(job_id)


def resume_what_waits_for_the_account(steps: Steps) -> None:
    """Resume the jobs that paused for want of calls, or of good credentials, once there are some again.

    One free call tells it for all of them. Of those that paused for credentials, only the ones are resumed
    whose pause met an account that was refused for everything: else nothing has changed for them.
    """
    paused = MetadataFetchTask.objects.filter(status=Status.PAUSED)
    for_calls = paused.filter(error_code__in=quota.QUOTA_CODES)
    for_credentials = paused.filter(error_code__in=quota.CREDENTIAL_CODES, usage_refused=True)
    if not (for_calls | for_credentials).exists() or (usage := quota.ask_usage()) is None:
        return
    _resume(for_credentials, "Soundcharts accepts the credentials again.", steps)
    if quota.allows_bulk_work(usage):
        _resume(for_calls, "There are calls again.", steps)


def _resume(jobs: QuerySet[MetadataFetchTask], reason: str, steps: Steps) -> None:
    for job in jobs.order_by("pk"):
        steps.take(partial(_resume_one, job, reason))


def _resume_one(job: MetadataFetchTask, reason: str) -> None:
    try:
        resume_job(job, reason=reason)
    except IllegalTransition:
        logger.info("job %s: was resumed or cancelled by hand meanwhile", job.pk)
    else:
        logger.info("job %s: resumed: %s", job.pk, reason)
