"""The history of a thing: who changed it by hand, and when; and what is known of one that is gone."""

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
        """Say what became of a thing that is gone, and lead to the others; None for what never was."""
        opts = self.model._meta  # type: ignore[attr-defined]
        # NUL is no text to PostgreSQL, and nobody's key is so long.
        if not self.has_view_or_change_permission(request) or "\0" in key or len(key) > 100:  # type: ignore[attr-defined]
            return None
        entry = last_entry_of(self.model, key)  # type: ignore[attr-defined]
        if entry is None:
            return None
        messages.warning(request, what_became_of(entry, str(opts.verbose_name)))
        return go_to(request, reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"))

    def gone_or_404(self, request: HttpRequest, key: str) -> HttpResponse:
        """The same for what is sent to a thing. Raises Http404."""
        if (answer := self.answer_for_gone(request, key)) is None:
            raise Http404
        return answer


def last_entry_of(model: Any, key: str) -> LogEntry | None:
    """Return the entry of a thing's deletion; without one, its last entry, which has its name; or None."""
    is_deletion = Case(When(action_flag=DELETION, then=Value(0)), default=Value(1))
    entries = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(model), object_id=key)
    return entries.select_related("user").order_by(is_deletion, "-action_time", "-pk").first()


def what_became_of(entry: LogEntry, kind: str) -> str:
    """Return a sentence on a thing that is gone: its name, and who deleted it and when, if known."""
    name = f"{capfirst(kind)} “{entry.object_repr}”"
    if entry.action_flag != DELETION:
        return f"{name} no longer exists. There is no record of who removed it."
    # What the log of a track's deletion keeps beside its name.
    detail = f" ({entry.change_message})" if entry.change_message.startswith("UUID ") else ""
    who = entry.user.get_full_name() or entry.user.get_username()
    when = date_format(timezone.localtime(entry.action_time), "DATETIME_FORMAT")
    return f"{name}{detail} was deleted by {who} on {when}."
