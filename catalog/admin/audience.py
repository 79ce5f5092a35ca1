"""Audience in the admin: two columns of the list, a section of the track's page, buttons, an export."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from catalog import jobs
from catalog.admin.answers import go_to, job_address, tell
from catalog.admin.audience_export import audience_csv
from catalog.admin.forms import FetchAllForm, plural
from catalog.fetching import fetch_audience_now
from catalog.jobs.requests import LARGEST_SELECTION
from catalog.models import TREND_DAYS, AudienceDay, Track, TrackAudience, platform_names
from catalog.quota import count_due_audiences, estimate_audience_calls, price_of
from catalog.series import DAY, gains, totals
from soundcharts.platforms import AUDIENCE_PLATFORMS

# Days that the chart of a track can show.
RANGES = (28, 90, 365)
REACH = (("", "What is new (the last 90 days at first)"), ("180", "180 days"), ("365", "A year"))
SPARK_WIDTH, SPARK_HEIGHT = 84, 22


def chosen_platforms(values: Sequence[str]) -> list[str]:
    """Return the known ones of these platforms, or those of the settings where none is."""
    return [name for name in values if name in AUDIENCE_PLATFORMS] or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS


def price_context(request: HttpRequest, object_id: int | str | None = None) -> dict[str, Any]:
    """Return what the dialog's choices would spend: on one track, the ticked ones, or all that are stale."""
    platforms = chosen_platforms(request.GET.getlist("platforms"))
    reach = request.GET.get("days", "")
    days = int(reach) if reach in dict(REACH) and reach else None
    chosen = FetchAllForm(request)
    if object_id is not None:
        tracks, calls = 1, estimate_audience_calls(1, platforms=platforms, days=days)
    elif chosen.is_selection:
        tracks = Track.objects.filter(pk__in=chosen.selected_ids).count()
        calls = estimate_audience_calls(tracks, platforms=platforms, days=days)
    else:
        due = count_due_audiences(platforms=platforms, days=days)
        tracks = max(due.values())
        calls = sum(
            estimate_audience_calls(count, platforms=[name], days=days) for name, count in due.items()
        )
    return {
        "is_one": object_id is not None,
        "is_selection": chosen.is_selection,
        "is_whole_list": object_id is None and chosen.is_whole_list,
        "tracks": plural(tracks, "track"),
        "count": tracks,
        "platforms": platform_names(platforms),
        "price": price_of(calls).sentence,
    }


class FetchAudienceForm(BaseDialogForm):
    """Which platforms, and how far back; the price follows the choices."""

    form_before_template = "catalog/audience_price.html"

    platforms = forms.MultipleChoiceField(
        label="Platforms",
        choices=[(code, platform.name) for code, platform in AUDIENCE_PLATFORMS.items()],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Each costs a call a track. What the plan turns out not to have is asked for once.",
    )
    days = forms.ChoiceField(
        label="How far back",
        choices=REACH,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Days that are known already are not asked for again. A call reaches over 90 days.",
    )

    def __init__(self, request: HttpRequest, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        super().__init__(request, object_id, *args, **kwargs)
        self.fields["platforms"].initial = settings.SOUNDCHARTS_AUDIENCE_PLATFORMS
        address = reverse("admin:catalog_track_audience_price")
        query = request.GET.copy()
        if object_id is not None:
            query["track"] = str(object_id)
        for field in ("platforms", "days"):
            self.fields[field].widget.attrs |= {
                "hx-get": f"{address}?{query.urlencode()}",
                "hx-include": "closest form",
                "hx-trigger": "change",
                "hx-target": "#audience-price",
                "hx-select": "#audience-price",
                "hx-swap": "outerHTML",
            }

    def get_before_template_context(
        self, request: HttpRequest, object_id: int | str | None = None
    ) -> dict[str, Any]:
        return price_context(request, object_id)

    def clean(self) -> dict[str, Any]:
        if self.object_id is None and FetchAllForm(self.request).is_whole_list:
            raise forms.ValidationError("Use the action bar below the list for all pages of it.")
        return super().clean() or self.cleaned_data

    @property
    def what(self) -> dict[str, Any]:
        """What was chosen, as `catalog.jobs` takes it."""
        days = self.cleaned_data["days"]
        return {"platforms": self.cleaned_data["platforms"], "days": int(days) if days else None}


class AudienceMixin:
    """What the admin of tracks shows and does about their audience."""

    audience_columns = ("audience_figure", "audience_trend")
    audience_actions = ("fetch_audience_of_chosen", "export_audience")
    change_form_outer_after_template = "catalog/audience_page.html"

    # --- the list

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)  # type: ignore[misc]
        # Read here once: the list shows these same objects.
        tracks = list(changelist.result_list)
        shown = TrackAudience.objects.filter(
            track__in=[track.pk for track in tracks], platform=settings.SOUNDCHARTS_AUDIENCE_PLATFORMS[0]
        )
        found = {audience.track_id: audience for audience in shown}
        for track in tracks:
            track.shown_audience = found.get(track.pk)
        return changelist

    @display(description="Audience", ordering="audience_total")
    def audience_figure(self, track: Track) -> str | SafeString:
        audience = getattr(track, "shown_audience", None)
        if audience is None or audience.latest_value is None:
            return "–"
        return format_html(
            '<span class="ln-number" title="{} {} on {}, {}">{}</span>',
            *(f"{audience.latest_value:,}", audience.noun, audience.platform_name, audience.latest_day),
            compact(audience.latest_value),
        )

    @display(description=f"{TREND_DAYS} days", ordering="audience_gain")
    def audience_trend(self, track: Track) -> str | SafeString:
        audience = getattr(track, "shown_audience", None)
        if audience is None or audience.gain is None:
            return "–"
        return format_html(
            '<span class="ln-trend" title="{} in {} days">'
            '<svg class="ln-spark" viewBox="0 0 {} {}" aria-hidden="true" focusable="false">'
            '<path d="{}"/></svg><span class="ln-number">{}</span></span>',
            *(f"{audience.gain:+,}", TREND_DAYS, SPARK_WIDTH, SPARK_HEIGHT),
            *(spark_path(audience.trend), f"{'+' if audience.gain >= 0 else ''}{compact(audience.gain)}"),
        )

    # --- the track's page

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view  # type: ignore[attr-defined]
        return [
            path("audience-price/", wrap(self.price_view), name="catalog_track_audience_price"),
            path("<int:track_id>/audience/", wrap(self.audience_view), name="catalog_track_audience"),
            *super().get_urls(),  # type: ignore[misc]
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if object_id and object_id.isdecimal() and len(object_id) <= 18 and request.method == "GET":
            context |= audience_context(int(object_id), request)
        return super().changeform_view(request, object_id, form_url, context)  # type: ignore[misc]

    def audience_view(self, request: HttpRequest, track_id: int) -> HttpResponse:
        """The section alone, for another range of days."""
        if not self.has_view_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        get_object_or_404(Track, pk=track_id)
        return render(request, "catalog/audience_section.html", audience_context(track_id, request))

    def price_view(self, request: HttpRequest) -> HttpResponse:
        """The price of what is chosen in the dialog."""
        if not self.has_fetch_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        return render(
            request, "catalog/audience_price.html", price_context(request, request.GET.get("track"))
        )

    # --- buttons

    @action(
        description="Fetch audience",
        icon="monitoring",
        permissions=("fetch",),
        dialog={
            "title": "Fetch audience",
            "description": "",
            "form_class": FetchAudienceForm,
            "form_submit_text": "Fetch now",
        },
    )
    def fetch_audience_now(
        self, request: HttpRequest, form: FetchAudienceForm, object_id: str
    ) -> HttpResponse:
        if not object_id.isdecimal():
            raise Http404
        track = get_object_or_404(Track, pk=object_id)
        job, report = fetch_audience_now(track, requested_by=request.user, **form.what)
        levels = {"busy": messages.WARNING, "failed": messages.ERROR, "skipped": messages.INFO}
        messages.add_message(
            request,
            levels.get(report.outcome, messages.SUCCESS),
            render_to_string(
                "catalog/audience_report.html",
                {
                    "job": job,
                    "job_address": job_address(job),
                    "report": report,
                    "calls": plural(job.api_calls, "API call"),
                },
            ),
        )
        self.log_change(request, track, f"Fetch audience: {report.outcome} {report.code}".strip())  # type: ignore[attr-defined]
        return go_to(request, reverse("admin:catalog_track_change", args=(track.pk,)))

    @action(
        description="Fetch audience",
        icon="monitoring",
        permissions=("fetch",),
        attrs={
            "hx-include": "#changelist-form [name=_selected_action]:checked, "
            "#changelist-form [name=select_across]"
        },
        dialog={
            "title": "Fetch audience",
            "description": "",
            "form_class": FetchAudienceForm,
            "form_submit_text": "Fetch",
        },
    )
    def fetch_all_audience(self, request: HttpRequest, form: FetchAudienceForm) -> HttpResponse:
        chosen = FetchAllForm(request)
        if chosen.is_selection:
            ids = list(Track.objects.filter(pk__in=chosen.selected_ids).values_list("pk", flat=True))
            if not ids:
                messages.error(
                    request, "The tracks that were ticked are no longer there. Nothing was queued."
                )
                return go_to(request, reverse("admin:catalog_track_changelist"))
            requested = jobs.request_audience(ids, requested_by=request.user, **form.what)
        elif not any(count_due_audiences(**form.what).values()):
            messages.info(
                request, "The audience of every track is fresh. Nothing was queued, no call will be spent."
            )
            return go_to(request, reverse("admin:catalog_track_changelist"))
        else:
            requested = jobs.request_stale_audience(requested_by=request.user, **form.what)
        self._log_job(request, requested, "Fetch audience")  # type: ignore[attr-defined]
        tell(request, requested)
        return go_to(request, job_address(requested.job))

    @admin.action(description="Fetch audience from Soundcharts", permissions=("fetch",))
    def fetch_audience_of_chosen(
        self, request: HttpRequest, queryset: QuerySet[Track]
    ) -> HttpResponse | None:
        """State the price first; once confirmed, make the job and stay here."""
        ids = self._chosen_ids(request, queryset)
        if ids is None:
            return None
        if request.POST.get("fetch") not in {"all", "stale"}:
            platforms = settings.SOUNDCHARTS_AUDIENCE_PLATFORMS
            is_whole_list = request.POST.get("select_across") == "1"
            return TemplateResponse(
                request,
                "admin/catalog/track/audience_confirmation.html",
                {
                    **self.admin_site.each_context(request),  # type: ignore[attr-defined]
                    "title": "Fetch audience",
                    "opts": Track._meta,
                    "action_name": "fetch_audience_of_chosen",
                    "ids": ids[:1] if is_whole_list else ids,
                    "is_whole_list": is_whole_list,
                    "tracks": plural(len(ids), "track"),
                    "platforms": platform_names(platforms),
                    "price": price_of(estimate_audience_calls(len(ids))).sentence,
                },
            )
        requested = jobs.request_audience(
            ids, requested_by=request.user, only_stale=request.POST["fetch"] == "stale"
        )
        self._log_job(request, requested, "Fetch audience")  # type: ignore[attr-defined]
        tell(request, requested)
        return HttpResponseRedirect(request.get_full_path())

    @admin.action(description="Export audience as CSV", permissions=("view",))
    def export_audience(
        self, request: HttpRequest, queryset: QuerySet[Track]
    ) -> StreamingHttpResponse | None:
        ids = self._chosen_ids(request, queryset)
        if ids is None:
            return None
        name = f"audience-{timezone.now():%Y-%m-%d}.csv"
        return StreamingHttpResponse(
            audience_csv(ids),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def _chosen_ids(self, request: HttpRequest, queryset: QuerySet[Track]) -> list[int] | None:
        """Return the keys of the chosen tracks; None, with a message, for none or too many."""
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: LARGEST_SELECTION + 1])
        if not ids:
            messages.warning(
                request, "None of the selected tracks is in this list any more. Nothing was done."
            )
            return None
        if len(ids) > LARGEST_SELECTION:
            messages.error(
                request,
                f"More than {LARGEST_SELECTION:,} tracks are selected, and one selection cannot hold them. "
                "Filter the list further.",
            )
            return None
        return ids


def audience_context(track_id: int, request: HttpRequest) -> dict[str, Any]:
    """Return what the audience section of a track shows, with three queries."""
    asked = request.GET.get("audience", "")
    days = int(asked) if asked in map(str, RANGES) else RANGES[0]
    order = [*settings.SOUNDCHARTS_AUDIENCE_PLATFORMS, *AUDIENCE_PLATFORMS]
    audiences = sorted(
        TrackAudience.objects.filter(track=track_id), key=lambda audience: order.index(audience.platform)
    )
    today = timezone.now().date()
    start = today - (days - 1) * DAY
    points: dict[int, dict[int, dict[Any, int]]] = {}
    known = AudienceDay.objects.filter(recording__audience__track=track_id, day__gte=start - DAY)
    for audience_id, recording_id, day, value in known.values_list(
        "recording__audience_id", "recording_id", "day", "value"
    ):
        points.setdefault(audience_id, {}).setdefault(recording_id, {})[day] = value
    shown = [start + timedelta(days=number) for number in range(days)]
    charts = []
    for audience in audiences:
        series = points.get(audience.pk, {})
        total, gain = totals(series), gains(series)
        charts.append(
            {
                "audience": audience,
                "rows": [(day, total[day], gain.get(day)) for day in reversed(shown) if day in total],
                "data": {
                    "label": f"{audience.platform_name} {audience.noun}",
                    "days": [day.isoformat() for day in shown],
                    "totals": [total.get(day) for day in shown],
                    "gains": [gain.get(day) for day in shown],
                },
            }
        )
    return {
        "audience_charts": charts,
        "audience_track": track_id,
        "audience_days": days,
        "audience_ranges": RANGES,
    }


def compact(value: int) -> str:
    """Return a count in as few characters as say it to three digits: "7.30 B", "812 k"."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        # What would be rounded up to 1,000 of a unit is 1 of the next.
        if abs(value) >= size * 0.9995:
            scaled = value / size
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:,.{digits}f} {unit}"
    return f"{value:,}"


def spark_path(trend: Sequence[int | None]) -> str:
    """Return the line of a trend as an SVG path, broken where days are missing."""
    known = [gain for gain in trend if gain is not None]
    if not known:
        return ""
    low, high = min(0, *known), max(*known, 1)
    step = (SPARK_WIDTH - 4) / max(1, len(trend) - 1)
    parts, is_drawing = [], False
    for number, gain in enumerate(trend):
        if gain is not None:
            y = 2 + (SPARK_HEIGHT - 4) * (high - gain) / (high - low)
            # A day alone between missing ones is a dot.
            parts.append(f"{'L' if is_drawing else 'M'}{2 + number * step:.1f} {y:.1f}")
            if not is_drawing:
                parts.append("h0")
        is_drawing = gain is not None
    return "".join(parts)
