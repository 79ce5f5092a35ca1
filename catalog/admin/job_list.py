"""The list of fetch tasks: its filters, and its cells, which live on while a task is active."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from catalog.admin.job_page import running_time
from catalog.admin.keys import key_in
from catalog.models import MetadataFetchTask
from catalog.status import ShownStatus, shown_statuses

# Cells that change while a task is active, by the name that is part of their elements' ids.
LIVE_CELLS = ("state", "progress", "outcome", "calls", "duration")
# More rows than a page of the list has.
MOST_LIVE_ROWS = 200


class PeriodFilter(admin.SimpleListFilter):
    """Tasks by when they were asked for."""

    title = "when it was asked for"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("1", "Last 24 hours"),
            ("7", "Last 7 days"),
            ("30", "Last 30 days"),
            ("older", "Longer than 30 days ago"),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[MetadataFetchTask]
    ) -> QuerySet[MetadataFetchTask]:
        value = self.value()
        if value in {"1", "7", "30"}:
            return queryset.filter(created_at__gte=timezone.now() - timedelta(days=int(value or 0)))
        if value == "older":
            return queryset.filter(created_at__lt=timezone.now() - timedelta(days=30))
        return queryset


class FailuresFilter(admin.SimpleListFilter):
    """Tasks by whether some of their tracks failed, which a completed task can have, too."""

    title = "failures"
    parameter_name = "failures"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "With failures"), ("no", "Without failures")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[MetadataFetchTask]
    ) -> QuerySet[MetadataFetchTask]:
        match self.value():
            case "yes":
                return queryset.filter(failed_tracks__gt=0)
            case "no":
                return queryset.filter(failed_tracks=0)
        return queryset


def search_jobs(jobs: QuerySet[MetadataFetchTask], term: str) -> QuerySet[MetadataFetchTask]:
    """Return the tasks with this number ("12", "#12") or with these words in their title."""
    term = term.strip()
    if not term:
        return jobs
    number = key_in(term.removeprefix("#"))
    return jobs.filter(Q(title__icontains=term) | (Q() if number is None else Q(pk=number)))


def add_statuses(jobs: Iterable[MetadataFetchTask]) -> None:
    """Set the displayed status on all tasks together."""
    jobs = list(jobs)
    for job, status in zip(jobs, shown_statuses(jobs).values(), strict=True):
        job.shown_status = status  # type: ignore[attr-defined]


def cell(job: MetadataFetchTask, name: str, *, is_update: bool = False) -> SafeString:
    """Return a live cell of a task's row; as an update it replaces the one that is shown."""
    return format_html(
        '<span id="job-{}-{}"{}>{}</span>',
        job.pk,
        name,
        mark_safe(' hx-swap-oob="true"') if is_update else "",
        _content(job, name),
    )


def updated_cells(jobs: QuerySet[MetadataFetchTask]) -> SafeString:
    """Return all live cells of these tasks, to replace those that are shown."""
    add_statuses(jobs)
    return format_html_join(
        "\n", "{}", ((cell(job, name, is_update=True),) for job in jobs for name in LIVE_CELLS)
    )


def asked_words(job: MetadataFetchTask) -> SafeString:
    """Return who asked for a task and when."""
    who = job.requested_by.get_username() if job.requested_by else "by itself"
    when = date_format(timezone.localtime(job.created_at), "DATETIME_FORMAT")
    return format_html('<span>{}, <span class="ln-number">{}</span></span>', who, when)


def active_ids(jobs: Iterable[MetadataFetchTask]) -> str:
    """Return the keys of those tasks that are active, as `chosen_ids` reads them."""
    return ",".join(str(job.pk) for job in jobs if job.is_active)


def chosen_ids(text: str) -> list[int]:
    """Return the keys in an address; a value that cannot be one is ignored."""
    parts = text.split(",")[:MOST_LIVE_ROWS]
    return [key for part in parts if (key := key_in(part)) is not None]


def _content(job: MetadataFetchTask, name: str) -> str:
    now: datetime = job.database_now  # type: ignore[attr-defined]
    match name:
        case "state":
            status: ShownStatus = job.shown_status  # type: ignore[attr-defined]
            return render_to_string("catalog/status_label.html", {"status": status})
        case "progress":
            return render_to_string("catalog/progress_bar.html", {"job": job})
        case "outcome":
            return job.outcome_sentence
        case "calls":
            return f"{job.api_calls:,}"
        case "duration":
            return running_time(job, now=now)
    raise ValueError(name)
