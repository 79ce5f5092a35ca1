"""What happened to a job: noted with every change, by whom and why, and never without end."""

import pytest
from django.contrib.auth.models import User

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.jobs import events, states
from catalog.models import JobEvent, MetadataFetchTask
from catalog.tests.tracks import add_tracks
from soundcharts.errors import ConnectionFailed, UpstreamUnavailable

pytestmark = pytest.mark.django_db(transaction=True)


def kinds(job: MetadataFetchTask) -> list[str]:
    return list(job.events.values_list("kind", flat=True))


@pytest.fixture
def job(make_track, broker) -> MetadataFetchTask:
    return jobs.request_metadata([make_track(number).pk for number in range(3)]).job


@pytest.fixture
def person() -> User:
    return User.objects.create_user("anna")


def test_the_life_of_a_job_is_told_in_order(job, person, simulator):
    jobs.pause_job(job, by=person)
    jobs.resume_job(job, by=person)
    work_on_job(job.pk)

    assert kinds(job) == ["requested", "paused", "resumed", "started", "completed"]
    assert list(job.events.values_list("person__username", flat=True)) == [None, "anna", "anna", None, None]


def test_a_job_that_a_worker_takes_up_again_went_on(job):
    chunk = jobs.claim_chunk(job.pk, owner="one")
    jobs.pause_job(job)
    jobs.release_chunk(chunk)
    jobs.resume_job(job)
    jobs.claim_chunk(job.pk, owner="another")

    assert kinds(job) == ["requested", "started", "paused", "resumed", "went_on"]


def test_who_asked_is_noted_and_a_command_is_nobody(make_track, broker, person):
    by_anna = jobs.request_metadata([make_track(0).pk], requested_by=person).job
    by_nobody = jobs.request_stale_metadata().job

    assert by_anna.events.get().person == person
    assert by_nobody.events.get().text == "By a command, or at its time of the day."


def test_joining_a_job_is_no_event(make_track, broker):
    job = jobs.request_stale_metadata().job
    assert jobs.request_stale_metadata().is_joined

    assert kinds(job) == ["requested"]


def test_planning_by_a_worker_is_noted_once(simulator, broker):
    add_tracks(simulator, 3)
    job = jobs.request_stale_metadata().job
    work_on_job(job.pk)

    assert kinds(job).count("planned") == 1


def test_a_pause_says_why_and_a_resumption_by_itself_too(job, simulator):
    simulator.faults.set("quota_exhausted")
    work_on_job(job.pk)
    paused = job.events.get(kind="paused")
    assert (paused.code, paused.person) == ("quota_exhausted", None)
    simulator.faults.clear()

    jobs.sweep()

    assert job.events.get(kind="resumed").text == "There are calls again."


def test_waiting_ten_thousand_times_for_one_reason_is_one_event(job):
    for _ in range(20):
        chunk = jobs.claim_chunk(job.pk, owner="one")
        jobs.postpone_chunk(chunk, delay=jobs.Delay(0, is_attempt=False), error=UpstreamUnavailable())

    (waiting,) = job.events.filter(kind="waiting")
    assert waiting.count == 20
    assert waiting.until is not None
    assert waiting.last_at >= waiting.at


def test_waiting_for_reasons_that_take_turns_is_one_event_each(job):
    for number in range(20):
        chunk = jobs.claim_chunk(job.pk, owner="one")
        error = UpstreamUnavailable() if number % 2 else ConnectionFailed()
        jobs.postpone_chunk(chunk, delay=jobs.Delay(0, is_attempt=False), error=error)

    assert list(job.events.filter(kind="waiting").values_list("count", flat=True)) == [10, 10]


def test_waiting_after_something_else_happened_is_told_anew(job):
    for _ in range(2):
        chunk = jobs.claim_chunk(job.pk, owner="one")
        jobs.postpone_chunk(chunk, delay=jobs.Delay(0, is_attempt=False), error=UpstreamUnavailable())
        jobs.pause_job(job)
        jobs.resume_job(job)

    assert list(job.events.filter(kind="waiting").values_list("count", flat=True)) == [1, 1]


def test_a_job_that_is_paused_for_ever_and_ever_has_a_bounded_past(job, monkeypatch):
    monkeypatch.setattr(events, "MOST_EVENTS", 10)
    for _ in range(30):
        jobs.pause_job(job)
        jobs.resume_job(job)

    assert job.events.count() == 10
    counts = job.events.filter(kind__in=("paused", "resumed")).values_list("count", flat=True)
    assert sum(counts) == 60


@pytest.mark.parametrize("source", list(MetadataFetchTask.Status))
def test_no_event_without_its_change(job, source):
    MetadataFetchTask.objects.filter(pk=job.pk).update(status=source)
    for target, act in (("paused", jobs.pause_job), ("pending", jobs.resume_job)):
        if target not in states.TRANSITIONS[source]:
            with pytest.raises(jobs.IllegalTransition):
                act(job)
            assert kinds(job) == ["requested"]


def test_no_change_without_its_event(job, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(events, "note", fail)
    for act in (jobs.pause_job, jobs.cancel_job):
        with pytest.raises(RuntimeError):
            act(job)
    with pytest.raises(RuntimeError):
        jobs.claim_chunk(job.pk, owner="one")

    job.refresh_from_db()
    assert job.status == "pending"
    assert not job.chunks.exclude(lease_owner="").exists()


def test_a_retry_is_noted_on_the_job_that_failed(make_track, make_failed_job, broker, person):
    job = make_failed_job(make_track(0))
    retry = jobs.request_retry(job, requested_by=person).job

    event = job.events.get(kind="retried")
    assert (event.text, event.person) == (f"As task #{retry.pk}.", person)
    assert kinds(retry) == ["requested"]


def test_what_a_person_did_stays_when_the_person_is_deleted(job, person):
    jobs.pause_job(job, by=person)
    person.delete()

    assert JobEvent.objects.get(kind="paused").person is None
