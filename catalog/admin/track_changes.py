"""Track changes: what fetches changed, over all tracks, to read, to filter and to take away as a file."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from catalog.admin import csv_export
from catalog.admin.csv_export import stream_csv
from catalog.admin.refusing import ReadOnlyAdmin
from catalog.admin.track_story import changes_in
from catalog.mapping import label_of
from catalog.models import METADATA_FIELDS, Track, TrackChange
from catalog.selection import TrackFilter, Unselectable

PERIODS = {
    "day": ("The last 24 hours", timedelta(days=1)),
    "week": ("The last 7 days", timedelta(days=7)),
    "month": ("The last 30 days", timedelta(days=30)),
}


class ChangedFieldFilter(admin.SimpleListFilter):
    """Changes by the field that got another value."""

    title = "changed field"
    parameter_name = "field"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, label_of(name)) for name in METADATA_FIELDS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TrackChange]) -> QuerySet[TrackChange]:
        name = self.value()
        return queryset.filter(changes__has_key=name) if name in METADATA_FIELDS else queryset


class PeriodFilter(admin.SimpleListFilter):
    """Changes by how long ago they were made."""

    title = "period"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TrackChange]) -> QuerySet[TrackChange]:
        if (chosen := PERIODS.get(self.value() or "")) is None:
            return queryset
        return queryset.filter(at__gte=timezone.now() - chosen[1])


@admin.register(TrackChange)
class TrackChangeAdmin(ReadOnlyAdmin):
    list_display = ("moment", "track_link", "what_changed", "job_link")
    list_filter = (ChangedFieldFilter, PeriodFilter)
    list_select_related = ("track", "job")
    list_per_page = 50
    has_history = False
    list_before_template = "catalog/track_changes_export.html"
    search_fields = ("track__uuid",)
    search_help_text = "Name, credit, ISRC or whole UUID"
    # The pages of millions of rows are not counted.
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()
    fields = ("moment", "track_link", "what_changed", "job_link")
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return lookup == "job__id__exact" or super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TrackChange], search_term: str
    ) -> tuple[QuerySet[TrackChange], bool]:
        """Find the tracks as their own list does, and keep the changes of these."""
        if not search_term.strip():
            return queryset, False
        try:
            wanted = TrackFilter.parse({"search": search_term.strip()})
        except Unselectable as error:
            messages.error(request, str(error))
            return queryset.none(), False
        tracks = wanted.apply(Track.objects.order_by())
        return queryset.filter(track__in=tracks.values("pk")), False

    @display(description="When")
    def moment(self, change: TrackChange) -> str:
        return date_format(timezone.localtime(change.at), "DATETIME_FORMAT")

    @display(description="Track")
    def track_link(self, change: TrackChange) -> str:
        address = reverse("admin:catalog_track_change", args=(change.track_id,))
        return format_html('<bdi><a class="ln-link" href="{}">{}</a></bdi>', address, change.track)

    @display(description="What changed")
    def what_changed(self, change: TrackChange) -> str:
        return render_to_string("catalog/track_change.html", {"changes": changes_in(change.changes)})

    @display(description="Task")
    def job_link(self, change: TrackChange) -> str:
        if change.job is None:
            return f"#{change.job_id}, no longer kept" if change.job_id else "–"
        address = reverse("admin:catalog_metadatafetchtask_change", args=(change.job_id,))
        return format_html('<a class="ln-link" href="{}">#{}</a>', address, change.job_id)

    # --- the file

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # The page is not part of what is asked for: a file has all of them.
        query = request.GET.copy()
        query.pop(PAGE_VAR, None)
        address = f"{reverse('admin:catalog_trackchange_export')}?{query.urlencode()}"
        return super().changelist_view(request, {"export_address": address, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("export/", wrap(self.export_view), name="catalog_trackchange_export"),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send the list, as it is filtered and searched, as a CSV file: a line for each changed field."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            # As the list itself does with an address that makes no sense.
            return HttpResponseRedirect(f"{reverse('admin:catalog_trackchange_changelist')}?{ERROR_FLAG}=1")
        header = ("at (UTC)", "track uuid", "track", "field", "before", "after", "task")
        return stream_csv(f"track-changes-{timezone.now():%Y-%m-%d}", header, _lines(found))


def _lines(found: QuerySet[TrackChange]) -> Iterator[tuple[Any, ...]]:
    """Return the lines of the file, reading on from the last row: no query is long, none is held open."""
    rest = found
    while True:
        rows = list(rest[: csv_export.STEP])
        for row in rows:
            for change in changes_in(row.changes):
                yield (
                    f"{row.at:%Y-%m-%d %H:%M:%S}",
                    row.track.uuid,
                    row.track,
                    change.field,
                    change.before,
                    change.after,
                    row.job_id,
                )
        if len(rows) < csv_export.STEP:
            return
        last = rows[-1]
        rest = found.filter(at__lte=last.at).exclude(at=last.at, pk__gte=last.pk)
