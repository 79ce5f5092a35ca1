"""Planning what a filter selects: each track once, as of the click, in constant memory."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.jobs import planning
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.selection import TrackFilter
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def small_steps(settings, monkeypatch):
    settings.CHUNK_SIZE = 3
    monkeypatch.setattr(planning, "CHUNKS_PER_STEP", 2)


@pytest.fixture
def catalogue(simulator) -> dict[str, list[int]]:
    """Keys by kind, in the order in which they were added, of label North; and five of another label."""
    now = timezone.now()
    kinds = {"fresh": now - timedelta(days=1), "aged": now - timedelta(days=40), "never": None}
    made = {}
    for number, (kind, fetched_at) in enumerate(kinds.items()):
        tracks = add_tracks(simulator, 10, first=number * 10, fetched_at=fetched_at, label="North")
        made[kind] = [track.pk for track in tracks]
    add_tracks(simulator, 5, first=50, label="South")
    return made


def ask(*, only_stale: bool = False, **parameters: object) -> MetadataFetchTask:
    selection = TrackFilter.parse(parameters)
    return jobs.request_filtered_metadata(selection, only_stale=only_stale).job


def plan(job: MetadataFetchTask) -> list[int]:
    """Plan a job to its end, and return the tracks of its chunks in order."""
    jobs.plan_job(job.pk, budget=10)
    job.refresh_from_db()
    planned = [pk for chunk in FetchChunk.objects.filter(job=job).order_by("pk") for pk in chunk.track_ids]
    assert job.planned_at is not None
    assert job.total_tracks == len(planned) == len(set(planned))
    return planned


def test_a_click_only_makes_the_job_and_plans_nothing(broker, catalogue):
    job = ask(label="north")
    assert (job.planned_at, job.total_tracks, job.chunks.count()) == (None, 0, 0)
    assert job.title == "Tracks of label north…"


def test_all_that_the_filter_selects_is_planned_never_fetched_first(broker, catalogue):
    assert plan(ask(label="north")) == catalogue["never"] + catalogue["fresh"] + catalogue["aged"]


def test_many_are_planned_as_few_are(broker, catalogue, monkeypatch):
    monkeypatch.setattr("catalog.selection._MANY", 2)
    assert plan(ask(label="north")) == catalogue["never"] + catalogue["fresh"] + catalogue["aged"]


def test_only_what_is_due_is_planned_when_asked_for(broker, catalogue):
    waiting = catalogue["never"][0]
    Track.objects.filter(pk=waiting).update(metadata_retry_at=timezone.now() + timedelta(days=1))

    assert plan(ask(label="north", only_stale=True)) == catalogue["never"][1:] + catalogue["aged"]


@pytest.mark.parametrize("kind", ["fresh", "never"])
def test_a_filter_of_freshness_plans_exactly_those(broker, catalogue, kind):
    assert plan(ask(label="north", freshness=kind)) == catalogue[kind]


def test_tracks_added_after_the_click_are_not_part_of_it(broker, catalogue, simulator):
    job = ask(label="north", freshness="never")
    add_tracks(simulator, 5, first=60, label="North")

    assert plan(job) == catalogue["never"]


def test_a_filter_that_selects_nothing_completes_the_job(broker, catalogue):
    job = ask(label="west")
    assert plan(job) == []
    assert job.status == "completed"


@pytest.mark.parametrize("freshness", ["", "stale", "never", "fresh", "failing"])
def test_each_track_is_fetched_once_though_fetching_changes_what_the_filter_selects(
    broker, simulator, catalogue, freshness, settings
):
    settings.WORK_SLICE_SECONDS = 20
    selected = {
        "": catalogue["fresh"] + catalogue["aged"] + catalogue["never"],
        "stale": catalogue["aged"] + catalogue["never"],
        "never": catalogue["never"],
        "fresh": catalogue["fresh"],
        "failing": catalogue["aged"][:7] + catalogue["never"][:4],
    }[freshness]
    if freshness == "failing":
        Track.objects.filter(pk__in=selected).update(metadata_error="timeout")
    job = ask(label="north", freshness=freshness)

    # Fetched while it is planned: the labels become others, and what was never fetched is fresh.
    work_on_job(job.pk)

    job.refresh_from_db()
    assert (job.status, job.total_tracks, job.failed_tracks) == ("completed", len(selected), 0)
    asked = {track.pk for track in Track.objects.all() if simulator.state.asked(track.uuid)}
    assert asked == set(selected)
    assert {simulator.state.asked(Track.objects.get(pk=pk).uuid) for pk in selected} == {1}


def test_a_track_that_another_job_fetches_meanwhile_is_not_planned_again(broker, catalogue):
    job = ask(label="north")
    planning._plan_step(job)
    # One that is planned, one never fetched that is not planned yet, and one aged.
    others = [catalogue["never"][0], catalogue["never"][-1], catalogue["aged"][0]]
    Track.objects.filter(pk__in=others).update(metadata_fetched_at=timezone.now() + timedelta(seconds=1))

    expected = [
        pk
        for pk in catalogue["never"] + catalogue["fresh"] + catalogue["aged"]
        if pk == others[0] or pk not in others
    ]
    assert plan(job) == expected


def test_what_becomes_stale_after_the_click_is_not_part_of_it(broker, simulator, settings):
    add_tracks(simulator, 3, fetched_at=timezone.now() - timedelta(days=29))
    job = ask(freshness="stale")
    MetadataFetchTask.objects.filter(pk=job.pk).update(fresh_after=job.fresh_after + timedelta(days=20))

    assert plan(job) == []


def test_a_plan_goes_on_where_it_was_interrupted(broker, catalogue):
    job = ask(label="north")
    for _ in range(20):
        job.refresh_from_db()
        if job.planned_at:
            break
        planning._plan_step(job)
        planning._plan_step(job)  # As a second worker would, which has not seen the first one's step.
    assert plan(job) == catalogue["never"] + catalogue["fresh"] + catalogue["aged"]


def test_a_click_takes_as_many_queries_for_many_tracks_as_for_few(broker, simulator):
    counts = set()
    for first, count in ((0, 5), (100, 60)):
        add_tracks(simulator, count, first=first)
        with CaptureQueriesContext(connection) as queries:
            job = ask(freshness="never")
        counts.add(len(queries))
        jobs.cancel_job(job)
    assert len(counts) == 1


def test_the_same_filter_however_it_is_written_joins_the_active_job(broker, catalogue):
    first = jobs.request_filtered_metadata(TrackFilter.parse({"label": "North", "year_from": "1990"}))
    second = jobs.request_filtered_metadata(TrackFilter.parse({"year_from": 1990, "label": " North"}))
    assert (first.is_joined, second.is_joined) == (False, True)
    assert second.job.pk == first.job.pk


def test_other_filters_and_only_what_is_due_are_other_jobs(broker, catalogue):
    made = {
        ask().pk,
        ask(only_stale=True).pk,
        ask(label="north").pk,
        ask(genre="north").pk,
        ask(label="north", only_stale=True).pk,
        jobs.request_stale_metadata().job.pk,
    }
    assert len(made) == 6
