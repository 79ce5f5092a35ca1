"""Fetching and exporting audience from the list of tracks."""

from typing import Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.decorators import action

from catalog import jobs
from catalog.admin.answers import go_to, job_address, tell
from catalog.admin.audience_export import TRACKS_A_QUERY, export_audience, pages_of
from catalog.admin.audience_forms import FetchAudienceForm, Wish, price_context, tracks_of
from catalog.admin.forms import FetchAllForm
from catalog.admin.track_list import WITH_CHOICE, ask_before_fetching, chosen_tracks
from catalog.models import Track, platform_names
from catalog.prices import (
    count_due_audiences,
    estimate_audience_calls,
    estimate_due_calls,
    price_of,
    time_for,
    tracks_in,
)
from catalog.selection import TrackFilter, measure
from catalog.words import plural


class AudienceFetching:
    """The button and the actions of the list, and the price that their dialog shows."""

    audience_actions = ("fetch_audience_of_chosen", "export_audience")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view  # type: ignore[attr-defined]
        price = path("audience-price/", wrap(self.audience_price_view), name="catalog_track_audience_price")
        return [price, *super().get_urls()]  # type: ignore[misc]

    def audience_price_view(self, request: HttpRequest) -> HttpResponse:
        """The price of what is chosen in the dialog."""
        if not self.has_fetch_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        track = request.GET.get("track")
        return render(request, "catalog/audience_price.html", price_context(request, track))

    @action(
        description="Fetch audience",
        icon="monitoring",
        permissions=("fetch",),
        attrs={**WITH_CHOICE},
        dialog={
            "title": "Fetch audience",
            "description": "",
            "form_class": FetchAudienceForm,
            "form_submit_text": "Fetch",
        },
    )
    def fetch_all_audience(self, request: HttpRequest, form: FetchAudienceForm) -> HttpResponse:
        chosen, wish = FetchAllForm(request), form.wish
        here = reverse("admin:catalog_track_changelist")
        if chosen.is_whole_list:
            if not chosen.selection.apply(Track.objects.order_by()).exists():
                messages.info(request, "No tracks match the list's filter. Nothing was queued.")
                return go_to(request, here)
            requested = jobs.request_filtered_audience(
                chosen.selection, requested_by=request.user, **wish.asked
            )
        elif chosen.is_selection:
            ids = list(Track.objects.filter(pk__in=chosen.selected_ids).values_list("pk", flat=True))
            if not ids:
                messages.error(
                    request, "The tracks that were ticked are no longer there. Nothing was queued."
                )
                return go_to(request, here)
            requested = jobs.request_audience(ids, requested_by=request.user, **wish.asked)
        elif not any(wish.count_due().values()):
            why = "No series lacks a day" if wish.fill_gaps else "The audience of every track is fresh"
            messages.info(request, f"{why}. Nothing was queued, no call will be spent.")
            return go_to(request, here)
        else:
            requested = jobs.request_stale_audience(requested_by=request.user, **wish.asked)
        self._log_job(request, requested, "Fetch audience")  # type: ignore[attr-defined]
        tell(request, requested)
        return go_to(request, job_address(requested.job))

    @admin.action(description="Fetch audience from Soundcharts", permissions=("fetch",))
    def fetch_audience_of_chosen(
        self, request: HttpRequest, queryset: QuerySet[Track]
    ) -> HttpResponse | None:
        """State the price first; once confirmed, make the job and stay here."""
        chosen = self._chosen(request, queryset)
        if chosen is None:
            return None
        choice = request.POST.get("fetch")
        if choice not in {"all", "stale"}:
            return self._ask_before_fetching_audience(request, chosen)
        options: dict[str, Any] = {"only_stale": choice == "stale", "requested_by": request.user}
        if isinstance(chosen, TrackFilter):
            requested = jobs.request_filtered_audience(chosen, **options)
        else:
            requested = jobs.request_audience(chosen, **options)
        self._log_job(request, requested, "Fetch audience")  # type: ignore[attr-defined]
        tell(request, requested, is_elsewhere=True)
        return HttpResponseRedirect(request.get_full_path())

    def _ask_before_fetching_audience(
        self, request: HttpRequest, chosen: list[int] | TrackFilter
    ) -> HttpResponse:
        count = measure(chosen).tracks
        tracks = tracks_of(chosen) if isinstance(chosen, TrackFilter) else chosen
        calls = estimate_audience_calls(count, tracks=tracks)
        due = count_due_audiences(tracks=tracks)
        due_calls = estimate_due_calls(Wish.made([], "").asked, due, tracks=tracks)
        waiting = tracks_in(tracks).filter(metadata_retry_at__gt=timezone.now()).count()
        platforms = platform_names(settings.SOUNDCHARTS_AUDIENCE_PLATFORMS)
        return ask_before_fetching(
            request,
            chosen,
            template="audience_confirmation.html",
            action="fetch_audience_of_chosen",
            heading=f"{plural(count, 'track')} selected, on {platforms}.",
            title="Fetch audience",
            is_due=any(due.values()),
            waiting=plural(waiting, "track") if waiting else "",
            is_one_waiting=waiting == 1,
            price=price_of(calls).sentence,
            time=time_for(calls),
            due_price=price_of(due_calls).sentence,
            due_time=time_for(due_calls),
            other_attrs=_dialog_of_these(chosen),
        )

    @admin.action(description="Export audience as CSV", permissions=("view",))
    def export_audience(
        self, request: HttpRequest, queryset: QuerySet[Track]
    ) -> StreamingHttpResponse | None:
        chosen = self._chosen(request, queryset)
        if chosen is None:
            return None
        what = str(chosen) if isinstance(chosen, TrackFilter) else plural(len(chosen), "track")
        LogEntry.objects.create(
            user_id=cast(int, request.user.pk),
            content_type=ContentType.objects.get_for_model(Track),
            object_repr=what[:200],
            action_flag=CHANGE,
            change_message="Export audience as CSV",
        )
        if isinstance(chosen, TrackFilter):
            return export_audience(pages_of(chosen))
        starts = range(0, len(chosen), TRACKS_A_QUERY)
        return export_audience(chosen[start : start + TRACKS_A_QUERY] for start in starts)

    def _chosen(self, request: HttpRequest, queryset: QuerySet[Track]) -> list[int] | TrackFilter | None:
        chosen = chosen_tracks(request, queryset)
        if chosen is None:
            messages.warning(
                request, "None of the selected tracks is in this list any more. Nothing was done."
            )
        return chosen


def _dialog_of_these(chosen: list[int] | TrackFilter) -> dict[str, str]:
    """Return what opens the dialog of the list's button, with what the form around it has ticked."""
    address = reverse("admin:catalog_track_fetch_all_audience")
    if isinstance(chosen, TrackFilter) and not chosen.is_everything:
        parameters = chosen.as_parameters()
        parameters["q"] = parameters.pop("search", "")
        address = f"{address}?{urlencode(parameters)}"
    return {
        "type": "button",
        "hx-get": address,
        "hx-include": "closest form",
        "hx-params": "_selected_action,select_across",
        "hx-target": "#modal-content",
        "hx-select": "#dialog",
        "x-on:htmx:after-on-load": "openModal = true",
    }
