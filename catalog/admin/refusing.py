"""What is not offered is refused, too."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin

from catalog.admin.history import NewestFirst


def why_no_part(request: HttpRequest, *, may_see: bool) -> HttpResponse | None:
    """Return what answers somebody who asks for a part of a page and may not see it (any more), or None."""
    if not admin.site.has_permission(request):
        # A redirect would put the log-in page into the card: reload the page around it instead.
        if request.headers.get("HX-Request"):
            return HttpResponse(headers={"HX-Refresh": "true"})
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    if not may_see:
        raise PermissionDenied
    return None


def may_see_failures(request: HttpRequest) -> bool:
    """Return whether this user may see which tracks and rows failed and why. The count is no secret."""
    return request.user.has_perm("catalog.view_fetchfailure")


class RefusingAdmin(NewestFirst, ModelAdmin):
    """An admin that answers 403 to an action that this user may not take; Django's would ignore it."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        chosen = {*request.POST.getlist("action")} & {*self.actions, "delete_selected"}
        if chosen - {*self.get_actions(request)}:
            raise PermissionDenied
        # The window is named as the page is; Django's name would be "Select track to change".
        context = {"title": capfirst(str(self.opts.verbose_name_plural)), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response


class PlainList(ChangeList):
    """A list whose head has no count: the theme would offer to "Show all" of what is shown already."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count


class ReadOnlyAdmin(RefusingAdmin):
    """A list and pages to read: nothing is added, changed or deleted here."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PlainList

    # Whether people do anything to these that would make a history.
    has_history = True

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if not self.has_history:
            context["show_history"] = False
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return response

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
