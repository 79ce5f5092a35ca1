"""What happened to a job, for its page: written by `catalog.jobs` only, together with what it tells of."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from catalog.models.fetch_tasks import MetadataFetchTask


class JobEvent(models.Model):
    """One thing that happened to a job, or the same thing again and again (`count`, `last_at`)."""

    class Kind(models.TextChoices):
        REQUESTED = "requested", "Asked for"
        PLANNED = "planned", "Planned"  # all its tracks are known
        STARTED = "started", "Started"  # a worker has taken it up
        WENT_ON = "went_on", "Went on"  # a worker has taken it up after it was resumed
        WAITING = "waiting", "Waiting"  # for a passing reason; not a state
        PAUSED = "paused", "Paused"
        RESUMED = "resumed", "Resumed"
        COMPLETED = "completed", "Completed"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"
        RETRIED = "retried", "Tried again"  # as another job
        REFUSED = "refused", "Refused in part"  # the plan lacks a platform

    job = models.ForeignKey(MetadataFetchTask, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind)
    code = models.CharField(max_length=50, blank=True, help_text="Why; the same code is the same reason.")
    text = models.TextField(blank=True)
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    at = models.DateTimeField(db_default=Now())
    count = models.PositiveIntegerField(default=1, help_text="How many times, the last of them at last_at.")
    last_at = models.DateTimeField(db_default=Now())
    until = models.DateTimeField(null=True, blank=True, help_text="When it is tried again.")

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.at}: job {self.job_id} {self.get_kind_display().lower()}"


class FailureCount(models.Model):
    """How many failures with one code a job has: what the page shows of a million rows without counting."""

    job = models.ForeignKey(
        MetadataFetchTask, on_delete=models.CASCADE, related_name="failure_counts", db_index=False
    )
    code = models.CharField(max_length=50)
    count = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("-count", "code")
        constraints = (models.UniqueConstraint(fields=("job", "code"), name="one_count_per_job_and_code"),)

    def __str__(self) -> str:
        return f"job {self.job_id}: {self.count} x {self.code}"
