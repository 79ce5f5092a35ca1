"""A job's page, and the part of it that is asked for again while the job is active."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import jobs
from catalog.explanations import explain
from catalog.fetching import work_on_job
from catalog.models import ApiAccount, FetchChunk, MetadataFetchTask, Track
from catalog.song_lists import Entry
from catalog.tests.addresses import page_of
from soundcharts.service import get_service

pytestmark = pytest.mark.on_sqlite_alone

UNKNOWN = 10_000
POLLS = "hx-get"
STILL_SAVED = "Answers that were under way are still being saved, so these numbers may grow."


def progress_of(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_progress", args=(job.pk,))


@pytest.fixture
def job(make_track) -> MetadataFetchTask:
    """A pending job of two tracks."""
    return jobs.request_metadata([make_track(number).pk for number in range(2)]).job


@pytest.fixture
def refused_job(make_track, make_failed_job):
    """A function that gives a job of which so many tracks failed."""
    return lambda count: make_failed_job(*(make_track(number) for number in range(count)))


@pytest.mark.django_db
def test_the_page_of_an_active_job_polls_its_progress(staff_client, job, broker):
    assertContains(staff_client.get(page_of(job)), f'{POLLS}="{progress_of(job)}"')


@pytest.mark.django_db
def test_progress_goes_on_polling_while_the_job_is_active(staff_client, job, broker):
    assertContains(staff_client.get(progress_of(job)), f'{POLLS}="{progress_of(job)}"')


@pytest.mark.django_db(transaction=True)
def test_progress_stops_polling_when_the_job_has_completed(staff_client, job, broker, simulator):
    work_on_job(job.pk)

    fragment = staff_client.get(progress_of(job))

    assertNotContains(fragment, POLLS)
    assertContains(fragment, "Completed")


@pytest.mark.django_db
def test_progress_stops_polling_when_the_job_was_cancelled(staff_client, job, broker):
    jobs.cancel_job(job)

    assertNotContains(staff_client.get(progress_of(job)), POLLS)


@pytest.mark.django_db
def test_progress_stops_polling_when_the_job_has_failed(staff_client, job, broker):
    jobs.fail_job(job, code="error", reason="It failed.")

    assertNotContains(staff_client.get(progress_of(job)), POLLS)


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_progress_goes_on_polling_until_what_was_under_way_is_saved(staff_client, job, broker, end):
    chunk = jobs.claim_chunk(job.pk, owner="a worker")
    if end == "cancelled":
        jobs.cancel_job(job)
    else:
        jobs.fail_job(job, code="error", reason="It failed.")

    for address in (page_of(job), progress_of(job)):
        part = staff_client.get(address)
        assertContains(part, POLLS)
        assertContains(part, STILL_SAVED)
        assertContains(part, f"Task {job.pk} {end}; answers in progress are still saved.")
    jobs.release_chunk(chunk)
    part = staff_client.get(progress_of(job))
    assertNotContains(part, POLLS)
    assertNotContains(part, STILL_SAVED)


@pytest.mark.django_db
def test_polling_ends_with_the_lease_of_a_worker_that_died(staff_client, job, broker):
    jobs.claim_chunk(job.pk, owner="a worker")
    jobs.cancel_job(job)
    FetchChunk.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    assertNotContains(staff_client.get(progress_of(job)), POLLS)


@pytest.mark.django_db
def test_a_paused_job_says_that_what_was_under_way_is_still_saved(staff_client, job, broker):
    chunk = jobs.claim_chunk(job.pk, owner="a worker")
    assertNotContains(staff_client.get(progress_of(job)), STILL_SAVED)
    jobs.pause_job(job)

    assertContains(staff_client.get(progress_of(job)), STILL_SAVED)
    jobs.release_chunk(chunk)
    assertNotContains(staff_client.get(progress_of(job)), STILL_SAVED)


@pytest.mark.django_db
def test_the_page_of_an_ended_job_does_not_poll(staff_client, job, broker):
    jobs.cancel_job(job)

    assertNotContains(staff_client.get(page_of(job)), progress_of(job))


@pytest.mark.django_db
def test_progress_is_only_the_part_that_changes(staff_client, job, broker):
    assertNotContains(staff_client.get(progress_of(job)), "<html")


@pytest.mark.django_db
def test_looking_at_a_job_spends_nothing(staff_client, job, broker, simulator):
    staff_client.get(page_of(job))
    staff_client.get(progress_of(job))

    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_the_page_says_in_words_what_came_of_every_track_and_what_it_cost(
    staff_client, make_track, broker, simulator
):
    tracks = [make_track(0), make_track(1), make_track(UNKNOWN)]
    job = jobs.request_metadata([track.pk for track in tracks]).job
    work_on_job(job.pk)
    job.refresh_from_db()

    page = staff_client.get(page_of(job))

    assertContains(page, "<strong>3 of 3</strong>")
    assertContains(page, "2 updated, 1 failed.")
    assertContains(page, f"{job.api_calls} API call")
    assert job.api_calls == simulator.state.calls.total()


@pytest.mark.django_db
def test_the_progress_bar_tells_its_value_to_screen_readers(staff_client, refused_job, broker):
    assertContains(staff_client.get(page_of(refused_job(2))), 'aria-valuenow="100"')


@pytest.mark.django_db
def test_failures_are_listed_with_code_and_a_link_to_the_track(staff_client, refused_job, broker):
    job = refused_job(2)
    track = Track.objects.first()

    page = staff_client.get(page_of(job))

    assertContains(page, "<strong>Unknown at Soundcharts</strong>")
    assertContains(page, '<td class="ln-number" data-label="Tracks">2</td>', html=True)
    assertContains(page, f'<bdi><a class="ln-link" href="{page_of(track)}">{track.uuid}</a></bdi>')
    assertContains(page, "not_found</code></td>", count=2)


@pytest.mark.django_db
def test_the_failure_of_a_track_that_is_gone_is_listed_by_its_uuid(staff_client, refused_job, broker):
    job = refused_job(1)
    uuid = Track.objects.get().uuid
    Track.objects.all().delete()

    assertContains(staff_client.get(page_of(job)), f"<td>{uuid}</td>")


@pytest.mark.django_db
def test_with_many_failures_the_page_leads_to_all_of_them(staff_client, refused_job, broker):
    job = refused_job(51)

    page = staff_client.get(page_of(job))

    assertContains(page, "not_found</code></td>", count=20)
    assertContains(page, "The first 20 of 51 are below.")
    assertContains(page, f"{reverse('admin:catalog_fetchfailure_changelist')}?job__id__exact={job.pk}")


@pytest.mark.django_db
def test_a_reason_to_wait_stands_on_the_page_with_what_to_do_about_it(staff_client, job, broker):
    jobs.pause_job(job, code="authentication_failed", reason="The keys were refused.")

    words = explain("authentication_failed", is_of_paused=True)
    page = staff_client.get(page_of(job))
    assertContains(page, "Paused: credentials refused")
    assertContains(page, f"<p>{words.meaning} {words.what_to_do}</p>")
    # What only operators can do is folded away.
    technical = page.content.decode().partition("Technical details</summary>")[2]
    assert "The keys were refused." in technical
    assert words.for_operators in technical


@pytest.mark.django_db
def test_a_pause_by_hand_is_said_once(staff_client, job, broker):
    jobs.pause_job(job, by=User.objects.get(username="staff"))

    page = staff_client.get(page_of(job))
    assertContains(page, f"<p>{explain('by_hand').what_to_do}</p>")
    dashboard = staff_client.get("/admin/")
    assertContains(dashboard, "Paused by hand", count=1)
    assertContains(dashboard, explain("by_hand").what_to_do)


@pytest.mark.django_db
def test_a_task_that_was_cancelled_before_its_first_track_does_not_wait_for_more(staff_client, job, broker):
    jobs.cancel_job(job)

    assertContains(staff_client.get(page_of(job)), "nothing was done")


@pytest.mark.django_db
def test_what_was_asked_for_is_said_in_words(staff_client, job, broker):
    page = staff_client.get(page_of(job))

    assertContains(page, "a command, or the schedule")
    for empty in ("Comes from", "Retried"):
        assertNotContains(page, empty)
    MetadataFetchTask.objects.update(retry_count=2)
    assertContains(staff_client.get(page_of(job)), "2 times")


@pytest.mark.django_db(transaction=True)
def test_the_page_of_an_import_leads_to_the_job_of_its_metadata(staff_client, broker, simulator):
    job = jobs.request_import(limit=10).job
    work_on_job(job.pk)

    follow_up = MetadataFetchTask.objects.latest("pk")
    assertContains(
        staff_client.get(page_of(job)), f'Followed by <a class="ln-link" href="{page_of(follow_up)}">'
    )


@pytest.fixture
def known_quota(simulator) -> None:
    """An account of which it is known that 1,000 calls are left."""
    ApiAccount.objects.create(
        fingerprint=get_service().account, quota_remaining=1000, observed_at=timezone.now()
    )


def to_go(calls: str, left: int) -> str:
    return f"to go: {calls}, {left} left after."


@pytest.mark.django_db
def test_an_import_counts_the_metadata_that_it_leads_to(staff_client, broker, known_quota):
    job = jobs.request_import(limit=250).job

    words = to_go("about 3 API calls for the list, then at most 25 for metadata", 972)
    assertContains(staff_client.get(page_of(job)), words)
    jobs.pause_job(job)
    question = reverse("admin:catalog_metadatafetchtask_resume", args=(job.pk,))
    assertContains(staff_client.get(question), "about 3 API calls for the list, then at most 25")


@pytest.mark.django_db
def test_what_an_import_has_queued_already_is_still_to_come(staff_client, make_track, broker, known_quota):
    job = jobs.request_import(limit=250).job
    MetadataFetchTask.objects.filter(pk=job.pk).update(
        processed_tracks=230, successful_tracks=230, updated_tracks=230
    )
    jobs.add_imported_tracks(job, [make_track(number).pk for number in range(10)])

    words = to_go("about 1 API call for the list, then at most 3 for metadata", 996)
    assertContains(staff_client.get(page_of(job)), words)
    jobs.cancel_job(MetadataFetchTask.objects.get(dedupe_key=f"imported:{job.pk}"))
    assertContains(staff_client.get(page_of(job)), to_go("about 1 API call", 999))


@pytest.mark.django_db
def test_the_songs_of_a_pasted_list_come_with_their_metadata(staff_client, broker, known_quota):
    entries = [Entry(line, value, value) for line, value in enumerate(("USAAA2500001", "USAAA2500002"), 1)]
    job = jobs.request_list_import(entries).job

    assertContains(staff_client.get(page_of(job)), to_go("about 2 API calls", 998))


@pytest.mark.django_db
def test_viewers_can_read_the_page_and_its_progress(viewer_client, job, broker):
    assertContains(viewer_client.get(page_of(job)), "<strong>0 of 2</strong>")
    assertContains(viewer_client.get(progress_of(job)), "<strong>0 of 2</strong>")


@pytest.mark.django_db
def test_staff_without_the_permission_to_view_jobs_get_no_progress(staff, staff_client, job, broker):
    staff.user_permissions.clear()

    assert staff_client.get(progress_of(job)).status_code == 403


@pytest.mark.django_db
def test_anonymous_visitors_are_sent_to_the_login(client: Client, job, broker):
    answer = client.get(progress_of(job))

    assertRedirects(answer, f"{reverse('admin:login')}?next={progress_of(job)}")


@pytest.mark.django_db
def test_a_poll_after_the_session_has_ended_reloads_the_page_around_it(client: Client, job, broker):
    response = client.get(progress_of(job), headers={"HX-Request": "true"})
    assert response.headers["HX-Refresh"] == "true"
    assert response.content == b""


@pytest.mark.parametrize("key", [0, 999999, 10**30])
def test_the_progress_of_an_unknown_job_is_not_found(staff_client, key):
    assert staff_client.get(f"/admin/catalog/metadatafetchtask/{key}/progress/").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("key", [0, 999999, 10**30, "nonsense"])
def test_the_page_of_an_unknown_job_says_that_there_is_none(staff_client, key):
    page = staff_client.get(f"/admin/catalog/metadatafetchtask/{key}/change/", follow=True)

    assertContains(page, "doesn’t exist. Perhaps it was deleted?")


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["add/", "{pk}/delete/"])
def test_jobs_are_neither_added_nor_deleted_by_hand(admin_client, job, broker, page):
    answer = admin_client.post(f"/admin/catalog/metadatafetchtask/{page.format(pk=job.pk)}", {"post": "yes"})

    assert answer.status_code == 403
    assert MetadataFetchTask.objects.count() == 1


@pytest.mark.django_db
def test_a_job_is_not_changed_by_posting_to_its_page(admin_client, job, broker):
    answer = admin_client.post(page_of(job), {"status": "completed"})

    assert answer.status_code == 403


# --- nothing on the page contradicts what is shown live


@pytest.mark.django_db(transaction=True)
def test_all_counts_and_times_are_part_of_what_is_asked_for_again(staff_client, job, broker, simulator):
    work_on_job(job.pk)

    part = staff_client.get(progress_of(job))
    for words in (
        "<dt>Done</dt><dd>2</dd>",
        "<dt>Updated</dt><dd>2</dd>",
        "<dt>API calls of the plan</dt><dd>1</dd>",
    ):
        assertContains(part, words)
    page = staff_client.get(page_of(job)).content.decode()
    assert page.count("<dt>Done</dt>") == 1
    assert "Processed tracks" not in page


@pytest.mark.django_db
def test_a_message_on_a_tasks_own_page_does_not_lead_to_that_page(staff_client, refused_job, broker):
    job = refused_job(1)
    retry = reverse("admin:catalog_metadatafetchtask_retry", args=(job.pk,))

    page = staff_client.post(retry, follow=True)
    assertContains(page, "is queued. Its progress is shown here.")
    assertNotContains(page, "Follow its progress")
