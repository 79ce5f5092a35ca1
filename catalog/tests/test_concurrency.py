"""Several workers and people at the same rows at the same moment, on both databases."""

import logging
import threading
from collections import Counter
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from catalog import jobs
from catalog.fetching import imports, saving, work_on_job
from catalog.jobs.leases import Counts
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of, songs_by_times_asked
from catalog.tests.together import Meanwhile, all_at_once
from catalog.tests.tracks import add_tracks
from soundcharts.payloads import Page, SongSummary
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)


def bulk_job(simulator, settings, *, tracks: int, chunk: int) -> tuple[MetadataFetchTask, list[Track]]:
    """Return a job in chunks of so many tracks, and the tracks."""
    settings.CHUNK_SIZE = chunk
    added = add_tracks(simulator, tracks)
    return jobs.request_metadata(keys_of(added)).job, added


def claim_all(job: MetadataFetchTask) -> list[int]:
    """Claim chunks of a job until there are none, and return their keys."""
    claimed = []
    while chunk := jobs.claim_chunk(job.pk, owner=uuid4().hex):
        claimed.append(chunk.pk)
    return claimed


def save_skipped(chunk: FetchChunk) -> None:
    """Advance a chunk of one track to its end: the writes of a batch, inside the caller's transaction."""
    jobs.advance_chunk(chunk, count=1)
    jobs.record_outcomes(chunk, counts=Counts(skipped=1), calls=0)


# --- Claims ---------------------------------------------------------------------------------------


def test_no_chunk_is_claimed_twice(simulator, broker, settings):
    job, _ = bulk_job(simulator, settings, tracks=60, chunk=1)
    claims = Counter(pk for keys in all_at_once(lambda: claim_all(job), times=8) for pk in keys)
    assert set(claims.values()) == {1}


def test_no_expired_chunk_is_claimed_twice(simulator, broker, settings):
    job, _ = bulk_job(simulator, settings, tracks=30, chunk=1)
    claim_all(job)
    FetchChunk.objects.update(lease_expires_at=job.created_at)
    claims = Counter(pk for keys in all_at_once(lambda: claim_all(job), times=8) for pk in keys)
    assert set(claims.values()) == {1}


def test_many_workers_on_one_job_ask_for_every_song_once(simulator, broker, settings):
    job, tracks = bulk_job(simulator, settings, tracks=200, chunk=20)
    all_at_once(lambda: work_on_job(job.pk), times=6)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 200) == {1: 200}
    assert job.api_calls == simulator.state.quota_used == 20


def test_a_chunk_that_expires_during_its_commit_is_kept_by_who_commits(simulator, broker, settings):
    job, _ = bulk_job(simulator, settings, tracks=2, chunk=2)
    chunk = jobs.claim_chunk(job.pk, owner="slow")
    FetchChunk.objects.update(lease_expires_at=job.created_at)
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=1)
        thief = Meanwhile(lambda: jobs.claim_chunk(job.pk, owner="thief"))
        thief.wait_until_blocked()
        jobs.record_outcomes(chunk, counts=Counts(skipped=1), calls=0)
    assert thief.result() is None
    assert FetchChunk.objects.get().lease_owner == "slow"


# --- Ends -----------------------------------------------------------------------------------------


def test_two_workers_finishing_the_last_two_chunks_at_once_end_the_job_once(
    simulator, broker, settings, caplog, monkeypatch
):
    caplog.set_level(logging.INFO, "catalog")
    job, tracks = bulk_job(simulator, settings, tracks=2, chunk=1)
    meet, save = threading.Barrier(2), saving._commit

    def save_together(*args, **kwargs):
        meet.wait(30)
        return save(*args, **kwargs)

    monkeypatch.setattr(saving, "_commit", save_together)
    all_at_once(lambda: work_on_job(job.pk), times=2)
    assert_one_outcome_each(job, tracks)
    assert caplog.text.count(f"job {job.pk}: completed") == 1


def test_the_second_of_two_overlapping_last_commits_ends_the_job(simulator, broker, settings):
    job, _ = bulk_job(simulator, settings, tracks=2, chunk=1)
    first, second = (jobs.claim_chunk(job.pk, owner=owner) for owner in ("one", "two"))

    def save_second() -> None:
        with transaction.atomic():
            save_skipped(second)

    with transaction.atomic():
        save_skipped(first)
        # It began before our COMMIT, so it cannot see that the first chunk is finished until then.
        other = Meanwhile(save_second)
        other.wait_until_blocked()
    other.result()
    job.refresh_from_db()
    assert (job.status, job.processed_tracks) == ("completed", 2)


def test_the_last_page_of_an_import_and_the_last_batch_of_its_metadata_end_both_jobs(simulator, broker):
    job = jobs.request_import(limit=100).job
    work_on_job(job.pk)
    follow_up = job.follow_ups.get()
    # As it is while the import still runs.
    MetadataFetchTask.objects.filter(pk=follow_up.pk).update(planned_at=None)
    FetchChunk.objects.filter(job=follow_up).update(size=1)
    chunk = jobs.claim_chunk(follow_up.pk, owner="worker")
    with transaction.atomic():
        save_skipped(chunk)
        closing = Meanwhile(lambda: _close_follow_up(job))
        closing.wait_until_blocked()
    closing.result()
    follow_up.refresh_from_db()
    assert follow_up.status == "completed"


def _close_follow_up(job: MetadataFetchTask) -> None:
    with transaction.atomic():
        jobs.states.close_follow_up(job)


# --- Plans and requests ---------------------------------------------------------------------------


def test_several_planners_plan_each_track_once(simulator, broker, settings):
    settings.CHUNK_SIZE = 1
    tracks = add_tracks(simulator, 110)
    job = jobs.request_stale_metadata().job
    all_at_once(lambda: jobs.plan_job(job.pk, budget=30), times=4)
    job.refresh_from_db()
    planned = [key for chunk in job.chunks.all() for key in chunk.track_ids]
    assert sorted(planned) == keys_of(tracks)
    assert job.planned_at is not None
    assert job.total_tracks == 110


def test_twenty_simultaneous_requests_for_the_same_thing_make_one_job(broker):
    answers = all_at_once(jobs.request_stale_metadata, times=20)
    (job,) = MetadataFetchTask.objects.all()
    assert {answer.job.pk for answer in answers} == {job.pk}
    assert sum(answer.is_joined for answer in answers) == 19


# --- People against workers -----------------------------------------------------------------------


def test_resume_does_not_deadlock_with_a_batch_that_is_being_saved(simulator, broker, settings):
    job, _ = bulk_job(simulator, settings, tracks=2, chunk=2)
    chunk = jobs.claim_chunk(job.pk, owner="worker")
    jobs.pause_job(job)
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=1)
        click = Meanwhile(lambda: jobs.resume_job(job))
        click.wait_until_blocked()
        jobs.record_outcomes(chunk, counts=Counts(skipped=1), calls=0)
    assert click.result() is True
    job.refresh_from_db()
    assert (job.status, job.processed_tracks) == ("pending", 1)


@pytest.mark.parametrize("end", [jobs.cancel_job, jobs.pause_job])
def test_a_click_during_the_last_batch_leaves_the_job_ended_with_exact_counts(
    simulator, broker, settings, end
):
    job, _ = bulk_job(simulator, settings, tracks=1, chunk=1)
    chunk = jobs.claim_chunk(job.pk, owner="worker")
    with transaction.atomic():
        save_skipped(chunk)
        click = Meanwhile(lambda: end(job))
        click.wait_until_blocked()
    with pytest.raises(jobs.IllegalTransition):
        click.result()
    job.refresh_from_db()
    assert (job.status, job.processed_tracks, job.total_tracks) == ("completed", 1, 1)


def test_cancelling_an_import_does_not_deadlock_with_a_page_that_is_being_saved(
    simulator, broker, monkeypatch
):
    job = jobs.request_import(limit=250).job
    chunk = jobs.claim_chunk(job.pk, owner="worker")
    imports.import_page(job, chunk, get_service())
    record, clicks = jobs.record_outcomes, []

    def click_in_between(*args, **kwargs):
        clicks.append(Meanwhile(lambda: jobs.cancel_job(job)))
        clicks[0].wait_until_blocked()
        record(*args, **kwargs)

    monkeypatch.setattr(jobs, "record_outcomes", click_in_between)
    monkeypatch.setattr(saving, "COMMIT_TRIES", 1)
    imports.import_page(job, chunk, get_service())
    clicks[0].result()
    job.refresh_from_db()
    follow_up = job.follow_ups.get()
    assert (job.status, job.processed_tracks) == ("cancelled", 200)
    assert (follow_up.total_tracks, follow_up.planned_at is None) == (200, False)


def test_two_imports_of_the_same_songs_in_another_order_add_each_once(broker, monkeypatch):
    monkeypatch.setattr(saving, "time", SimpleNamespace(sleep=lambda seconds: None))
    uuids = [UUID(int=number) for number in range(1, 4)]
    job = jobs.request_import(limit=3).job
    chunk = jobs.claim_chunk(job.pk, owner="worker")
    page = Page(
        items=tuple(SongSummary(uuid) for uuid in reversed(uuids)), offset=0, limit=3, total=3, has_next=False
    )
    with transaction.atomic():
        Track.objects.create(uuid=uuids[0])
        other = Meanwhile(
            lambda: saving.with_database_back(
                lambda: imports.commit_page(job, chunk, page, calls=1), chunk, calls=1
            )
        )
        other.wait_until_blocked()
        Track.objects.bulk_create(Track(uuid=uuid) for uuid in uuids[1:])
    other.result()
    assert Track.objects.count() == 3


def test_a_request_that_the_database_refuses_for_another_reason_is_an_error(broker):
    nobody = User(pk=12_345)
    with pytest.raises(IntegrityError):
        jobs.request_stale_metadata(requested_by=nobody)
