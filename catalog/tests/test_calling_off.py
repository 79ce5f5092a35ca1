"""Pause, cancel and a stop while calls wait for their turn: none of them begins any more."""

from collections.abc import Callable

import pytest
import redis

from catalog import jobs
from catalog.fetching import ahead, work_on_job
from catalog.models import FetchChunk, MetadataFetchTask
from catalog.song_lists import read_list
from catalog.tests.gate import gate, refuse_calls
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, is_over, keys_of
from catalog.tests.together import Meanwhile
from catalog.tests.tracks import add_tracks
from soundcharts import service
from soundcharts.service import get_service
from soundcharts.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

# Longer than a test waits for a worker, and short enough to be waited out rather than come back to later.
PAUSE_SECONDS = 65


CLICKS = [
    pytest.param(jobs.pause_job, "paused", id="pause"),
    pytest.param(jobs.cancel_job, "cancelled", id="cancel"),
]


def let_all_wait(simulator: Simulator, job: MetadataFetchTask, *, calls: int) -> Meanwhile:
    """Return a worker that has one answer, and of which so many calls, all it can make, wait for a turn."""
    with gate(simulator, after=1) as held:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        refuse_calls(simulator, held, count=calls, reset=PAUSE_SECONDS)
    return worker


def let_calls_begin_again(simulator: Simulator, broker: redis.Redis) -> None:
    """Forget the pause, as everybody does when its time is over."""
    simulator.faults.clear()
    broker.flushall()
    service._build_service.cache_clear()
    service._build_limiter.cache_clear()


@pytest.mark.parametrize(("click", "status"), CLICKS)
def test_after_a_click_no_call_begins_that_waits_for_its_turn(simulator, broker, click, status):
    tracks = add_tracks(simulator, 290)
    job = jobs.request_metadata(keys_of(tracks)).job
    worker = let_all_wait(simulator, job, calls=28)
    click(job)
    worker.result()
    job.refresh_from_db()
    assert (job.status, job.processed_tracks, job.failed_tracks) == (status, 10, 0)
    assert simulator.state.calls["songs"] == 1 + 28
    assert job.api_calls == simulator.state.quota_used == 1
    assert not FetchChunk.objects.exclude(lease_owner="", error_count=0).exists()


def test_what_was_called_off_is_fetched_once_the_job_is_resumed(simulator, broker):
    tracks = add_tracks(simulator, 290)
    job = jobs.request_metadata(keys_of(tracks)).job
    worker = let_all_wait(simulator, job, calls=28)
    jobs.pause_job(job)
    worker.result()
    let_calls_begin_again(simulator, broker)
    jobs.resume_job(job)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert simulator.state.answered_more_than_once() == {}


@pytest.mark.parametrize(
    ("request_import", "kind", "calls"),
    [
        pytest.param(
            lambda uuids: jobs.request_import(limit=250), "top_songs", 1, id="a list of Soundcharts"
        ),
        pytest.param(
            lambda uuids: jobs.request_list_import(read_list(" ".join(uuids)).entries),
            "songs",
            # Of the hundred rows that are looked up together.
            10,
            id="a pasted list",
        ),
    ],
)
@pytest.mark.parametrize(("click", "status"), CLICKS)
def test_an_import_begins_no_call_after_a_click(
    simulator, broker, click, status, request_import: Callable, kind, calls
):
    job = request_import([str(simulator.song_uuid(number)) for number in range(200)]).job
    worker = let_all_wait(simulator, job, calls=calls)
    click(job)
    worker.result()
    assert simulator.state.calls[kind] == 1 + calls
    job.refresh_from_db()
    assert (job.status, job.failed_tracks, job.api_calls) == (status, 0, simulator.state.quota_used)
    assert not FetchChunk.objects.exclude(lease_owner="").exists()


def test_a_refusal_that_stops_all_calls_off_what_waits_for_its_turn(simulator, broker, settings, monkeypatch):
    # Twenty calls wait, and one of them has its turn each second.
    settings.SOUNDCHARTS_CALLS_PER_MINUTE = 60
    monkeypatch.setattr(ahead, "useful_depth", lambda service, *, is_proven: 20)
    get_service().get_songs([simulator.song_uuid(298), simulator.song_uuid(299)])
    simulator.state.reset()
    tracks = add_tracks(simulator, 290)
    job = jobs.request_metadata(keys_of(tracks)).job
    simulator.faults.set("error", status=401)
    work_on_job(job.pk)
    assert not is_over(job)
    assert (job.status, job.error_code, job.processed_tracks) == ("paused", "authentication_failed", 0)
    # Those that had begun before the first refusal was known, of twenty that were to begin.
    assert simulator.state.calls["songs"] < 10
    assert job.api_calls == simulator.state.quota_used
