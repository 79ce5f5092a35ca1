"""The page Schedule: what refreshes by itself, when, what came of it, and what a run would cost."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.admin import ModelAdmin
from unfold.decorators import action

from catalog import schedule
from catalog.admin.answers import go_to, job_address, tell
from catalog.admin.history import NewestFirst
from catalog.admin.schedule_forms import AmountForm, RunNowForm, ScheduleForm
from catalog.models import RefreshPolicy
from catalog.quota import current_account
from catalog.schedule import SWEEP, Refresh
from catalog.timing import next_run_at, timing_of, timing_words
from catalog.words import plural

# What is later than this was not done: beat looks every few seconds.
LATE = timedelta(minutes=2)

# Beat's own pages speak of crontabs and solar events, and anything could be run from them.
for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(_model)


@dataclass(frozen=True, slots=True)
class Card:
    """A refresh as the page shows it."""

    refresh: Refresh
    policy: RefreshPolicy
    is_on: bool
    timing: str
    next_run_at: datetime | None
    is_late: bool
    max_age: str
    has_own_age: bool

    @property
    def run_attrs(self) -> dict[str, str]:
        """What opens the dialog behind *Run now*, as the theme's own buttons do."""
        return {
            "hx-get": reverse("admin:catalog_refreshpolicy_run_now", args=(self.refresh.kind,)),
            "hx-target": "#modal-content",
            "hx-select": "#dialog",
            "x-on:htmx:after-on-load": "openModal = true",
        }


@admin.register(RefreshPolicy)
class RefreshPolicyAdmin(NewestFirst, ModelAdmin):
    actions_detail = ("run_now",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<str:kind>/price/", wrap(self.price_view), name="catalog_refreshpolicy_price"),
            *super().get_urls(),
        ]

    # --- the page

    @method_decorator(never_cache)
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        tasks = {
            task.name: task
            for task in PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked").filter(
                name__in=(SWEEP, *schedule.BY_BEAT_NAME)
            )
        }
        policies = RefreshPolicy.objects.select_related("last_run_job", "last_run_by").in_bulk()
        sweep = tasks.get(SWEEP)
        return TemplateResponse(
            request,
            "admin/catalog/refreshpolicy/schedule.html",
            {
                **self.admin_site.each_context(request),
                "title": "Schedule",
                "opts": self.opts,
                "cards": [
                    _card(refresh, tasks.get(refresh.beat_name), policies.get(refresh.kind))
                    for refresh in schedule.REFRESHES
                ],
                "sweep": sweep,
                "sweep_timing": timing_words(sweep) if sweep else f"every {settings.SWEEP_SECONDS} seconds",
                "is_beat_late": _is_late(next_run_at(sweep)) if sweep else True,
                "account": current_account(),
                "may_change": self.has_change_permission(request),
                "zone": timezone.get_default_timezone_name(),
            },
        )

    # --- changing it

    @method_decorator(never_cache)
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        refresh = _refresh_or_404(object_id)
        if not self.has_change_permission(request):
            # Whoever may only look sees the same on the page.
            if request.method == "GET" and self.has_view_permission(request):
                return HttpResponseRedirect(_page())
            raise PermissionDenied
        if request.method == "POST":
            with transaction.atomic():
                # If two people save together, the second sees the first one's change.
                list(RefreshPolicy.objects.select_for_update().filter(pk=refresh.kind).values_list("pk"))
                form = ScheduleForm(request.POST, initial=_initial(refresh))
                if form.is_valid():
                    self._change(request, refresh, form)
                    return HttpResponseRedirect(_page())
        else:
            form = ScheduleForm(initial=_initial(refresh))
        return TemplateResponse(
            request,
            "admin/catalog/refreshpolicy/change_form.html",
            {
                **self.admin_site.each_context(request),
                "title": refresh.title,
                "opts": self.opts,
                "form": form,
                "refresh": refresh,
                "page": _page(),
            },
        )

    @method_decorator(never_cache)
    def price_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """What a run would cost, as it is saved or with the values that are being typed.

        A part of its own: counting what is stale among a million tracks takes a moment.
        """
        refresh = _refresh_or_404(kind)
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not request.GET:
            saved = schedule.cost_of_a_run(refresh, limit=schedule.limit_of(refresh))
            return TemplateResponse(request, "catalog/run_price.html", {"cost": saved})
        form = AmountForm(request.GET)
        cost = None
        if form.is_valid():
            values = form.cleaned_data
            cost = schedule.cost_of_a_run(
                refresh, limit=values["tracks_per_run"], days=values["max_age_days"]
            )
        return TemplateResponse(request, "catalog/run_price.html", {"cost": cost})

    def _change(self, request: HttpRequest, refresh: Refresh, form: ScheduleForm) -> None:
        values = form.cleaned_data
        with transaction.atomic():
            changes = schedule.change(
                refresh,
                is_on=values["is_on"],
                timing=form.timing,
                max_age_days=values["max_age_days"],
                tracks_per_run=values["tracks_per_run"],
            )
            policy = RefreshPolicy.objects.get(pk=refresh.kind)
            if changes:
                self.log_change(request, policy, f"Schedule: {'; '.join(changes)}")
        if not changes:
            messages.info(request, f"{refresh.title}: nothing was changed.")
            return
        task = PeriodicTask.objects.select_related("crontab").get(name=refresh.beat_name)
        moment = next_run_at(task)
        cost = schedule.cost_of_a_run(refresh, limit=policy.tracks_per_run)
        run = (
            f"A run now would fetch {plural(cost.tracks, 'track')}: {cost.price.sentence}."
            if cost.tracks
            else "A run now would find nothing stale and spend nothing."
        )
        messages.success(
            request,
            f"{refresh.title}: {'; '.join(changes)}. "
            + (f"The next run is on {moment:%-d %B %Y at %H:%M} {moment:%Z}. " if moment else "It is off. ")
            + run,
        )

    # --- running it now

    @action(
        description="Run now",
        icon="play_arrow",
        permissions=("change",),
        dialog={
            "title": "",
            "description": "",
            "form_class": RunNowForm,
            "form_submit_text": "Run now",
        },
    )
    def run_now(self, request: HttpRequest, form: RunNowForm, object_id: str) -> HttpResponse:
        refresh = _refresh_or_404(object_id)
        requested = schedule.run(refresh, requested_by=request.user)
        policy = RefreshPolicy.objects.get(pk=refresh.kind)
        if requested is None:
            self.log_change(request, policy, "Run now: nothing was stale")
            messages.info(request, "Nothing is stale. Nothing was queued and no call will be spent.")
            return go_to(request, _page())
        words = "joined" if requested.is_joined else "made"
        self.log_change(request, policy, f"Run now: {words} task #{requested.job.pk}")
        tell(request, requested)
        return go_to(request, job_address(requested.job))


def _page() -> str:
    return reverse("admin:catalog_refreshpolicy_changelist")


def _refresh_or_404(kind: str | None) -> Refresh:
    refresh = schedule.BY_KIND.get(kind or "")
    if refresh is None:
        raise Http404
    return refresh


def _is_late(moment: datetime | None) -> bool:
    return moment is not None and moment < timezone.now() - LATE


def _card(refresh: Refresh, task: PeriodicTask | None, policy: RefreshPolicy | None) -> Card:
    """Return what the page shows of a refresh; of one without rows yet, what they will be."""
    policy = policy or RefreshPolicy(kind=refresh.kind)
    moment = next_run_at(task) if task else None
    return Card(
        refresh=refresh,
        policy=policy,
        is_on=task.enabled if task else refresh.is_on_at_first,
        timing=timing_words(task) if task else refresh.first_timing().words,
        next_run_at=moment,
        is_late=_is_late(moment),
        max_age=plural(policy.days, "day"),
        has_own_age=policy.max_age_days is not None,
    )


def _initial(refresh: Refresh) -> dict[str, Any]:
    task = PeriodicTask.objects.select_related("crontab").filter(name=refresh.beat_name).first()
    policy = RefreshPolicy.objects.filter(pk=refresh.kind).first() or RefreshPolicy(kind=refresh.kind)
    timing = (timing_of(task) if task else None) or refresh.first_timing()
    return {
        "is_on": task.enabled if task else refresh.is_on_at_first,
        "frequency": timing.frequency,
        "weekday": timing.weekday,
        "hours": timing.hours,
        "at": f"{timing.at:%H:%M}",
        "max_age_days": policy.days,
        "tracks_per_run": policy.tracks_per_run,
    }
