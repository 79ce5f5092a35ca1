"""The jobs that are active: how far and how fast they are, how long they will take, why they wait."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Case, Count, IntegerField, Value, When, Window
from django.utils import timezone

from catalog.models import MetadataFetchTask
from catalog.status import ShownStatus, reason_of, shown_statuses
from catalog.words import length_of_time

Status = MetadataFetchTask.Status

# Jobs that are shown; the list of jobs has all of them.
SHOWN = 20
# A rate is measured over this many seconds at least, and over twice as many at most while somebody looks.
MEASURED_SECONDS = 10
# Marks that are older say nothing about now: the page was left alone.
FORGOTTEN_SECONDS = 180
# A rate of less time than this is a matter of chance.
SHORTEST_SECONDS = 2

_MARKS = re.compile(r"([0-9]{1,18}):([0-9]{1,12}):([0-9]{1,15}):([0-9]{1,12}):([0-9]{1,15})")


class Mark(NamedTuple):
    """How many tracks a job had done at a moment, in milliseconds since 1970."""

    done: int
    at: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job is, in tracks a second, and over what that was measured, in words."""

    rate: float
    measured: str

    @property
    def shown(self) -> str:
        return f"{self.rate:,.0f}" if self.rate >= 10 else f"{self.rate:.1f}"


@dataclass(frozen=True, slots=True)
class ActiveJob:
    """An active job and what can be said of it; `left` is the time it still takes, in words."""

    job: MetadataFetchTask
    pace: Pace | None
    left: str
    status: ShownStatus

    @property
    def noun(self) -> str:
        return "songs" if self.job.is_import else "tracks"

    @property
    def reason(self) -> str:
        """Why it is waiting or paused, and what to do."""
        return reason_of(self.job, self.status)


@dataclass(frozen=True, slots=True)
class ActiveJobs:
    """The jobs to show, how many more there are, and the marks to come back with."""

    shown: list[ActiveJob]
    more: int
    marks: str


def active_jobs(marks: str = "") -> ActiveJobs:
    """Return the active jobs, running ones first, with the pace since the marks of an earlier look.

    `marks` come back from the browser, which keeps them between two looks: so any process of the site can
    answer any of them, and looking writes nothing.
    """
    now = timezone.now()
    known = read_marks(marks)
    order = Case(
        When(status=Status.RUNNING, then=Value(0)),
        When(status=Status.PENDING, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    active = MetadataFetchTask.objects.filter(status__in=MetadataFetchTask.ACTIVE)
    found = active.select_related("requested_by").annotate(in_all=Window(Count("pk")))
    jobs = list(found.order_by(order, "-pk")[:SHOWN])
    more = jobs[0].in_all - len(jobs) if jobs else 0
    statuses = shown_statuses(jobs)
    milliseconds = int(now.timestamp() * 1000)
    shown, written = [], []
    for job in jobs:
        current = Mark(job.processed_tracks, milliseconds)
        older, newer = known.get(job.pk, (current, current))
        if not is_sensible(older, newer, current):
            older = newer = current
        shown.append(_describe(job, statuses[job.pk], older, current, now))
        if current.at - newer.at >= MEASURED_SECONDS * 1000:
            older, newer = newer, current
        written.append(f"{job.pk}:{older.done}:{older.at}:{newer.done}:{newer.at}")
    return ActiveJobs(shown, more, ",".join(written))


def read_marks(text: str) -> dict[int, tuple[Mark, Mark]]:
    """Return the two marks of each job, the older one first; what cannot be understood is left out."""
    found = {}
    for part in text[:4000].split(",")[:SHOWN]:
        if match := _MARKS.fullmatch(part):
            key, *numbers = map(int, match.groups())
            found[key] = (Mark(*numbers[:2]), Mark(*numbers[2:]))
    return found


def is_sensible(older: Mark, newer: Mark, current: Mark) -> bool:
    """Return whether the marks can be of this job, and lately."""
    is_in_order = older.at <= newer.at <= current.at and older.done <= newer.done <= current.done
    return is_in_order and current.at - older.at <= FORGOTTEN_SECONDS * 1000


def _describe(
    job: MetadataFetchTask, status: ShownStatus, older: Mark, current: Mark, now: datetime
) -> ActiveJob:
    is_moving = job.status == Status.RUNNING and not status.is_waiting
    pace = _pace(job, older, current, now) if is_moving else None
    left = ""
    # While it is planned, nobody knows how much there is to do.
    if pace is not None and pace.rate > 0 and job.planned_at is not None and job.remaining_tracks:
        left = length_of_time(max(1.0, job.remaining_tracks / pace.rate))
    return ActiveJob(job, pace, left, status)


def _pace(job: MetadataFetchTask, older: Mark, current: Mark, now: datetime) -> Pace | None:
    """Return the pace since the older mark, or without one since the start, or None where it is too early."""
    seconds = (current.at - older.at) / 1000
    if seconds >= MEASURED_SECONDS or (seconds >= SHORTEST_SECONDS and current.done > older.done):
        return Pace((current.done - older.done) / seconds, f"in the last {length_of_time(seconds)}")
    started_at: Any = job.started_at
    whole = (now - started_at).total_seconds() if started_at else 0.0
    if whole < SHORTEST_SECONDS or not job.processed_tracks:
        return None
    return Pace(job.processed_tracks / whole, "on average since it started")
