"""What became of a track and why, as people read it: facts, and one timeline out of four records."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Count, Sum
from django.utils import timezone
from django.utils.dateparse import parse_date

from catalog import jobs
from catalog.explanations import Explanation, explain
from catalog.mapping import FieldChange, TrackReport, label_of
from catalog.models import (
    METADATA_FIELDS,
    ApiAccount,
    FetchFailure,
    MetadataFetchTask,
    Track,
    TrackAudience,
    TrackChange,
    platform_names,
    refresh_days,
)
from catalog.quota import current_account
from catalog.status import activity_of
from catalog.words import plural
from soundcharts.errors import Moved

# Entries on the track's own page, and on a page of its history.
NEWEST = 6
A_FETCH = "a fetch from Soundcharts"
PAGE = 25
# Nobody reads further, and every page before has to be read too.
LAST_PAGE = 40
SHOWN_JOBS = 5


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a track's timeline: fields that changed, or a sentence about what happened.

    `who` is Soundcharts or a person. `job` is the number of a task; it `is_kept` until it is pruned.
    """

    at: datetime
    who: str
    changes: list[FieldChange] = field(default_factory=list)
    sentence: str = ""
    job_id: int | None = None
    is_kept: bool = False
    is_failure: bool = False


def changes_in(values: Any) -> list[FieldChange]:
    """Return what a record {field: [before, after]} says, in the order in which people read fields."""
    if not isinstance(values, dict):
        return []
    order = {name: place for place, name in enumerate(METADATA_FIELDS)}
    known = sorted((name for name in values if name in order), key=order.__getitem__)
    return [FieldChange(name, *(_read(name, value) for value in values[name])) for name in known]


def _read(name: str, value: Any) -> Any:
    # JSON has no dates.
    return parse_date(value) if name == "release_date" and isinstance(value, str) else value


def timeline(
    track: Track,
    *,
    may_see_failures: bool,
    page: int = 1,
    size: int = PAGE,
    audiences: list[TrackAudience] | None = None,
) -> tuple[list[Event], bool]:
    """Return a page of what happened to a track, newest first, and whether there is more.

    Four queries for any page: what fetches changed, what failed, the admin's log of what people did, and
    the last answer of each platform, which is all that is kept of fetches of its audience.
    """
    wanted = page * size + 1
    changes = track.changes.select_related("job")[:wanted]
    failures = track.failures.select_related("job").order_by("-pk")[:wanted] if may_see_failures else []
    entries = (
        LogEntry.objects.filter(content_type=_content_type(), object_id=str(track.pk))
        .select_related("user")
        .order_by("-action_time", "-pk")[:wanted]
    )
    events = [
        *(_of_change(change) for change in changes),
        *(_of_failure(failure) for failure in failures),
        *(_of_entry(entry) for entry in entries),
        *_of_audiences(audiences_of(track) if audiences is None else audiences),
    ]
    events.sort(key=lambda event: event.at, reverse=True)
    return events[(page - 1) * size : page * size], len(events) > page * size


def last_change_of(track: Track, name: str) -> str:
    """Return who changed a field last, in words: a person or a fetch; empty if there is no record."""
    entries = LogEntry.objects.filter(content_type=_content_type(), object_id=str(track.pk))
    for entry in entries.select_related("user").order_by("-action_time", "-pk")[:NEWEST]:
        if name in (_recorded_values(entry.change_message) or ()):
            break
    else:
        entry = None
    change = track.changes.filter(changes__has_key=name).first()
    # A first fetch is in no history.
    is_fetched = change is not None or track.metadata_fetched_at is not None
    if is_fetched and (entry is None or (change and change.at > entry.action_time)):
        return A_FETCH
    return (entry.user.get_full_name() or entry.user.get_username()) if entry else ""


def audiences_of(track: Track) -> list[TrackAudience]:
    """Return what is known of a track on each platform, with the task that last asked, by one index."""
    return list(track.audiences.select_related("job").defer("trend").order_by("pk"))


def _content_type() -> ContentType:
    return ContentType.objects.get_for_model(Track)


def _of_change(change: TrackChange) -> Event:
    return Event(
        change.at,
        "Soundcharts",
        changes=changes_in(change.changes),
        job_id=change.job_id,
        is_kept=change.job is not None,
    )


def _of_failure(failure: FetchFailure) -> Event:
    sentence = f"not fetched: {explain(failure.code).title}. {failure.message}"
    return Event(
        failure.created_at,
        "Soundcharts",
        sentence=sentence,
        job_id=failure.job_id,
        is_kept=True,
        is_failure=True,
    )


def _of_audiences(audiences: list[TrackAudience]) -> list[Event]:
    """Return the last answers about a track's audience: one entry for those that a task brought together.

    Where the last fetch failed, the task is not known of the answer before it.
    """
    answers: dict[tuple[int | None, datetime], list[TrackAudience]] = {}
    for audience in audiences:
        if audience.fetched_at is not None:
            job_id = None if audience.error else audience.job_id
            answers.setdefault((job_id, audience.fetched_at), []).append(audience)
    return [
        Event(
            at,
            "Soundcharts",
            sentence=f"last answered about the audience on {platform_names([row.platform for row in rows])}.",
            job_id=job_id,
            is_kept=job_id is not None and rows[0].job is not None,
        )
        for (job_id, at), rows in answers.items()
    ]


def _of_entry(entry: LogEntry) -> Event:
    who = entry.user.get_full_name() or entry.user.get_username()
    changes = changes_in(_recorded_values(entry.change_message))
    if changes:
        return Event(entry.action_time, who, changes=changes)
    told = "added the track" if entry.action_flag == ADDITION else entry.get_change_message().rstrip(".")
    return Event(entry.action_time, who, sentence=told or "saved it without a change")


def _recorded_values(message: str) -> Any:
    """Return the values that `construct_change_message` of the track's page puts into the log."""
    try:
        parts = json.loads(message)
        return next(part["changed"]["values"] for part in parts if "values" in part.get("changed", ()))
    except (ValueError, TypeError, AttributeError, StopIteration):
        return None


@dataclass(frozen=True, slots=True)
class EditedField:
    """A field that is kept by hand, with the value that is kept."""

    name: str
    label: str
    value: Any


class Story:
    """Why a track is as it is: the facts that its page states. Each part is asked for once."""

    def __init__(self, track: Track, *, may_see_failures: bool) -> None:
        self.track = track
        self.may_see_failures = may_see_failures
        self.now = timezone.now()

    @cached_property
    def events(self) -> list[Event]:
        events, self._has_more = timeline(
            self.track, may_see_failures=self.may_see_failures, size=NEWEST, audiences=self.audiences
        )
        return events

    @property
    def has_more(self) -> bool:
        """Whether the history is longer than what the page shows of it."""
        return bool(self.events) and self._has_more

    @cached_property
    def audiences(self) -> list[TrackAudience]:
        return audiences_of(self.track)

    @cached_property
    def account(self) -> ApiAccount | None:
        """What is left of the plan's calls, as far as Soundcharts has ever said."""
        return current_account()

    @property
    def freshness_colour(self) -> str:
        return {"never fetched": "info", "aged": "warning", "fresh": "success"}[self.track.freshness]

    @cached_property
    def moved_track(self) -> Track | None:
        """The track that has this one's new uuid, if it is here."""
        return Track.objects.filter(uuid=self.track.moved_to).first() if self.track.moved_to else None

    @cached_property
    def last_failure(self) -> FetchFailure | None:
        """The failure that the track's own error code is about, while its task is kept."""
        if not (self.track.metadata_error and self.may_see_failures):
            return None
        return self.track.failures.filter(code=self.track.metadata_error).order_by("-pk").first()

    @property
    def trouble(self) -> Explanation:
        """What the track's own error code means."""
        return explain(self.track.metadata_error)

    @cached_property
    def last_change(self) -> Event | None:
        change = self.track.changes.select_related("job").first()
        return _of_change(change) if change else None

    @property
    def stale_from(self) -> datetime | None:
        fetched_at = self.track.metadata_fetched_at
        return fetched_at + timedelta(days=refresh_days()) if fetched_at else None

    @property
    def waits_until(self) -> datetime | None:
        """Until when it is not asked for by itself, where that is later than when it becomes stale."""
        until = self.track.metadata_retry_at
        if until is None or until <= self.now or (self.stale_from and self.stale_from > until):
            return None
        return until

    @property
    def is_due(self) -> bool:
        return self.waits_until is None and (self.stale_from is None or self.stale_from <= self.now)

    @property
    def refresh_days(self) -> int:
        return refresh_days()

    @property
    def is_all_by_hand(self) -> bool:
        return set(METADATA_FIELDS) <= set(self.track.edited_fields)

    @property
    def edited(self) -> list[EditedField]:
        kept = [name for name in METADATA_FIELDS if name in self.track.edited_fields]
        return [EditedField(name, label_of(name), getattr(self.track, name)) for name in kept]

    @cached_property
    def own_jobs(self) -> list[MetadataFetchTask]:
        """The latest jobs that were about this track alone."""
        return list(jobs.jobs_of_track(self.track.pk)[:SHOWN_JOBS])

    @property
    def active_job(self) -> MetadataFetchTask | None:
        return next((job for job in self.own_jobs if job.is_active), None)

    @cached_property
    def activity(self) -> str:
        """What that job does now, empty without one: "is waiting: rate limit, resumes in 0:43."."""
        if self.active_job is None:
            return ""
        return activity_of(self.active_job).removeprefix(f"Task #{self.active_job.pk} ")

    @cached_property
    def spent(self) -> dict[str, int]:
        """The calls and the number of this track's own jobs for its metadata."""
        own = jobs.jobs_of_track(self.track.pk)
        return own.aggregate(calls=Sum("api_calls", default=0), tasks=Count("pk"))

    @cached_property
    def audience_jobs(self) -> dict[int, MetadataFetchTask]:
        """The jobs that last asked for its audience on each platform; nobody knows of those before."""
        return {row.job.pk: row.job for row in self.audiences if row.job is not None}

    @property
    def audience_spent(self) -> dict[str, int]:
        """The calls and the number of those of them that were about this track alone."""
        own = [job for job in self.audience_jobs.values() if job.task_type == job.Type.AUDIENCE]
        return {"calls": sum(job.api_calls for job in own), "tasks": len(own)}

    @cached_property
    def touching_jobs(self) -> list[MetadataFetchTask]:
        """Its own latest jobs and those that asked last, the latest first."""
        found = {job.pk: job for job in self.own_jobs} | self.audience_jobs
        if (job_id := self.track.metadata_job_id) and job_id not in found:
            found |= MetadataFetchTask.objects.in_bulk([job_id])
        return sorted(found.values(), key=lambda job: job.pk, reverse=True)

    @property
    def last_job(self) -> MetadataFetchTask | None:
        """The job that last asked for this track, unless it was pruned."""
        return next((job for job in self.touching_jobs if job.pk == self.track.metadata_job_id), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request for this track: what its page shows, and what is read out."""

    job: MetadataFetchTask
    report: TrackReport
    seconds: float | None = None

    @property
    def is_busy(self) -> bool:
        return self.report.outcome == "busy"

    @property
    def is_awaited(self) -> bool:
        """Whether it is worth looking again soon: somebody is at it, and nobody has paused it."""
        return self.is_busy and self.job.status != MetadataFetchTask.Status.PAUSED and self.job.is_active

    @property
    def advice(self) -> str:
        return explain(self.report.code).what_to_do if self.report.outcome in ("failed", "moved") else ""

    @property
    def colour(self) -> str:
        return {
            "updated": "success",
            "unchanged": "success",
            "failed": "danger",
            "busy": "warning",
            "moved": "warning",
        }.get(self.report.outcome, "info")

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        report, count = self.report, len(self.report.changes)
        match report.outcome:
            case "updated" if count:
                return f"Fetched: {plural(count, 'field')} changed."
            case "updated":
                return "Fetched for the first time."
            case "unchanged":
                return "Fetched: Soundcharts says nothing new."
            case "skipped":
                return "Not fetched: another task fetched this track a moment ago."
        return report.message

    @property
    def cost(self) -> str:
        """What was spent, and how long it took where somebody waited for it."""
        if self.is_busy:
            return "This click spent no call."
        words = f"{plural(self.job.api_calls, 'API call')} spent"
        return words + (f", {self.seconds:.1f} seconds." if self.seconds is not None else ".")


class AudienceAnswer(Answer):
    """What became of a request for this track's audience."""

    __slots__ = ()

    @property
    def headline(self) -> str:
        match self.report.outcome:
            case "updated":
                return "Fetched."
            case "unchanged":
                return "Fetched: Soundcharts says nothing new."
            case "skipped":
                return "Not fetched: every day that was asked for is known."
        return self.report.message


def answer_of(job: MetadataFetchTask, track: Track) -> Answer:
    """Return what one of a track's own jobs has brought, from what it left in the database."""
    if job.is_active:
        return Answer(job, TrackReport("busy", message=activity_of(job)))
    if failure := job.failures.filter(track=track).first():
        return Answer(job, TrackReport("failed", code=failure.code, message=failure.message))
    if change := track.changes.filter(job=job).first():
        return Answer(job, TrackReport("updated", changes=changes_in(change.changes)))
    if job.status == job.Status.CANCELLED:
        message = f"Task #{job.pk} was cancelled: nothing was fetched."
        return Answer(job, TrackReport("cancelled", message=message))
    if job.moved_tracks and track.moved_to:
        return Answer(job, TrackReport("moved", code="moved", message=str(Moved(new_uuid=track.moved_to))))
    outcome = next((name for name in ("updated", "unchanged") if getattr(job, f"{name}_tracks")), "skipped")
    return Answer(job, TrackReport(outcome))
