"""A worker's shift on a job: which chunk comes next, and its calls, begun before the one before it ends."""

import logging
from time import monotonic
from uuid import uuid4

from django.conf import settings

from catalog import doorbell, jobs
from catalog.fetching.ahead import BatchesAhead
from catalog.fetching.kinds import kind_of
from catalog.fetching.saving import again_on_a_new_connection
from catalog.models import FetchChunk, MetadataFetchTask
from soundcharts.service import SoundchartsService

logger = logging.getLogger(__name__)


class Shift:
    """Hand a worker one chunk of a job after the other.

    While the last answers of a chunk are waited for and saved, the calls of the next are under way: they
    would otherwise cease at the end of every chunk, and the turns that the rate limit gives would be lost.
    """

    def __init__(self, job_id: int, service: SoundchartsService, *, celery_task_id: str = "") -> None:
        self._job_id = job_id
        self._service = service
        self._celery_task_id = celery_task_id
        self._next: FetchChunk | None = None
        self._ahead: BatchesAhead | None = None
        self._kept_at = 0.0

    @property
    def has_begun_next(self) -> bool:
        """Whether a chunk is leased, and perhaps paid for, that `next_chunk` has not handed out yet."""
        return self._next is not None

    def next_chunk(self) -> tuple[FetchChunk, BatchesAhead | None] | None:
        """Return the next chunk, leased, with the calls that are under way for it, if any."""
        chunk, ahead = self._next or self._claim(), self._ahead
        self._next = self._ahead = None
        return (chunk, ahead) if chunk is not None else None

    def begin_next(self, job: MetadataFetchTask, *, room: int) -> None:
        """Claim the next chunk, if there is none yet, and queue up to `room` of its batches."""
        if self._next is None:
            self._next = self._claim()
            self._kept_at = monotonic()
            # What workers may have died of is worked on alone, in its own time.
            if self._next is None or self._next.lease_count >= jobs.SUSPICIOUS_LEASES:
                return
            if self._next.asks_singly:
                return
            self._ahead = BatchesAhead(
                job,
                self._next,
                self._service,
                batch_size=kind_of(job).batch_size(self._service),
            )
        if self._ahead is not None:
            self._ahead.fill(room=room)

    def start_nothing_more(self) -> None:
        """Take back the batches of the next chunk whose calls have not begun."""
        if self._ahead is not None:
            self._ahead.start_nothing_more()

    def call_off(self) -> None:
        """Take back the calls of the next chunk, also those that wait for their turn."""
        if self._ahead is not None:
            self._ahead.call_off()

    def keep_lease(self) -> None:
        """Renew the next chunk's lease when a third of it is over, for as long as it has to wait."""
        if self._next is None or monotonic() - self._kept_at < settings.CHUNK_LEASE_SECONDS / 3:
            return
        self._kept_at = monotonic()
        try:
            jobs.renew_lease(self._next)
        except jobs.LeaseLost as error:
            # Not this chunk's business: it is found out again when the next one's answers are saved.
            logger.warning("job %s: %s", self._job_id, error)

    def end(self) -> None:
        """Give the next chunk back and record what was spent on it, when an error ends the work."""
        chunk, ahead = self._next, self._ahead
        self._next = self._ahead = None
        try:
            if ahead is not None:
                calls = ahead.abandon()
                again_on_a_new_connection(lambda: jobs.record_calls(self._job_id, calls))
        finally:
            if chunk is not None:
                again_on_a_new_connection(lambda: jobs.release_chunk(chunk))

    def _claim(self) -> FetchChunk | None:
        # A step of the plan, thousands of tracks, before each chunk: fetching begins at once, and the
        # plan is always far ahead of it.
        jobs.plan_job(self._job_id, budget=0)
        chunk = jobs.claim_chunk(self._job_id, owner=uuid4().hex, celery_task_id=self._celery_task_id)
        if chunk is not None and jobs.has_claimable_chunk(self._job_id) and doorbell.count_waiting() == 0:
            # Nobody is queueing, so another worker may be free.
            jobs.ring(self._job_id)
        return chunk
