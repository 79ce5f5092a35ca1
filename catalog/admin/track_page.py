"""A track's own page: the form, the button that fetches it now, why it is as it is, and its history."""

import json
import time
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from unfold.decorators import action, display

from catalog.admin.answers import why_not_fetched
from catalog.admin.forms import FetchNowForm, TrackForm
from catalog.admin.keys import key_in, page_in
from catalog.admin.refusing import RefusingAdmin, may_see_failures
from catalog.admin.shared_forms import SharedPage
from catalog.admin.track_fields import LengthField, ReleaseDateField, TextField
from catalog.admin.track_story import LAST_PAGE, Answer, Story, answer_of, timeline
from catalog.fetching import fetch_track_now
from catalog.mapping import label_of
from catalog.models import METADATA_FIELDS, MetadataFetchTask, Track
from catalog.moves import adopt
from catalog.words import countdown

EDITED_BY_HAND = "Edited by hand"
TEXTS = ("name", "credit_name", "slug", "label", "genre")
LEVELS = {
    "updated": messages.SUCCESS,
    "unchanged": messages.SUCCESS,
    "moved": messages.WARNING,
    "skipped": messages.INFO,
    "cancelled": messages.INFO,
    "busy": messages.WARNING,
    "failed": messages.ERROR,
}


class TrackPage(SharedPage, RefusingAdmin):
    """The page of one track; `TrackAdmin` adds the list."""

    form = TrackForm
    warn_unsaved_form = True
    change_form_template = "admin/catalog/track/change_form.html"
    readonly_fields = ()
    fieldsets = (
        ("Song", {"fields": ("uuid", ("name", "credit_name"), ("slug", "isrc"))}),
        ("Release", {"fields": (("release_date", "duration"), ("label", "genre"), "image_url")}),
        (EDITED_BY_HAND, {"fields": ("edited_fields",)}),
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": ("uuid",),
                "description": "The song's UUID at Soundcharts is enough: save, then fetch its metadata.",
            },
        ),
    )

    def has_fetch_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("catalog.fetch_track")

    # --- the form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "duration":
            return LengthField(label="Duration", required=False, show_hidden_initial=True)
        if db_field.name == "release_date":
            kwargs["form_class"] = ReleaseDateField
        if db_field.name in TEXTS:
            kwargs["form_class"] = TextField
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @display(description="Duration")
    def length(self, track: Track) -> str:
        return "" if track.duration is None else countdown(track.duration)

    def get_fieldsets(self, request: HttpRequest, obj: Track | None = None) -> Any:
        found = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return found
        # Read-only users see these in the panel above; the theme would show raw names and seconds.
        return [
            (name, options | {"fields": _with_length(options["fields"])})
            for name, options in found
            if name != EDITED_BY_HAND
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Track | None = None) -> tuple[str, ...]:
        return () if obj is None else ("uuid", "length")

    def save_model(self, request: HttpRequest, obj: Track, form: TrackForm, change: bool) -> None:
        if change:
            edited = [name for name in form.changed_data if name in METADATA_FIELDS]
            obj.save(update_fields=[*edited, "edited_fields", "updated_at"])
            for label, value in form.replaced:
                words = f"{label}: a fetch changed it to “{value}” while you edited. Your value was kept."
                messages.warning(request, words)
        else:
            obj.save()

    def construct_change_message(
        self, request: HttpRequest, form: TrackForm, formsets: Any, add: bool = False
    ) -> Any:
        """Add the values before and after to what the admin's log says, for the track's timeline."""
        message = super().construct_change_message(request, form, formsets, add)
        edited = [name for name in form.changed_data if name in METADATA_FIELDS]
        if not add and edited and isinstance(message, list):
            values = {name: [form.initial.get(name), form.cleaned_data[name]] for name in edited}
            message[0]["changed"]["values"] = json.loads(json.dumps(values, default=str))
        return message

    # --- the page around it

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:track_id>/panel/", wrap(never_cache(self.panel_view)), name="catalog_track_panel"),
            path("<int:track_id>/release/", wrap(self.release_view), name="catalog_track_release"),
            path("<int:track_id>/adopt/", wrap(self.adopt_view), name="catalog_track_adopt"),
            *super().get_urls(),
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        track = _find(object_id)
        if track is not None and self.has_view_permission(request, track):
            context |= self._panel_context(request, track)
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return response

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what Soundcharts and people changed, and what failed, as one timeline."""
        track = _find(unquote(object_id))
        if track is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_or_change_permission(request, track):
            raise PermissionDenied
        page = page_in(request.GET.get("p", ""), last=LAST_PAGE)
        events, has_more = timeline(track, may_see_failures=may_see_failures(request), page=page)
        return TemplateResponse(
            request,
            "admin/catalog/track/history.html",
            {
                **self.admin_site.each_context(request),
                "title": f"History of {track}",
                "opts": self.opts,
                "object": track,
                "events": events,
                "page": page,
                "newer": page - 1,
                "older": page + 1 if has_more and page < LAST_PAGE else 0,
                **(extra_context or {}),
            },
        )

    def panel_view(self, request: HttpRequest, track_id: int) -> HttpResponse:
        """Show the page's panel anew, with what a task of this track's own (`job`) has brought.

        204 while there is nothing to show yet.
        """
        track = get_object_or_404(Track, pk=track_id)
        if not self.has_view_permission(request, track):
            raise PermissionDenied
        may_see_answer = may_see_failures(request) or self.has_fetch_permission(request)
        asked = request.GET.get("job", "") if may_see_answer else ""
        job = _own_job(track, asked)
        answer = answer_of(job, track) if job else None
        if answer and answer.is_awaited:
            return HttpResponse(status=204)
        return self._swap_panel(request, track, answer=answer)

    def release_view(self, request: HttpRequest, track_id: int) -> HttpResponse:
        """Give a field that was edited by hand back to Soundcharts: the next fetch may overwrite it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        name = request.POST.get("field", "")
        with transaction.atomic():
            track = Track.objects.select_for_update().filter(pk=track_id).first()
            if track is None:
                return self.gone_or_404(request, str(track_id))
            is_kept = name in track.edited_fields and name in METADATA_FIELDS
            if is_kept:
                track.edited_fields = [kept for kept in track.edited_fields if kept != name]
                track.save(update_fields=["edited_fields", "updated_at"])
                self.log_change(request, track, f"Let the next fetch overwrite {label_of(name)}")
        if is_kept:
            notice = f"{label_of(name)}: the next fetch overwrites it if Soundcharts says something else."
        else:
            notice = "That field was not kept by hand any more. Nothing was changed."
        if request.headers.get("HX-Request"):
            return self._swap_panel(request, track, notice=notice)
        messages.add_message(request, messages.SUCCESS if is_kept else messages.WARNING, notice)
        return HttpResponseRedirect(_address(track))

    def adopt_view(self, request: HttpRequest, track_id: int) -> HttpResponse:
        """Give a moved track its new uuid."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        before = get_object_or_404(Track, pk=track_id)
        adoption = adopt(track_id)
        track = adoption.track
        if adoption.other is not None:
            messages.warning(
                request,
                format_html(
                    'Not adopted: <a class="ln-link" href="{}">{}</a> has that UUID already.',
                    *(_address(adoption.other), adoption.other),
                ),
            )
        elif not adoption.is_adopted:
            messages.info(request, "Nothing to adopt: this track has not moved.")
        else:
            self.log_change(request, track, f"Adopted UUID {track.uuid} in place of {before.uuid}")
            if adoption.changes:
                values = {change.field: [change.before, change.after] for change in adoption.changes}
                fields = [change.label for change in adoption.changes]
                changed = {"fields": fields, "values": json.loads(json.dumps(values, default=str))}
                self.log_change(request, track, [{"changed": changed}])
            messages.success(request, f"UUID {track.uuid} adopted. No API call was used.")
        return HttpResponseRedirect(_address(track))

    # --- the button

    @action(
        description="Fetch Metadata from API",
        icon="sync",
        permissions=("fetch",),
        dialog={
            "title": "Fetch Metadata from API",
            "description": "Asks Soundcharts for this track now. It costs 1 API call. "
            "Fields that were edited by hand stay as they are.",
            "form_class": FetchNowForm,
            "form_submit_text": "Fetch now",
        },
    )
    def fetch_now(self, request: HttpRequest, form: FetchNowForm, object_id: str) -> HttpResponse:
        track = _find(object_id)
        if track is None:
            return self.gone_or_404(request, object_id)
        if (refusal := why_not_fetched(request, _address(track))) is not None:
            return refusal
        begun = time.monotonic()
        job, report = fetch_track_now(track, requested_by=request.user)
        seconds = time.monotonic() - begun
        answer = answer_of(job, track) if report.outcome == "busy" else Answer(job, report, seconds)
        self.log_change(request, track, f"Fetch Metadata from API: {report.outcome} {report.code}".strip())
        # Whoever may not edit has no form in which something typed could be lost, and no fields to fill.
        is_in_place = request.headers.get("HX-Request") and self.has_change_permission(request, track)
        if is_in_place:
            track.refresh_from_db()
            return self._swap_panel(request, track, answer=answer)
        text = render_to_string("catalog/fetch_report.html", {"answer": answer, "report": answer.report})
        messages.add_message(request, LEVELS[answer.report.outcome], text)
        if request.headers.get("HX-Request"):
            return HttpResponse(headers={"HX-Redirect": _address(track)})
        return HttpResponseRedirect(_address(track))

    def _swap_panel(
        self, request: HttpRequest, track: Track, *, answer: Answer | None = None, notice: str = ""
    ) -> HttpResponse:
        """Return the panel in place of the one on the page, with the values for the form below it."""
        context = self._panel_context(request, track) | {
            "answer": answer,
            "report": answer.report if answer else None,
            "notice": notice,
            "form_values": self._form_values(request, track),
            "is_swap": True,
        }
        response = render(request, "catalog/track_panel.html", context)
        # The dialog's own form, which is the theme's, would put the answer into the dialog.
        response["HX-Retarget"] = response["HX-Reselect"] = "#track-panel"
        response["HX-Reswap"] = "outerHTML"
        return response

    def _panel_context(self, request: HttpRequest, track: Track) -> dict[str, Any]:
        return {
            "track": track,
            "story": Story(track, may_see_failures=may_see_failures(request)),
            "may_fetch": self.has_fetch_permission(request),
            "may_edit": self.has_change_permission(request, track),
        }

    def _form_values(self, request: HttpRequest, track: Track) -> str:
        """Return, as JSON, what the form's fields would show if it were opened now."""
        if not self.has_change_permission(request, track):
            return ""
        form = self.get_form(request, track, change=True)(instance=track)
        values: dict[str, Any] = {
            name: form.fields[name].widget.format_value(form[name].value()) or "" for name in METADATA_FIELDS
        }
        return json.dumps(values | {"edited_fields": track.edited_fields})


def _find(object_id: str | None) -> Track | None:
    """Return the track of a key out of an address, None for what is no key of a track."""
    return Track.objects.filter(pk=key_in(object_id) or 0).first()


def _own_job(track: Track, number: str) -> MetadataFetchTask | None:
    return MetadataFetchTask.objects.filter(pk=key_in(number) or 0, dedupe_key=f"track:{track.pk}").first()


def _address(track: Track) -> str:
    return reverse("admin:catalog_track_change", args=(track.pk,))


def _with_length(fields: Any) -> tuple[Any, ...]:
    return tuple(
        _with_length(field) if isinstance(field, tuple) else "length" if field == "duration" else field
        for field in fields
    )
