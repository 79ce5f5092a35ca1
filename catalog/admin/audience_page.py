"""The audience of one track: its charts and tables, and the button that fetches it now."""

import json
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.decorators import action

from catalog.admin.answers import go_to, why_not_fetched
from catalog.admin.audience_forms import FetchAudienceForm
from catalog.admin.keys import key_in
from catalog.admin.track_page import LEVELS
from catalog.admin.track_story import AudienceAnswer
from catalog.explanations import explain
from catalog.fetching import fetch_audience_now
from catalog.models import AudienceDay, Track, TrackAudience
from catalog.series import DAY, LATE_DAYS, gains, totals
from soundcharts.platforms import AUDIENCE_PLATFORMS

# Days that the chart of a track can show.
RANGES = (28, 90, 365)


class AudienceOnPage:
    """The section of a track's page, and its button."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view  # type: ignore[attr-defined]
        section = path("<int:track_id>/audience/", wrap(self.audience_view), name="catalog_track_audience")
        return [section, *super().get_urls()]  # type: ignore[misc]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        response: HttpResponse = super().changeform_view(  # type: ignore[misc]
            request, object_id, form_url, extra_context
        )
        # A saved form redirects and needs no context; one that could not be saved does.
        if (track_id := key_in(object_id)) and isinstance(response, TemplateResponse):
            response.context_data = {**(response.context_data or {}), **audience_context(track_id, request)}
        return response

    def audience_view(self, request: HttpRequest, track_id: int) -> HttpResponse:
        """The section alone, for another range of days."""
        if not self.has_view_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        get_object_or_404(Track, pk=track_id)
        return render(request, "catalog/audience_section.html", audience_context(track_id, request))

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
        track = Track.objects.filter(pk=key_in(object_id) or 0).first()
        if track is None:
            return self.gone_or_404(request, object_id)  # type: ignore[attr-defined]
        here = reverse("admin:catalog_track_change", args=(track.pk,))
        if (refusal := why_not_fetched(request, here)) is not None:
            return refusal
        job, report = fetch_audience_now(track, requested_by=request.user, **form.wish.asked)
        answer = AudienceAnswer(job, report)
        self.log_change(request, track, f"Fetch audience: {report.outcome} {report.code}".strip())  # type: ignore[attr-defined]
        if request.headers.get("HX-Request"):
            track.refresh_from_db()
            context = {
                **audience_context(track.pk, request),
                **self._panel_context(request, track),  # type: ignore[attr-defined]
                "audience_answer": answer,
                "is_swap": True,
            }
            response = render(request, "catalog/audience_section.html", context)
            # The dialog's own form, which is the theme's, would put the answer into the dialog.
            response["HX-Retarget"] = response["HX-Reselect"] = "#audience"
            response["HX-Reswap"] = "outerHTML"
            return response
        text = render_to_string("catalog/audience_report.html", {"answer": answer, "report": report})
        messages.add_message(request, LEVELS[report.outcome], text)
        return go_to(request, reverse("admin:catalog_track_change", args=(track.pk,)))


def audience_context(track_id: int, request: HttpRequest) -> dict[str, Any]:
    """Return what the audience section of a track shows, with three queries."""
    asked = request.GET.get("audience", "")
    days = int(asked) if asked in map(str, RANGES) else RANGES[0]
    audiences = list(TrackAudience.objects.filter(track=track_id).select_related("job"))
    # What was fetched stays, also of a platform that is no longer one of ours: those come last.
    known = [*settings.SOUNDCHARTS_AUDIENCE_PLATFORMS, *AUDIENCE_PLATFORMS]
    order = {platform: number for number, platform in reversed(list(enumerate(known)))}
    audiences.sort(key=lambda audience: (order.get(audience.platform, len(known)), audience.platform))
    today = timezone.now().date()
    start = today - (days - 1) * DAY
    points: dict[int, dict[int, dict[Any, int]]] = {}
    # And as much before them as tells a recording that is new from one that is late.
    since = start - (LATE_DAYS + 2) * DAY
    figures = AudienceDay.objects.filter(recording__audience__track=track_id, day__gte=since)
    for audience_id, recording_id, day, value in figures.values_list(
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
                "trouble": explain(audience.error) if audience.error else None,
                "rows": [(day, total[day], gain.get(day)) for day in reversed(shown) if day in total],
                # For the script, in an attribute: htmx drops script elements of what it swaps in.
                "figures": json.dumps(
                    {
                        "days": [day.isoformat() for day in shown],
                        "totals": [total.get(day) for day in shown],
                        "gains": [gain.get(day) for day in shown],
                    }
                ),
            }
        )
    return {
        "audience_charts": charts,
        "audience_track": track_id,
        "audience_days": days,
        "audience_ranges": RANGES,
    }
