"""Import from API, in two steps: what to import, and what would come of it; then it runs as a job."""

import logging
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin

from catalog import jobs, quota
from catalog.admin.import_forms import ImportForm, initial_of
from catalog.admin.import_previews import fresh_page, preview_of
from catalog.admin.keys import key_in
from catalog.admin.shared_answers import answer_once
from catalog.fetching.imports import (
    LIST_PAGE,
    PAGE_KEPT_MINUTES,
    list_songs,
    page_as_json,
    why_listing_failed,
)
from catalog.models import ImportDraft, SharedAnswer
from catalog.pictures import shown_at
from catalog.song_lists import UnreadableList, read_list
from catalog.spending import add_spending
from catalog.words import plural
from soundcharts.errors import AuthenticationFailed, SoundchartsError
from soundcharts.service import SoundchartsService, get_service

logger = logging.getLogger(__name__)

Source = ImportDraft.Source

DRAFTS_KEPT_DAYS = 1
# What the same search found is shown again, free of charge, for as long as this.
SEARCH_KEPT_MINUTES = 30
# A first page that was asked for and has not come in this time will not come any more.
PAGE_PATIENCE_SECONDS = 60
# Columns beyond this are not offered by any table that people have.
MOST_COLUMNS = 1000


class ImportMixin(ModelAdmin):
    """The pages of the import, beside the list of tracks."""

    def has_import_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("catalog.import_track")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.import_preview_view)
        return [
            path("import/<int:draft_id>/", view, name="catalog_track_import_preview"),
            *super().get_urls(),
        ]

    # --- the first step: what to import

    def import_source_view(self, request: HttpRequest) -> HttpResponse:
        kept = _draft(request.GET.get("draft", ""))
        if request.method != "POST":
            form = ImportForm(initial=initial_of(kept) if kept else None, kept=kept)
            return self._show_source(request, form, kept)
        data = request.POST.copy()
        if chosen := data.get("artist"):
            data["source"], data["artist_uuid"] = Source.ARTIST, chosen
        is_search = data.get("step") == "search"
        form = ImportForm(data, request.FILES, kept=kept, is_search=is_search)
        if not form.is_valid():
            return self._show_source(request, form, kept)
        draft = form.make_draft()
        if is_search:
            try:
                draft.artists = self._search_artists(request, draft)
            except SoundchartsError as error:
                form.add_error("artist_name", str(error))
                return self._show_source(request, form, kept)
        elif kept is not None and draft.source == Source.ARTIST:
            draft.artists = kept.artists
            draft.artist_name = _name_of(draft)
        elif draft.source == Source.ARTIST:
            draft.artist_name = ""
        _forget_old_drafts()
        draft.save()
        if is_search:
            return HttpResponseRedirect(f"{reverse('admin:catalog_track_import_from_api')}?draft={draft.pk}")
        return HttpResponseRedirect(reverse("admin:catalog_track_import_preview", args=(draft.pk,)))

    def _show_source(self, request: HttpRequest, form: ImportForm, kept: ImportDraft | None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Import from API",
            "opts": self.opts,
            "form": form,
            "kept": kept,
            "artists": [
                found | {"picture": shown_at(str(found.get("image_url", "")))} for found in kept.artists
            ]
            if kept
            else [],
            "has_searched": kept is not None and kept.source == Source.ARTIST and not kept.artist_uuid,
        }
        return TemplateResponse(request, "catalog/import_source.html", context)

    # --- the second step: what would come

    def import_preview_view(self, request: HttpRequest, draft_id: int) -> HttpResponse:
        if not self.has_import_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        draft = ImportDraft.objects.filter(pk=draft_id).first()
        if draft is None:
            messages.warning(request, "What was typed is kept for a day, and that is over. Begin again.")
            return HttpResponseRedirect(reverse("admin:catalog_track_import_from_api"))
        if request.method == "POST":
            match request.POST.get("do"):
                case "confirm":
                    return self._confirm(request, draft)
                case "ask":
                    self._ask_for_first_page(request, draft)
                case "column":
                    _choose_column(draft, request.POST.get("column", ""))
            return HttpResponseRedirect(request.path)
        back = f"{reverse('admin:catalog_track_import_from_api')}?draft={draft.pk}"
        try:
            preview = preview_of(draft)
        except UnreadableList as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": "Import from API: what would come",
            "opts": self.opts,
            "draft": draft,
            "back": back,
            "list_page": LIST_PAGE,
            "kept_minutes": PAGE_KEPT_MINUTES,
            **preview,
        }
        return TemplateResponse(request, "catalog/import_preview.html", context)

    def _confirm(self, request: HttpRequest, draft: ImportDraft) -> HttpResponse:
        try:
            with transaction.atomic():
                # A second click waits here, and then finds the job of the first.
                draft = get_object_or_404(ImportDraft.objects.select_for_update(), pk=draft.pk)
                if draft.job is not None:
                    requested = jobs.Requested(draft.job, is_joined=True)
                else:
                    requested = _request_import(draft, request)
                    ImportDraft.objects.filter(pk=draft.pk).update(job=requested.job)
        except ValueError as error:
            messages.error(request, f"{error} Nothing was queued.")
            return HttpResponseRedirect(request.path)
        self.log_import(request, requested)
        return HttpResponseRedirect(
            reverse("admin:catalog_metadatafetchtask_change", args=(requested.job.pk,))
        )

    # --- what is asked of Soundcharts before there is a job

    @contextmanager
    def _spending(self, request: HttpRequest, draft: ImportDraft, what: str) -> Iterator[SoundchartsService]:
        """Let a person who waits ask Soundcharts; count what it spends in the day, once, and log who did it.

        The job that comes of the draft takes the draft's calls over as its own, without counting them again.
        """
        if problem := quota.why_unusable():
            raise AuthenticationFailed(problem)
        service = get_service(interactive=True)
        with service.count_calls() as meter:
            try:
                yield service
            except SoundchartsError as error:
                quota.note_error(service, error)
                raise
            finally:
                quota.note_quota(service, is_last=True)
                if meter.spent:
                    with transaction.atomic():
                        ImportDraft.objects.filter(pk=draft.pk).update(
                            page_calls=F("page_calls") + meter.spent
                        )
                        self.log_change(
                            request, draft, f"Import from API: {what}, for {plural(meter.spent, 'API call')}"
                        )
                        add_spending(meter.spent)

    def _search_artists(self, request: HttpRequest, draft: ImportDraft) -> list[dict[str, str]]:
        """Return the artists that fit a name, for 1 call; for none if it was searched for a moment ago."""

        def ask() -> list[dict[str, str]]:
            what = f"searched for artists like “{draft.artist_name}”"
            with self._spending(request, draft, what) as service:
                page = service.search_artists(draft.artist_name)
            logger.info("artists were searched for: %s found", len(page.items))
            return [
                {
                    "uuid": str(artist.uuid),
                    "name": (artist.name or "")[:200],
                    "image_url": artist.image_url or "",
                }
                for artist in page.items
            ]

        name = " ".join(unicodedata.normalize("NFC", draft.artist_name).split()).casefold()
        return list(answer_once(f"artists:{name}", ask, kept_minutes=SEARCH_KEPT_MINUTES).answer)

    def _ask_for_first_page(self, request: HttpRequest, draft: ImportDraft) -> None:
        """Buy the first page of a list, which the import will then use. Two clicks buy it once."""
        if draft.source == Source.LIST or fresh_page(draft) is not None:
            return
        is_old = Q(page_at__lt=Now() - timedelta(minutes=PAGE_KEPT_MINUTES))
        never_came = Q(page=None, page_at__lt=Now() - timedelta(seconds=PAGE_PATIENCE_SECONDS))
        mine = ImportDraft.objects.filter(pk=draft.pk)
        if not mine.filter(Q(page_at=None) | is_old | never_came).update(page_at=Now(), page=None):
            messages.info(
                request, "The first page is being asked for already. Load this page again in a moment."
            )
            return
        offset, limit = draft.offset or 0, min(LIST_PAGE, draft.limit or LIST_PAGE)

        def ask() -> dict[str, Any]:
            with self._spending(request, draft, "asked for the first page") as service:
                return page_as_json(list_songs(service, draft.artist_uuid, offset=offset, limit=limit))

        key = f"songs:{draft.artist_uuid or 'top'}:{offset}:{limit}"
        try:
            bought = answer_once(key, ask, kept_minutes=PAGE_KEPT_MINUTES)
        except SoundchartsError as error:
            mine.update(page_at=None)
            messages.error(request, why_listing_failed(draft.artist_uuid, error))
        else:
            mine.update(page=bought.answer, page_at=bought.answered_at)

    def log_import(self, request: HttpRequest, requested: jobs.Requested) -> None:
        """Tell the person, and the log of the admin, what became of a confirmed import."""
        raise NotImplementedError


def _request_import(draft: ImportDraft, request: HttpRequest) -> jobs.Requested:
    if draft.source == Source.LIST:
        songs = read_list(draft.text, column=draft.column, is_file=bool(draft.file_name))
        name = f"{draft.file_name}, " if draft.file_name else "a list, "
        title = f"Import of {name[:120]}{plural(len(songs.wanted), 'song')}"
        return jobs.request_list_import(
            songs.entries,
            requested_by=request.user,
            title=title,
            is_rechecked=request.POST.get("recheck") == "on",
        )
    return jobs.request_import(
        limit=draft.limit or 0,
        offset=draft.offset or 0,
        artist_uuid=draft.artist_uuid,
        artist_name=draft.artist_name,
        calls=draft.page_calls,
        requested_by=request.user,
    )


def _draft(key: str) -> ImportDraft | None:
    return ImportDraft.objects.filter(pk=key_in(key) or 0).first()


def _forget_old_drafts() -> None:
    is_old = Q(created_at__lt=Now() - timedelta(days=DRAFTS_KEPT_DAYS))
    ImportDraft.objects.filter(is_old).delete()
    SharedAnswer.objects.filter(is_old, asked_at=None).delete()


def _name_of(draft: ImportDraft) -> str:
    """Return the artist's name as the search gave it; one that was only typed may be another's."""
    chosen = str(draft.artist_uuid)
    return next((str(found["name"]) for found in draft.artists if found["uuid"] == chosen), "")


def _choose_column(draft: ImportDraft, column: str) -> None:
    number = key_in(column)
    if number is not None and number < MOST_COLUMNS:
        ImportDraft.objects.filter(pk=draft.pk, job=None).update(column=number)
