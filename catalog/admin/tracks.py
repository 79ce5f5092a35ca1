"""Tracks: the list, the form, and the buttons that fetch and import."""

import logging
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.forms import Field
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from catalog import jobs
from catalog.admin.answers import go_to, job_address, tell
from catalog.admin.audience import AudienceMixin
from catalog.admin.forms import FetchAllForm, FetchNowForm, ImportForm, TrackForm, plural
from catalog.fetching import fetch_track_now
from catalog.jobs.requests import LARGEST_SELECTION
from catalog.models import METADATA_FIELDS, Track
from catalog.quota import estimate_calls, price_of

logger = logging.getLogger(__name__)


class FreshnessFilter(admin.SimpleListFilter):
    """Tracks by when Soundcharts last answered for them."""

    title = "freshness"
    parameter_name = "freshness"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("never", "Never fetched"),
            ("stale", "Stale (never fetched or aged)"),
            ("fresh", "Fresh"),
            ("failing", "Last fetch failed"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Track]) -> QuerySet[Track]:
        tracks = Track.objects.all()
        chosen = {
            "never": tracks.never_fetched(),
            "stale": tracks.stale(),
            "fresh": tracks.fresh(),
            "failing": tracks.exclude(metadata_error=""),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset & chosen


@admin.register(Track)
class TrackAdmin(AudienceMixin, ModelAdmin):
    form = TrackForm
    list_display = (
        *("title", *AudienceMixin.audience_columns),
        *("isrc", "label", "genre", "release_date", "freshness", "metadata_fetched_at"),
    )
    list_filter = (FreshnessFilter,)
    search_fields = ("name", "credit_name", "isrc")
    search_help_text = "Name, credit or ISRC (from their beginning), or a whole UUID"
    show_full_result_count = False
    list_per_page = 50
    readonly_fields = (
        "picture",
        "freshness",
        "metadata_fetched_at",
        "last_error",
        "metadata_retry_at",
        "warnings",
        "audience_fetched_at",
        "created_at",
        "updated_at",
    )
    fieldsets = (
        ("Song", {"fields": ("uuid", ("name", "credit_name"), ("slug", "isrc"))}),
        ("Release", {"fields": (("release_date", "duration"), ("label", "genre"))}),
        ("Picture", {"fields": ("image_url", "picture")}),
        (
            "Soundcharts",
            {
                "fields": (
                    ("freshness", "metadata_fetched_at"),
                    ("last_error", "metadata_retry_at"),
                    "audience_fetched_at",
                    "warnings",
                )
            },
        ),
        ("Edited by hand", {"fields": ("edited_fields",)}),
        ("Record", {"fields": (("created_at", "updated_at"),)}),
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
    actions = ("fetch_in_background", "create_bulk_task", *AudienceMixin.audience_actions)
    actions_list = ("import_from_api", "fetch_all_metadata", "fetch_all_audience")
    actions_detail = ("fetch_now", "fetch_audience_now")

    # --- permissions

    def has_fetch_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("catalog.fetch_track")

    def has_import_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("catalog.import_track")

    # --- the list

    @display(description="Track", ordering="name")
    def title(self, track: Track) -> str:
        return str(track)

    @display(
        description="Freshness",
        ordering="metadata_fetched_at",
        label={"never fetched": "info", "stale": "warning", "fresh": "success"},
    )
    def freshness(self, track: Track) -> str:
        if track.metadata_fetched_at is None:
            return "never fetched"
        return "stale" if track.is_stale else "fresh"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Track], search_term: str
    ) -> tuple[QuerySet[Track], bool]:
        term = search_term.strip()
        try:
            return queryset.filter(uuid=UUID(term)), False
        except ValueError:
            pass
        # The term as a whole: Django would take it apart, and no name begins with its own second word.
        begins = Q(*((f"{name}__istartswith", term) for name in self.search_fields), _connector=Q.OR)
        return (queryset.filter(begins) if term else queryset), False

    # --- the form

    def get_readonly_fields(self, request: HttpRequest, obj: Track | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("uuid", *self.readonly_fields)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Field | None:
        if db_field.name in METADATA_FIELDS:
            # What counts as an edit is a difference to what the form showed, not to what a fetch has
            # written since.
            kwargs["show_hidden_initial"] = True
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Track, form: TrackForm, change: bool) -> None:
        if change:
            edited = [name for name in form.changed_data if name in METADATA_FIELDS]
            obj.save(update_fields=[*edited, "edited_fields", "updated_at"])
        else:
            obj.save()

    @display(description="Picture")
    def picture(self, track: Track) -> str | SafeString:
        if not track.image_url:
            return "–"
        return format_html(
            '<img class="ln-cover" src="{}" alt="Cover of {}" loading="lazy" referrerpolicy="no-referrer">',
            track.image_url,
            track.name or track.uuid,
        )

    @display(description="Last error")
    def last_error(self, track: Track) -> str:
        return track.metadata_error.replace("_", " ") or "–"

    @display(description="Not understood")
    def warnings(self, track: Track) -> str:
        return "; ".join(track.metadata_warnings) or "–"

    # --- buttons

    @action(
        description="Import from API",
        icon="download",
        permissions=("import",),
        dialog={
            "title": "Import from API",
            "description": "",
            "form_class": ImportForm,
            "form_submit_text": "Import",
        },
    )
    def import_from_api(self, request: HttpRequest, form: ImportForm) -> HttpResponse:
        requested = jobs.request_import(
            limit=form.cleaned_data["limit"],
            offset=form.cleaned_data["offset"],
            artist_uuid=form.cleaned_data["artist_uuid"],
            requested_by=request.user,
        )
        self._log_job(request, requested, "Import from API")
        tell(request, requested)
        return go_to(request, job_address(requested.job))

    @action(
        description="Fetch All Metadata",
        icon="sync",
        permissions=("fetch",),
        attrs={
            "hx-include": "#changelist-form [name=_selected_action]:checked, "
            "#changelist-form [name=select_across]"
        },
        dialog={
            "title": "Fetch All Metadata",
            "description": "",
            "form_class": FetchAllForm,
            "form_submit_text": "Fetch",
        },
    )
    def fetch_all_metadata(self, request: HttpRequest, form: FetchAllForm) -> HttpResponse:
        if form.is_selection:
            ids = list(Track.objects.filter(pk__in=form.selected_ids).values_list("pk", flat=True))
            if not ids:
                messages.error(
                    request, "The tracks that were ticked are no longer there. Nothing was queued."
                )
                return go_to(request, reverse("admin:catalog_track_changelist"))
            requested = jobs.request_metadata(ids, requested_by=request.user)
        elif not Track.objects.stale().awaited().exists():
            messages.info(request, "Every track is fresh. Nothing was queued and no call will be spent.")
            return go_to(request, reverse("admin:catalog_track_changelist"))
        else:
            requested = jobs.request_stale_metadata(requested_by=request.user)
        self._log_job(request, requested, "Fetch All Metadata")
        tell(request, requested)
        return go_to(request, job_address(requested.job))

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
        if not object_id.isdecimal():
            raise Http404
        track = get_object_or_404(Track, pk=object_id)
        job, report = fetch_track_now(track, requested_by=request.user)
        levels = {
            "updated": messages.SUCCESS,
            "unchanged": messages.SUCCESS,
            "skipped": messages.INFO,
            "busy": messages.WARNING,
            "failed": messages.ERROR,
        }
        messages.add_message(
            request,
            levels[report.outcome],
            render_to_string(
                "catalog/fetch_report.html",
                {
                    "job": job,
                    "job_address": job_address(job),
                    "report": report,
                    "calls": plural(job.api_calls, "API call"),
                },
            ),
        )
        self.log_change(request, track, f"Fetch Metadata from API: {report.outcome} {report.code}".strip())
        return go_to(request, reverse("admin:catalog_track_change", args=(track.pk,)))

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
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: LARGEST_SELECTION + 1])
        if not ids:
            self.message_user(
                request,
                "None of the selected tracks is in this list any more. Nothing was queued.",
                messages.WARNING,
            )
            return None
        if len(ids) > LARGEST_SELECTION:
            self.message_user(
                request,
                f"More than {LARGEST_SELECTION:,} tracks are selected, and one selection cannot hold them. "
                "Filter the list further, or use Fetch All Metadata.",
                messages.ERROR,
            )
            return None
        choice = request.POST.get("fetch")
        if choice not in {"all", "stale"}:
            stale_count = queryset.filter(pk__in=ids).stale().count()  # type: ignore[attr-defined]
            is_whole_list = request.POST.get("select_across") == "1"
            return TemplateResponse(
                request,
                "admin/catalog/track/fetch_confirmation.html",
                {
                    **self.admin_site.each_context(request),
                    "title": "Fetch metadata",
                    "opts": self.opts,
                    "action_name": name,
                    "ids": ids[:1] if is_whole_list else ids,
                    "is_whole_list": is_whole_list,
                    "count": len(ids),
                    "stale_count": stale_count,
                    "fresh_count": len(ids) - stale_count,
                    "tracks": plural(len(ids), "track"),
                    "price": price_of(estimate_calls(len(ids))).sentence,
                    "stale_price": price_of(estimate_calls(stale_count)).sentence,
                },
            )
        requested = jobs.request_metadata(ids, requested_by=request.user, only_stale=choice == "stale")
        self._log_job(
            request, requested, "Create bulk metadata fetch task" if follow else "Fetch in background"
        )
        tell(request, requested)
        return HttpResponseRedirect(job_address(requested.job) if follow else request.get_full_path())

    def _log_job(self, request: HttpRequest, requested: jobs.Requested, button: str) -> None:
        log = self.log_change if requested.is_joined else self.log_addition
        words = "joined" if requested.is_joined else "made"
        log(request, requested.job, f"{button}: task {words}: {requested.job.title}")
