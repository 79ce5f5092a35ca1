"""What fetches have changed on tracks: the history that people read."""

from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from catalog.models.fetch_tasks import MetadataFetchTask
from catalog.models.tracks import METADATA_FIELDS, Track


class TrackChangeQuerySet(models.QuerySet["TrackChange"]):
    """Changes by when they were made."""

    def before(self, moment: datetime) -> "TrackChangeQuerySet":
        """Keep changes that were made before a moment."""
        return self.filter(at__lt=moment)


class TrackChange(models.Model):
    """Fields of a track that a fetch gave other values, written with them in one transaction.

    A track's first fetch is no change. What people change is in the admin's own log.
    """

    # Deleted with the track. The index below, which also sorts, is the one that is needed.
    track = models.ForeignKey(Track, on_delete=models.CASCADE, related_name="changes", db_index=False)
    # The number stays when the task itself is pruned.
    job = models.ForeignKey(
        MetadataFetchTask,
        verbose_name="task",
        null=True,
        on_delete=models.DO_NOTHING,
        related_name="track_changes",
        db_constraint=False,
    )
    at = models.DateTimeField()
    changes: Any = models.JSONField(
        encoder=DjangoJSONEncoder, help_text="Of each changed field the value before and the value after."
    )

    objects = TrackChangeQuerySet.as_manager()

    class Meta:
        ordering = ("-at", "-pk")
        indexes = (
            models.Index(fields=("at", "id"), name="track_change_at"),
            models.Index(fields=("track", "at", "id"), name="track_change_track"),
            # Of each field its own short list, newest last: few nights change a slug.
            *(
                models.Index(
                    fields=("at", "id"), condition=Q(changes__has_key=name), name=f"track_change_{name}"
                )
                for name in METADATA_FIELDS
            ),
        )

    def __str__(self) -> str:
        return f"Change #{self.pk} of track {self.track_id}"
