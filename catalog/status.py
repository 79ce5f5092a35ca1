"""The displayed status of a fetch task: one label, wherever a task is shown.

A stored status says what may happen next. The label also says why a task is waiting and until when, from its
row, its chunks and the rate limit's pause.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from django.utils.html import format_html

from catalog import jobs, quota
from catalog.explanations import explain
from catalog.models import MetadataFetchTask
from catalog.words import countdown

Status = MetadataFetchTask.Status

# Shorter pauses end before anyone could read them.
SHORTEST_PAUSE = 0.5
RATE_LIMIT = "rate_limited"
BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class ShownStatus:
    """A label such as "Waiting: rate limit, resumes in 0:43", and its colour's name in the theme.

    `head` is the label without the time; `seconds` is how long it waits, None where no time is set.
    """

    head: str
    colour: str
    code: str = ""
    is_waiting: bool = False
    seconds: int | None = None

    @property
    def text(self) -> str:
        return self.head if self.seconds is None else f"{self.head}{self._join}{countdown(self.seconds)}"

    @property
    def html(self) -> str:
        """The same with the time marked, for the script that counts it down."""
        if self.seconds is None:
            return self.head
        return format_html(
            '{}{}<span class="ln-number" data-ln-countdown="{}">{}</span>',
            self.head,
            self._join,
            self.seconds,
            countdown(self.seconds),
        )

    @property
    def _join(self) -> str:
        verb = "resumes" if self.code == RATE_LIMIT else "retry"
        return f", {verb} in " if ":" in self.head else f": {verb} in "


def shown_status(job: MetadataFetchTask) -> ShownStatus:
    """Return the label of one task."""
    return shown_statuses([job])[job.pk]


def activity_of(job: MetadataFetchTask) -> str:
    """Return what the active task of one track does now: "Task #12 is fetching this track right now."."""
    status = shown_status(job)
    if job.status == Status.RUNNING and not status.is_waiting and jobs.is_under_way(job.pk):
        return f"Task #{job.pk} is fetching this track right now."
    is_queued = job.status in (Status.PENDING, Status.RUNNING) and not status.is_waiting
    words = "queued" if is_queued else f"{status.text[0].lower()}{status.text[1:]}"
    return f"Task #{job.pk} is {words}."


def shown_statuses(shown: Iterable[MetadataFetchTask]) -> dict[int, ShownStatus]:
    """Return the labels of tasks by key, with one query and one read of the rate limit for all of them.

    Does neither if no task is active. Blocks for at most a second when Redis is down.
    """
    shown = list(shown)
    wanting = [job.pk for job in shown if job.status in (Status.PENDING, Status.RUNNING)]
    waits = jobs.waits_of(wanting) if wanting else {}
    pause = quota.pause_left() if wanting else 0.0
    return {job.pk: _status_of(job, waits.get(job.pk), pause) for job in shown}


def reason_of(job: MetadataFetchTask, status: ShownStatus) -> str:
    """Return why a task is waiting, paused or failed, and what to do; empty if the label says enough."""
    if status.is_waiting:
        return "" if status.code in ("", RATE_LIMIT) else explain(status.code).meaning
    if job.error_code == BY_HAND:
        return explain(BY_HAND).what_to_do
    if not job.error_message:
        return ""
    words = explain(job.error_code, is_of_import=job.is_import, is_of_paused=job.status == Status.PAUSED)
    # If there is separate text for operators, the message is for them.
    meaning = words.meaning if words.for_operators else job.error_message
    return meaning if job.status == Status.RUNNING else f"{meaning} {words.what_to_do}"


def _status_of(job: MetadataFetchTask, wait: jobs.Wait | None, pause: float) -> ShownStatus:
    if job.status == Status.PAUSED:
        head = "Paused by hand" if job.error_code in ("", BY_HAND) else f"Paused: {_reason(job.error_code)}"
        return ShownStatus(head, job.status_colour, job.error_code)
    if job.status in job.ENDED:
        return ShownStatus(job.status_label, job.status_colour, job.error_code)
    if wait is not None and wait.is_for_import:
        return ShownStatus("Waiting: import in progress", "info", is_waiting=True)
    if job.error_code == jobs.WAITS_FOR_BROKER:
        return ShownStatus(f"Waiting: {_reason(job.error_code)}", "warning", job.error_code, is_waiting=True)
    seconds = wait.seconds if wait is not None and wait.seconds is not None else 0.0
    # The rate limit's pause applies to all tasks; a task that waits longer has another reason.
    if pause > max(SHORTEST_PAUSE, seconds):
        return _waiting(RATE_LIMIT, pause)
    if seconds > 0:
        return _waiting(job.error_code, seconds)
    return ShownStatus(job.status_label, job.status_colour)


def _waiting(code: str, seconds: float) -> ShownStatus:
    head = f"Waiting: {_reason(code)}" if code else "Waiting"
    return ShownStatus(head, "warning", code, is_waiting=True, seconds=ceil(seconds))


def _reason(code: str) -> str:
    words = explain(code)
    return words.reason or words.title.lower()
