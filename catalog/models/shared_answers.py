"""Requests to Soundcharts before a job exists: paid for once, however many people ask together."""

from typing import Any

from django.db import models
from django.db.models.functions import Now


class SharedAnswer(models.Model):
    """The answer to one question. While one process asks, the others wait for its answer."""

    key = models.CharField(max_length=700, unique=True)
    answer: Any = models.JSONField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True, help_text="Since when somebody asks; else empty.")
    failures = models.PositiveIntegerField(default=0, db_default=0)
    error = models.TextField(blank=True, help_text="What the last failure said.")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    def __str__(self) -> str:
        return self.key
