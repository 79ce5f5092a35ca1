"""A list that shifts upstream while an import walks it: a song stands on two pages."""

import pytest

from catalog import jobs
from catalog.models import Track
from catalog.tests.outcomes import assert_one_outcome_each, finish_here

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def imported_twice(simulator, broker, settings, monkeypatch):
    """The metadata job of an import of which one song was listed on two pages, and that song's track."""
    index_at_rank = simulator.catalogue.index_at_rank
    # Before the second page a new song enters at the top, so everything moves down by one.
    monkeypatch.setattr(
        simulator.catalogue, "index_at_rank", lambda rank: index_at_rank(rank - 1 if rank >= 100 else rank)
    )
    job = jobs.request_import(limit=150).job
    finish_here(job)
    assert (job.updated_tracks, job.unchanged_tracks) == (149, 1)
    uuid = simulator.song_uuid(index_at_rank(99))
    return job.follow_ups.get(), Track.objects.get(uuid=uuid)


def test_a_song_listed_twice_is_fetched_once(imported_twice):
    job, _ = imported_twice
    finish_here(job)
    assert_one_outcome_each(job, Track.objects.all())


def test_a_song_listed_twice_that_cannot_be_fetched_does_not_block_the_job(simulator, imported_twice):
    job, track = imported_twice
    simulator.faults.set("unknown_uuids", uuids=[track.uuid])
    finish_here(job)
    assert_one_outcome_each(job, Track.objects.all())
    assert list(job.failures.values_list("track_id", "code")) == [(track.pk, "not_found")]
