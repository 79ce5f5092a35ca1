"""Every planner, over many steps and whatever happens between them: each track once, none left out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from catalog import jobs
from catalog.jobs import planning, retries
from catalog.models import FetchChunk, FetchFailure, MetadataFetchTask, Track, TrackAudience
from catalog.selection import TrackFilter
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

BOUNDS = bounds(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
PLATFORMS = ("spotify", "youtube")
LIMIT = 7
# Of each track: when its metadata came, when its audience came on each platform, whether days are missing
# there, whether it failed. Days ago; None is never.
KINDS = st.fixed_dictionaries(
    {
        "metadata": st.sampled_from([None, 1, 40]),
        "audience": st.tuples(*(st.sampled_from([None, 0, 3]) for _ in PLATFORMS)),
        "has_gaps": st.tuples(*(st.booleans() for _ in PLATFORMS)),
        "failed": st.booleans(),
    }
)
# What happens between two steps, to the track of which number.
EVENTS = st.lists(
    st.tuples(st.sampled_from(["nothing", "fetched", "deleted", "added"]), st.integers(0, 30)), max_size=12
)


@dataclass
class World:
    """The tracks as they were at the click, and what has happened to them since."""

    keys: list[int]
    kinds: list[dict]
    failed: MetadataFetchTask
    added: set[int] = field(default_factory=set)
    disturbed: set[int] = field(default_factory=set)

    def those(self, is_wanted: Callable[[dict], bool]) -> set[int]:
        return {key for key, kind in zip(self.keys, self.kinds, strict=True) if is_wanted(kind)}


def is_stale(kind: dict) -> bool:
    return kind["metadata"] != 1


def is_audience_stale(kind: dict) -> bool:
    return any(days != 0 for days in kind["audience"])


# What each planner is asked, and which tracks it has to find.
PLANNERS = {
    "stale": (lambda world: jobs.request_stale_metadata(), is_stale),
    "never fetched": (
        lambda world: jobs.request_stale_metadata(never_fetched_only=True),
        lambda kind: kind["metadata"] is None,
    ),
    "at most some": (lambda world: jobs.request_stale_metadata(limit=LIMIT), is_stale),
    "filtered": (lambda world: jobs.request_filtered_metadata(TrackFilter()), lambda kind: True),
    "filtered, stale": (
        lambda world: jobs.request_filtered_metadata(TrackFilter(), only_stale=True),
        is_stale,
    ),
    "retried": (lambda world: jobs.request_retry(world.failed), lambda kind: kind["failed"]),
    "audience, stale": (
        lambda world: jobs.request_stale_audience(platforms=PLATFORMS),
        is_audience_stale,
    ),
    "audience, never fetched": (
        lambda world: jobs.request_stale_audience(platforms=PLATFORMS, never_fetched_only=True),
        lambda kind: None in kind["audience"],
    ),
    "audience, at most some": (
        lambda world: jobs.request_stale_audience(platforms=PLATFORMS, limit=LIMIT),
        is_audience_stale,
    ),
    "audience, gaps": (
        lambda world: jobs.request_stale_audience(platforms=PLATFORMS, fill_gaps=True),
        lambda kind: any(kind["has_gaps"]),
    ),
    "audience, gaps, at most some": (
        lambda world: jobs.request_stale_audience(platforms=PLATFORMS, fill_gaps=True, limit=LIMIT),
        lambda kind: any(kind["has_gaps"]),
    ),
    "audience, filtered": (
        lambda world: jobs.request_filtered_audience(TrackFilter(), platforms=PLATFORMS),
        lambda kind: True,
    ),
    "audience, filtered, gaps": (
        lambda world: jobs.request_filtered_audience(TrackFilter(), platforms=PLATFORMS, fill_gaps=True),
        lambda kind: True,
    ),
}


def make_world(simulator, kinds: list[dict]) -> World:
    MetadataFetchTask.objects.all().delete()
    Track.objects.all().delete()
    now = timezone.now()
    tracks = []
    for number, kind in enumerate(kinds):
        ages = [age for age in kind["audience"] if age is not None]
        tracks += add_tracks(
            simulator,
            1,
            first=number,
            fetched_at=None if kind["metadata"] is None else now - timedelta(days=kind["metadata"]),
            audience_fetched_at=now - timedelta(days=min(ages)) if ages else None,
        )
    TrackAudience.objects.bulk_create(
        TrackAudience(
            track=track,
            platform=platform,
            fetched_at=None if age is None else now - timedelta(days=age),
            missing_days=2 if has_gaps else 0,
        )
        for track, kind in zip(tracks, kinds, strict=True)
        for platform, age, has_gaps in zip(PLATFORMS, kind["audience"], kind["has_gaps"], strict=True)
    )
    failed = jobs.request_metadata([track.pk for track in tracks]).job
    FetchFailure.objects.bulk_create(
        FetchFailure(job=failed, track=track, item=str(track.uuid), code="timeout", message="Too late.")
        for track, kind in zip(tracks, kinds, strict=True)
        if kind["failed"]
    )
    MetadataFetchTask.objects.filter(pk=failed.pk).update(status="failed", completed_at=now)
    failed.refresh_from_db()
    return World([track.pk for track in tracks], kinds, failed)


def disturb(world: World, simulator, event: str, number: int) -> None:
    """Let a track be fetched by somebody else, deleted or added."""
    if event == "added":
        (track,) = add_tracks(simulator, 1, first=100 + len(world.added))
        world.added.add(track.pk)
    elif event != "nothing" and number < len(world.keys):
        key = world.keys[number]
        world.disturbed.add(key)
        if event == "deleted":
            Track.objects.filter(pk=key).delete()
        else:
            now = timezone.now()
            Track.objects.filter(pk=key).update(metadata_fetched_at=now, audience_fetched_at=now)
            TrackAudience.objects.filter(track=key).update(fetched_at=now, missing_days=0)


@pytest.mark.parametrize("planner", PLANNERS)
def test_each_track_is_planned_once_and_none_is_left_out(planner, simulator, broker, settings, monkeypatch):
    settings.CHUNK_SIZE = 2
    monkeypatch.setattr(planning, "CHUNKS_PER_STEP", 2)
    monkeypatch.setattr(planning, "CHUNKS_OF_FIRST_STEP", 1)
    # Failures are planned in steps where they are more than a selection holds.
    monkeypatch.setattr(retries, "LARGEST_SELECTION", 0)
    request, is_wanted = PLANNERS[planner]

    @BOUNDS
    @given(kinds=st.lists(KINDS, min_size=8, max_size=24), events=EVENTS)
    def check(kinds, events) -> None:
        world = make_world(simulator, kinds)
        wanted = world.those(is_wanted)
        if planner == "retried" and not wanted:
            return
        job = request(world).job
        for _ in range(60):
            job.refresh_from_db()
            if job.planned_at is not None:
                break
            planning._plan_step(job)
            if events:
                disturb(world, simulator, *events.pop(0))
        assert job.planned_at is not None
        chunks = FetchChunk.objects.filter(job=job).order_by("pk")
        planned = [pk for chunk in chunks for pk in chunk.track_ids]
        assert len(planned) == len(set(planned)) == job.total_tracks
        assert set(planned) <= wanted | world.added
        if (limit := job.request.get("limit")) is None:
            assert wanted - world.disturbed <= set(planned)
        else:
            assert len(planned) <= limit
            if not world.disturbed:
                assert len(planned) >= min(limit, len(wanted))

    check()
