"""Trying again what failed."""

from uuid import UUID

from catalog.explanations import explain
from catalog.jobs.audience_requests import request_audience
from catalog.jobs.events import User
from catalog.jobs.import_requests import request_import, request_list_import
from catalog.jobs.making import LARGEST_SELECTION, Requested, make_job
from catalog.jobs.requests import request_metadata
from catalog.jobs.states import IllegalTransition
from catalog.models import MetadataFetchTask
from catalog.song_lists import Entry, identifier_in

Type = MetadataFetchTask.Type
# What an audience job asks of each of its tracks; a retry asks the same.
AUDIENCE_ASKED = ("platforms", "days", "fill_gaps")


def request_retry(job: MetadataFetchTask, *, code: str = "", requested_by: User = None) -> Requested:
    """Ask again for the failures of an ended job, or those of one code, or for a whole import that failed.

    Tracks that were fetched after the job had ended are skipped and cost nothing; so are the platforms of an
    audience that have answered since it began. More failures than a selection can hold are divided by a
    worker. Raises IllegalTransition while the job is active and ValueError where nothing can be tried again.
    """
    if job.is_active:
        raise IllegalTransition(job, MetadataFetchTask.Status.PENDING)
    failures = job.failures.filter(track__isnull=False)
    title = f"Failures of task #{job.pk}"
    if code:
        failures = failures.filter(code=code)
        title = f"{title}: {explain(code).title}"[:200]
    found = failures.values_list("track_id", flat=True)[: LARGEST_SELECTION + 1]
    track_ids = [pk for pk in found if pk is not None]
    fresh_after = job.created_at if job.is_audience else job.completed_at
    if len(track_ids) > LARGEST_SELECTION:
        asked = {name: job.request[name] for name in AUDIENCE_ASKED} if job.is_audience else {}
        return make_job(
            task_type=Type.BULK_AUDIENCE if job.is_audience else Type.BULK_METADATA,
            title=title,
            request=asked | {"what": "failures", "of": job.pk, "code": code, "only_due": False},
            dedupe_key=f"failures:{job.pk}:{code}",
            requested_by=requested_by,
            parent=job,
            fresh_after=fresh_after,
        )
    if track_ids and job.is_audience:
        return request_audience(
            track_ids,
            platforms=job.request["platforms"],
            days=job.request["days"],
            fill_gaps=job.request["fill_gaps"],
            requested_by=requested_by,
            parent=job,
            title=title,
            fresh_after=fresh_after,
        )
    if track_ids:
        return request_metadata(
            track_ids,
            requested_by=requested_by,
            parent=job,
            title=title,
            fresh_after=fresh_after,
        )
    if job.is_list_import and job.failed_tracks:
        failures = job.failures.filter(code=code) if code else job.failures.all()
        items = failures.order_by("pk").values_list("item", flat=True)
        return request_list_import(
            [Entry(line, item, identifier_in(item)) for line, item in enumerate(items, start=1)],
            requested_by=requested_by,
            parent=job,
            title=f"Failures of import #{job.pk}",
        )
    if job.is_import and not job.is_list_import and job.status == job.Status.FAILED and not code:
        asked = job.request
        return request_import(
            limit=asked["limit"],
            offset=asked["offset"],
            artist_uuid=UUID(asked["artist_uuid"]) if asked["artist_uuid"] else None,
            requested_by=requested_by,
            parent=job,
        )
    raise ValueError(f"Task #{job.pk} has no failed track that could be tried again.")
