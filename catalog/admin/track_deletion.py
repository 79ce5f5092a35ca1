"""Delete one track, the ticked tracks, or a whole list."""

from collections.abc import Iterable
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from catalog.admin.keys import as_ranges
from catalog.jobs import LARGEST_SELECTION
from catalog.models import Track, TrackAudience, TrackChange
from catalog.words import plural

# Most tracks named on the confirmation page.
MOST_NAMED = 10
# Tracks per transaction, so workers and other people wait only for these.
STEP = 500


class TrackDeletion:
    """The delete action and its confirmation pages."""

    @admin.action(description="Delete selected tracks", permissions=("delete",))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Track]) -> HttpResponse | None:
        """Ask for confirmation with the selection in one field, then delete exactly that selection."""
        keys = list(queryset.order_by("pk").values_list("pk", flat=True)[: LARGEST_SELECTION + 1])
        if not keys:
            messages.warning(request, "The selected tracks are no longer in this list. Nothing was deleted.")
            return None
        if len(keys) > LARGEST_SELECTION:
            messages.error(
                request,
                f"Nothing was deleted. You can delete at most {LARGEST_SELECTION:,} tracks at once. "
                "Filter the list first.",
            )
            return None
        if not request.POST.get("post"):
            return self._ask_before_deleting(request, keys)
        deleted = self._delete(request, keys)
        messages.success(request, f"Deleted {plural(deleted, 'track')}.")
        return HttpResponseRedirect(request.get_full_path())

    def _ask_before_deleting(self, request: HttpRequest, keys: list[int]) -> HttpResponse:
        tracks = Track.objects.filter(pk__in=keys[:MOST_NAMED]).order_by("pk")
        context = {
            **admin.site.each_context(request),
            "opts": Track._meta,
            "title": "Delete tracks",
            "chosen": as_ranges(keys),
            "tracks": plural(len(keys), "track"),
            "named": tracks,
            "unnamed": len(keys) - len(tracks),
            "lost": _lost_with(keys),
        }
        return TemplateResponse(request, "admin/catalog/track/delete_selected.html", context)

    def _delete(self, request: HttpRequest, keys: list[int]) -> int:
        """Delete and log tracks step by step; return how many were deleted."""
        deleted = 0
        for start in range(0, len(keys), STEP):
            with transaction.atomic():
                tracks = Track.objects.filter(pk__in=keys[start : start + STEP])
                # Locked, so no other request deletes and logs the same tracks.
                found = list(tracks.order_by("pk").select_for_update())
                self.log_deletions(request, found)
                tracks.filter(pk__in=[track.pk for track in found]).delete()
                deleted += len(found)
        return deleted

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Track]) -> list[LogEntry]:
        """Log the name and uuid of each track; nothing else of it is kept."""
        kind = ContentType.objects.get_for_model(Track)
        entries = [
            LogEntry(
                user_id=cast(int, request.user.pk),
                content_type=kind,
                object_id=str(track.pk),
                object_repr=str(track)[:200],
                action_flag=DELETION,
                change_message=f"UUID {track.uuid}",
            )
            for track in queryset
        ]
        return LogEntry.objects.bulk_create(entries)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, set[str], Any]:
        """Return the contents of the confirmation page for one track; related rows are counted, not listed.

        Permission to delete a track includes its related rows.
        """
        keys = [track.pk for track in objs]
        counts = {"tracks": len(keys)} | dict(_lost_with(keys))
        return [str(track) for track in objs[:MOST_NAMED]], counts, set(), []


def _lost_with(keys: list[int]) -> list[tuple[str, int]]:
    """Return labels and counts of the rows deleted with these tracks, without zero counts."""
    counts = [
        ("history entries", TrackChange.objects.filter(track__in=keys).count()),
        ("audience series", TrackAudience.objects.filter(track__in=keys).count()),
    ]
    return [(words, count) for words, count in counts if count]
