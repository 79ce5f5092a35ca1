"""The catalogue: tracks, and which of them are stale."""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
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


def check_web_address(address: str) -> None:
    """Raise ValidationError for anything but an http or https address."""
    if not is_web_url(address):
        raise ValidationError("Use an http or https address.")


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
        return self.filter(
            Q(metadata_fetched_at=None) | Q(metadata_fetched_at__lt=stale_before(now or timezone.now()))
        )

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
    audience_fetched_at = models.DateTimeField(
        "audience fetched",
        null=True,
        blank=True,
        help_text="When Soundcharts last answered for this track's audience on any platform.",
    )
    # For sorting the list by an index; what it shows is in TrackAudience.
    audience_total = models.BigIntegerField(
        default=0, db_default=0, editable=False, help_text="The latest figure on the first platform."
    )
    audience_gain = models.BigIntegerField(
        default=0, db_default=0, editable=False, help_text="What the last 28 days added to it."
    )
    created_at = models.DateTimeField("added", auto_now_add=True)
    updated_at = models.DateTimeField("changed", auto_now=True)

    objects = TrackQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            # The stale query and its keyset, oldest first.
            models.Index(fields=("metadata_fetched_at", "id"), name="track_fetched"),
            # Whose audience is stale, and its keyset, oldest first.
            models.Index(fields=("audience_fetched_at", "id"), name="track_audience_fetched"),
            models.Index(fields=("audience_total", "id"), name="track_audience_total"),
            models.Index(fields=("audience_gain", "id"), name="track_audience_gain"),
            models.Index(fields=("name",), name="track_name"),
            models.Index(fields=("credit_name",), name="track_credit_name"),
            models.Index(fields=("isrc",), name="track_isrc"),
            models.Index(fields=("label",), name="track_label"),
            models.Index(fields=("genre",), name="track_genre"),
            models.Index(fields=("release_date",), name="track_release_date"),
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
