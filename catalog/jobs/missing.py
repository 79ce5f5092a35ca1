"""Pause a job when many known tracks in a row are suddenly not found.

A song that Soundcharts has answered for does not disappear often, and many in a row do not at all. So a job
pauses after some of them, whoever answered.
"""

import logging
from dataclasses import dataclass
from typing import Any

from django.db.models import F
from django.db.models.functions import Greatest

from catalog.jobs.states import IllegalTransition, pause_job
from catalog.models import FetchFailure, JobEvent, MetadataFetchTask, Track, TrackAudience

logger = logging.getLogger(__name__)

KNOWN_TRACKS_MISSING = "known_tracks_missing"
# Known tracks in a row that are not found, after which a job pauses.
MOST_IN_A_ROW = 30
PAUSED = (
    "{count:,} tracks in a row were not found, although Soundcharts knew them before. "
    "Check a few of them at Soundcharts, then resume."
)


@dataclass(frozen=True, slots=True)
class Missing:
    """Known tracks of a batch that were not found, counted since the last one that was found, if any."""

    count: int = 0
    is_any_found: bool = False

    @property
    def as_update(self) -> dict[str, Any]:
        """The expression that updates the count on the job's row."""
        if self.is_any_found:
            return {"known_missing": self.count}
        return {"known_missing": F("known_missing") + self.count} if self.count else {}


def ask_about_missing(job: MetadataFetchTask) -> None:
    """Pause a job once if too many known tracks in a row were not found.

    The tracks stay due: nobody has confirmed that they are gone.
    """
    job.refresh_from_db(fields=["known_missing", "status", "error_code"])
    if job.known_missing < MOST_IN_A_ROW:
        return
    if job.status in (job.Status.PENDING, job.Status.RUNNING):
        if JobEvent.objects.filter(
            job_id=job.pk, kind=JobEvent.Kind.PAUSED, code=KNOWN_TRACKS_MISSING
        ).exists():
            return
        try:
            pause_job(job, code=KNOWN_TRACKS_MISSING, reason=PAUSED.format(count=job.known_missing))
        except IllegalTransition:
            logger.info("job %s: was no longer running", job.pk)
    # Also the tracks of calls that were in flight when it paused.
    if job.error_code == KNOWN_TRACKS_MISSING:
        _keep_due(job)


def _keep_due(job: MetadataFetchTask) -> None:
    """Make the tracks of the current row due again at any time."""
    failures = FetchFailure.objects.filter(job=job, code="not_found").order_by("-pk")
    track_ids = list(failures.values_list("track_id", flat=True)[: job.known_missing])
    if job.is_audience:
        rows = TrackAudience.objects.filter(track__in=track_ids, job=job, error="not_found")
        rows.filter(retry_at__isnull=False).update(retry_at=None, absences=Greatest(F("absences") - 1, 0))
        return
    tracks = Track.objects.filter(pk__in=track_ids, metadata_job=job.pk, metadata_error="not_found")
    tracks.filter(metadata_retry_at__isnull=False).update(
        metadata_retry_at=None, metadata_absences=Greatest(F("metadata_absences") - 1, 0)
    )
