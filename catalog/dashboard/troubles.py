"""Problems: parts that are offline, and work that is stalled or has failed.

Health is green only if there are none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Subquery, Sum
from django.urls import reverse

from catalog import quota
from catalog.explanations import explain
from catalog.models import FailureCount, JobEvent, MetadataFetchTask
from catalog.status import BY_HAND, RATE_LIMIT, ShownStatus, shown_statuses
from catalog.words import length_of_time, plural

if TYPE_CHECKING:
    from catalog.dashboard.health import Health

Status = MetadataFetchTask.Status

# Beat sends a message for each sweep.
BEAT_PATIENCE = timedelta(minutes=1)
# The longest wait of a sweep while workers are busy with slices of other work.
SWEEP_PATIENCE = timedelta(minutes=5)
# An active task without progress for this long is stalled.
STANDS_STILL = timedelta(minutes=5)
# A failure keeps Health from being green for this long, unless it is retried earlier.
FAILED_WITHIN = timedelta(hours=24)
# The newest active tasks, which are checked one by one.
MOST_TASKS = 200
# API errors that tasks already report, or that pass without any action.
TOLD_BY_TASKS = ("forbidden", "quota_exhausted", "quota_reserved", "rate_limited")
# These need a person to act.
SERIOUS = ("authentication_failed", "forbidden", "internal_error")


class Level(IntEnum):
    """How serious a problem is; the most serious has the lowest value."""

    DANGER = 0
    WARNING = 1
    INFO = 2


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem: its title, the reason or consequence, and what to do.

    `address` links to the affected tasks; `details` and `command` are for operators.
    """

    level: Level
    title: str
    reason: str = ""
    what_to_do: str = ""
    address: str = ""
    details: str = ""
    command: str = ""

    @property
    def kind(self) -> str:
        return self.level.name.lower()

    @property
    def icon(self) -> str:
        return {Level.DANGER: "error", Level.WARNING: "warning", Level.INFO: "info"}[self.level]


@dataclass(frozen=True, slots=True)
class Work:
    """Problems of tasks, and the number of active tasks."""

    troubles: list[Trouble]
    unfinished: int


# --- parts


def parts_in_trouble(found: Health, *, now: datetime, waiting: int) -> Iterator[Trouble]:
    """Yield the problems of the parts; `waiting` is the number of active tasks."""
    if found.unusable_settings:
        yield Trouble(
            Level.DANGER,
            "Soundcharts cannot be called",
            what_to_do="Its settings are invalid. Ask an operator to correct them.",
            details=found.unusable_settings,
        )
    if found.is_broker_answering is False:
        # Without the queue, the state of workers and beat is unknown.
        words = explain("broker_unreachable")
        yield Trouble(Level.DANGER, words.title, words.meaning, words.what_to_do, details=words.for_operators)
        return
    for name, failed_at, reference in found.failing:
        yield Trouble(
            Level.DANGER,
            f"{name} failing {_for(failed_at, now)}",
            "It hits an unexpected error on every run.",
            "Give the reference to an operator.",
            details=f"Log reference: {reference}",
        )
    if not found.workers:
        yield _no_worker(found, now=now, waiting=waiting)
    yield from _beat_trouble(found, now)


def _no_worker(found: Health, *, now: datetime, waiting: int) -> Trouble:
    since = f" {_for(found.worker_seen_at, now)}" if found.worker_seen_at else ""
    waits = f"{plural(waiting, 'task')} {'waits' if waiting == 1 else 'wait'}." if waiting else ""
    return Trouble(
        Level.DANGER if waiting else Level.WARNING,
        f"No worker online{since}",
        waits or "No task can start.",
        "Ask an operator to start a worker.",
        details="See docs/operations.md, or run:",
        command="celery -A config worker",
    )


def _beat_trouble(found: Health, now: datetime) -> Iterator[Trouble]:
    interval = timedelta(seconds=settings.SWEEP_SECONDS)
    if found.beat_seen_at is None or now - found.beat_seen_at > 2 * interval + BEAT_PATIENCE:
        since = f" {_for(found.beat_seen_at, now)}" if found.beat_seen_at else ""
        yield Trouble(
            Level.WARNING,
            f"Scheduler offline{since}",
            "Automatic refreshes and interrupted tasks are on hold.",
            "Ask an operator to start the scheduler.",
            details="Start exactly one. See docs/operations.md, or run:",
            command="celery -A config beat",
        )
        return
    for title, due in found.missed_refreshes:
        yield Trouble(
            Level.WARNING,
            "A refresh did not run",
            f"{title} was due {due:%-d %b, %H:%M} UTC.",
            "Run it from the schedule.",
            address=reverse("admin:catalog_refreshpolicy_changelist"),
            details="See the scheduler's log for the cause.",
        )
    # Before the first sweep nothing is overdue.
    is_swept = found.swept_at is None or now - found.swept_at <= 2 * interval + SWEEP_PATIENCE
    if found.workers and not is_swept:
        yield Trouble(
            Level.WARNING,
            f"Housekeeping overdue {_for(found.swept_at, now)}",
            "The workers are online, but busy or stuck.",
            "Ask an operator to start more workers.",
            details="Check the workers' logs, or start more:",
            command="celery -A config worker",
        )


def _for(seen_at: datetime | None, now: datetime) -> str:
    return f"for {length_of_time((now - seen_at).total_seconds())}" if seen_at else ""


# --- work


def work_in_trouble(error: str, *, quota_remaining: int | None, is_worked_on: bool, now: datetime) -> Work:
    """Return stalled and failed work.

    `error` is the code of a lasting Soundcharts error. Without `is_worked_on` there is no worker or queue,
    which explains every stalled task.
    """
    wanting = list(
        MetadataFetchTask.objects.filter(status__in=(Status.PENDING, Status.RUNNING))
        .annotate(
            event_at=Subquery(
                JobEvent.objects.filter(job=OuterRef("pk")).order_by("-last_at").values("last_at")[:1]
            )
        )
        .order_by("-pk")[:MOST_TASKS]
    )
    statuses = shown_statuses(wanting)
    troubles = [
        *_paused(error, quota_remaining),
        *_waiting(statuses),
        *(_standing_still(wanting, statuses, now) if is_worked_on else ()),
        *_failed(now),
    ]
    return Work(troubles, len(wanting))


def _paused(error: str, quota_remaining: int | None) -> Iterator[Trouble]:
    counts: dict[str, int] = dict(
        MetadataFetchTask.objects.filter(status=Status.PAUSED)
        .order_by()
        .values_list("error_code")
        .annotate(count=Count("pk"))
    )
    if "" in counts:
        counts[BY_HAND] = counts.get(BY_HAND, 0) + counts.pop("")
    by_hand = counts.pop(BY_HAND, 0)
    if quota_remaining is not None and quota_remaining <= 0:
        # Tasks may have paused for either reason, but only this one applies now.
        counts["quota_exhausted"] = sum(counts.pop(code, 0) for code in quota.QUOTA_CODES)
    elif quota_remaining is not None and quota_remaining <= settings.SOUNDCHARTS_QUOTA_RESERVE:
        counts["quota_reserved"] = sum(counts.pop(code, 0) for code in quota.QUOTA_CODES)
    if error and error not in TOLD_BY_TASKS:
        counts.setdefault(error, 0)
    for code, count in sorted(counts.items()):
        words = explain(code, is_of_paused=count > 0)
        title, meaning, what_to_do = words.title, words.meaning, words.what_to_do
        if code == "quota_reserved" and quota_remaining is not None and quota_remaining > 0:
            title = f"Only {plural(quota_remaining, 'reserved call')} left"
        if count:
            meaning = f"{plural(count, 'task')} paused."
        elif code in quota.QUOTA_CODES:
            meaning, what_to_do = "Bulk work pauses until the quota renews.", ""
        yield Trouble(
            Level.DANGER if code in SERIOUS else Level.WARNING,
            title,
            meaning,
            what_to_do,
            address=_tasks(status__exact=Status.PAUSED) if count else "",
            details=words.for_operators,
        )
    if by_hand:
        yield Trouble(
            Level.INFO,
            f"{plural(by_hand, 'task')} paused by hand",
            what_to_do=explain(BY_HAND).what_to_do,
            address=_tasks(status__exact=Status.PAUSED),
        )


def _waiting(statuses: dict[int, ShownStatus]) -> Iterator[Trouble]:
    groups: dict[str, list[ShownStatus]] = defaultdict(list)
    for status in statuses.values():
        if status.is_waiting and status.seconds is not None:
            groups[status.head].append(status)
    for group in groups.values():
        first = min(group, key=lambda status: status.seconds or 0)
        yield Trouble(
            Level.INFO if first.code in ("", RATE_LIMIT) else Level.WARNING,
            first.html,
            f"{plural(len(group), 'task')}.",
            address=_tasks(),
        )


def _standing_still(
    wanting: Sequence[MetadataFetchTask], statuses: dict[int, ShownStatus], now: datetime
) -> Iterator[Trouble]:
    since: list[datetime] = []
    for job in wanting:
        if statuses[job.pk].is_waiting:
            continue
        event_at: datetime | None = job.event_at  # type: ignore[attr-defined]
        signs = [job.created_at, *(at for at in (job.pace_at, event_at) if at is not None)]
        if now - max(signs) > STANDS_STILL:
            since.append(max(signs))
    if since:
        count = len(since)
        yield Trouble(
            Level.WARNING,
            f"{plural(count, 'task')} stalled",
            f"No progress {_for(min(since), now)}.",
            "Ask an operator to check the workers, or to start more.",
            address=_tasks(),
            details="Busy workers take tasks in turn. Check the workers' logs for one that is stuck.",
        )


def _failed(now: datetime) -> Iterator[Trouble]:
    """Yield recent failures that were not retried, except single fetches, whose result a person has seen."""
    retries = MetadataFetchTask.objects.filter(parent=OuterRef("pk")).exclude(
        # These are an import's metadata jobs.
        dedupe_key__startswith="imported:"
    )
    ended = MetadataFetchTask.objects.filter(
        ~Exists(retries), completed_at__gte=now - FAILED_WITHIN, status__in=(Status.COMPLETED, Status.FAILED)
    ).exclude(task_type__in=(MetadataFetchTask.Type.METADATA, MetadataFetchTask.Type.AUDIENCE))
    whole = ended.filter(status=Status.FAILED).exclude(error_code="all_failed").order_by()
    for code, count in whole.values_list("error_code").annotate(count=Count("pk")).order_by("error_code"):
        words = explain(code)
        if not words.is_best_left:
            yield Trouble(
                Level.WARNING,
                f"{plural(count, 'task')} failed",
                f"{words.title}.",
                words.what_to_do,
                address=_tasks(status__exact=Status.FAILED),
                details=words.for_operators,
            )
    failures = FailureCount.objects.filter(job__in=ended).order_by()
    for code, count in failures.values_list("code").annotate(count=Sum("count")).order_by("code"):
        words = explain(code)
        if not words.is_best_left:
            yield Trouble(
                Level.WARNING,
                f"{plural(count, 'track')} failed in the last 24 hours",
                f"{words.title}.",
                "Retry them from their task.",
                address=_tasks(failures="yes", period="7"),
            )


def _tasks(**query: str) -> str:
    address = reverse("admin:catalog_metadatafetchtask_changelist")
    return f"{address}?{urlencode(query)}" if query else address
