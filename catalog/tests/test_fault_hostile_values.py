"""Fault 20: values within a song that a parser or a database chokes on."""

import pytest

from catalog import jobs
from catalog.models import Track
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = [
    pytest.param({"name": "\x00 in a name"}, "name", id="NUL"),
    pytest.param({"name": "\ud800 in a name"}, "name", id="lone surrogate"),
    pytest.param({"name": "x" * 10_000}, "name", id="10,000 characters"),
    pytest.param({"duration": 2**70}, "duration", id="2^70"),
    pytest.param({"duration": 2**31}, "duration", id="2^31"),
    pytest.param({"imageUrl": "javascript:alert(1)"}, "imageUrl", id="javascript URL"),
]


@pytest.mark.parametrize(("fields", "field"), HOSTILE)
def test_a_hostile_value_is_a_warning_on_its_own_track_alone(simulator, broker, fields, field):
    tracks = add_tracks(simulator, 20, name="Old name", duration=1)
    victim = tracks[4]
    simulator.faults.set("payloads", songs={victim.uuid: fields})
    job = jobs.request_metadata(keys_of(tracks)).job
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert job.updated_tracks == 20
    (warned,) = Track.objects.exclude(metadata_warnings=[])
    assert warned.pk == victim.pk
    assert warned.metadata_warnings[0].startswith(f"{field}:")
    assert simulator.state.answered_more_than_once() == {}


def test_a_song_that_makes_its_answer_unreadable_fails_alone(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = [0]
    tracks = add_tracks(simulator, 30, name="Old name")
    victim = tracks[14]
    simulator.faults.set("payloads", songs={victim.uuid: {"duration": float("nan")}})
    job = jobs.request_metadata(keys_of(tracks)).job
    finish_here(job)
    assert_one_outcome_each(job, tracks)
    assert list(job.failures.values_list("track_id", "code")) == [(victim.pk, "invalid_response")]
    victim.refresh_from_db()
    assert victim.name == "Old name"
