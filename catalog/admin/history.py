"""The history of a thing: who changed it by hand, and when."""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest


class NewestFirst:
    """An admin whose histories begin with what was done last; Django's begin with what was done first."""

    def get_paginator(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **options: Any) -> Any:
        if queryset.model is LogEntry:
            queryset = queryset.order_by("-action_time", "-pk")
        return super().get_paginator(request, queryset, *args, **options)  # type: ignore[misc]
