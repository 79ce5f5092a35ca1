"""The catalogue: tracks, and which of them are stale."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now, Upper
from django.utils import timezone

from catalog.models.refresh import refresh_days
from catalog.pictures import shown_at
from catalog.song_lists import is_uuid
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

# What says whether a track is stale, and whether it waits.
_COUNTED = ("metadata_fetched_at", "metadata_retry_at")


def stale_before(moment: datetime, *, days: int | None = None) -> datetime:
    """Return the time such that tracks fetched before it are stale at `moment`.

    `days` is how old metadata may get; by default as long as the schedule says.
    """
    return moment - timedelta(days=refresh_days() if days is None else days)


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

    def identified_by(self, identifiers: Collection[str]) -> "TrackQuerySet":
        """Keep tracks that have one of these uuids and ISRCs, each in its one spelling."""
        uuids = [UUID(value) for value in identifiers if is_uuid(value)]
        isrcs = [value for value in identifiers if not is_uuid(value)]
        return self.filter(Q(uuid__in=uuids) | Q(isrc__in=isrcs))

    def aged(self, *, now: datetime | None = None, days: int | None = None) -> "TrackQuerySet":
        """Keep tracks fetched once, but longer ago than the refresh interval (or than `days`)."""
        return self.filter(metadata_fetched_at__lt=stale_before(now or timezone.now(), days=days))

    def stale(self, *, now: datetime | None = None, days: int | None = None) -> "TrackQuerySet":
        """Keep tracks never fetched, or fetched longer ago than the refresh interval (or than `days`)."""
        return self.stale_since(stale_before(now or timezone.now(), days=days))

    def stale_since(self, moment: datetime) -> "TrackQuerySet":
        """Keep tracks never fetched, or fetched before that moment."""
        return self.filter(Q(metadata_fetched_at=None) | Q(metadata_fetched_at__lt=moment))

    def fresh(self, *, now: datetime | None = None) -> "TrackQuerySet":
        """Keep tracks that are not stale."""
        return self.filter(metadata_fetched_at__gte=stale_before(now or timezone.now()))

    def failing(self) -> "TrackQuerySet":
        """Keep tracks of which the last fetch failed."""
        return self.filter(metadata_error__gt="")

    def awaited(self, *, now: datetime | Now | None = None) -> "TrackQuerySet":
        """Leave out tracks that Soundcharts did not know and that are not to be asked for again yet."""
        return self.filter(Q(metadata_retry_at=None) | Q(metadata_retry_at__lte=now or timezone.now()))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the tracks with all that hangs on them.

        Locked in key order before anything else, as by whoever saves what was fetched: who deletes the
        audience of a track first and then waits for the track would wait for somebody who waits for it.
        """
        with transaction.atomic():
            keys = self.order_by().values("pk")
            list(Track.objects.select_for_update().filter(pk__in=keys).order_by("pk").values_list("pk"))
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def after(self, column: str, moment: datetime | None, pk: int) -> "TrackQuerySet":
        """Keep what comes after a track in the order of a moment and the key."""
        return self.filter(**{f"{column}__gte": moment}).exclude(**{column: moment}, pk__lte=pk)

    def due(self, *, now: datetime | None = None) -> "TrackQuerySet":
        """Keep what a refresh fetches: stale tracks that are awaited."""
        return self.stale(now=now).awaited(now=now)

    def count_stale(self, *, now: datetime | None = None, days: int | None = None) -> int:
        """Count what `stale` keeps: two counts, each from an index alone."""
        return self.never_fetched().count() + self.aged(now=now, days=days).count()

    def count_waiting(self, *, now: datetime | None = None, days: int | None = None) -> int:
        """Count what is stale and not awaited, which is little."""
        now = now or timezone.now()
        return self.stale(now=now, days=days).filter(metadata_retry_at__gt=now).count()

    def count_due(self, *, days: int | None = None) -> int:
        """Count what `due` keeps (of another age in days), without walking the table."""
        now = timezone.now()
        return self.count_stale(now=now, days=days) - self.count_waiting(now=now, days=days)


class Track(models.Model):
    """A song we hold, keyed by its Soundcharts uuid."""

    uuid = models.UUIDField("Soundcharts UUID", unique=True)
    name = models.CharField(max_length=500, blank=True)
    slug = models.CharField(max_length=500, blank=True)
    credit_name = models.CharField("credit", max_length=500, blank=True)
    # Not a URLField: its check refuses host names that exist, so a fetched address could not be saved.
    image_url = models.CharField("image", max_length=1000, blank=True, validators=[check_web_address])
    release_date = models.DateField(null=True, blank=True)
    duration = models.PositiveIntegerField(null=True, blank=True, help_text="In seconds.")
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
    moved_to = models.UUIDField(
        null=True, blank=True, editable=False, help_text="The UUID with which Soundcharts answers instead."
    )
    moved_song = models.JSONField(
        null=True, blank=True, editable=False, help_text="What that answer said, for when it is adopted."
    )
    # The number stays when the task itself is pruned, and nothing is ever looked up by it.
    metadata_job = models.ForeignKey(
        "catalog.MetadataFetchTask",
        verbose_name="last task",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_index=False,
        db_constraint=False,
        help_text="The task that last asked Soundcharts for this track.",
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
            # The orders of the list, and its filters. Each ends with the key, so that no order is a draw.
            models.Index(fields=("name", "id"), name="track_by_name"),
            models.Index(fields=("isrc", "id"), name="track_by_isrc"),
            # PostgreSQL counts what is stale of a label, a genre or a year from the index alone.
            models.Index(SortKey("label"), "id", include=("label", *_COUNTED), name="track_by_label"),
            models.Index(fields=("genre", "id"), include=_COUNTED, name="track_by_genre"),
            models.Index(fields=("release_date", "id"), include=_COUNTED, name="track_by_release_date"),
            models.Index(fields=("audience_fetched_at", "id"), name="track_by_audience"),
            models.Index(fields=("audience_total", "id"), name="track_by_audience_total"),
            models.Index(fields=("audience_gain", "id"), name="track_by_audience_gain"),
            models.Index(fields=("metadata_error", "id"), name="track_by_error"),
            models.Index(fields=("id",), condition=Q(moved_to__isnull=False), name="track_moved"),
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

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the track with all that hangs on it; locked first, as in `TrackQuerySet.delete`."""
        with transaction.atomic():
            list(Track.objects.select_for_update().filter(pk=self.pk).values_list("pk"))
            return super().delete(*args, **kwargs)

    delete.alters_data = True  # type: ignore[attr-defined]

    @property
    def soundcharts_address(self) -> str:
        """The song's page at Soundcharts, for people (the `appUrl` of its API)."""
        return f"https://app.soundcharts.com/app/song/{self.uuid}/overview"

    @property
    def is_stale(self) -> bool:
        return self.metadata_fetched_at is None or self.metadata_fetched_at < stale_before(timezone.now())

    @property
    def freshness(self) -> str:
        """How recent the metadata are, in words."""
        if self.metadata_fetched_at is None:
            return "never fetched"
        return "aged" if self.is_stale else "fresh"

    @property
    def cover(self) -> str:
        """The cover's address on pages; `image_url` keeps the original from Soundcharts or staff."""
        return shown_at(self.image_url)

    @property
    def initials(self) -> str:
        """What stands where there is no cover: the first letters of the first two words of the name."""
        words = ("".join(letter for letter in word if letter.isalnum()) for word in self.name.split())
        return "".join(word[0] for word in words if word)[:2].upper()
