"""What is not offered is refused, too."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin


class RefusingAdmin(ModelAdmin):
    """An admin that answers 403 to an action that this user may not take; Django's would ignore it."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        chosen = {*request.POST.getlist("action")} & {*self.actions, "delete_selected"}
        if chosen - {*self.get_actions(request)}:
            raise PermissionDenied
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response


class ReadOnlyAdmin(RefusingAdmin):
    """A list and pages to read: nothing is added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
