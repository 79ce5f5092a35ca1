"""The first page: how fresh the catalogue is, what is under way, what it costs, and what is not well."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from catalog import doorbell
from catalog.admin.refusing import may_see_failures, why_no_part
from catalog.dashboard.calls import Calls, calls
from catalog.dashboard.health import health
from catalog.dashboard.running import active_jobs
from catalog.explanations import explain
from catalog.models import CatalogueSnapshot, MetadataFetchTask, refresh_days
from catalog.quota import current_account
from catalog.snapshots import current_counts, failures_since

TRACKS = "catalog.view_track"
TASKS = "catalog.view_metadatafetchtask"

# What the browser is told: there are active jobs, or the last of them has ended.
JOBS_ACTIVE = "jobs-active"
JOBS_ENDED = "jobs-ended"

Context = dict[str, Any]


def add_dashboard(request: HttpRequest, context: Context) -> Context:
    """Put what the user may see into the context of the admin's first page."""
    sees_tracks, sees_tasks = request.user.has_perm(TRACKS), request.user.has_perm(TASKS)
    context |= {"title": "Dashboard", "sees_tracks": sees_tracks, "sees_tasks": sees_tasks}
    if sees_tracks or sees_tasks:
        counts = current_counts()
        context |= _catalogue(request, counts)
        context |= {"sees_failures": may_see_failures(request)}
        if sees_tasks and may_see_failures(request):
            context |= _failures(counts)
    if sees_tasks:
        account = current_account()
        spent = calls(account)
        context |= _jobs()
        context |= {
            "health": health(account),
            "calls": spent,
            "chart": json.dumps(_chart(spent)),
            "chart_options": json.dumps(CHART_OPTIONS),
            "is_first_look": True,
        }
    return context


# --- the parts that are asked for again


def _part(
    show: Callable[[HttpRequest], HttpResponse], permission: str
) -> Callable[[HttpRequest], HttpResponse]:
    """Let a part of the page be seen by staff with a permission."""

    @never_cache
    @require_safe
    def view(request: HttpRequest) -> HttpResponse:
        return why_no_part(request, may_see=request.user.has_perm(permission)) or show(request)

    return view


def _show_catalogue(request: HttpRequest) -> HttpResponse:
    return render(request, "catalog/dashboard/catalogue.html", _catalogue(request, current_counts()))


def _show_failures(request: HttpRequest) -> HttpResponse:
    if not may_see_failures(request):
        raise PermissionDenied
    return render(request, "catalog/dashboard/failures.html", _failures(current_counts()))


def _show_jobs(request: HttpRequest) -> HttpResponse:
    context = _jobs(request.GET.get("marks", ""))
    response = render(request, "catalog/dashboard/jobs.html", context)
    if not context["active"].shown:
        response.headers["HX-Trigger"] = JOBS_ENDED
    return response


def _show_health(request: HttpRequest) -> HttpResponse:
    # Here and not in the page itself: a broker that is frozen takes a second to be found out.
    found = health(current_account(), is_broker_answering=doorbell.is_answering())
    response = render(request, "catalog/dashboard/health.html", {"health": found})
    if MetadataFetchTask.objects.filter(status__in=MetadataFetchTask.ACTIVE).exists():
        response.headers["HX-Trigger"] = JOBS_ACTIVE
    return response


def dashboard_urls() -> list[URLPattern]:
    """Return the addresses of the parts."""
    return [
        path("catalogue/", _part(_show_catalogue, TRACKS), name="dashboard_catalogue"),
        path("failures/", _part(_show_failures, TASKS), name="dashboard_failures"),
        path("jobs/", _part(_show_jobs, TASKS), name="dashboard_jobs"),
        path("health/", _part(_show_health, TASKS), name="dashboard_health"),
    ]


# --- what they show


def _catalogue(request: HttpRequest, counts: CatalogueSnapshot) -> Context:
    return {
        "counts": counts,
        "parts": _parts(counts),
        "refresh_days": refresh_days(),
        "may_import": request.user.has_perm("catalog.import_track"),
        "may_add": request.user.has_perm("catalog.add_track"),
    }


def _failures(counts: CatalogueSnapshot) -> Context:
    since = failures_since(counts.taken_at)
    list_address = reverse("admin:catalog_fetchfailure_changelist")

    def address(code: str) -> str:
        query = urlencode({"code": code, "created_at__gte": since.isoformat()})
        return f"{list_address}?{query}"

    return {
        "counts": counts,
        "failures_since": since,
        "failures": [
            {"code": code, "count": count, "explanation": explain(code), "address": address(code)}
            for code, count in sorted(counts.failures.items(), key=lambda row: (-row[1], row[0]))
        ],
    }


def _parts(counts: CatalogueSnapshot) -> list[Context]:
    """Return the parts of the bar, which together are the whole catalogue."""
    tracks = reverse("admin:catalog_track_changelist")
    return [
        {
            "name": name,
            "kind": kind,
            "count": count,
            "percent": _percent(count, counts.total),
            "address": f"{tracks}?freshness={kind}",
        }
        for name, kind, count in (
            ("Fresh", "fresh", counts.fresh),
            ("Aged", "aged", counts.aged),
            ("Never fetched", "never", counts.never_fetched),
        )
    ]


def _percent(count: int, total: int) -> str:
    """Return whole per cent in words: never 0 of something, never 100 of what is not all."""
    if not count:
        return "0 %"
    percent = min(100.0, count * 100 / total) if total else 100.0
    if percent < 1:
        return "under 1 %"
    return "over 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def _jobs(marks: str = "") -> Context:
    active = active_jobs(marks)
    ended = None
    if not active.shown:
        ended = MetadataFetchTask.objects.filter(status__in=MetadataFetchTask.ENDED).first()
    return {"active": active, "ended": ended}


# The theme's own, with bars that are wide enough to be pointed at.
CHART_OPTIONS: Context = {
    "animation": False,
    "responsive": True,
    "maintainAspectRatio": False,
    "maxBarThickness": 16,
    "datasets": {"bar": {"borderRadius": 4}},
    "plugins": {"legend": {"display": False}},
    "scales": {
        "x": {
            "border": {"width": 0},
            "grid": {"display": False},
            "ticks": {"color": "#9ca3af", "maxRotation": 0, "autoSkipPadding": 16},
        },
        "y": {
            "beginAtZero": True,
            "border": {"width": 0},
            "grid": {"tickWidth": 0},
            "ticks": {"color": "#9ca3af", "precision": 0, "maxTicksLimit": 6},
        },
    },
}


def _chart(spent: Calls) -> Context:
    return {
        "labels": [f"{day.day.day} {day.day:%b}" for day in spent.days],
        "datasets": [
            {
                "label": "Calls",
                "data": [day.calls for day in spent.days],
                "backgroundColor": "var(--color-primary-600)",
            }
        ],
    }
