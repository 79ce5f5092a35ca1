"""Fault 22: two beats, and fifty clicks at the same moment."""

import pytest

from catalog import jobs, tasks
from catalog.models import MetadataFetchTask, Track
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of, songs_by_times_asked
from catalog.tests.together import all_at_once
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_beats_make_one_job(simulator, broker):
    tracks = add_tracks(simulator, 30)
    all_at_once(tasks.fetch_all_tracks_metadata, times=2)
    (job,) = MetadataFetchTask.objects.all()
    all_at_once(tasks.sweep_jobs, times=2)
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 30) == {1: 30}


def test_fifty_clicks_at_once_make_one_job_and_forty_nine_join_it(simulator, broker):
    tracks = add_tracks(simulator, 10)
    answers = all_at_once(lambda: jobs.request_metadata(keys_of(tracks)), times=50)
    (job,) = MetadataFetchTask.objects.all()
    assert {answer.job.pk for answer in answers} == {job.pk}
    assert sum(answer.is_joined for answer in answers) == 49
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert songs_by_times_asked(simulator, 10) == {1: 10}


def test_two_imports_of_the_same_songs_at_once_add_each_once(simulator, broker):
    first = jobs.request_import(limit=150).job
    second = jobs.request_import(limit=200).job
    pending = iter([first, second])
    all_at_once(lambda: finish_here(next(pending)), times=2)
    for job in (first, second):
        job.refresh_from_db()
        assert job.status == "completed"
    assert Track.objects.count() == 200
