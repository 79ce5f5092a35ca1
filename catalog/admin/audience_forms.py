"""What is asked before audience is fetched: which platforms, how far back; and what that costs."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from catalog.admin.forms import FetchAllForm
from catalog.admin.keys import key_in
from catalog.admin.track_list import filter_of
from catalog.models import Track, platform_names
from catalog.prices import (
    Price,
    Tracks,
    count_audience_gaps,
    count_due_audiences,
    estimate_due_calls,
    estimate_job_calls,
    time_for,
)
from catalog.quota import remaining_calls
from catalog.selection import TrackFilter, Unselectable, measure
from catalog.words import plural
from soundcharts.platforms import AUDIENCE_PLATFORMS

GAPS = "gaps"
REACH = (
    ("", "What is new (the last 90 days at first)"),
    ("180", "180 days"),
    ("365", "A year"),
    (GAPS, "Only missing days"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What of an audience is to be fetched."""

    platforms: list[str]
    days: int | None = None
    fill_gaps: bool = False

    @classmethod
    def of(cls, values: QueryDict) -> "Wish":
        """Return what a dialog's fields say while they are filled in; what makes no sense is not said."""
        known = [name for name in values.getlist("platforms") if name in AUDIENCE_PLATFORMS]
        reach = values.get("days", "")
        return cls.made(known, reach if reach in dict(REACH) else "")

    @classmethod
    def made(cls, platforms: list[str], reach: str) -> "Wish":
        return cls(
            platforms or settings.SOUNDCHARTS_AUDIENCE_PLATFORMS,
            days=int(reach) if reach.isdecimal() else None,
            fill_gaps=reach == GAPS,
        )

    @property
    def asked(self) -> dict[str, Any]:
        """The same as the functions of `catalog.jobs` take it."""
        return {"platforms": self.platforms, "days": self.days, "fill_gaps": self.fill_gaps}

    def count_calls(self, count: int, tracks: Tracks | None = None) -> int:
        """Return how many calls so many tracks will spend at most; of `tracks`, where that is known."""
        return estimate_job_calls(self.asked, count, tracks)

    def count_due(self) -> dict[str, int]:
        """Return for how many tracks each platform would be asked, when nothing is chosen."""
        if self.fill_gaps:
            return count_audience_gaps(platforms=self.platforms)
        return count_due_audiences(platforms=self.platforms, days=self.days)


class _Chosen(FetchAllForm):
    """What is ticked, and the list's filter, in an address that the dialog's own fields are in, too."""

    @property
    def selection(self) -> TrackFilter:
        query = self.request.GET.copy()
        for name in ("platforms", "days"):
            query.pop(name, None)
        return filter_of(query)


def price_context(request: HttpRequest, object_id: int | str | None = None) -> dict[str, Any]:
    """Return what a dialog's choices would spend: on one track, the chosen ones, or all that are stale."""
    wish, chosen = Wish.of(request.GET), _Chosen(request)
    is_one = object_id is not None
    context: dict[str, Any] = {
        "is_one": is_one,
        "is_selection": chosen.is_selection,
        "is_gaps": wish.fill_gaps,
        "platforms": platform_names(wish.platforms),
    }
    if not is_one:
        try:
            context |= {"selection": chosen.selection, "is_whole_list": chosen.is_whole_list}
            ids = chosen.selected_ids
        except Unselectable as error:
            return context | {"problem": str(error), "is_nothing": True}
    if object_id is not None:
        tracks = 1
        calls = wish.count_calls(1, [key_in(str(object_id)) or 0])
    elif context["is_whole_list"]:
        tracks = measure(chosen.selection).tracks
        calls = wish.count_calls(tracks, tracks_of(chosen.selection))
    elif chosen.is_selection:
        found = Track.objects.filter(pk__in=ids)
        tracks = found.count()
        calls = wish.count_calls(tracks, found)
    else:
        due = wish.count_due()
        tracks = max(due.values())
        calls = estimate_due_calls(wish.asked, due)
    return context | {
        "tracks": plural(tracks, "track"),
        "count": tracks,
        # Missing days are known beforehand; anything else is asked for even where it may cost nothing.
        "is_nothing": not tracks or (wish.fill_gaps and not calls),
        "price": Price(calls, remaining_calls(), is_bulk=object_id is None).sentence,
        "time": time_for(calls),
    }


def tracks_of(selection: TrackFilter) -> Tracks | None:
    """Return what a filter selects, as the functions that tell a price take it; None where that is all."""
    return None if selection.is_everything else selection.apply(Track.objects.order_by())


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
        help_text="Known days are not fetched again. Each call covers up to 90 days.",
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
        if self.object_id is None:
            FetchAllForm(self.request).check_selection()
        return super().clean() or self.cleaned_data

    @property
    def wish(self) -> Wish:
        """What was chosen."""
        return Wish.made(self.cleaned_data["platforms"], self.cleaned_data["days"])
