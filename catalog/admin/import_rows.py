"""The report of an import: what became of every row, on the task's page, and as a file."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from unfold.admin import ModelAdmin

from catalog import jobs
from catalog.admin.answers import job_address
from catalog.admin.csv_export import in_steps, stream_csv
from catalog.admin.keys import page_in
from catalog.admin.refusing import may_see_failures, why_no_part
from catalog.jobs import RECHECK_HOURS
from catalog.models import ImportRow, MetadataFetchTask
from catalog.words import duration, plural

Outcome = ImportRow.Outcome

ROWS_PER_PAGE = 50

OUTCOME_COLOURS = {
    Outcome.ADDED: "success",
    Outcome.HERE: "info",
    Outcome.DUPLICATE: "default",
    Outcome.NOT_FOUND: "warning",
    Outcome.INVALID: "warning",
    Outcome.FAILED: "danger",
}
OF_FAILURES = (Outcome.NOT_FOUND, Outcome.FAILED)
COLUMNS = ("Number", "Line", "Entry", "Outcome", "Message", "Track UUID", "Track")


class ImportReportMixin(ModelAdmin):
    """The addresses of the report, beside the task's own pages."""

    def has_control_permission(self, request: HttpRequest) -> bool:
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        return [
            path("<int:job_id>/rows/", self.import_rows_view, name="catalog_metadatafetchtask_rows"),
            path(
                "<int:job_id>/rows.csv",
                self.admin_site.admin_view(self.import_rows_file_view),
                name="catalog_metadatafetchtask_rows_file",
            ),
            path(
                "<int:job_id>/rechecks/",
                self.admin_site.admin_view(self.rechecks_view),
                name="catalog_metadatafetchtask_rechecks",
            ),
            *super().get_urls(),
        ]

    @method_decorator(never_cache)
    def import_rows_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """A page of the report: alone, or as the part of the task's page that htmx asks for."""
        if (refusal := why_no_part(request, may_see=self.has_view_permission(request))) is not None:
            return refusal
        job = self._import_to_show(request, job_id)
        context = _report_of(
            _rows_to_show(request, job),
            outcome=request.GET.get("outcome", ""),
            page=request.GET.get("page", ""),
        )
        context |= {"job": job, "hides_failures": not may_see_failures(request)}
        context |= _rechecks_of(job) | {"may_control": self.has_control_permission(request)}
        if request.headers.get("HX-Request"):
            return render(request, "catalog/import_rows.html", context)
        frame = {**self.admin_site.each_context(request), "title": f"Report of {job}", "opts": self.opts}
        return render(request, "catalog/import_rows_page.html", frame | context)

    def import_rows_file_view(self, request: HttpRequest, job_id: int) -> StreamingHttpResponse:
        """The whole report, or one outcome of it, as CSV."""
        job = self._import_to_show(request, job_id)
        rows = _of_outcome(_rows_to_show(request, job), request.GET.get("outcome", "")).values_list(
            "number", "line", "item", "outcome", "message", "track__uuid", "track__name"
        )
        lines = (_line(*values) for values in in_steps(rows, by="number"))
        return stream_csv(f"import-{job.pk}-report", COLUMNS, lines)

    def rechecks_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Schedule or cancel later checks of an import's unknown ISRCs."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_control_permission(request):
            raise PermissionDenied
        job = self._import_to_show(request, job_id)
        if request.POST.get("do") == "cancel":
            count = jobs.cancel_rechecks(job)
            done = f"{plural(count, 'unknown ISRC')} will not be checked again."
        else:
            count = jobs.schedule_rechecks(job)
            done = f"{plural(count, 'unknown ISRC')} will be checked again in {RECHECK_HOURS[0]} hours."
        if count:
            self.log_change(request, job, done)
        messages.success(request, done) if count else messages.info(request, "Nothing was changed.")
        return HttpResponseRedirect(job_address(job))

    def _import_to_show(self, request: HttpRequest, job_id: int) -> MetadataFetchTask:
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = get_object_or_404(MetadataFetchTask, pk=job_id)
        if not job.is_import:
            raise Http404
        return job


def _rows_to_show(request: HttpRequest, job: MetadataFetchTask) -> QuerySet[ImportRow]:
    rows = ImportRow.objects.filter(job=job).order_by("number")
    return rows if may_see_failures(request) else rows.exclude(outcome__in=OF_FAILURES)


def _of_outcome(rows: QuerySet[ImportRow], outcome: str) -> QuerySet[ImportRow]:
    return rows.filter(outcome=outcome) if outcome in Outcome.values else rows


def _report_of(rows: QuerySet[ImportRow], *, outcome: str, page: str) -> dict[str, Any]:
    chosen = outcome if outcome in Outcome.values else ""
    counted = dict(rows.order_by().values_list("outcome").annotate(count=Count("pk")))
    total = counted.get(chosen, 0) if chosen else sum(counted.values())
    last = max(1, -(-total // ROWS_PER_PAGE))
    number = page_in(page, last=last)
    first = (number - 1) * ROWS_PER_PAGE
    shown = _of_outcome(rows, chosen).select_related("track")[first : first + ROWS_PER_PAGE]
    return {
        "rows": [(row, OUTCOME_COLOURS[Outcome(row.outcome)]) for row in shown],
        "chosen": chosen,
        "filters": [("", "All", sum(counted.values()))]
        + [(value, label, counted[value]) for value, label in Outcome.choices if counted.get(value)],
        "total": total,
        "first": first + 1,
        "last": min(first + ROWS_PER_PAGE, total),
        "page_number": number,
        "previous_page": number - 1 if number > 1 else None,
        "next_page": number + 1 if number < last else None,
    }


def _rechecks_of(job: MetadataFetchTask) -> dict[str, Any]:
    rechecks = jobs.rechecks_of(job)
    left = (rechecks.next_at - timezone.now()).total_seconds() if rechecks.next_at else 0
    return {
        "rechecks": rechecks,
        "next_recheck": f"in {duration(max(60, left // 60 * 60))}" if left > 0 else "within a minute",
    }


def _line(
    number: int, line: int | None, item: str, outcome: str, message: str, uuid: UUID | None, name: str | None
) -> tuple[Any, ...]:
    return number, line, item, Outcome(outcome).label, message, uuid, name
