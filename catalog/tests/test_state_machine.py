"""Any order of requests, claims, saves, deaths and clicks, on the real database, against a simple model."""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from catalog import doorbell, jobs
from catalog.fetching.metadata import Metadata
from catalog.fetching.results import Result
from catalog.fetching.saving import save_results
from catalog.jobs import planning
from catalog.jobs.states import TRANSITIONS, Status
from catalog.models import FailureCount, FetchChunk, FetchFailure, JobEvent, MetadataFetchTask, Track
from soundcharts.errors import InvalidRequest, NotFound
from soundcharts.payloads import Song

pytestmark = pytest.mark.django_db(transaction=True)

TRACKS = 10
CHUNK = 4
MOST_JOBS = 4
LIVE = 3600
BOUNDS = bounds(
    max_examples=25,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

CLICKS = ("paused", "paused", "pending", "pending", "cancelled")
# The state that a job is in after each kind of event; the others change none.
STATUS_AFTER = {
    "requested": "pending",
    "started": "running",
    "went_on": "running",
    "paused": "paused",
    "resumed": "pending",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
# What can become of one track of a batch: songs, errors, no answer, not to be asked for.
ANSWERS = ("song", "other song", "not found", "bad", "none", "unwanted")
NUMBERS = st.integers(0, 5)
DELAYS = st.builds(jobs.Delay, st.sampled_from([0, LIVE]), is_attempt=st.booleans())


@dataclass
class Seen:
    """What the model knows of one job."""

    by_planner: MetadataFetchTask
    status: str = Status.PENDING
    total: int = 0
    outcomes: dict[int, str] = field(default_factory=dict)


@dataclass
class Worker:
    """A worker's own idea of its chunk, which may long be another's; it may die at any moment."""

    chunk: FetchChunk

    @property
    def owns_chunk(self) -> bool:
        """Whether the database agrees with what the worker believes."""
        row = FetchChunk.objects.get(pk=self.chunk.pk)
        return (row.lease_owner, row.position, row.finished_at) == (
            self.chunk.lease_owner,
            self.chunk.position,
            None,
        )


class Doorbell:
    """A broker that can be away."""

    def __init__(self) -> None:
        self.is_up = True

    def ring(self, job_id: int) -> bool:
        return self.is_up

    def count_waiting(self) -> int | None:
        return 0 if self.is_up else None


class Engine(RuleBasedStateMachine):
    """People, workers, planners and the sweep at the same rows, one after the other in any order."""

    bell: Doorbell

    def __init__(self) -> None:
        super().__init__()
        for model in (FetchFailure, FetchChunk, MetadataFetchTask, Track):
            model.objects.all().delete()
        # Some never fetched, the others long ago, two and two at the same moment.
        long_ago = timezone.now() - timedelta(days=90)
        stamps = [None if n < TRACKS / 2 else long_ago + timedelta(days=n // 2) for n in range(TRACKS)]
        added = Track.objects.bulk_create(
            Track(uuid=UUID(int=n + 1), metadata_fetched_at=stamp) for n, stamp in enumerate(stamps)
        )
        self.tracks = [track.pk for track in added]
        self.seen: dict[int, Seen] = {}
        self.workers: list[Worker] = []
        self.leases = self.added = 0
        self.bell.is_up = True
        self.note(jobs.request_stale_metadata())
        self.claim(self.note(jobs.request_metadata(self.tracks)), count=2)

    def job_id(self, number: int) -> int:
        """Return the key of some job, the latest ones for the lowest numbers."""
        return list(reversed(self.seen))[number % len(self.seen)]

    def worker(self, number: int) -> Worker:
        """Return some worker, the latest ones for the lowest numbers; nobody knows whether it is dead."""
        return self.workers[-1 - number % len(self.workers)]

    def claim(self, job_id: int, *, count: int) -> None:
        """Claim chunks of a job until there are none, or so many are."""
        for _ in range(count):
            job = MetadataFetchTask.objects.get(pk=job_id)
            is_free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now())
            is_ready = Q(not_before=None) | Q(not_before__lte=Now())
            free = set(job.chunks.filter(is_free, is_ready, finished_at=None).values_list("pk", flat=True))
            self.leases += 1
            chunk = jobs.claim_chunk(job_id, owner=f"owner {self.leases}")
            if job.status not in ("pending", "running") or not free:
                assert chunk is None
                return
            assert chunk is not None
            assert chunk.pk in free
            self.workers.append(Worker(chunk))

    # --- People -----------------------------------------------------------------------------------

    def note(self, requested: jobs.Requested) -> int:
        """Check whether a request rightly made or joined a job, and return the job's key."""
        job = requested.job
        assert requested.is_joined == (job.pk in self.seen)
        assert not requested.is_joined or job.status in job.ACTIVE
        self.seen.setdefault(job.pk, Seen(job))
        return job.pk

    # Few jobs, so that much happens to each.
    @precondition(lambda self: len(self.seen) < MOST_JOBS)
    @rule(limit=st.none() | st.integers(1, TRACKS), never_fetched_only=st.booleans())
    def choose_all_stale(self, limit: int | None, never_fetched_only: bool) -> None:
        self.note(jobs.request_stale_metadata(limit=limit, never_fetched_only=never_fetched_only))

    @precondition(lambda self: len(self.seen) < MOST_JOBS)
    @rule(number=NUMBERS)
    def retry(self, number: int) -> None:
        job = MetadataFetchTask.objects.get(pk=self.job_id(number))
        if job.is_active:
            with pytest.raises(jobs.IllegalTransition):
                jobs.request_retry(job)
        elif not job.failures.exclude(track=None).exists():
            with pytest.raises(ValueError, match="no failed track"):
                jobs.request_retry(job)
        else:
            self.note(jobs.request_retry(job))

    @rule(number=NUMBERS, target_status=st.sampled_from(CLICKS))
    def click(self, number: int, target_status: str) -> None:
        job_id = self.job_id(number)
        action = {"paused": jobs.pause_job, "pending": jobs.resume_job, "cancelled": jobs.cancel_job}
        before = MetadataFetchTask.objects.get(pk=job_id).status
        # What the person saw may be long past: the row decides.
        job = MetadataFetchTask(pk=job_id)
        if target_status in TRANSITIONS[before]:
            action[target_status](job)
            assert MetadataFetchTask.objects.get(pk=job_id).status == target_status
        else:
            with pytest.raises(jobs.IllegalTransition):
                action[target_status](job)

    @rule(number=st.integers(0, TRACKS - 1))
    def replace_track(self, number: int) -> None:
        Track.objects.filter(pk=self.tracks[number]).delete()
        self.added += 1
        self.tracks[number] = Track.objects.create(uuid=UUID(int=1000 + self.added)).pk

    # --- Planners, the sweep, time ----------------------------------------------------------------

    @rule(number=NUMBERS, times=st.integers(1, 2))
    def plan_a_step(self, number: int, times: int) -> None:
        """Plan one step, perhaps twice; the planner saw the job when the step before this was planned."""
        seen = self.seen[self.job_id(number)]
        if seen.by_planner.planned_at is None:
            for _ in range(times):
                planning._plan_step(seen.by_planner)
        seen.by_planner = MetadataFetchTask.objects.get(pk=seen.by_planner.pk)

    @rule(number=NUMBERS)
    def plan_wholly(self, number: int) -> None:
        jobs.plan_job(self.job_id(number), budget=LIVE)

    @rule(has_broker=st.booleans())
    def sweep(self, has_broker: bool) -> None:
        self.bell.is_up = has_broker
        jobs.sweep()

    @rule()
    def delays_are_over(self) -> None:
        FetchChunk.objects.exclude(not_before=None).update(not_before=Now())

    # --- Workers ----------------------------------------------------------------------------------

    @rule(number=NUMBERS, count=st.integers(1, 2))
    def claim_some(self, number: int, count: int) -> None:
        self.claim(self.job_id(number), count=count)

    @rule(number=NUMBERS)
    def take_over(self, number: int) -> None:
        """Let a lease run out and others claim, while the first worker lives on."""
        chunk = self.worker(number).chunk
        FetchChunk.objects.filter(pk=chunk.pk, lease_owner=chunk.lease_owner).update(
            lease_expires_at=Now() - timedelta(seconds=1)
        )
        self.claim(chunk.job_id, count=2)

    @rule(number=NUMBERS)
    def renew(self, number: int) -> None:
        worker = self.worker(number)
        if worker.owns_chunk:
            jobs.renew_lease(worker.chunk)
        else:
            before = self.frozen(worker.chunk.job_id)
            with pytest.raises(jobs.LeaseLost):
                jobs.renew_lease(worker.chunk)
            assert self.frozen(worker.chunk.job_id) == before

    @rule(
        number=NUMBERS,
        answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=CHUNK),
        delay=DELAYS,
        is_told=st.booleans(),
    )
    def save(self, number: int, answers: list[str], delay: jobs.Delay, is_told: bool) -> None:
        """Save the next tracks; the worker may never learn that its COMMIT went through."""
        worker = self.worker(number)
        self.save_answers(worker if is_told else copy.deepcopy(worker), answers, delay)

    @rule(number=NUMBERS)
    def save_the_rest(self, number: int) -> None:
        worker = self.worker(number)
        self.save_answers(worker, ["song"] * CHUNK, jobs.Delay(0, is_attempt=False))

    @rule(number=NUMBERS, delay=DELAYS)
    def postpone(self, number: int, delay: jobs.Delay) -> None:
        worker = self.worker(number)
        self.give_back(worker, lambda: jobs.postpone_chunk(worker.chunk, delay=delay, error=NotFound()))

    @rule(number=NUMBERS)
    def release(self, number: int) -> None:
        worker = self.worker(number)
        self.give_back(worker, lambda: jobs.release_chunk(worker.chunk))

    def give_back(self, worker: Worker, action: Callable[[], None]) -> None:
        """Do it, and check that nothing happens to a chunk that is another's."""
        chunks = FetchChunk.objects.filter(pk=worker.chunk.pk)
        before = chunks.values().get()
        action()
        after = chunks.values().get()
        if before["lease_owner"] == worker.chunk.lease_owner:
            assert (after["lease_owner"], after["position"]) == ("", before["position"])
            # This lease did not end without a word; those before it may have.
            assert after["lease_count"] == max(0, worker.chunk.lease_count - 1)
        else:
            assert after == before

    def save_answers(self, worker: Worker, answers: list[str], delay: jobs.Delay) -> None:
        """Save what came for the next tracks, as fetching does: never up to one without an answer."""
        chunk = worker.chunk
        track_ids = chunk.track_ids[chunk.position : chunk.position + len(answers)]
        results = [result_of(pk, answer) for pk, answer in zip(track_ids, answers, strict=False)]
        while results and results[-1].is_unanswered:
            results.pop()
        if not results:
            return
        if not worker.owns_chunk:
            before = self.frozen(chunk.job_id)
            with pytest.raises(jobs.LeaseLost):
                save_results(chunk, results, calls=1, delay=delay, save=Metadata().save)
            # The call was made all the same.
            assert self.frozen(chunk.job_id) == before | {"api_calls": before["api_calls"] + 1}
            return
        reports = iter(save_results(chunk, results, calls=1, delay=delay, save=Metadata().save))
        outcomes = self.seen[chunk.job_id].outcomes
        for result in results:
            if not result.is_unanswered:
                assert result.track_id not in outcomes
                outcomes[result.track_id] = next(reports).outcome

    def frozen(self, job_id: int) -> dict:
        """Return a job's row with its chunks and failures."""
        (row,) = MetadataFetchTask.objects.filter(pk=job_id).values()
        chunks = FetchChunk.objects.filter(job_id=job_id)
        failures = FetchFailure.objects.filter(job_id=job_id)
        return row | {"chunks": list(chunks.values()), "failures": list(failures.values())}

    # --- What is always true ----------------------------------------------------------------------

    @invariant()
    def every_job_is_consistent(self) -> None:
        chunks_of: dict[int, list[FetchChunk]] = {}
        for chunk in FetchChunk.objects.all():
            chunks_of.setdefault(chunk.job_id, []).append(chunk)
        failures = Counter(FetchFailure.objects.values_list("job_id", flat=True))
        counted = {(each.job_id, each.code): each.count for each in FailureCount.objects.all()}
        assert counted == Counter(FetchFailure.objects.values_list("job_id", "code"))
        events_of: dict[int, list[str]] = {}
        for event in JobEvent.objects.all():
            events_of.setdefault(event.job_id, []).append(event.kind)
        active_keys: Counter[str] = Counter()
        all_jobs = list(MetadataFetchTask.objects.all())
        assert {job.pk for job in all_jobs} == set(self.seen)
        for job in all_jobs:
            chunks = chunks_of.get(job.pk, [])
            self.check_chunks(chunks)
            self.check_counts(job, chunks, failures[job.pk])
            self.check_status(job, chunks)
            self.check_events(job, events_of[job.pk])
            active_keys[job.dedupe_key] += job.is_active
        assert max(active_keys.values(), default=0) <= 1

    def check_chunks(self, chunks: list[FetchChunk]) -> None:
        for chunk in chunks:
            assert len(chunk.track_ids) == chunk.size
            assert 0 <= chunk.position <= chunk.size
            assert (chunk.finished_at is not None) == (chunk.position == chunk.size)
            assert bool(chunk.lease_owner) == (chunk.lease_expires_at is not None)
            assert chunk.finished_at is None or not chunk.lease_owner

    def check_counts(self, job: MetadataFetchTask, chunks: list[FetchChunk], failures: int) -> None:
        outcomes = self.seen[job.pk].outcomes
        counts = Counter(outcomes.values())
        assert job.processed_tracks == len(outcomes) == job.successful_tracks + job.failed_tracks
        assert job.updated_tracks == counts["updated"]
        assert job.unchanged_tracks == counts["unchanged"]
        assert job.skipped_tracks == counts["skipped"]
        assert job.failed_tracks == counts["failed"] == failures
        # What is still to be done stands in the chunks, and each track of it once.
        ahead = [pk for chunk in chunks for pk in chunk.track_ids[chunk.position :]]
        assert len(ahead) == len(set(ahead)) == job.total_tracks - job.processed_tracks
        assert outcomes.keys().isdisjoint(ahead)

    def check_events(self, job: MetadataFetchTask, kinds: list[str]) -> None:
        """Tell the job's state from what is said to have happened to it."""
        told = [STATUS_AFTER[kind] for kind in kinds if kind in STATUS_AFTER]
        assert told[0] == "pending"
        assert told[-1] == job.status
        assert all(after in TRANSITIONS[before] for before, after in pairwise(told))
        assert kinds.count("started") == (job.started_at is not None and "running" in told)
        assert kinds.count("planned") == (job.planned_at is not None and job.request["what"] != "tracks")

    def check_status(self, job: MetadataFetchTask, chunks: list[FetchChunk]) -> None:
        seen = self.seen[job.pk]
        if seen.status in job.ENDED:
            assert (job.status, job.total_tracks) == (seen.status, seen.total)
        seen.status, seen.total = job.status, job.total_tracks
        assert (job.completed_at is not None) == (job.status in job.ENDED)
        is_wanted = job.status in ("pending", "running")
        assert jobs.is_wanted(FetchChunk(job_id=job.pk)) == is_wanted
        if job.planned_at is not None and all(chunk.finished_at for chunk in chunks):
            assert not job.is_active
        if job.status in ("completed", "failed"):
            assert job.planned_at is not None
            assert all(chunk.finished_at for chunk in chunks)
            assert seen.outcomes.keys() == {pk for chunk in chunks for pk in chunk.track_ids}
        if job.status == "failed":
            assert job.failed_tracks == job.total_tracks > 0
        if job.status == "running":
            assert job.started_at is not None

    # --- And in the end ---------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everybody do their work once more: then every job must end by itself."""
        self.bell.is_up = True
        for job in MetadataFetchTask.objects.filter(status=Status.PAUSED):
            jobs.resume_job(job)
        FetchChunk.objects.update(not_before=None)
        FetchChunk.objects.exclude(lease_owner="").update(lease_expires_at=Now() - timedelta(seconds=1))
        jobs.sweep()
        for job_id in MetadataFetchTask.objects.filter(status__in=MetadataFetchTask.ACTIVE).values_list(
            "pk", flat=True
        ):
            jobs.plan_job(job_id, budget=LIVE)
            while chunk := jobs.claim_chunk(job_id, owner="the last"):
                self.save_answers(Worker(chunk), ["song"] * chunk.size, jobs.Delay(0, is_attempt=False))
        self.every_job_is_consistent()
        assert not MetadataFetchTask.objects.filter(status__in=MetadataFetchTask.ACTIVE).exists()


def result_of(track_id: int, answer: str) -> Result:
    uuid = Track.objects.filter(pk=track_id).values_list("uuid", flat=True).first()
    if answer == "unwanted" or uuid is None:
        return Result(track_id)
    item = str(uuid)
    if answer == "none":
        return Result(track_id, item)
    if answer == "not found":
        return Result(track_id, item, NotFound())
    if answer == "bad":
        return Result(track_id, item, InvalidRequest())
    return Result(track_id, item, Song(uuid, name=answer))


def test_no_order_of_events_breaks_the_promises(settings, monkeypatch):
    settings.CHUNK_SIZE = CHUNK
    settings.CHUNK_LEASE_SECONDS = LIVE
    monkeypatch.setattr(planning, "CHUNKS_PER_STEP", 1)
    bell = Doorbell()
    monkeypatch.setattr(doorbell, "ring", bell.ring)
    monkeypatch.setattr(doorbell, "count_waiting", bell.count_waiting)
    monkeypatch.setattr(Engine, "bell", bell, raising=False)
    run_state_machine_as_test(Engine, settings=BOUNDS)
