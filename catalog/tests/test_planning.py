"""Planning: a worker divides what is stale into chunks, needy first, each track once."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from catalog import jobs
from catalog.fetching import saving, work_on_job
from catalog.jobs import planning
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)


def planned_ids(job: MetadataFetchTask) -> list[int]:
    return [pk for chunk in FetchChunk.objects.filter(job=job).order_by("pk") for pk in chunk.track_ids]


@pytest.fixture(autouse=True)
def small_steps(settings, monkeypatch):
    settings.CHUNK_SIZE = 3
    monkeypatch.setattr(planning, "CHUNKS_PER_STEP", 2)


@pytest.fixture
def catalogue(simulator):
    """20 never fetched, 7 aged (the oldest added last), 5 fresh."""
    now = timezone.now()
    never = add_tracks(simulator, 20)
    aged = [
        add_tracks(simulator, 1, first=20 + n, fetched_at=now - timedelta(days=31 + n))[0] for n in range(7)
    ]
    add_tracks(simulator, 5, first=40, fetched_at=now - timedelta(days=29))
    return [track.pk for track in never] + [track.pk for track in reversed(aged)]


def test_a_stale_job_asks_first_for_the_never_fetched_then_for_the_oldest(broker, catalogue):
    job = jobs.request_stale_metadata().job
    jobs.plan_job(job.pk, budget=10)
    job.refresh_from_db()
    assert planned_ids(job) == catalogue
    assert job.total_tracks == len(catalogue)
    assert job.planned_at is not None


def test_a_click_only_makes_the_job_and_plans_nothing(broker, catalogue):
    job = jobs.request_stale_metadata().job
    assert (job.planned_at, job.total_tracks, job.chunks.count()) == (None, 0, 0)


@pytest.mark.parametrize("limit", [1, 6, 13, 20, 21, 26, 27, 99])
def test_a_limit_takes_the_neediest(broker, catalogue, limit):
    job = jobs.request_stale_metadata(limit=limit).job
    jobs.plan_job(job.pk, budget=10)
    job.refresh_from_db()
    assert planned_ids(job) == catalogue[:limit]
    assert job.planned_at is not None


def test_never_fetched_only_leaves_out_the_aged(broker, catalogue):
    job = jobs.request_stale_metadata(never_fetched_only=True).job
    jobs.plan_job(job.pk, budget=10)
    assert planned_ids(job) == catalogue[:20]


def test_tracks_with_the_same_stamp_are_all_planned(broker, simulator):
    tracks = add_tracks(simulator, 20, fetched_at=timezone.now() - timedelta(days=40))
    job = jobs.request_stale_metadata().job
    jobs.plan_job(job.pk, budget=10)
    assert planned_ids(job) == [track.pk for track in tracks]


def test_a_plan_goes_on_where_it_was_interrupted(broker, catalogue):
    job = jobs.request_stale_metadata().job
    for _ in range(20):
        job.refresh_from_db()
        if job.planned_at:
            break
        planning._plan_step(job)
    assert planned_ids(job) == catalogue


def test_a_step_that_another_worker_has_made_changes_nothing(broker, catalogue):
    job = jobs.request_stale_metadata().job
    same_job = MetadataFetchTask.objects.get(pk=job.pk)
    planning._plan_step(job)
    planning._plan_step(same_job)
    assert planned_ids(job) == catalogue[:6]


def test_a_track_fetched_while_the_plan_is_made_does_not_come_up_again(broker, catalogue):
    job = jobs.request_stale_metadata().job
    planning._plan_step(job)
    Track.objects.filter(pk__in=catalogue[:6]).update(metadata_fetched_at=timezone.now())
    jobs.plan_job(job.pk, budget=10)
    assert planned_ids(job) == catalogue


def test_a_track_that_soundcharts_did_not_know_waits_for_its_day(broker, simulator):
    waiting, due = add_tracks(simulator, 2)
    Track.objects.filter(pk=waiting.pk).update(metadata_retry_at=timezone.now() + timedelta(days=1))
    Track.objects.filter(pk=due.pk).update(metadata_retry_at=timezone.now() - timedelta(minutes=1))
    job = jobs.request_stale_metadata().job
    jobs.plan_job(job.pk, budget=10)
    assert planned_ids(job) == [due.pk]


def test_nothing_stale_completes_the_job(broker):
    job = jobs.request_stale_metadata().job
    jobs.plan_job(job.pk, budget=10)
    job.refresh_from_db()
    assert (job.status, job.total_tracks) == ("completed", 0)


def test_a_paused_job_is_not_planned(broker, catalogue):
    job = jobs.request_stale_metadata().job
    jobs.pause_job(job)
    jobs.plan_job(job.pk, budget=10)
    assert planned_ids(job) == []


def test_a_database_that_is_away_while_a_job_is_planned_pauses_nothing(broker, catalogue, monkeypatch):
    def be_away(*_: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    job = jobs.request_stale_metadata().job
    monkeypatch.setattr(planning, "_stale_tracks", be_away)
    with pytest.raises(OperationalError):
        jobs.plan_job(job.pk, budget=0)
    job.refresh_from_db()
    assert job.status == "pending"


def test_others_are_told_after_the_first_step_of_a_long_plan(broker, catalogue):
    job = jobs.request_stale_metadata().job
    broker.flushall()
    jobs.plan_job(job.pk, budget=10)
    assert broker.llen("liner-notes") == 1


def test_tracks_stamped_unchanged_together_are_all_planned_when_they_have_aged(broker, simulator):
    """The plan's steps end in the middle of tracks that one save has stamped."""
    tracks = add_tracks(simulator, 30)
    ids = [track.pk for track in tracks]
    for _ in range(2):
        work_on_job(jobs.request_metadata(ids).job.pk)
    assert not Track.objects.never_fetched().exists()
    job = jobs.request_stale_metadata().job
    MetadataFetchTask.objects.filter(pk=job.pk).update(fresh_after=timezone.now() + timedelta(days=1))
    jobs.plan_job(job.pk, budget=10)
    assert sorted(planned_ids(job)) == ids


def test_fetching_begins_before_the_plan_is_finished(broker, simulator, settings):
    settings.WORK_SLICE_SECONDS = 1
    tracks = add_tracks(simulator, 60)
    job = jobs.request_stale_metadata().job
    planned_when_fetched = []
    save = saving.save_results

    def note(*args, **kwargs):
        job.refresh_from_db()
        planned_when_fetched.append(job.planned_at is not None)
        return save(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalog.fetching.chunks.save_results", note)
        for _ in range(10):
            work_on_job(job.pk)
    job.refresh_from_db()
    assert planned_when_fetched[0] is False
    assert (job.status, job.updated_tracks) == ("completed", len(tracks))


def test_a_step_that_finds_nothing_does_not_leave_the_rest_to_the_sweep(broker, simulator):
    add_tracks(simulator, 5, fetched_at=timezone.now() - timedelta(days=40))
    job = jobs.request_stale_metadata().job
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.updated_tracks) == ("completed", 5)
