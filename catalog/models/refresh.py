"""What staff have decided about refreshing by itself, and what the last run did."""

import time

from django.conf import settings
from django.db import models

# Seconds that a process goes by what it last read: a change is seen everywhere within them.
REMEMBERED_SECONDS = 5.0

# For each kind, until when the answer counts (monotonic), and the days that staff have set, if any.
_remembered: dict[str, tuple[float, int | None]] = {}


class RefreshPolicy(models.Model):
    """How old what was fetched may get, and how much a run may take: one row for each kind of refresh.

    When it runs stands in django-celery-beat's rows. Written by `catalog.schedule` only.
    """

    class Kind(models.TextChoices):
        METADATA = "metadata", "Refresh of stale metadata"
        AUDIENCE = "audience", "Refresh of audience"

    class Outcome(models.TextChoices):
        MADE = "made", "Made a task"
        JOINED = "joined", "Joined the task that was there"
        FRESH = "fresh", "Everything was fresh"

    kind = models.CharField(max_length=20, primary_key=True, choices=Kind)
    max_age_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="What was fetched longer ago is stale. Empty: as the settings say."
    )
    tracks_per_run = models.PositiveIntegerField(
        null=True, blank=True, help_text="At most so many tracks a run. Empty: all that are stale."
    )
    has_own_timing = models.BooleanField(
        default=False, help_text="Staff have said when it runs; until then it is as the settings say."
    )
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_run_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    last_run_job = models.ForeignKey(
        "catalog.MetadataFetchTask", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    last_run_outcome = models.CharField(max_length=10, blank=True, choices=Outcome)

    class Meta:
        verbose_name = "schedule"
        verbose_name_plural = "schedule"
        default_permissions = ()
        permissions = (
            ("view_refreshpolicy", "Can view the schedule"),
            ("change_refreshpolicy", "Can change the schedule and run it now (spends API calls)"),
        )

    def __str__(self) -> str:
        return self.get_kind_display()

    @property
    def days(self) -> int:
        """After how many days what was fetched is stale: as staff have set it, else as the settings say."""
        return _days_or_setting(self.kind, self.max_age_days)


def read_refresh_days(kind: RefreshPolicy.Kind = RefreshPolicy.Kind.METADATA) -> int:
    """Return after how many days what was fetched is stale, as the database says now."""
    days = RefreshPolicy.objects.filter(pk=kind).values_list("max_age_days", flat=True).first()
    _remembered[kind] = (time.monotonic() + REMEMBERED_SECONDS, days)
    return _days_or_setting(kind, days)


def refresh_days(kind: RefreshPolicy.Kind = RefreshPolicy.Kind.METADATA) -> int:
    """Return the same from memory where it was read a moment ago: a list asks for every row."""
    until, days = _remembered.get(kind, (0.0, None))
    return _days_or_setting(kind, days) if time.monotonic() < until else read_refresh_days(kind)


def forget_refresh_days() -> None:
    """Let this process read it again next time."""
    _remembered.clear()


def _days_or_setting(kind: str, days: int | None) -> int:
    if days is not None:
        return days
    is_audience = kind == RefreshPolicy.Kind.AUDIENCE
    return settings.AUDIENCE_REFRESH_DAYS if is_audience else settings.METADATA_REFRESH_DAYS
