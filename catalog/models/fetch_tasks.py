"""The jobs that fetch, and each job's chunks and failures: also the queue, written by `catalog.jobs` only."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from catalog.models.audience import platform_names
from catalog.models.tracks import Track
from catalog.words import plural


class MetadataFetchTask(models.Model):
    """One job: what was asked for, how far it is, and what it cost."""

    class Type(models.TextChoices):
        METADATA = "metadata", "Metadata of one track"
        AUDIENCE = "audience", "Audience of one track"
        BULK_METADATA = "bulk_metadata", "Metadata of many tracks"
        BULK_AUDIENCE = "bulk_audience", "Audience of many tracks"
        IMPORT = "import", "Import of tracks"

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"  # asked for; no worker has begun, or it was resumed
        RUNNING = "running", "Running"  # a worker has claimed a chunk of it
        PAUSED = "paused", "Paused"  # by hand, or because every further call would fail
        COMPLETED = "completed", "Completed"  # every track has its outcome
        FAILED = "failed", "Failed"  # every track failed, or it could not go on
        CANCELLED = "cancelled", "Cancelled"  # stopped for good, by hand

    ACTIVE = (Status.PENDING, Status.RUNNING, Status.PAUSED)
    AUDIENCE = (Type.AUDIENCE, Type.BULK_AUDIENCE)
    ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)

    task_type = models.CharField("type", max_length=20, choices=Type)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    title = models.CharField(max_length=200, help_text="What was asked for, in words.")
    request = models.JSONField(default=dict, help_text="What was asked for, for the planner.")
    dedupe_key = models.CharField(
        max_length=100, help_text="Two active jobs never share it: the second request joins the first."
    )
    fresh_after = models.DateTimeField(
        help_text="Tracks for which Soundcharts answered at or after this are skipped."
    )
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="follow_ups",
        help_text="The import that found the tracks, or the job whose failures are tried again.",
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    plan_position = models.JSONField(
        null=True, blank=True, help_text="How far the tracks have been divided into chunks."
    )
    plan_steps = models.PositiveIntegerField(default=0, help_text="Steps of the plan that are done.")
    planned_at = models.DateTimeField(
        null=True, blank=True, help_text="When all chunks existed; until then the total still grows."
    )
    total_tracks = models.PositiveIntegerField(default=0)
    processed_tracks = models.PositiveIntegerField(default=0)
    successful_tracks = models.PositiveIntegerField(
        default=0, help_text="Updated, unchanged, moved, or skipped because already fresh."
    )
    failed_tracks = models.PositiveIntegerField(default=0)
    updated_tracks = models.PositiveIntegerField(default=0)
    unchanged_tracks = models.PositiveIntegerField(default=0)
    skipped_tracks = models.PositiveIntegerField(default=0)
    moved_tracks = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Soundcharts answered with another UUID."
    )
    api_calls = models.PositiveIntegerField("API calls", default=0, help_text="Calls of the quota spent.")

    celery_task_id = models.CharField(
        max_length=50, blank=True, help_text="The Celery message that last worked on it."
    )
    error_code = models.CharField(max_length=50, blank=True)
    error_message = models.TextField(
        blank=True, help_text="Why it is paused or failed, or what it waits for."
    )
    retry_count = models.PositiveIntegerField(
        default=0, help_text="How many times what failed has been tried again, as jobs."
    )
    not_before = models.DateTimeField(
        null=True, blank=True, help_text="No chunk is handed out before this: what hinders it hinders all."
    )
    unreadable_tries = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Tries in a row of which no answer could be read."
    )
    internal_errors = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Unexpected errors in a row, since a track last had its outcome."
    )
    usage_refused = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether the free usage call was refused, too, when it paused for credentials.",
    )
    known_missing = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text="Tracks in a row that Soundcharts knew before, and now says that it does not know.",
    )
    # How far it was a moment ago, and a moment before that: see `catalog.jobs.pace`.
    pace_at = models.DateTimeField(null=True, blank=True)
    pace_tracks = models.PositiveIntegerField(default=0, db_default=0)
    earlier_pace_at = models.DateTimeField(null=True, blank=True)
    earlier_pace_tracks = models.PositiveIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField("asked for", db_default=Now())
    started_at = models.DateTimeField("started", null=True, blank=True)
    completed_at = models.DateTimeField("ended", null=True, blank=True)

    class Meta:
        verbose_name = "fetch task"
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("dedupe_key",),
                condition=Q(status__in=("pending", "running", "paused")),
                name="one_active_job_per_request",
            ),
            models.CheckConstraint(
                condition=Q(processed_tracks=F("successful_tracks") + F("failed_tracks"))
                & Q(
                    successful_tracks=F("updated_tracks")
                    + F("unchanged_tracks")
                    + F("skipped_tracks")
                    + F("moved_tracks")
                ),
                name="counters_add_up",
            ),
        )
        indexes = (
            models.Index(fields=("status", "-id"), name="job_status"),
            # A track's own jobs are found by their key.
            models.Index(fields=("dedupe_key", "-id"), name="job_dedupe_key"),
            # The list by date, and its filter of the last days; what is old enough to be pruned.
            models.Index(fields=("created_at", "id"), name="job_created"),
            models.Index(fields=("completed_at",), name="job_completed"),
        )
        permissions = (("control_metadatafetchtask", "Can pause, resume, cancel and retry fetch tasks"),)

    def __str__(self) -> str:
        return f"#{self.pk} · {self.title}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def status_label(self) -> str:
        """The status in words; a completed task includes its errors: "Completed with 26 errors"."""
        label = self.get_status_display()
        return f"{label} with {plural(self.failed_tracks, 'error')}" if self.has_errors else label

    @property
    def has_errors(self) -> bool:
        """Whether it completed although some of its tracks failed."""
        return self.status == self.Status.COMPLETED and self.failed_tracks > 0

    @property
    def status_colour(self) -> str:
        """What the admin's theme calls the colour of its status."""
        if self.has_errors:
            return "warning"
        return {
            self.Status.PENDING: "info",
            self.Status.RUNNING: "primary",
            self.Status.PAUSED: "warning",
            self.Status.COMPLETED: "success",
            self.Status.FAILED: "danger",
        }.get(self.Status(self.status), "default")

    @property
    def is_import(self) -> bool:
        return self.task_type == self.Type.IMPORT

    @property
    def is_list_import(self) -> bool:
        """Whether it imports a list that somebody brought, rather than one of Soundcharts' own."""
        return self.is_import and "list" in self.request

    @property
    def remaining_tracks(self) -> int:
        """How many of its tracks, or songs, have no outcome yet, as far as they are planned."""
        return max(0, self.total_tracks - self.processed_tracks)

    @property
    def is_audience(self) -> bool:
        return self.task_type in self.AUDIENCE

    @property
    def refused_sentence(self) -> str:
        """Which platforms of an audience job the plan lacks, in words; empty when it has them all."""
        if not (refused := self.request.get("refused")):
            return ""
        return f"The Soundcharts plan does not include {platform_names(refused)}: not asked for any more."

    @property
    def progress_percent(self) -> int:
        """Whole per cent done: 100 only when everything is done, and never more."""
        if not self.total_tracks:
            return 100 if self.status == self.Status.COMPLETED else 0
        # More tracks may follow until planning has finished.
        most = 99 if self.is_active and self.planned_at is None else 100
        return min(most, self.processed_tracks * 100 // self.total_tracks)

    @property
    def failed_percent(self) -> int:
        """Whole per cent failed, at least 1 where anything has: it is part of what is done."""
        if not self.total_tracks or not self.failed_tracks:
            return 0
        return min(100, max(1, self.failed_tracks * 100 // self.total_tracks))

    @property
    def outcome_sentence(self) -> str:
        """Counts in words, with nothing hidden: "9,970 updated, 22 unchanged, 8 failed"."""
        words = (
            ("added", "already here", "listed twice")
            if self.is_import
            else ("updated", "unchanged", "skipped")
        )
        counts = (
            (self.updated_tracks, words[0]),
            (self.unchanged_tracks, words[1]),
            (self.skipped_tracks, words[2]),
            (self.moved_tracks, "moved"),
            (self.failed_tracks, "failed"),
        )
        nothing = "nothing yet" if self.is_active else "nothing was done"
        return ", ".join(f"{count:,} {word}" for count, word in counts if count) or nothing


class FetchChunk(models.Model):
    """The unit of work that a worker claims: tracks of one job, done in order up to `position`.

    An import has no `track_ids`. For a list of Soundcharts' own, `size` is how many songs are still to be
    listed, as far as is known; for a pasted one, `items` holds the rows that are to be looked up.
    """

    job = models.ForeignKey(MetadataFetchTask, on_delete=models.CASCADE, related_name="chunks")
    track_ids: Any = models.JSONField(default=list)
    items: Any = models.JSONField(
        null=True, blank=True, help_text="Rows of a pasted list: number, line, identifier, as given."
    )
    size = models.PositiveIntegerField()
    position = models.PositiveIntegerField(default=0, help_text="How many have their outcome.")
    lease_owner = models.CharField(max_length=40, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    lease_count = models.PositiveSmallIntegerField(
        default=0, help_text="Times claimed since it last moved; grows when workers die on it."
    )
    error_count = models.PositiveSmallIntegerField(default=0, help_text="Passing errors since it last moved.")
    asks_singly = models.BooleanField(
        default=False, db_default=False, help_text="Batches left its next tracks out, again and again."
    )
    not_before = models.DateTimeField(null=True, blank=True, help_text="Waits until then.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("pk",)
        indexes = (
            models.Index(fields=("job", "id"), condition=Q(finished_at=None), name="chunk_unfinished"),
            # Living leases, of whatever job: few among all chunks.
            models.Index(
                fields=("lease_expires_at",),
                condition=Q(finished_at=None, lease_expires_at__isnull=False),
                name="chunk_leased",
            ),
        )

    def __str__(self) -> str:
        return f"chunk {self.pk} of job {self.job_id}: {self.position} of {self.size}"


class FetchFailure(models.Model):
    """A track that a job could not fetch, and why."""

    job = models.ForeignKey(
        MetadataFetchTask, on_delete=models.CASCADE, related_name="failures", db_index=False
    )
    track = models.ForeignKey(
        Track, null=True, blank=True, on_delete=models.SET_NULL, related_name="failures"
    )
    item = models.CharField(max_length=100, help_text="The track's UUID, or what stood in its place.")
    code = models.CharField(max_length=50)
    message = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=("job", "item"), name="one_failure_per_item_and_job"),)
        indexes = (
            # The lists of failures: of a job, of a job by code, by code.
            models.Index(fields=("job", "id"), name="failure_of_job"),
            models.Index(fields=("job", "code", "id"), name="failure_of_job_by_code"),
            models.Index(fields=("code", "id"), name="failure_by_code"),
            # Those of the last days, by code.
            models.Index(fields=("created_at", "code"), name="failure_created"),
            # What cannot be tried again is counted without looking at the others.
            models.Index(fields=("job", "code"), condition=Q(track=None), name="failure_without_track"),
        )

    def __str__(self) -> str:
        return f"{self.item}: {self.code}"
