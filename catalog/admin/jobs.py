"""Fetch tasks: to read, to follow, and to pause, resume, cancel or retry."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from unfold.decorators import display

from catalog import jobs
from catalog.admin.answers import job_address, tell
from catalog.admin.failures import failures_as_csv
from catalog.admin.import_rows import ImportReportMixin
from catalog.admin.job_list import (
    FailuresFilter,
    PeriodFilter,
    active_ids,
    add_statuses,
    asked_words,
    cell,
    chosen_ids,
    search_jobs,
    updated_cells,
)
from catalog.admin.job_page import confirmation, find_job, page_context
from catalog.admin.keys import key_in
from catalog.admin.refusing import ReadOnlyAdmin, may_see_failures, why_no_part
from catalog.models import MetadataFetchTask
from catalog.words import plural

Status = MetadataFetchTask.Status


@admin.register(MetadataFetchTask)
class MetadataFetchTaskAdmin(ImportReportMixin, ReadOnlyAdmin):
    list_display = (
        *("name", "type_in_words", "state", "progress"),
        *("outcomes", "calls", "duration", "asked"),
    )
    list_filter = ("status", "task_type", PeriodFilter, FailuresFilter)
    list_select_related = ("requested_by",)
    list_per_page = 50
    list_after_template = "catalog/job_rows_live.html"
    search_fields = ("title",)
    search_help_text = "A task's number, or words of its title"
    show_full_result_count = False
    change_form_outer_before_template = "catalog/job_page.html"

    class Media:
        # The second keeps open what somebody has opened while a part of the page is replaced.
        js = ("catalog/job_live.js", "catalog/keep_open.js", "catalog/countdown.js")

    def has_control_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("catalog.control_metadatafetchtask")

    # --- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[MetadataFetchTask]:
        return super().get_queryset(request).annotate(database_now=Now())

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            rows = response.context_data["cl"].result_list
            add_statuses(rows)
            response.context_data["live_ids"] = active_ids(rows)
        return response

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[MetadataFetchTask], search_term: str
    ) -> tuple[QuerySet[MetadataFetchTask], bool]:
        return search_jobs(queryset, search_term), False

    @display(description="Task", ordering="pk")
    def name(self, job: MetadataFetchTask) -> str:
        return format_html("#{} · <bdi>{}</bdi>", job.pk, job.title)

    @display(description="Type", ordering="task_type")
    def type_in_words(self, job: MetadataFetchTask) -> str:
        return job.get_task_type_display()

    @display(description="Status", ordering="status")
    def state(self, job: MetadataFetchTask) -> str:
        return cell(job, "state")

    @display(description="Progress")
    def progress(self, job: MetadataFetchTask) -> str:
        return cell(job, "progress")

    @display(description="Outcome")
    def outcomes(self, job: MetadataFetchTask) -> str:
        return cell(job, "outcome")

    @display(description="API calls", ordering="api_calls")
    def calls(self, job: MetadataFetchTask) -> str:
        return cell(job, "calls")

    @display(description="Duration")
    def duration(self, job: MetadataFetchTask) -> str:
        return cell(job, "duration")

    @display(description="Asked for", ordering="created_at")
    def asked(self, job: MetadataFetchTask) -> str:
        return asked_words(job)

    # --- the page

    def get_fieldsets(self, request: HttpRequest, obj: MetadataFetchTask | None = None) -> Any:
        """Hide empty values."""
        fields = ["task_type", "asker", "created_at"]
        fields += ["origin"] if obj is not None and obj.parent is not None else []
        fields += ["tried_again"] if obj is not None and obj.retry_count else []
        return [("Request", {"fields": fields})]

    @display(description="Requested by")
    def asker(self, job: MetadataFetchTask) -> str:
        return job.requested_by.get_username() if job.requested_by else "a command, or the schedule"

    @display(description="Comes from")
    def origin(self, job: MetadataFetchTask) -> str:
        return str(job.parent)

    @display(description="Retried")
    def tried_again(self, job: MetadataFetchTask) -> str:
        return plural(job.retry_count, "time")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("live/", self.live_rows_view, name="catalog_metadatafetchtask_live"),
            path("<int:job_id>/progress/", self.progress_view, name="catalog_metadatafetchtask_progress"),
            path(
                "<int:job_id>/failures.csv",
                wrap(self.failures_csv_view),
                name="catalog_metadatafetchtask_failures_csv",
            ),
            *(
                path(
                    f"<int:job_id>/{verb}/",
                    wrap(self._control_view(verb, control)),
                    name=f"catalog_metadatafetchtask_{verb}",
                )
                for verb, control in CONTROLS.items()
            ),
            *super().get_urls(),
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        job = find_job(key_in(object_id) or 0)
        if job is not None and self.has_view_permission(request, job):
            context |= self._page_context(request, job)
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return response

    def _page_context(self, request: HttpRequest, job: MetadataFetchTask) -> dict[str, Any]:
        return page_context(
            job,
            may_control=self.has_control_permission(request),
            may_see_failures=may_see_failures(request),
        )

    @method_decorator(never_cache)
    def progress_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """The part of the page that changes, asked for again and again while the job is active."""
        if (refusal := why_no_part(request, may_see=self.has_view_permission(request))) is not None:
            return refusal
        job = find_job(job_id)
        if job is None:
            raise Http404("This task is no longer there.")
        return render(request, "catalog/job_progress.html", self._page_context(request, job))

    @method_decorator(never_cache)
    def live_rows_view(self, request: HttpRequest) -> HttpResponse:
        """The cells of the list's active tasks, and what asks for those that are still active."""
        if (refusal := why_no_part(request, may_see=self.has_view_permission(request))) is not None:
            return refusal
        ids = chosen_ids(request.GET.get("ids", ""))
        shown = self.get_queryset(request).filter(pk__in=ids).order_by("-pk")
        context = {"live_ids": active_ids(shown), "updated_cells": updated_cells(shown)}
        return render(request, "catalog/job_rows_live.html", context)

    @method_decorator(never_cache)
    def failures_csv_view(self, request: HttpRequest, job_id: int) -> StreamingHttpResponse:
        """A job's failures as a file."""
        if not (self.has_view_permission(request) and may_see_failures(request)):
            raise PermissionDenied
        job = get_object_or_404(MetadataFetchTask, pk=job_id)
        return failures_as_csv(job, code=request.GET.get("code", ""))

    # --- pause, resume, cancel, retry

    def _control_view(
        self, verb: str, control: Callable[[HttpRequest, MetadataFetchTask], MetadataFetchTask]
    ) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, job_id: int) -> HttpResponse:
            # The code of a group reveals what failed.
            is_by_code = "code" in request.GET or bool(request.POST.get("code"))
            if not self.has_control_permission(request) or (is_by_code and not may_see_failures(request)):
                raise PermissionDenied
            if request.method == "GET" and verb in CONFIRMED:
                return self._ask(request, get_object_or_404(MetadataFetchTask, pk=job_id), verb)
            if request.method != "POST":
                return HttpResponseNotAllowed(["GET", "POST"] if verb in CONFIRMED else ["POST"])
            job = get_object_or_404(MetadataFetchTask, pk=job_id)
            try:
                shown = control(request, job)
            except jobs.IllegalTransition as error:
                if error.target == job.status:
                    # The second click of two, or of two people: what they wanted is so.
                    is_now = job.status_label.lower()
                    messages.info(request, f"Task #{job.pk} is {is_now} already. Nothing was changed.")
                else:
                    messages.warning(request, f"{error} Nothing was changed.")
                shown = job
            except ValueError as error:
                messages.warning(request, f"{error} Nothing was changed.")
                shown = job
            else:
                self.log_change(request, job, verb.capitalize())
            return HttpResponseRedirect(job_address(shown))

        return never_cache(view)

    def _ask(self, request: HttpRequest, job: MetadataFetchTask, verb: str) -> HttpResponse:
        """Ask whether it is meant, with its price: as a dialog's content, or as a page of its own."""
        context = confirmation(job, verb, code=request.GET.get("code", ""))
        if request.headers.get("HX-Request"):
            return render(request, "catalog/job_question.html", context)
        page = {**self.admin_site.each_context(request), "title": str(job), "opts": self.opts}
        return render(request, "catalog/job_question_page.html", page | context)


def _pause(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    jobs.pause_job(job, by=request.user)
    messages.success(
        request, f"Task #{job.pk} is paused. The batch under way is still saved; Resume goes on after it."
    )
    return job


def _resume(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    if jobs.resume_job(job, by=request.user):
        messages.success(request, f"Task #{job.pk} goes on where it stopped.")
    else:
        messages.warning(
            request,
            f"Task #{job.pk} is resumed, but the queue is unavailable. "
            "It starts within a minute once the queue is back.",
        )
    return job


def _cancel(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    jobs.cancel_job(job, by=request.user)
    if job.is_audience:
        # Also of tracks that do not count as done, since not all their platforms had answered.
        kept = "The figures that came are saved, also those of tracks that were not finished."
    else:
        kept = (
            f"What was fetched is saved; the other {'songs' if job.is_import else 'tracks'} are as they were."
        )
    messages.success(request, f"Task #{job.pk} is cancelled. {kept}")
    return job


def _retry(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    requested = jobs.request_retry(job, code=request.POST.get("code", ""), requested_by=request.user)
    tell(request, requested)
    return requested.job


CONTROLS = {"pause": _pause, "resume": _resume, "cancel": _cancel, "retry": _retry}
# These are asked about first, by a GET of the same address.
CONFIRMED = frozenset({"resume", "cancel", "retry"})
