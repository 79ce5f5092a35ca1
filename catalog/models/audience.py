"""How tracks are doing on each platform: a figure a day, and a summary for lists. See docs/audience.md."""

from datetime import UTC, date, datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from catalog.models.refresh import RefreshPolicy, refresh_days
from catalog.models.tracks import Track
from soundcharts.platforms import AUDIENCE_PLATFORMS

# Days whose gains the list shows as a line.
TREND_DAYS = 28
# Days of the first fetch.
FIRST_DAYS = 90

PLATFORM_CHOICES = [(code, platform.name) for code, platform in AUDIENCE_PLATFORMS.items()]


def audience_stale_before(moment: datetime, *, days: int | None = None) -> datetime:
    """Return the time such that audiences fetched before it are stale at `moment`.

    Whole days (UTC), since figures come by the day: at an age of one day, all that was not fetched today.
    `days` is another age than the schedule's.
    """
    today = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=(refresh_days(RefreshPolicy.Kind.AUDIENCE) if days is None else days) - 1)


def platform_names(codes: list[str]) -> str:
    """Return platforms as people write them: "Spotify, YouTube"."""
    return ", ".join(AUDIENCE_PLATFORMS[code].name if code in AUDIENCE_PLATFORMS else code for code in codes)


class TrackAudience(models.Model):
    """A track on a platform: what is known of its series, and the figures that lists show and sort by.

    Written in the transaction that saves its days, so the two always agree.
    """

    id = models.AutoField(primary_key=True)  # Four bytes: it stands in millions of rows of other tables.
    track = models.ForeignKey(Track, on_delete=models.CASCADE, db_index=False, related_name="audiences")
    platform = models.CharField(max_length=20, choices=PLATFORM_CHOICES)

    latest_day = models.DateField(
        null=True, blank=True, help_text="The newest day with a figure of every identifier."
    )
    latest_value = models.BigIntegerField(
        null=True, blank=True, help_text="The figure of that day: all identifiers together."
    )
    gain = models.BigIntegerField(
        null=True, blank=True, help_text=f"What the last {TREND_DAYS} days added, as far as they are known."
    )
    trend = models.JSONField(
        default=list, blank=True, help_text="The gain of each of these days, oldest first; null: not known."
    )
    first_day = models.DateField(null=True, blank=True, help_text="The oldest day with a figure.")
    last_day = models.DateField(null=True, blank=True, help_text="The newest day with any figure.")
    days_known = models.PositiveIntegerField(default=0, help_text="Days with a figure.")
    missing_days = models.PositiveIntegerField(
        default=0, help_text="Days that were asked for, up to the newest figure, and have not come."
    )

    fetched_from = models.DateField(null=True, blank=True, help_text="The oldest day ever asked for.")
    fetched_until = models.DateField(null=True, blank=True, help_text="The newest day ever asked for.")
    fetched_at = models.DateTimeField(
        null=True, blank=True, help_text="When Soundcharts last answered up to the newest day."
    )
    # As on a track: the number stays when the task itself is pruned, and nothing is ever looked up by it.
    job = models.ForeignKey(
        "catalog.MetadataFetchTask",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_index=False,
        db_constraint=False,
        help_text="The task that last asked Soundcharts about it.",
    )
    asked_until = models.DateField(
        null=True, blank=True, help_text="The newest day that this task asked for."
    )
    error = models.CharField(max_length=50, blank=True, help_text="Why the last fetch failed.")
    absences = models.PositiveSmallIntegerField(
        default=0, help_text="How many times in a row Soundcharts did not know the track here."
    )
    retry_at = models.DateTimeField(
        null=True, blank=True, help_text="Not asked for again by itself before this."
    )

    class Meta:
        verbose_name = "audience of a track"
        verbose_name_plural = "audiences of tracks"
        # Whoever may see a track sees its audience, and nobody writes it by hand.
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("track", "platform"), name="one_audience_per_track_and_platform"),
        )
        # Fresh rows and waiting stale rows, counted for the price of a refresh. Rows with missing days,
        # counted for the price of filling gaps, and walked for the plan.
        indexes = (
            models.Index(fields=("platform", "fetched_at"), name="audience_fetched"),
            models.Index(
                fields=("platform", "retry_at"), condition=~Q(retry_at=None), name="audience_waiting"
            ),
            models.Index(
                fields=("platform", "track"), condition=Q(missing_days__gt=0), name="audience_missing"
            ),
        )

    def __str__(self) -> str:
        return f"{self.platform_name} of {self.track}"

    @property
    def platform_name(self) -> str:
        return platform_names([self.platform])

    @property
    def noun(self) -> str:
        """What is counted: "streams"."""
        return AUDIENCE_PLATFORMS[self.platform].noun if self.platform in AUDIENCE_PLATFORMS else "plays"

    @property
    def is_stale(self) -> bool:
        return self.fetched_at is None or self.fetched_at < audience_stale_before(timezone.now())

    def count_days(
        self, *, first: date | None, last: date | None, known: int, released: date | None = None
    ) -> None:
        """Note, unsaved, between which days how many have a figure, and how many are missing.

        `released` is the day of the track's release, before which nothing is missing.
        """
        self.first_day, self.last_day, self.days_known = first, last, known
        self.count_missing(released)

    def count_missing(self, released: date | None) -> None:
        """Update the number of missing days, unsaved; `released` as in `count_days`."""
        span = self.wanted_span(released)
        self.missing_days = (span[1] - span[0]).days + 1 - self.days_known if span else 0

    def wanted_span(self, released: date | None) -> tuple[date, date] | None:
        """Return the first and last day between which a day without a figure counts as missing.

        From the oldest day that was asked for: an answer that brought nothing leaves it unknown. Days after
        the newest figure are asked for by every fetch. Where there is no figure at all, the last days that
        were asked for, as many as are asked for at first.
        """
        if self.first_day is not None and self.last_day is not None:
            since = self.fetched_from or self.first_day
            return min(self.first_day, max(since, released or since)), self.last_day
        if self.fetched_from is None or self.fetched_until is None:
            return None
        since = max(self.fetched_from, self.fetched_until - timedelta(days=FIRST_DAYS - 1))
        since = max(since, released or since)
        return (since, self.fetched_until) if since <= self.fetched_until else None


class AudienceRecording(models.Model):
    """A platform's own identifier of a track, which may have several."""

    id = models.AutoField(primary_key=True)
    audience = models.ForeignKey(
        TrackAudience, on_delete=models.CASCADE, db_index=False, related_name="recordings"
    )
    identifier = models.CharField(max_length=100, blank=True, help_text="Empty where Soundcharts named none.")

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=("audience", "identifier"), name="one_recording_per_audience_and_identifier"
            ),
        )

    def __str__(self) -> str:
        return self.identifier or "(no identifier)"


class AudienceDay(models.Model):
    """What was counted for a recording up to the end of a day. A day that is not known has no row.

    The key is the only index, and the database itself deletes the days of a recording that is deleted: see
    the migration that makes the table.
    """

    pk = models.CompositePrimaryKey("recording_id", "day")
    recording = models.ForeignKey(
        AudienceRecording, on_delete=models.DO_NOTHING, db_index=False, related_name="days"
    )
    day = models.DateField()
    value = models.BigIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.day}: {self.value}"
