"""Metadata: ten tracks a call, what Soundcharts says about each."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from django.db.models.functions import Now

from catalog.fetching.results import Result
from catalog.fetching.saving import database_now, save_answers
from catalog.mapping import TrackReport
from catalog.models import FetchChunk, MetadataFetchTask, Track
from soundcharts.errors import SoundchartsError
from soundcharts.service import SoundchartsService


class Metadata:
    """Ask for the metadata of tracks that are stale, as many a call as the account allows."""

    task_types: tuple[str, ...] = (
        MetadataFetchTask.Type.METADATA,
        MetadataFetchTask.Type.BULK_METADATA,
        MetadataFetchTask.Type.IMPORT,
    )

    def batch_size(self, service: SoundchartsService) -> int:
        return service.effective_batch_size

    def is_proven(self, job: MetadataFetchTask, service: SoundchartsService) -> bool:
        return service.knows_batches

    def find(
        self, job: MetadataFetchTask, service: SoundchartsService, track_ids: Sequence[int]
    ) -> dict[int, Result]:
        tracks = Track.objects.filter(pk__in=track_ids)
        if job.request.get("only_stale"):
            tracks = tracks.awaited(now=Now())
        return {
            pk: Result(pk, str(uuid))
            for pk, uuid, fetched_at in tracks.values_list("pk", "uuid", "metadata_fetched_at")
            if fetched_at is None or fetched_at < job.fresh_after
        }

    def fetch(
        self, service: SoundchartsService, wanted: Sequence[Result]
    ) -> tuple[dict[int, Result], SoundchartsError | None]:
        uuids = {UUID(result.item): result for result in wanted}
        answer = service.get_songs(list(uuids))
        found = {
            result.track_id: replace(result, answer=answer.songs.get(uuid) or answer.errors.get(uuid))
            for uuid, result in uuids.items()
        }
        return found, answer.interrupted_by

    def save(self, chunk: FetchChunk, results: Sequence[Result]) -> dict[int, TrackReport]:
        answered = {result.track_id: result.answer for result in results if result.answer is not None}
        # In key order, so that two jobs with the same tracks never wait for each other in a ring.
        locked = Track.objects.select_for_update().filter(pk__in=answered).order_by("pk")
        answers = [(track, answered[track.pk]) for track in locked]
        return save_answers(answers, job_id=chunk.job_id, now=database_now(chunk))
