"""Fault 23: workers whose clocks are two hours ahead, and two hours behind."""

import re
from datetime import datetime, timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from catalog import doorbell, jobs
from catalog.fetching import work_on_job
from catalog.models import FetchChunk, MetadataFetchTask, Track
from catalog.song_lists import read_list
from catalog.tests.gate import gate
from catalog.tests.outcomes import (
    assert_one_outcome_each,
    assert_quiet,
    is_over,
    keys_of,
    songs_by_times_asked,
)
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import Worker, startup_code, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HOURS = 2

SHIFT_CLOCK = """
    import datetime, time

    import django.utils.timezone

    seconds, read_time, read_now = {hours} * 3600, time.time, django.utils.timezone.now
    time.time = lambda: read_time() + seconds
    django.utils.timezone.now = lambda: read_now() + datetime.timedelta(seconds=seconds)
"""


@pytest.fixture
def crew(simulator, broker, settings, tmp_path):
    """Two workers of two processes each, one ahead of its time and one behind."""
    settings.CHUNK_SIZE, settings.FETCH_AHEAD = 30, 1
    started = []
    for name, hours in (("ahead", HOURS), ("behind", -HOURS)):
        environment = startup_code(tmp_path / name, SHIFT_CLOCK.format(hours=hours))
        started.append(Worker(tmp_path / f"{name}.log", processes=2, **environment))
    try:
        yield [worker.wait_until_ready() for worker in started]
    finally:
        for worker in started:
            worker.close()


def hours_off(worker: Worker) -> int:
    """Return by how many hours the stamps in a worker's log differ from the time."""
    (stamp, *_) = re.findall(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ INFO", worker.output, re.MULTILINE)
    return round((datetime.fromisoformat(stamp) - datetime.now()).total_seconds() / 3600)


def test_no_lease_is_stolen_and_all_stamps_are_the_databases(simulator, crew):
    assert [hours_off(worker) for worker in crew] == [HOURS, -HOURS]
    tracks = add_tracks(simulator, 60)
    with gate(simulator) as calls:
        job = jobs.request_metadata(keys_of(tracks), is_rung=False).job
        # Whoever takes a chunk: the other worker looks for work as well, and finds none.
        for _ in range(2):
            doorbell.ring(job.pk)
        calls.wait_for_calls(2)
        done = sum(worker.output.count("succeeded in") for worker in crew)
        for _ in range(6):
            doorbell.ring(job.pk)
        wait_until(lambda: sum(worker.output.count("succeeded in") for worker in crew) >= done + 6)
        assert calls.waiting == 2
        calls.open()
        wait_until(lambda: is_over(job))
    assert sum(worker.output.count(" claimed at ") for worker in crew) == 2
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 60) == {1: 60}
    assert_quiet(*crew)
    stamps = [
        *MetadataFetchTask.objects.values_list("started_at", "completed_at").get(),
        *FetchChunk.objects.values_list("finished_at", flat=True),
        *Track.objects.values_list("metadata_fetched_at", flat=True),
    ]
    now = Track.objects.annotate(now=Now()).values_list("now", flat=True)[0]
    assert job.created_at <= min(stamps) <= max(stamps) <= now


@pytest.mark.parametrize("is_pasted", [False, True], ids=["a list of Soundcharts", "a pasted list"])
def test_songs_that_an_import_adds_have_the_databases_stamps(simulator, broker, monkeypatch, is_pasted):
    ahead_of_time = timezone.now() + timedelta(hours=HOURS)
    monkeypatch.setattr(timezone, "now", lambda: ahead_of_time)
    if is_pasted:
        uuids = " ".join(str(simulator.song_uuid(number)) for number in range(20))
        job = jobs.request_list_import(read_list(uuids).entries).job
    else:
        job = jobs.request_import(limit=20).job
    work_on_job(job.pk)
    now = Track.objects.annotate(now=Now()).values_list("now", flat=True)[0]
    stamps = {stamp for pair in Track.objects.values_list("created_at", "updated_at") for stamp in pair}
    assert Track.objects.count() == 20
    assert job.created_at <= min(stamps) <= max(stamps) <= now
