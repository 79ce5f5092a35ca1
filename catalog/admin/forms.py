"""Forms of the admin: the track itself, and the dialogs behind its buttons."""

from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
)

from catalog.admin.keys import TOO_MANY_TICKED, TooManyKeys, keys_in
from catalog.admin.shared_forms import SharedModelForm
from catalog.admin.track_list import filter_of
from catalog.admin.track_story import A_FETCH, last_change_of
from catalog.jobs import LARGEST_SELECTION
from catalog.models import METADATA_FIELDS, Track
from catalog.prices import estimate_calls, price_of, time_for
from catalog.quota import current_account
from catalog.selection import TrackFilter, Unselectable, measure
from catalog.song_lists import isrc_in
from catalog.words import plural


class TrackForm(SharedModelForm):
    """A track's metadata by hand. What is changed here is kept by every later fetch."""

    edited_fields = forms.MultipleChoiceField(
        label="Keep by hand",
        required=False,
        show_hidden_initial=True,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="A field that you change is ticked by itself, and no fetch replaces its value. "
        "Untick it to follow Soundcharts again from the next fetch on.",
        choices=[
            (
                name,
                str(getattr(Track._meta.get_field(name), "verbose_name", name))
                .capitalize()
                .replace("Isrc", "ISRC"),
            )
            for name in METADATA_FIELDS
        ],
    )

    merged_fields = ("edited_fields",)

    class Meta:
        model = Track
        fields = ("edited_fields",)  # The admin adds those of its fieldsets.

    def clean_isrc(self) -> str:
        """Take only an ISRC for one, and none for nothing; what Soundcharts sent may stay as it is."""
        text: str = self.cleaned_data["isrc"]
        if not text or "isrc" not in self.changed_data:
            return text
        isrc = isrc_in(text)
        if not isrc:
            raise forms.ValidationError(
                "This is no ISRC: it has two letters, three letters or digits, and seven digits, such as "
                "USUM71900764. Leave it empty if you do not know it."
            )
        return isrc

    def changed_by(self, name: str) -> str:
        return last_change_of(self.instance, name)

    def gives_way(self, name: str) -> bool:
        """Return whether a fetch changed the field. An edit by hand outranks a fetch in either order."""
        return name not in self.instance.edited_fields and self.changed_by(name) == A_FETCH

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        # Ticks, too, count as differences to what the form showed: a colleague may have edited since.
        initial_name = self.add_initial_prefix("edited_fields")
        shown = set(
            forms.MultipleHiddenInput().value_from_datadict(self.data, self.files, initial_name) or ()
        )
        ticked = set(cleaned.get("edited_fields") or ())
        edited = set(self.instance.edited_fields) - (shown - ticked) | (ticked - shown)
        edited |= {name for name in self.changed_data if name in METADATA_FIELDS}
        cleaned["edited_fields"] = [name for name in METADATA_FIELDS if name in edited]
        return cleaned


class FetchNowForm(BaseDialogForm):
    """Nothing to fill in: the dialog states the price."""

    form_before_template = "catalog/fetch_now_price.html"

    def get_before_template_context(
        self, request: HttpRequest, object_id: int | str | None = None
    ) -> dict[str, Any]:
        return {"account": current_account()}


class FetchAllForm(BaseDialogForm):
    """Show which tracks a button above the list covers, and how many calls it uses.

    It is about the ticked tracks; else about all that the list's filter matches; else about everything stale.
    Ticks (`_selected_action`) and filter come in the address, where the button puts them.
    """

    form_before_template = "catalog/fetch_price.html"

    @property
    def is_selection(self) -> bool:
        """Whether rows are ticked, be they still there or not: then it is never about everything."""
        return ACTION_CHECKBOX_NAME in self.request.GET

    @property
    def selected_ids(self) -> list[int]:
        """The ticked tracks; a value that cannot be a key is ignored. Raises Unselectable for too many."""
        try:
            return keys_in(self.request.GET.getlist(ACTION_CHECKBOX_NAME), most=LARGEST_SELECTION)
        except TooManyKeys:
            raise Unselectable(TOO_MANY_TICKED) from None

    @property
    def is_whole_list(self) -> bool:
        """Whether it covers all tracks that match the list's filter. Raises Unselectable."""
        if self.is_selection:
            return self.request.GET.get("select_across") == "1"
        return not self.selection.is_everything

    @property
    def selection(self) -> TrackFilter:
        """What the list is filtered by. Raises Unselectable."""
        return filter_of(self.request.GET)

    def get_before_template_context(
        self, request: HttpRequest, object_id: int | str | None = None
    ) -> dict[str, Any]:
        try:
            context: dict[str, Any] = {
                "selection": self.selection,
                "is_selection": self.is_selection,
                "is_whole_list": self.is_whole_list,
            }
            ids = self.selected_ids
        except Unselectable as error:
            return {"problem": str(error)}
        if context["is_whole_list"]:
            extent = measure(self.selection)
            count = extent.tracks
            fresh = extent.tracks - extent.stale
            context["fresh"] = plural(fresh, "fresh track") if fresh else ""
        elif self.is_selection:
            count = Track.objects.filter(pk__in=ids).count()
        else:
            extent = measure(TrackFilter(freshness="stale"))
            count = extent.due
            context["waiting"] = plural(extent.waiting, "track") if extent.waiting else ""
        calls = estimate_calls(count)
        return context | {
            "tracks": plural(count, "track"),
            "count": count,
            "price": price_of(calls).sentence,
            "time": time_for(calls),
        }

    def check_selection(self) -> None:
        """Raise ValidationError for an invalid filter or too many ticks."""
        try:
            filter_of(self.request.GET)
            _ = self.selected_ids
        except Unselectable as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        self.check_selection()
        return super().clean() or {}
