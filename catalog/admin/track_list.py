"""The list of tracks: its filters, its order, and pages that cost the same wherever they are."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from unfold.contrib.filters.admin import DropdownFilter, RangeNumericListFilter, TextFilter
from unfold.views import ChangeList

from catalog.admin.audience_list import attach_audiences
from catalog.admin.keys import as_ranges
from catalog.admin.track_order import TrackOrder
from catalog.models import Track, TrackQuerySet
from catalog.selection import AUDIENCE, FRESHNESS, TrackFilter, known_genres

# The tracks of a filtered list are counted, and shown, up to here. Nobody turns more than a hundred pages,
# and whoever wants them all selects them, which counts them all.
MOST_LISTED = 5_000

# What an address of the list says beside its filter: page, order, "the address made no sense", pop-ups.
_NOT_FILTERS = ("p", "o", "e", "all", "_facets", "_popup", "_to_field", "_changelist_filters")
# What a selection adds to it.
_TICKS = ("_selected_action", "select_across", "_form_submitted", "csrfmiddlewaretoken")


def filter_of(query: QueryDict) -> TrackFilter:
    """Return the filter that an address of the list asks for. Raises Unselectable."""
    names = (name for name in query if name not in _NOT_FILTERS and name not in _TICKS)
    return TrackFilter.parse({"search" if name == "q" else name: query[name] for name in names})


# What a button's dialog is told: the ticks, and the list's filter, which the form for the search has.
WITH_CHOICE = {
    "hx-include": "#changelist-form [name=_selected_action]:checked, "
    "#changelist-form [name=select_across], #changelist-search input"
}


def chosen_tracks(request: HttpRequest, queryset: QuerySet[Track]) -> list[int] | TrackFilter | None:
    """Return what an action is about: ticked tracks, or the filter of the whole list; None for nothing."""
    # As the form of the actions reads it.
    if request.POST.get("select_across", "0").lower() not in {"", "0", "false"}:
        return filter_of(request.GET) if queryset.exists() else None
    return list(queryset.order_by("pk").values_list("pk", flat=True)) or None


def ask_before_fetching(
    request: HttpRequest,
    chosen: list[int] | TrackFilter,
    *,
    template: str,
    action: str,
    heading: str,
    **values: object,
) -> HttpResponse:
    """Return the page between choosing and spending; its buttons press `action` again, with a choice."""
    context = {
        **admin.site.each_context(request),
        **values,
        "opts": Track._meta,
        "action_name": action,
        "heading": heading,
        "selection": chosen if isinstance(chosen, TrackFilter) else None,
        # The admin takes no action without a tick.
        "ids": "0" if isinstance(chosen, TrackFilter) else as_ranges(chosen),
    }
    return TemplateResponse(request, f"admin/catalog/track/{template}", context)


class Shown:
    """A filter of the side bar: it shows what is chosen, and leaves it to the list to apply it."""

    title: str

    def queryset(self, request: HttpRequest, queryset: QuerySet[Track]) -> QuerySet[Track]:
        return queryset

    def has_output(self) -> bool:
        # Also without a choice: what no filter takes would count as unknown.
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for choice in super().choices(changelist):  # type: ignore[misc]
            for name, field in choice["form"].fields.items():
                ends = {"_from": ", from", "_to": ", up to"}
                end = next((words for suffix, words in ends.items() if name.endswith(suffix)), "")
                field.widget.attrs["aria-label"] = f"{self.title[:1].upper()}{self.title[1:]}{end}"
            yield choice


class FreshnessFilter(Shown, DropdownFilter):
    title = parameter_name = "freshness"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words[:1].upper() + words[1:]) for value, words in FRESHNESS.items()]


class AudienceFilter(Shown, DropdownFilter):
    title = parameter_name = "audience"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words[:1].upper() + words[1:]) for value, words in AUDIENCE.items()]


class GenreFilter(Shown, DropdownFilter):
    title = parameter_name = "genre"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(genre, genre) for genre in known_genres()]


class LabelFilter(Shown, TextFilter):
    title = "beginning of the label"
    parameter_name = "label"


class YearFilter(Shown, RangeNumericListFilter):
    title = "year of release"
    parameter_name = "year"


FILTERS = (FreshnessFilter, LabelFilter, GenreFilter, YearFilter, AudienceFilter)


class TrackPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of tracks, found by their keys first and read then.

    The whole catalogue is counted to the last track. The tracks of a filter are counted up to MOST_LISTED;
    `is_cut` says that there are more.
    """

    template_name = "catalog/track_pages.html"

    def __init__(self, selection: TrackFilter, order: TrackOrder, per_page: int) -> None:
        super().__init__(Track.objects.all(), per_page)
        self.selection = selection
        self.order = order

    @cached_property
    def _found(self) -> list[int]:
        """The keys of what a search finds, of too many those that it finds first.

        By the words first and put in order then: who walks an order in search of words may walk through
        everything.
        """
        return list(self._selected().values_list("pk", flat=True)[: MOST_LISTED + 1])

    @cached_property
    def _counted(self) -> int:
        if self.selection.search:
            return len(self._found)
        if self.selection.is_everything:
            return Track.objects.count()
        return self._selected()[: MOST_LISTED + 1].count()

    @cached_property
    def count(self) -> int:
        return self._counted if self.selection.is_everything else min(self._counted, MOST_LISTED)

    @property
    def is_cut(self) -> bool:
        return self._counted > self.count

    def page(self, number: Any) -> "Page[Track]":
        """Return a page; the first or the last for a number that is none."""
        number = self.validate_number(max(1, min(number, self.num_pages)))
        bottom = (number - 1) * self.per_page
        top = min(bottom + self.per_page, self.count)
        keys = self._keys(bottom, top) if top else []
        tracks = Track.objects.in_bulk(keys) if keys else {}
        return Page([tracks[key] for key in keys if key in tracks], number, self)

    def _keys(self, bottom: int, top: int) -> list[int]:
        if self.selection.search and self.order.is_by_key:
            return sorted(self._found[: self.count], reverse=self.order.is_descending)[bottom:top]
        # Without a filter, and where most tracks meet it, the order's own index is walked.
        by_index = self.is_cut or self.selection.is_everything
        if not self.is_cut and bottom > self.count // 2:
            # From the end: what stands before a page is read, too.
            return self.order.slice_from_end(
                self._unordered(), self.count - top, self.count - bottom, by_index=by_index
            )
        return self.order.slice(self._unordered(), bottom, top, by_index=by_index)

    def _selected(self) -> TrackQuerySet:
        return self.selection.apply(Track.objects.order_by())

    def _unordered(self) -> TrackQuerySet:
        if self.selection.search:
            return Track.objects.filter(pk__in=self._found[: self.count])
        return self.selection.apply(Track.objects.all(), by="order" if self.is_cut else "filter")


# What it means that nothing is in a list of what is not well. For other filters it is no news.
GOOD_NEWS = {
    "never": "Every track has been fetched",
    "stale": "Every track is fresh",
    "aged": "No track is aged",
    "failing": "No track failed last",
    "moved": "No track moved",
}


class TrackList(ChangeList):
    """A page of the list: one filter, one column that orders it."""

    page_num: int
    # For the words of a list with nothing in it: its template sees no more than this.
    may_import: bool

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Track]:
        self.selection = filter_of(request.GET)
        return self.selection.apply(super().get_queryset(request, exclude_parameters))

    @property
    def good_news(self) -> str:
        """What to say of a list with nothing in it, where that is as it should be; else nothing."""
        parameters = self.selection.as_parameters()
        return GOOD_NEWS.get(self.selection.freshness, "") if [*parameters] == ["freshness"] else ""

    def get_ordering_field_columns(self) -> dict[int, str]:
        """Return the first column that was asked for: of two, no index has the order."""
        columns = super().get_ordering_field_columns()
        known = {
            index: order
            for index, order in columns.items()
            if 0 <= index < len(self.list_display) and self.get_ordering_field(self.list_display[index])
        }
        return dict(list(known.items())[:1])

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Track]) -> list[Any]:
        return self._order().terms

    def _order(self) -> TrackOrder:
        """Return the order: newest first, or by a column."""
        for index, order in self.get_ordering_field_columns().items():
            return TrackOrder(self.get_ordering_field(self.list_display[index]), order == "desc")
        return TrackOrder()

    def get_results(self, request: HttpRequest) -> None:
        self.paginator = TrackPaginator(self.selection, self._order(), self.list_per_page)
        self.result_count = self.paginator.count
        page = self.paginator.page(self.page_num)
        self.page_num, self.result_list = page.number, page.object_list
        attach_audiences(page.object_list)
        self.multi_page = self.paginator.num_pages > 1
        self.show_full_result_count = self.can_show_all = False
        # The same, so that no count stands in the page's head, which could not say that there are more.
        self.full_result_count = self.result_count
        self.show_admin_actions = True
        self.may_import = self.model_admin.has_import_permission(request)
