"""The buttons on a job's page: pause, resume, cancel and retry failed."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import MetadataFetchTask, Track
from catalog.tests.addresses import page_of

pytestmark = pytest.mark.on_sqlite_alone

QUEUE = "liner-notes"
every_button = pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry"])


def address(verb: str, job: MetadataFetchTask) -> str:
    return reverse(f"admin:catalog_metadatafetchtask_{verb}", args=(job.pk,))


def press(client: Client, verb: str, job: MetadataFetchTask, *, follow: bool = False):
    page = client.post(address(verb, job), follow=follow)
    job.refresh_from_db()
    return page


@pytest.fixture
def tracks(make_track) -> list[Track]:
    return [make_track(number) for number in range(3)]


@pytest.fixture
def job(tracks) -> MetadataFetchTask:
    """A pending job of three tracks."""
    return jobs.request_metadata([track.pk for track in tracks]).job


def bring_to(job: MetadataFetchTask, state: str) -> None:
    """Take a pending job to a state, the way it gets there; leave it where it is for "pending"."""
    match state:
        case "running":
            jobs.claim_chunk(job.pk, owner="a worker")
        case "paused":
            jobs.pause_job(job)
        case "failed":
            jobs.fail_job(job, code="error", reason="It failed.")
        case "cancelled":
            jobs.cancel_job(job)
        case "completed":
            chunk = jobs.claim_chunk(job.pk, owner="a worker")
            jobs.advance_chunk(chunk, count=3)
            jobs.record_outcomes(chunk, counts=jobs.Counts(updated=3), calls=1)
    job.refresh_from_db()
    assert job.status == state


# --- what each does


@pytest.mark.django_db(transaction=True)
def test_a_paused_job_does_no_more_work_and_spends_no_more_calls(staff_client, job, broker, simulator):
    page = press(staff_client, "pause", job, follow=True)

    work_on_job(job.pk)

    assertContains(page, f"Task #{job.pk} is paused. The batch under way is still saved; Resume goes on")
    assertContains(page, "Paused by hand. Resume goes on from here.")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_resuming_tells_a_worker_and_the_job_completes(staff_client, job, broker, simulator):
    jobs.pause_job(job)
    broker.flushall()

    page = press(staff_client, "resume", job, follow=True)
    assertContains(page, f"Task #{job.pk} goes on where it stopped.")
    assert broker.llen(QUEUE) == 1

    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.updated_tracks) == ("completed", 3)


@pytest.mark.django_db(transaction=True)
def test_resuming_goes_on_at_the_position_and_pays_for_nothing_twice(
    staff_client, tracks, broker, simulator, settings
):
    settings.SOUNDCHARTS_BATCH_SIZE = 1
    simulator.faults.set("quota_exhausted", after=1)
    job = jobs.request_metadata([track.pk for track in tracks]).job
    work_on_job(job.pk)
    simulator.faults.clear()

    press(staff_client, "resume", job)
    work_on_job(job.pk)

    assert [simulator.state.answered(track.uuid) for track in tracks] == [1, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_without_the_broker_a_resumed_job_waits_and_says_so(staff_client, job, no_broker):
    jobs.pause_job(job)

    page = press(staff_client, "resume", job, follow=True)

    assert (job.status, job.error_code) == ("pending", "broker_unreachable")
    assertContains(page, f"Task #{job.pk} is resumed, but the queue is unavailable.")


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["pending", "running", "paused"])
def test_cancelling_ends_an_active_job_for_good(staff_client, job, broker, simulator, state):
    bring_to(job, state)

    page = press(staff_client, "cancel", job, follow=True)

    assert (job.status, job.completed_at is not None) == ("cancelled", True)
    assertContains(page, "What was fetched is saved; the other tracks are as they were.")


@pytest.mark.django_db
def test_cancelling_an_audience_does_not_say_that_unfinished_tracks_are_as_they_were(
    staff_client, tracks, broker
):
    job = jobs.request_audience([track.pk for track in tracks]).job
    assertContains(staff_client.get(address("cancel", job)), "Of the other 3, what has come or is under way")

    page = press(staff_client, "cancel", job, follow=True)

    assertContains(page, "The figures that came are saved, also those of tracks that were not finished.")
    assertNotContains(page, "as they were")


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_job_spends_no_more_calls(staff_client, job, broker, simulator):
    press(staff_client, "cancel", job)

    work_on_job(job.pk)

    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_retrying_fetches_the_failures_alone(staff_client, tracks, broker, simulator):
    simulator.faults.set("unknown_uuids", uuids=[tracks[1].uuid])
    job = jobs.request_metadata([track.pk for track in tracks]).job
    work_on_job(job.pk)
    simulator.faults.clear()
    asked = [simulator.state.asked(track.uuid) for track in tracks]

    press(staff_client, "retry", job)
    retry = MetadataFetchTask.objects.latest("pk")
    work_on_job(retry.pk)

    retry.refresh_from_db()
    assert (retry.status, retry.outcome_sentence) == ("completed", "1 updated")
    asked_again = [simulator.state.asked(track.uuid) for track in tracks]
    assert [after - before for before, after in zip(asked, asked_again, strict=True)] == [0, 1, 0]


@pytest.mark.django_db
def test_a_retry_leads_to_its_own_page_which_says_where_it_comes_from(
    staff_client, tracks, make_failed_job, broker
):
    job = make_failed_job(*tracks[:2])

    page = press(staff_client, "retry", job, follow=True)

    retry = MetadataFetchTask.objects.latest("pk")
    assertRedirects(page, page_of(retry))
    assertContains(page, f"Task #{retry.pk} is queued.")
    assertContains(page, f'Comes from <a class="ln-link" href="{page_of(job)}">')


@pytest.mark.django_db
def test_two_clicks_on_retry_make_one_job(staff_client, tracks, make_failed_job, broker):
    job = make_failed_job(*tracks[:2])
    press(staff_client, "retry", job)

    page = press(staff_client, "retry", job, follow=True)

    retry = MetadataFetchTask.objects.exclude(pk=job.pk).get()
    assertContains(page, f"Already running as task #{retry.pk}.")


@pytest.mark.django_db(transaction=True)
def test_without_the_broker_a_retry_is_saved_and_says_what_it_waits_for(
    staff_client, tracks, make_failed_job, no_broker
):
    page = press(staff_client, "retry", make_failed_job(*tracks), follow=True)

    retry = MetadataFetchTask.objects.latest("pk")
    assert (retry.status, retry.error_code) == ("pending", "broker_unreachable")
    assertContains(page, f"Task #{retry.pk} is saved, but the queue is unavailable")


@pytest.mark.django_db
def test_a_failed_import_is_retried_as_a_whole(staff_client, broker, simulator):
    job = jobs.request_import(limit=200, offset=10).job
    jobs.fail_job(job, code="forbidden", reason="Not included.")

    press(staff_client, "retry", job)

    again = MetadataFetchTask.objects.latest("pk")
    assert (again.task_type, again.status, again.request) == ("import", "pending", job.request)


@pytest.mark.django_db
def test_failures_of_tracks_that_are_gone_cannot_be_retried_and_it_says_so(
    staff_client, tracks, make_failed_job, broker
):
    job = make_failed_job(tracks[0])
    tracks[0].delete()

    page = press(staff_client, "retry", job, follow=True)

    assertContains(
        page, f"Task #{job.pk} has no failed track that could be tried again. Nothing was changed."
    )
    assert MetadataFetchTask.objects.count() == 1


# --- the price


@pytest.mark.django_db
def test_the_page_states_the_price_of_a_retry(staff_client, make_track, make_failed_job, broker):
    job = make_failed_job(*(make_track(number) for number in range(11)))

    assertContains(staff_client.get(page_of(job)), "Retrying the failed tracks will spend about 2 API calls.")


@pytest.mark.django_db
def test_the_page_states_the_price_of_retrying_an_import(staff_client, broker):
    job = jobs.request_import(limit=200).job
    jobs.fail_job(job, code="forbidden", reason="Not included.")

    assertContains(staff_client.get(page_of(job)), "Retrying lists the songs again: about 2 API calls")


@pytest.mark.django_db
def test_the_page_states_what_resuming_will_spend(staff_client, make_track, broker):
    job = jobs.request_metadata([make_track(number).pk for number in range(11)]).job
    jobs.pause_job(job)

    assertContains(staff_client.get(page_of(job)), "0 API calls spent, to go: about 2 API calls")


# --- states


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("pause", "paused"),
        ("pause", "completed"),
        ("pause", "failed"),
        ("pause", "cancelled"),
        ("resume", "running"),
        ("resume", "completed"),
        ("resume", "failed"),
        ("resume", "cancelled"),
        ("cancel", "completed"),
        ("cancel", "failed"),
        ("cancel", "cancelled"),
        ("retry", "running"),
        ("retry", "paused"),
        ("retry", "completed"),
        ("retry", "cancelled"),
    ],
)
def test_a_button_pressed_in_the_wrong_state_changes_nothing_and_says_so(
    staff_client, job, broker, verb, state
):
    bring_to(job, state)

    page = press(staff_client, verb, job, follow=True)

    assertRedirects(page, page_of(job))
    assertContains(page, "Nothing was changed.")
    assert job.status == state
    assert MetadataFetchTask.objects.count() == 1
    assert LogEntry.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("pending", {"pause", "cancel"}),
        ("running", {"pause", "cancel"}),
        ("paused", {"resume", "cancel"}),
        ("completed", set()),
        ("cancelled", set()),
        ("failed", set()),
    ],
)
def test_the_page_offers_what_the_state_allows(staff_client, job, broker, state, shown):
    bring_to(job, state)

    page = staff_client.get(page_of(job)).content.decode()

    assert {v for v in ("pause", "resume", "cancel", "retry") if address(v, job) in page} == shown


@pytest.mark.django_db
def test_an_ended_job_with_failures_offers_to_retry_them(staff_client, tracks, make_failed_job, broker):
    job = make_failed_job(*tracks)

    assertContains(staff_client.get(page_of(job)), address("retry", job))


@pytest.mark.django_db
def test_a_job_whose_failed_tracks_are_gone_offers_no_retry(staff_client, tracks, make_failed_job, broker):
    job = make_failed_job(*tracks)
    Track.objects.all().delete()

    assertNotContains(staff_client.get(page_of(job)), address("retry", job))


@pytest.mark.django_db
def test_a_failed_import_offers_a_retry(staff_client, broker):
    job = jobs.request_import(limit=100).job
    jobs.fail_job(job, code="forbidden", reason="Not included.")

    assertContains(staff_client.get(page_of(job)), address("retry", job))


# --- people


@pytest.mark.django_db
def test_viewers_see_no_buttons(viewer_client, job, broker):
    page = viewer_client.get(page_of(job))

    assertContains(page, f"#{job.pk} · 3 chosen tracks")
    assertNotContains(page, address("pause", job))


@pytest.mark.django_db
def test_viewers_are_told_no_price_for_what_they_may_not_do(viewer_client, tracks, make_failed_job, broker):
    assertNotContains(viewer_client.get(page_of(make_failed_job(*tracks))), "Retrying")


@pytest.mark.django_db
@every_button
@pytest.mark.parametrize("key", [0, 999999, 10**30])
def test_an_unknown_job_is_not_found(staff_client, verb, key):
    assert staff_client.post(f"/admin/catalog/metadatafetchtask/{key}/{verb}/").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_button_is_logged_on_the_job(staff_client, staff, job, broker, verb):
    press(staff_client, verb, job)

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(job.pk))
    assert entry.get_change_message() == verb.capitalize()


@pytest.mark.django_db
def test_a_resume_is_logged_on_the_job(staff_client, job, broker):
    jobs.pause_job(job)

    press(staff_client, "resume", job)

    assert LogEntry.objects.get().get_change_message() == "Resume"


@pytest.mark.django_db
def test_a_retry_is_logged_on_the_job_that_failed(staff_client, tracks, make_failed_job, broker):
    job = make_failed_job(*tracks)

    press(staff_client, "retry", job)

    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.get_change_message()) == (str(job.pk), "Retry")
