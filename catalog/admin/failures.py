"""Failures: the list of all, of one task or of one code, and the same as a file for a spreadsheet."""

import re
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.csv_export import in_steps, stream_csv
from catalog.admin.job_page import failure_groups
from catalog.admin.keys import key_in
from catalog.admin.refusing import ReadOnlyAdmin
from catalog.explanations import EXPLANATIONS, Explanation, explain
from catalog.models import FailureCount, FetchFailure, MetadataFetchTask
from catalog.search import search_text
from catalog.song_lists import identifier_in

CSV_HEADER = (
    *("task", "uuid", "track", "credit", "ISRC", "code"),
    *("what happened", "what to do", "message", "when (UTC)"),
)


class CodeFilter(admin.SimpleListFilter):
    """Failures by code. The choices are the known codes: looking for those in use would read every row."""

    title = "what happened"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((code, words.title) for code, words in EXPLANATIONS.items()), key=lambda pair: pair[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[FetchFailure]) -> QuerySet[FetchFailure]:
        return queryset.filter(code=self.value()) if self.value() else queryset


class FailurePaginator(Paginator):  # type: ignore[type-arg]
    """Pages of failures, of which there may be a million: counted before, found by their keys alone."""

    known_count: int | None = None

    @cached_property
    def count(self) -> int:
        return super().count if self.known_count is None else self.known_count

    def page(self, number: int | str) -> Page:  # type: ignore[type-arg]
        number = self.validate_number(number)
        bottom = (number - 1) * self.per_page
        # An index holds all that it takes to walk to the page; the rows are read of this page only.
        failures: Any = self.object_list
        keys = list(failures.values_list("pk", flat=True)[bottom : bottom + self.per_page])
        return Page(failures.filter(pk__in=keys), number, self)


@admin.register(FetchFailure)
class FetchFailureAdmin(ReadOnlyAdmin):
    list_display = ("identifier", "track_link", "what_happened", "said", "task_link", "at")
    list_filter = (CodeFilter,)
    list_select_related = ("job", "track")
    list_before_template = "catalog/failures_of_job.html"
    # In the others' orders no index has a million of them.
    sortable_by = ("what_happened",)
    search_fields = ("item",)
    search_help_text = "A whole UUID or ISRC"
    show_full_result_count = False
    list_per_page = 100
    has_history = False
    fields = (
        "what_happened",
        "what_it_means",
        "what_to_do",
        "said",
        "track_link",
        "identifier",
        "task_link",
        "at",
    )
    readonly_fields = fields

    def get_paginator(
        self, request: HttpRequest, queryset: QuerySet[FetchFailure], *args: Any, **options: Any
    ) -> FailurePaginator:
        paginator = FailurePaginator(queryset, *args, **options)
        # What else narrows the list is counted in it.
        if not {*request.GET} - {"code", "job__id__exact", PAGE_VAR, ORDER_VAR}:
            counts = FailureCount.objects.all()
            if request.GET.get("code"):
                counts = counts.filter(code=request.GET["code"])
            if (job_id := key_in(request.GET.get("job__id__exact", ""))) is not None:
                counts = counts.filter(job_id=job_id)
            paginator.known_count = counts.aggregate(sum=Sum("count"))["sum"] or 0
        return paginator

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return lookup == "job__id__exact" or super().lookup_allowed(lookup, value, request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if (job_id := key_in(request.GET.get("job__id__exact", ""))) is not None:
            job = MetadataFetchTask.objects.filter(pk=job_id).first()
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
        term = search_text(search_term)
        return (queryset.filter(item=identifier_in(term) or term) if term else queryset), False

    @display(description="UUID or ISRC")
    def identifier(self, failure: FetchFailure) -> str:
        return failure.item

    @display(description="Task")
    def task_link(self, failure: FetchFailure) -> str:
        address = reverse("admin:catalog_metadatafetchtask_change", args=(failure.job_id,))
        # The title of a task for one track repeats what the row begins with.
        words = f"#{failure.job_id}" if failure.item in failure.job.title else failure.job
        return format_html('<a class="ln-link" href="{}">{}</a>', address, words)

    @display(description="Message")
    def said(self, failure: FetchFailure) -> str:
        return failure.message

    @display(description="When")
    def at(self, failure: FetchFailure) -> str:
        return date_format(timezone.localtime(failure.created_at), "DATETIME_FORMAT")

    @display(description="What it means")
    def what_it_means(self, failure: FetchFailure) -> str:
        return words_of(failure).meaning

    @display(description="What to do")
    def what_to_do(self, failure: FetchFailure) -> str:
        return words_of(failure).what_to_do

    @display(description="Track")
    def track_link(self, failure: FetchFailure) -> str:
        if failure.track_id is None:
            return "–"
        address = reverse("admin:catalog_track_change", args=(failure.track_id,))
        words = "no name yet" if str(failure.track) == failure.item else failure.track
        return format_html('<bdi><a class="ln-link" href="{}">{}</a></bdi>', address, words)

    @display(description="What happened", ordering="code")
    def what_happened(self, failure: FetchFailure) -> str:
        words = words_of(failure)
        return format_html('<span title="{}">{}</span>', f"{words.meaning} {words.what_to_do}", words.title)


def words_of(failure: FetchFailure) -> Explanation:
    """Return what a failure's code means for what failed: a track, or a row of an import."""
    return explain(failure.code, is_of_import=failure.job.is_import)


def failures_as_csv(job: MetadataFetchTask, *, code: str = "") -> StreamingHttpResponse:
    """Return a job's failures, or those of one code, as a file."""
    name = f"fetch-task-{job.pk}-failures"
    failures = job.failures.all()
    if code:
        code = re.sub("[^a-z0-9_]", "", code)[:50]
        name += f"-{code}"
        failures = failures.filter(code=code)
    # Values and not models, of which there may be a million.
    found = failures.values_list(
        *("pk", "item", "track__name", "track__credit_name", "track__isrc", "code", "message", "created_at")
    )
    return stream_csv(name, CSV_HEADER, (_line(job, *values) for _, *values in in_steps(found, by="pk")))


def _line(
    job: MetadataFetchTask,
    item: str,
    name: str | None,
    credit: str | None,
    isrc: str | None,
    code: str,
    message: str,
    created_at: datetime,
) -> tuple[Any, ...]:
    words = explain(code, is_of_import=job.is_import)
    # Without a fraction of the second, which no spreadsheet reads.
    when = f"{created_at:%Y-%m-%d %H:%M:%S}"
    return job.pk, item, name, credit, isrc, code, words.title, words.what_to_do, message, when
