"""Fetch tasks and their failures: to read, to follow, and to pause, resume, cancel or retry."""

import math
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from unfold.admin import ModelAdmin
from unfold.decorators import display

from catalog import jobs
from catalog.admin.answers import job_address, tell
from catalog.fetching import LIST_PAGE
from catalog.jobs.states import TRANSITIONS
from catalog.models import FetchFailure, MetadataFetchTask
from catalog.quota import estimate_audience_calls, estimate_calls, price_of

Status = MetadataFetchTask.Status
SHOWN_FAILURES = 50

STATUS_COLOURS = {
    Status.PENDING: "info",
    Status.RUNNING: "primary",
    Status.PAUSED: "warning",
    Status.COMPLETED: "success",
    Status.FAILED: "danger",
    Status.CANCELLED: "default",
}


class ReadOnlyAdmin(ModelAdmin):
    """A list and pages to read: nothing is added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(MetadataFetchTask)
class MetadataFetchTaskAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "progress", "outcomes", "api_calls", "requested_by", "created_at")
    list_filter = ("status", "task_type")
    list_select_related = ("requested_by",)
    list_per_page = 50
    show_full_result_count = False
    change_form_outer_before_template = "catalog/job_page.html"
    readonly_fields = ("outcomes",)
    fieldsets = (
        (
            "What was asked for",
            {
                "fields": (
                    ("task_type", "requested_by"),
                    ("parent", "retry_count"),
                    ("created_at", "started_at"),
                    "completed_at",
                )
            },
        ),
        (
            "Counts",
            {
                "fields": (
                    ("total_tracks", "processed_tracks"),
                    ("successful_tracks", "failed_tracks"),
                    ("updated_tracks", "unchanged_tracks"),
                    ("skipped_tracks", "api_calls"),
                )
            },
        ),
        ("For the logs", {"fields": (("celery_task_id", "error_code"),)}),
    )

    def has_control_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("catalog.control_metadatafetchtask")

    # --- the list

    @display(description="Task", ordering="pk")
    def name(self, job: MetadataFetchTask) -> str:
        return str(job)

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def state(self, job: MetadataFetchTask) -> tuple[str, str]:
        return job.status, job.get_status_display()

    @display(description="Progress")
    def progress(self, job: MetadataFetchTask) -> str:
        return render_to_string("catalog/progress_bar.html", {"job": job})

    @display(description="Outcome")
    def outcomes(self, job: MetadataFetchTask) -> str:
        return job.outcome_sentence

    # --- the page

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:job_id>/progress/", self.progress_view, name="catalog_metadatafetchtask_progress"),
            *(
                path(
                    f"<int:job_id>/{verb}/",
                    wrap(self._control_view(control)),
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
        if object_id and object_id.isdecimal():
            job = (
                MetadataFetchTask.objects.select_related("requested_by", "parent")
                .filter(pk=object_id)
                .first()
            )
            if job is not None:
                context |= self._page_context(request, job)
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return response

    @method_decorator(never_cache)
    def progress_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """The part of the page that changes, asked for again and again while the job is active."""
        if not self.admin_site.has_permission(request):
            # A redirect would put the log-in page into the card: reload the page around it instead.
            if request.headers.get("HX-Request"):
                return HttpResponse(headers={"HX-Refresh": "true"})
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = get_object_or_404(MetadataFetchTask, pk=job_id)
        return render(request, "catalog/job_progress.html", self._page_context(request, job))

    def _page_context(self, request: HttpRequest, job: MetadataFetchTask) -> dict[str, Any]:
        failures = job.failures.all()
        remaining = max(job.total_tracks - job.processed_tracks, 0)
        # Of an import's failures some have no track: there is nothing to ask for again.
        failed_tracks = failures.exclude(track=None).count() if job.failed_tracks else 0
        is_import_again = not failed_tracks and job.is_import and job.status == Status.FAILED
        if is_import_again:
            retry_calls = _count_calls(job, job.request["limit"])
        elif job.is_audience:
            retry_calls = _count_calls(job, failed_tracks)
        else:
            retry_calls = estimate_calls(failed_tracks)
        can_retry = not job.is_active and (failed_tracks > 0 or is_import_again)
        return {
            "job": job,
            "status_colour": STATUS_COLOURS[Status(job.status)],
            "status_label": job.get_status_display(),
            "may_control": self.has_control_permission(request),
            "can_pause": Status.PAUSED in TRANSITIONS[job.status],
            "can_resume": job.status == Status.PAUSED,
            "can_cancel": Status.CANCELLED in TRANSITIONS[job.status],
            "can_retry": can_retry,
            "is_import_again": is_import_again,
            "retry_price": price_of(retry_calls).sentence if can_retry else "",
            "remaining_price": price_of(_count_calls(job, remaining)).sentence if job.is_active else "",
            "failure_counts": list(
                failures.values("code").annotate(count=Count("pk")).order_by("-count")[:20]
            )
            if job.failed_tracks
            else [],
            "failures": list(failures.select_related("track")[:SHOWN_FAILURES]) if job.failed_tracks else [],
            "failures_address": reverse("admin:catalog_fetchfailure_changelist")
            + f"?job__id__exact={job.pk}",
            "follow_ups": list(job.follow_ups.all()[:20]),
        }

    # --- pause, resume, cancel, retry

    def _control_view(
        self, control: Callable[[HttpRequest, MetadataFetchTask], MetadataFetchTask]
    ) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, job_id: int) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            if not self.has_control_permission(request):
                raise PermissionDenied
            job = get_object_or_404(MetadataFetchTask, pk=job_id)
            try:
                shown = control(request, job)
            except (jobs.IllegalTransition, ValueError) as error:
                messages.warning(request, f"{error} Nothing was changed.")
                shown = job
            else:
                self.log_change(request, job, control.__name__.lstrip("_").replace("_", " ").capitalize())
            return HttpResponseRedirect(job_address(shown))

        return view


def _count_calls(job: MetadataFetchTask, tracks: int) -> int:
    """Return the calls that so many tracks of a job spend; an import only lists them."""
    if job.is_audience:
        return estimate_audience_calls(tracks, platforms=job.request["platforms"], days=job.request["days"])
    return math.ceil(tracks / LIST_PAGE) if job.is_import else estimate_calls(tracks)


def _pause(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    jobs.pause_job(job)
    messages.success(
        request, f"Task #{job.pk} is paused. The batch under way is still saved; Resume goes on after it."
    )
    return job


def _resume(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    if jobs.resume_job(job):
        messages.success(request, f"Task #{job.pk} goes on where it stopped.")
    else:
        messages.warning(
            request,
            f"Task #{job.pk} is resumed and waits: the message broker (Redis) cannot be reached. "
            "It goes on by itself within a minute of the broker's return.",
        )
    return job


def _cancel(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    jobs.cancel_job(job)
    messages.success(
        request,
        f"Task #{job.pk} is cancelled. What was fetched is saved; the other tracks are as they were.",
    )
    return job


def _retry(request: HttpRequest, job: MetadataFetchTask) -> MetadataFetchTask:
    requested = jobs.request_retry(job, requested_by=request.user)
    tell(request, requested)
    return requested.job


CONTROLS = {"pause": _pause, "resume": _resume, "cancel": _cancel, "retry": _retry}


@admin.register(FetchFailure)
class FetchFailureAdmin(ReadOnlyAdmin):
    list_display = ("item", "track_link", "code", "message", "job", "created_at")
    list_filter = ("code",)
    list_select_related = ("job", "track")
    search_fields = ("item",)
    show_full_result_count = False
    list_per_page = 100

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return lookup == "job__id__exact" or super().lookup_allowed(lookup, value, request)

    @display(description="Track")
    def track_link(self, failure: FetchFailure) -> str:
        if failure.track_id is None:
            return "–"
        address = reverse("admin:catalog_track_change", args=(failure.track_id,))
        return format_html('<a class="ln-link" href="{}">{}</a>', address, failure.track)
