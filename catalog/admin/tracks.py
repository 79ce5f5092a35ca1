"""Tracks: the list, and the buttons that fetch and import. The page of one track is `TrackPage`."""

import logging
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from catalog import jobs
from catalog.admin.answers import go_to, job_address, tell
from catalog.admin.audience_fetch import AudienceFetching
from catalog.admin.audience_list import AudienceColumns
from catalog.admin.audience_page import AudienceOnPage
from catalog.admin.forms import FetchAllForm
from catalog.admin.imports import ImportMixin
from catalog.admin.keys import TOO_MANY_TICKED, TooManyKeys, keys_in
from catalog.admin.track_deletion import TrackDeletion
from catalog.admin.track_list import (
    FILTERS,
    WITH_CHOICE,
    TrackList,
    ask_before_fetching,
    chosen_tracks,
    filter_of,
)
from catalog.admin.track_page import TrackPage
from catalog.explanations import explain
from catalog.jobs import LARGEST_SELECTION
from catalog.models import SortKey, Track
from catalog.prices import estimate_calls, price_of, time_for
from catalog.selection import TrackFilter, Unselectable, measure
from catalog.words import plural

logger = logging.getLogger(__name__)


@admin.register(Track)
class TrackAdmin(ImportMixin, AudienceFetching, AudienceColumns, AudienceOnPage, TrackDeletion, TrackPage):
    class Media:
        js = ("catalog/covers.js",)

    list_display = (
        *("title", "isrc", "label_name", "genre", "release_date", "freshness"),
        *("audience_figure", "audience_trend"),
    )
    list_filter = FILTERS
    list_filter_submit = True
    list_before_template = "catalog/track_filter.html"
    # Counts beside every choice would count everything, again and again.
    show_facets = admin.ShowFacets.NEVER
    # For the search box to be there; the list searches by itself.
    search_fields = ("name", "credit_name", "isrc")
    search_help_text = "Name, credit, ISRC or whole UUID"
    show_full_result_count = False
    # A track that was never fetched is a name and nothing else, not a row of dashes.
    empty_value_display = ""
    list_per_page = 50
    actions = (
        *("fetch_in_background", "create_bulk_task", *AudienceFetching.audience_actions),
        "delete_selected",
    )
    actions_list = ("import_from_api", "fetch_all_metadata", "fetch_all_audience")
    actions_detail = ("fetch_now", "fetch_audience_now")

    # --- permissions

    # --- the list

    @display(description="Track", ordering="name")
    def title(self, track: Track) -> str:
        return render_to_string("catalog/track_title.html", {"track": track})

    @display(description="Label", ordering=SortKey("label"))
    def label_name(self, track: Track) -> str | SafeString:
        return track.label and format_html('<bdi class="ln-short" title="{0}">{0}</bdi>', track.label)

    @display(description="Freshness", ordering="metadata_fetched_at")
    def freshness(self, track: Track) -> str:
        trouble = explain(track.metadata_error) if track.metadata_error else None
        return render_to_string("catalog/track_freshness.html", {"track": track, "trouble": trouble})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TrackList]:
        return TrackList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Track], search_term: str
    ) -> tuple[QuerySet[Track], bool]:
        return queryset, False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, or run an action; refuse a filter that makes no sense rather than apply half."""
        try:
            filter_of(request.GET)
        except Unselectable as error:
            messages.error(request, f"{error} The list is shown without filter; nothing else was done.")
            return HttpResponseRedirect(request.path)
        if request.method == "POST":
            sent: Any = request.POST.copy()
            if ticks := sent.getlist(ACTION_CHECKBOX_NAME):
                try:
                    # A tick that is not a key selects no track.
                    keys = keys_in(ticks, most=LARGEST_SELECTION) or [0]
                except TooManyKeys:
                    messages.error(request, f"{TOO_MANY_TICKED} Nothing was done.")
                    return HttpResponseRedirect(request.get_full_path())
                sent.setlist(ACTION_CHECKBOX_NAME, [str(key) for key in keys])
            request.POST = sent
        return super().changelist_view(request, extra_context)

    # --- buttons

    @action(description="Import from API", icon="download", permissions=("import",), url_path="import")
    def import_from_api(self, request: HttpRequest) -> HttpResponse:
        return self.import_source_view(request)

    def log_import(self, request: HttpRequest, requested: jobs.Requested) -> None:
        self._log_job(request, requested, "Import from API")
        tell(request, requested)

    @action(
        description="Fetch All Metadata",
        icon="sync",
        permissions=("fetch",),
        attrs={**WITH_CHOICE},
        dialog={
            "title": "Fetch All Metadata",
            "description": "",
            "form_class": FetchAllForm,
            "form_submit_text": "Fetch",
        },
    )
    def fetch_all_metadata(self, request: HttpRequest, form: FetchAllForm) -> HttpResponse:
        if form.is_whole_list:
            if not form.selection.apply(Track.objects.order_by()).exists():
                messages.info(request, "No tracks match the list's filter. Nothing was queued.")
                return go_to(request, reverse("admin:catalog_track_changelist"))
            requested = jobs.request_filtered_metadata(form.selection, requested_by=request.user)
        elif form.is_selection:
            ids = list(Track.objects.filter(pk__in=form.selected_ids).values_list("pk", flat=True))
            if not ids:
                messages.error(
                    request, "The tracks that were ticked are no longer there. Nothing was queued."
                )
                return go_to(request, reverse("admin:catalog_track_changelist"))
            requested = jobs.request_metadata(ids, requested_by=request.user)
        elif not Track.objects.due().exists():
            messages.info(request, "Every track is fresh. Nothing was queued and no call will be spent.")
            return go_to(request, reverse("admin:catalog_track_changelist"))
        else:
            requested = jobs.request_stale_metadata(requested_by=request.user)
        self._log_job(request, requested, "Fetch All Metadata")
        tell(request, requested)
        return go_to(request, job_address(requested.job))

    # --- actions on ticked rows

    @admin.action(description="Fetch metadata from Soundcharts API (Background)", permissions=("fetch",))
    def fetch_in_background(self, request: HttpRequest, queryset: QuerySet[Track]) -> HttpResponse | None:
        return self._fetch_chosen(request, queryset, name="fetch_in_background", follow=False)

    @admin.action(description="Create bulk metadata fetch task", permissions=("fetch",))
    def create_bulk_task(self, request: HttpRequest, queryset: QuerySet[Track]) -> HttpResponse | None:
        return self._fetch_chosen(request, queryset, name="create_bulk_task", follow=True)

    def _fetch_chosen(
        self, request: HttpRequest, queryset: QuerySet[Track], *, name: str, follow: bool
    ) -> HttpResponse | None:
        """State the price first; once confirmed, make the job and stay here, or follow it."""
        chosen = chosen_tracks(request, queryset)
        if chosen is None:
            self.message_user(
                request,
                "None of the selected tracks is in this list any more. Nothing was queued.",
                messages.WARNING,
            )
            return None
        choice = request.POST.get("fetch")
        if choice not in {"all", "stale"}:
            return self._ask_before_fetching(request, chosen, name=name)
        options: dict[str, Any] = {"only_stale": choice == "stale", "requested_by": request.user}
        if isinstance(chosen, TrackFilter):
            requested = jobs.request_filtered_metadata(chosen, **options)
        else:
            requested = jobs.request_metadata(chosen, **options)
        self._log_job(
            request, requested, "Create bulk metadata fetch task" if follow else "Fetch in background"
        )
        tell(request, requested, is_elsewhere=not follow)
        return HttpResponseRedirect(job_address(requested.job) if follow else request.get_full_path())

    def _ask_before_fetching(
        self, request: HttpRequest, chosen: list[int] | TrackFilter, *, name: str
    ) -> HttpResponse:
        """Return the page between choosing and spending, of all that a filter selects or of ticked tracks."""
        extent = measure(chosen)
        fresh = extent.tracks - extent.stale
        calls, due_calls = estimate_calls(extent.tracks), estimate_calls(extent.due)
        return ask_before_fetching(
            request,
            chosen,
            template="fetch_confirmation.html",
            action=name,
            heading=f"{plural(extent.tracks, 'track')} selected: {extent.stale:,} stale, {fresh:,} fresh.",
            title="Fetch metadata",
            extent=extent,
            fresh_count=fresh,
            waiting=plural(extent.waiting, "track") if extent.waiting else "",
            price=price_of(calls).sentence,
            time=time_for(calls),
            due_price=price_of(due_calls).sentence,
            due_time=time_for(due_calls),
        )

    def _log_job(self, request: HttpRequest, requested: jobs.Requested, button: str) -> None:
        log = self.log_change if requested.is_joined else self.log_addition
        words = "joined" if requested.is_joined else "made"
        log(request, requested.job, f"{button}: task {words}: {requested.job.title}")
