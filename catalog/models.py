"""What is kept: tracks, the jobs that fetch for them, and each job's chunks and failures.

The job tables are also the queue. They are written by `catalog.jobs` only.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, Upper
from django.utils import timezone

from soundcharts.fields import is_web_url

# What Soundcharts tells about a track, in the order people read it.
METADATA_FIELDS = (
    "name",
    "credit_name",
    "slug",
    "release_date",
    "duration",
    "isrc",
    "label",
    "genre",
    "image_url",
)


def stale_before(moment: datetime) -> datetime:
    """Return the time such that tracks fetched before it are stale at `moment`."""
    return moment - timedelta(days=settings.METADATA_REFRESH_DAYS)


def is_stale(now: datetime, *, column: str = "metadata_fetched_at") -> Q:
    """Return the condition of being stale at `now`; `column` is what the stamp is called in the query."""
    return Q(**{column: None}) | Q(**{f"{column}__lt": stale_before(now)})


def check_web_address(address: str) -> None:
    """Raise ValidationError for anything but an http or https address."""
    if not is_web_url(address):
        raise ValidationError("Use an http or https address.")


class SortKey(Upper):
    """A text in the order in which its beginning can be looked up: without case, letter by letter.

    Letters outside of ASCII keep their case on SQLite, which does not know them.
    """

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return super().as_sql(compiler, connection, template='(UPPER(%(expressions)s) COLLATE "C")', **extra)


class TrackQuerySet(models.QuerySet["Track"]):
    """Tracks by freshness. Every verb takes the moment that counts as now (default: now)."""

    def never_fetched(self) -> "TrackQuerySet":
        """Keep tracks for which Soundcharts has never answered."""
        return self.filter(metadata_fetched_at=None)

    def aged(self, *, now: datetime | None = None) -> "TrackQuerySet":
        """Keep tracks fetched once, but longer ago than the refresh interval."""
        return self.filter(metadata_fetched_at__lt=stale_before(now or timezone.now()))

    def stale(self, *, now: datetime | None = None) -> "TrackQuerySet":
        """Keep tracks never fetched, or fetched longer ago than the refresh interval."""
        return self.filter(is_stale(now or timezone.now()))

    def fresh(self, *, now: datetime | None = None) -> "TrackQuerySet":
        """Keep tracks that are not stale."""
        return self.filter(metadata_fetched_at__gte=stale_before(now or timezone.now()))

    def awaited(self, *, now: datetime | None = None) -> "TrackQuerySet":
        """Leave out tracks that Soundcharts did not know and that are not to be asked for again yet."""
        return self.filter(Q(metadata_retry_at=None) | Q(metadata_retry_at__lte=now or timezone.now()))


class Track(models.Model):
    """A song we hold, keyed by its Soundcharts uuid."""

    uuid = models.UUIDField("Soundcharts UUID", unique=True)
    name = models.CharField(max_length=500, blank=True)
    slug = models.CharField(max_length=500, blank=True)
    credit_name = models.CharField("credit", max_length=500, blank=True)
    # Not a URLField: its check refuses host names that exist, so a fetched address could not be saved.
    image_url = models.CharField("image", max_length=1000, blank=True, validators=[check_web_address])
    release_date = models.DateField(null=True, blank=True)
    duration = models.PositiveIntegerField("duration (seconds)", null=True, blank=True)
    isrc = models.CharField("ISRC", max_length=20, blank=True)
    label = models.CharField(max_length=255, blank=True)
    genre = models.CharField(max_length=255, blank=True, help_text="The primary genre.")

    edited_fields = models.JSONField(
        default=list,
        blank=True,
        help_text="Fields changed by hand: a fetch leaves them as they are.",
    )
    metadata_fetched_at = models.DateTimeField(
        "metadata fetched", null=True, blank=True, help_text="When Soundcharts last answered for this track."
    )
    metadata_warnings = models.JSONField(
        default=list, blank=True, help_text="What the last answer contained that could not be understood."
    )
    metadata_error = models.CharField(
        max_length=50, blank=True, help_text="Why the last fetch failed; empty after one that worked."
    )
    metadata_absences = models.PositiveSmallIntegerField(
        default=0, help_text="How many times in a row Soundcharts did not know this track."
    )
    metadata_retry_at = models.DateTimeField(
        null=True, blank=True, help_text="Not asked for again by itself before this."
    )
    audience_fetched_at = models.DateTimeField("audience fetched", null=True, blank=True)
    created_at = models.DateTimeField("added", auto_now_add=True)
    updated_at = models.DateTimeField("changed", auto_now=True)

    objects = TrackQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            # The stale query and its keyset, oldest first.
            models.Index(fields=("metadata_fetched_at", "id"), name="track_fetched"),
            # The orders of the list, and its filters. Each ends with the key, so that no order is a draw.
            models.Index(fields=("name", "id"), name="track_by_name"),
            models.Index(fields=("isrc", "id"), name="track_by_isrc"),
            models.Index(SortKey("label"), "id", name="track_by_label"),
            models.Index(fields=("genre", "id"), name="track_by_genre"),
            models.Index(fields=("release_date", "id"), name="track_by_release_date"),
            models.Index(fields=("audience_fetched_at", "id"), name="track_by_audience"),
            models.Index(fields=("metadata_error", "id"), name="track_by_error"),
            # What is not asked for again yet: few, and subtracted from what is stale.
            models.Index(
                fields=("metadata_retry_at", "metadata_fetched_at"),
                condition=Q(metadata_retry_at__isnull=False),
                name="track_not_awaited",
            ),
        )
        permissions = (
            ("fetch_track", "Can fetch tracks from Soundcharts (spends API calls)"),
            ("import_track", "Can import tracks from Soundcharts (spends API calls)"),
        )

    def __str__(self) -> str:
        if not self.name:
            return str(self.uuid)
        return f"{self.name} – {self.credit_name}" if self.credit_name else self.name

    @property
    def is_stale(self) -> bool:
        return self.metadata_fetched_at is None or self.metadata_fetched_at < stale_before(timezone.now())

    @property
    def freshness(self) -> str:
        """How recent the metadata are, in words."""
        if self.metadata_fetched_at is None:
            return "never fetched"
        return "stale" if self.is_stale else "fresh"

    @property
    def error_words(self) -> str:
        """Why the last fetch failed, in words; empty after one that worked."""
        return self.metadata_error.replace("_", " ")

    @property
    def initials(self) -> str:
        """What stands where there is no cover: the first letters of the first two words of the name."""
        words = ("".join(letter for letter in word if letter.isalnum()) for word in self.name.split())
        return "".join(word[0] for word in words if word)[:2].upper()


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
        FAILED = "failed", "Failed"  # it could not do its work: nothing came of it
        CANCELLED = "cancelled", "Cancelled"  # stopped for good, by hand

    ACTIVE = (Status.PENDING, Status.RUNNING, Status.PAUSED)
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
        default=0, help_text="Updated, unchanged or skipped because already fresh."
    )
    failed_tracks = models.PositiveIntegerField(default=0)
    updated_tracks = models.PositiveIntegerField(default=0)
    unchanged_tracks = models.PositiveIntegerField(default=0)
    skipped_tracks = models.PositiveIntegerField(default=0)
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
                & Q(successful_tracks=F("updated_tracks") + F("unchanged_tracks") + F("skipped_tracks")),
                name="counters_add_up",
            ),
        )
        indexes = (models.Index(fields=("status", "-id"), name="job_status"),)
        permissions = (("control_metadatafetchtask", "Can pause, resume, cancel and retry fetch tasks"),)

    def __str__(self) -> str:
        return f"#{self.pk} {self.title}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def is_import(self) -> bool:
        return self.task_type == self.Type.IMPORT

    @property
    def progress_percent(self) -> int:
        """Whole per cent done, never 100 before everything is."""
        if not self.total_tracks:
            return 100 if self.status == self.Status.COMPLETED else 0
        return self.processed_tracks * 100 // self.total_tracks

    @property
    def outcome_sentence(self) -> str:
        """Counts in words, with nothing hidden: "9,970 updated, 22 unchanged, 8 failed"."""
        words = ("added", "already here") if self.is_import else ("updated", "unchanged")
        counts = (
            (self.updated_tracks, words[0]),
            (self.unchanged_tracks, words[1]),
            (self.skipped_tracks, "skipped"),
            (self.failed_tracks, "failed"),
        )
        return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing yet"


class FetchChunk(models.Model):
    """The unit of work that a worker claims: tracks of one job, done in order up to `position`.

    For an import the items are songs of an upstream list: `track_ids` is empty and `size` is how
    many are still to be listed, as far as is known.
    """

    job = models.ForeignKey(MetadataFetchTask, on_delete=models.CASCADE, related_name="chunks")
    track_ids: Any = models.JSONField(default=list)
    size = models.PositiveIntegerField()
    position = models.PositiveIntegerField(default=0, help_text="How many have their outcome.")
    lease_owner = models.CharField(max_length=40, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    lease_count = models.PositiveSmallIntegerField(
        default=0, help_text="Times claimed since it last moved; grows when workers die on it."
    )
    error_count = models.PositiveSmallIntegerField(default=0, help_text="Passing errors since it last moved.")
    not_before = models.DateTimeField(null=True, blank=True, help_text="Waits until then.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("pk",)
        indexes = (
            models.Index(fields=("job", "id"), condition=Q(finished_at=None), name="chunk_unfinished"),
        )

    def __str__(self) -> str:
        return f"chunk {self.pk} of job {self.job_id}: {self.position} of {self.size}"


class FetchFailure(models.Model):
    """A track that a job could not fetch, and why."""

    job = models.ForeignKey(MetadataFetchTask, on_delete=models.CASCADE, related_name="failures")
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

    def __str__(self) -> str:
        return f"{self.item}: {self.code}"


class ApiAccount(models.Model):
    """What is known of the quota of a Soundcharts account, written by `catalog.quota` only."""

    fingerprint = models.CharField(max_length=64, unique=True, help_text="A hash; never a key.")
    quota_remaining = models.BigIntegerField(
        null=True, blank=True, help_text="Calls left of the plan when Soundcharts last said so."
    )
    observed_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was last asked whether a used-up quota is back."
    )

    def __str__(self) -> str:
        return f"{self.fingerprint}: {self.quota_remaining} calls left"
