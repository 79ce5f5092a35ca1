"""The history of an object: who changed it by hand and when, and who deleted it."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.contenttypes.models import ContentType
from django.db.models import Case, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.text import capfirst

from catalog.admin.answers import go_to


class NewestFirst:
    """An admin whose histories begin with what was done last; Django's begin with what was done first."""

    def get_paginator(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **options: Any) -> Any:
        if queryset.model is LogEntry:
            queryset = queryset.order_by("-action_time", "-pk")
        return super().get_paginator(request, queryset, *args, **options)  # type: ignore[misc]

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        missing = super()._get_obj_does_not_exist_redirect  # type: ignore[misc]
        answer: HttpResponse = self.answer_for_gone(request, unquote(object_id)) or missing(
            request, opts, object_id
        )
        return answer

    def answer_for_gone(self, request: HttpRequest, key: str) -> HttpResponse | None:
        """Redirect from a deleted object to its list with a message; return None if it never existed."""
        opts = self.model._meta  # type: ignore[attr-defined]
        # PostgreSQL rejects NUL in text, and no key is this long.
        if not self.has_view_or_change_permission(request) or "\0" in key or len(key) > 100:  # type: ignore[attr-defined]
            return None
        entry = last_entry_of(self.model, key)  # type: ignore[attr-defined]
        if entry is None:
            return None
        messages.warning(request, what_became_of(entry, str(opts.verbose_name)))
        return go_to(request, reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"))

    def gone_or_404(self, request: HttpRequest, key: str) -> HttpResponse:
        """Do the same for a request to an object. Raises Http404 if it never existed."""
        if (answer := self.answer_for_gone(request, key)) is None:
            raise Http404
        return answer


def last_entry_of(model: Any, key: str) -> LogEntry | None:
    """Return the log entry of an object's deletion, else its last entry (for the name), or None."""
    is_deletion = Case(When(action_flag=DELETION, then=Value(0)), default=Value(1))
    entries = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model), object_id=key)
    return entries.select_related("user").order_by(is_deletion, "-action_time", "-pk").first()


def what_became_of(entry: LogEntry, kind: str) -> str:
    """Return a sentence about a deleted object: its name, and who deleted it and when, if known."""
    name = f"{capfirst(kind)} “{entry.object_repr}”"
    if entry.action_flag != DELETION:
        return f"{name} no longer exists. There is no record of who removed it."
    # The log of a track's deletion also holds its UUID.
    detail = f" ({entry.change_message})" if entry.change_message.startswith("UUID ") else ""
    who = entry.user.get_full_name() or entry.user.get_username()
    when = date_format(timezone.localtime(entry.action_time), "DATETIME_FORMAT")
    return f"{name}{detail} was deleted by {who} on {when}."
