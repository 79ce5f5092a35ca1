"""A job's states: only the legal ways, and what each does."""

import pytest

from catalog import jobs
from catalog.jobs import states
from catalog.models import MetadataFetchTask
from catalog.tests.tracks import add_tracks
from soundcharts.errors import UpstreamUnavailable

Status = MetadataFetchTask.Status
pytestmark = pytest.mark.django_db(transaction=True)

MOVES = {
    Status.PAUSED: jobs.pause_job,
    Status.PENDING: jobs.resume_job,
    Status.CANCELLED: jobs.cancel_job,
    Status.FAILED: lambda job: jobs.fail_job(job, code="x", reason="y"),
}


def job_in(status: str) -> MetadataFetchTask:
    job = jobs.request_stale_metadata().job
    MetadataFetchTask.objects.filter(pk=job.pk).update(status=status)
    job.refresh_from_db()
    return job


@pytest.mark.parametrize("source", list(Status))
@pytest.mark.parametrize("target", list(MOVES))
def test_only_legal_moves_happen(broker, source, target):
    job = job_in(source)
    if target in states.TRANSITIONS[source]:
        MOVES[target](job)
        assert job.status == target
    else:
        with pytest.raises(jobs.IllegalTransition, match=source.label.lower()):
            MOVES[target](job)
        job.refresh_from_db()
        assert job.status == source


def test_the_table_names_every_state():
    assert set(states.TRANSITIONS) == set(Status)


def test_ended_states_lead_nowhere():
    assert all(not states.TRANSITIONS[status] for status in MetadataFetchTask.ENDED)


def test_resume_clears_the_reason_and_rings(broker):
    job = jobs.request_stale_metadata().job
    jobs.pause_job(job, code="quota_exhausted", reason="No calls left.")
    broker.flushall()
    assert jobs.resume_job(job)
    assert (job.error_code, job.error_message) == ("", "")
    assert broker.llen("liner-notes") == 1


def test_resume_tries_at_once_what_was_waiting(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    job = jobs.request_metadata([track.pk]).job
    chunk = jobs.claim_chunk(job.pk, owner="me")
    jobs.postpone_chunk(chunk, delay=jobs.Delay(3600, is_attempt=True), error=UpstreamUnavailable())
    job.refresh_from_db()
    jobs.pause_job(job)
    jobs.resume_job(job)
    assert jobs.claim_chunk(job.pk, owner="me") is not None


def test_a_paused_or_cancelled_job_gives_out_no_chunk(simulator, broker):
    tracks = add_tracks(simulator, 2)
    paused = jobs.request_metadata([tracks[0].pk]).job
    cancelled = jobs.request_metadata([tracks[1].pk]).job
    jobs.pause_job(paused)
    jobs.cancel_job(cancelled)
    assert jobs.claim_chunk(paused.pk, owner="me") is None
    assert jobs.claim_chunk(cancelled.pk, owner="me") is None


def test_a_cancelled_import_lets_its_follow_up_end(simulator, broker, settings):
    settings.CHUNK_SIZE = 100
    job = jobs.request_import(limit=10).job
    tracks = add_tracks(simulator, 3)
    jobs.add_imported_tracks(job, [track.pk for track in tracks])
    follow_up = MetadataFetchTask.objects.get(parent=job)
    assert follow_up.planned_at is None
    jobs.cancel_job(job)
    follow_up.refresh_from_db()
    assert follow_up.planned_at is not None
    assert follow_up.total_tracks == 3
