"""Imports: what somebody is about to import, and what became of every row of an import."""

from django.db import models
from django.db.models.functions import Now

from catalog.models.fetch_tasks import MetadataFetchTask
from catalog.models.tracks import Track

# What is longer is cut in reports: enough for every identifier, and for recognising everything else.
SHOWN_LENGTH = 100


class ImportDraft(models.Model):
    """What somebody is about to import: what was typed, and what Soundcharts was asked about it.

    Lives between the two steps of the import page, and for a day.
    """

    class Source(models.TextChoices):
        LIST = "list", "A list of UUIDs or ISRCs"
        ARTIST = "artist", "The songs of an artist"
        TOP = "top", "The top songs"

    source = models.CharField(max_length=10, choices=Source)
    artist_uuid = models.UUIDField(null=True, blank=True)
    artist_name = models.CharField(max_length=200, blank=True, help_text="As typed, or as chosen.")
    limit = models.PositiveIntegerField(null=True, blank=True)
    offset = models.PositiveIntegerField(null=True, blank=True)
    text = models.TextField(blank=True, help_text="The list, as pasted or as the file had it.")
    file_name = models.CharField(max_length=200, blank=True)
    column = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="The column that holds the identifiers; empty: the likeliest."
    )
    artists = models.JSONField(default=list, blank=True, help_text="What the search for a name found.")
    page = models.JSONField(null=True, blank=True, help_text="The first page of the list, if asked for.")
    page_calls = models.PositiveSmallIntegerField(default=0, help_text="Calls that the page has cost.")
    page_at = models.DateTimeField(null=True, blank=True)
    job = models.ForeignKey(
        MetadataFetchTask, null=True, blank=True, on_delete=models.SET_NULL, related_name="drafts"
    )
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    def __str__(self) -> str:
        return f"Import, not confirmed yet: {self.get_source_display()}"


class ImportRow(models.Model):
    """What became of one row of an import, written with the batch that it was part of."""

    class Outcome(models.TextChoices):
        ADDED = "added", "Added"  # it is a new track
        HERE = "here", "Already here"  # the track was there before the import came to it
        DUPLICATE = "duplicate", "Duplicate"  # the same song stands further up in the list
        NOT_FOUND = "not_found", "Not found"  # Soundcharts does not know it; no track was made
        INVALID = "invalid", "Invalid"  # neither a UUID nor an ISRC; nothing was asked
        FAILED = "failed", "Failed"  # no good answer came

    # The unique constraint begins with it, too.
    job = models.ForeignKey(
        MetadataFetchTask, on_delete=models.CASCADE, related_name="import_rows", db_index=False
    )
    number = models.PositiveIntegerField(help_text="Its place in the list, from 1 on.")
    line = models.PositiveIntegerField(
        null=True, blank=True, help_text="The line of the text or file; empty for lists of Soundcharts."
    )
    item = models.CharField(max_length=SHOWN_LENGTH, help_text="As given.")
    outcome = models.CharField(max_length=10, choices=Outcome)
    message = models.TextField(blank=True)
    # No constraint in the database: it would lock every track that is mentioned, in the list's order, against
    # workers that lock them in key order. Django empties it when a track is deleted.
    track = models.ForeignKey(
        Track,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="import_rows",
        db_constraint=False,
    )

    recheck_at = models.DateTimeField(
        null=True, blank=True, help_text="When an unknown ISRC is looked up again; empty: never."
    )
    rechecks = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="How often it was.")

    class Meta:
        ordering = ("number",)
        constraints = (models.UniqueConstraint(fields=("job", "number"), name="one_row_per_number_and_job"),)
        indexes = (
            models.Index(fields=("job", "outcome", "number"), name="import_row_outcome"),
            # Whether an import has listed a track before.
            models.Index(fields=("job", "track"), name="import_row_track"),
            # What is to be looked up again, by time and by import: few rows of all.
            models.Index(
                fields=("recheck_at", "job"),
                condition=models.Q(recheck_at__isnull=False),
                name="import_row_recheck",
            ),
        )

    def __str__(self) -> str:
        return f"{self.item}: {self.get_outcome_display().lower()}"
