"""Failures: the list of all, of one task or of one code, and the same as a file for a spreadsheet."""

import csv
import re
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display

from catalog.admin.job_page import failure_groups
from catalog.explanations import EXPLANATIONS, explain
from catalog.models import FetchFailure, MetadataFetchTask

# Rows that are read at a time: what a file of any length takes of memory.
CSV_STEP = 1000
CSV_HEADER = ("task", "uuid", "track", "ISRC", "code", "what happened", "what to do", "message", "when (UTC)")
# What a spreadsheet takes for the beginning of a formula, or skips before one.
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]|\s+[=+\-@]")


class ReadOnlyAdmin(ModelAdmin):
    """A list and pages to read: nothing is added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CodeFilter(admin.SimpleListFilter):
    """Failures by code. The choices are the known codes: looking for those in use would read every row."""

    title = "what happened"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((code, words.title) for code, words in EXPLANATIONS.items()), key=lambda pair: pair[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[FetchFailure]) -> QuerySet[FetchFailure]:
        return queryset.filter(code=self.value()) if self.value() else queryset


@admin.register(FetchFailure)
class FetchFailureAdmin(ReadOnlyAdmin):
    list_display = ("item", "track_link", "what_happened", "message", "job", "created_at")
    list_filter = (CodeFilter,)
    list_select_related = ("job", "track")
    list_before_template = "catalog/failures_of_job.html"
    search_fields = ("item",)
    search_help_text = "A whole UUID"
    show_full_result_count = False
    list_per_page = 100

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return lookup == "job__id__exact" or super().lookup_allowed(lookup, value, request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        job_id = request.GET.get("job__id__exact", "")
        if job_id.isascii() and job_id.isdecimal() and len(job_id) <= 18:
            job = MetadataFetchTask.objects.filter(pk=int(job_id)).first()
            if job is not None:
                context |= {
                    "job_of_failures": job,
                    "failure_groups": failure_groups(job, quota_left=None),
                    "chosen_code": request.GET.get("code", ""),
                }
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[FetchFailure], search_term: str
    ) -> tuple[QuerySet[FetchFailure], bool]:
        term = search_term.strip().lower()
        return (queryset.filter(item=term) if term else queryset), False

    @display(description="Track")
    def track_link(self, failure: FetchFailure) -> str:
        if failure.track_id is None:
            return "–"
        address = reverse("admin:catalog_track_change", args=(failure.track_id,))
        return format_html('<a class="ln-link" href="{}">{}</a>', address, failure.track)

    @display(description="What happened", ordering="code")
    def what_happened(self, failure: FetchFailure) -> str:
        words = explain(failure.code)
        return format_html('<span title="{}">{}</span>', f"{words.meaning} {words.what_to_do}", words.title)


def failures_as_csv(job: MetadataFetchTask, *, code: str = "") -> StreamingHttpResponse:
    """Return a job's failures, or those of one code, as a file, row by row as they are read."""
    name = f"fetch-task-{job.pk}-failures"
    if code:
        name += "-" + re.sub("[^a-z0-9_]", "", code)[:50]
    response = StreamingHttpResponse(_csv_lines(job, code), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line


def _csv_lines(job: MetadataFetchTask, code: str) -> Iterator[str]:
    writer = csv.writer(_Echo())
    # Without the mark, Excel takes the file for one of the country's old code page.
    yield "\ufeff"
    yield writer.writerow(CSV_HEADER)
    failures = job.failures.select_related("track").order_by("pk")
    if code:
        failures = failures.filter(code=code)
    last = 0
    # Page by page and not by one cursor, which would hold a transaction open for as long as a slow reader.
    while page := list(failures.filter(pk__gt=last)[:CSV_STEP]):
        for failure in page:
            yield writer.writerow([_harmless(value) for value in _row(job, failure)])
        last = page[-1].pk


def _row(job: MetadataFetchTask, failure: FetchFailure) -> tuple[str, ...]:
    words, track = explain(failure.code), failure.track
    return (
        str(job.pk),
        failure.item,
        str(track) if track is not None and track.name else "",
        track.isrc if track is not None else "",
        failure.code,
        words.title,
        words.what_to_do,
        failure.message,
        failure.created_at.strftime("%Y-%m-%d %H:%M:%S"),
    )


def _harmless(value: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    # A zero byte would end the cell, or the file, for some readers.
    value = value.replace("\0", "")
    return f"'{value}" if _FORMULA.match(value) else value
