"""The list of fetch tasks: what is found, its rows, which live on; and the questions of its buttons."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.models import ApiAccount, MetadataFetchTask
from soundcharts.service import get_service

LIST = "/admin/catalog/metadatafetchtask/"
pytestmark = [pytest.mark.django_db, pytest.mark.on_sqlite_alone]


def listed(client: Client, **query: str) -> list[int]:
    return [row.pk for row in client.get(LIST, query).context["cl"].result_list]


def ask(client: Client, verb: str, job: MetadataFetchTask, **query: str):
    return client.get(reverse(f"admin:catalog_metadatafetchtask_{verb}", args=(job.pk,)), query)


@pytest.fixture
def job(make_track, broker) -> MetadataFetchTask:
    return jobs.request_metadata([make_track(number).pk for number in range(11)]).job


# --- found


@pytest.mark.parametrize("term", ["{pk}", "#{pk}", " #{pk} ", "11 chosen", "CHOSEN tracks"])
def test_a_task_is_found_by_its_number_or_title(staff_client, job, make_track, term):
    other = jobs.request_metadata([make_track(50, name="Another").pk]).job

    assert listed(staff_client, q=term.format(pk=job.pk)) == [job.pk] != [other.pk]


@pytest.mark.parametrize("term", ["nothing like it", "9" * 30, "#", "%", "'; --"])
def test_other_terms_find_nothing_and_do_no_harm(staff_client, job, term):
    assert listed(staff_client, q=term) in ([], [job.pk] if term == "#" else [])


@pytest.mark.parametrize(
    ("days", "periods"), [(0, {"1", "7", "30"}), (3, {"7", "30"}), (20, {"30"}), (40, {"older"})]
)
def test_tasks_are_filtered_by_when_they_were_asked_for(staff_client, job, days, periods):
    MetadataFetchTask.objects.update(created_at=timezone.now() - timedelta(days=days))

    assert {value for value in ("1", "7", "30", "older") if listed(staff_client, period=value)} == periods


def test_tasks_are_filtered_by_their_failures(staff_client, job, make_track, make_failed_job):
    failed = make_failed_job(make_track(99))

    assert listed(staff_client, failures="yes") == [failed.pk]
    assert listed(staff_client, failures="no") == [job.pk]


def test_the_newest_task_comes_first(staff_client, job, make_track):
    newer = jobs.request_metadata([make_track(50).pk]).job

    assert listed(staff_client) == [newer.pk, job.pk]


@pytest.mark.parametrize(
    ("query", "words"), [({}, "Nothing has been asked for yet"), ({"q": "x"}, "No task fits")]
)
def test_an_empty_list_says_what_to_do(staff_client, query, words):
    assertContains(staff_client.get(LIST, query), words)


def test_a_row_says_who_asked_and_a_hostile_title_is_text(staff_client, staff, make_track, broker):
    track = make_track(name="<img src=x onerror=alert(1)>")
    jobs.request_metadata([track.pk], requested_by=staff)

    page = staff_client.get(LIST)

    assertContains(page, "staff, ")
    assertNotContains(page, "<img src=x")


# --- live


def live(client: Client, *jobs: MetadataFetchTask, **headers: str):
    address = reverse("admin:catalog_metadatafetchtask_live")
    return client.get(address, {"ids": ",".join(str(job.pk) for job in jobs)}, headers=headers)


def test_the_list_asks_for_its_active_rows_and_for_no_others(staff_client, job, make_track, make_failed_job):
    make_failed_job(make_track(99))

    assertContains(staff_client.get(LIST), f'live/?ids={job.pk}"')


def test_a_list_of_ended_tasks_asks_for_nothing(staff_client, make_track, make_failed_job, broker):
    make_failed_job(make_track(99))

    assertNotContains(staff_client.get(LIST), "data-ln-live")


def test_the_cells_of_a_row_are_replaced_and_it_is_asked_for_again(staff_client, job):
    answer = live(staff_client, job)

    for name in ("state", "progress", "outcome", "calls", "duration"):
        assertContains(answer, f'<span id="job-{job.pk}-{name}" hx-swap-oob="true">')
    assertContains(answer, f'live/?ids={job.pk}"')


def test_a_row_that_has_ended_is_shown_so_and_not_asked_for_again(staff_client, job):
    jobs.cancel_job(job)

    answer = live(staff_client, job)

    assertContains(answer, "Cancelled")
    assertNotContains(answer, "data-ln-live")


@pytest.mark.parametrize("ids", ["", "x", "1,,2", "9" * 30, "-1", "1;2", "٣"])
def test_nonsense_instead_of_keys_is_ignored(staff_client, ids):
    assert staff_client.get(reverse("admin:catalog_metadatafetchtask_live"), {"ids": ids}).status_code == 200


def test_a_list_whose_session_has_ended_is_reloaded(client, job):
    assert live(client, job, **{"HX-Request": "true"}).headers["HX-Refresh"] == "true"


def test_who_may_not_view_tasks_gets_no_rows(staff, staff_client, job):
    staff.user_permissions.clear()

    assert live(staff_client, job).status_code == 403


# --- questions before what costs


def test_resuming_is_asked_about_with_its_price(staff_client, job):
    ApiAccount.objects.create(
        fingerprint=get_service().account, quota_remaining=100, observed_at=timezone.now()
    )
    jobs.pause_job(job)

    page = ask(staff_client, "resume", job)

    assertContains(page, f"Resume task #{job.pk}?")
    assertContains(page, "0 of 11 are done")
    assertContains(page, "about 2 API calls, 98 left after")


def test_cancelling_says_what_is_kept(staff_client, job):
    assertContains(ask(staff_client, "cancel", job), "What is done is kept: 0 of 11, for 0 API calls.")


def test_retrying_is_asked_about_with_the_price_of_just_that_code(
    staff_client, make_track, make_failed_job, broker
):
    job = make_failed_job(*(make_track(number) for number in range(11)))

    assertContains(ask(staff_client, "retry", job), "It will spend about 2 API calls")
    assertContains(ask(staff_client, "retry", job, code="timeout"), "There is no failed track that could be")


@pytest.mark.parametrize("verb", ["resume", "cancel", "retry"])
def test_a_question_is_a_page_or_the_content_of_a_dialog_and_changes_nothing(staff_client, job, verb):
    address = reverse(f"admin:catalog_metadatafetchtask_{verb}", args=(job.pk,))

    assertContains(staff_client.get(address), "<html")
    fragment = staff_client.get(address, headers={"HX-Request": "true"})
    assertNotContains(fragment, "<html")
    assertContains(fragment, "data-ln-question")
    job.refresh_from_db()
    assert (job.status, job.events.count()) == ("pending", 1)


def test_pausing_is_not_asked_about(staff_client, job):
    assert ask(staff_client, "pause", job).status_code == 405


def test_what_cannot_be_done_any_more_is_not_offered_in_the_question(staff_client, job):
    jobs.cancel_job(job)

    page = ask(staff_client, "resume", job)

    assertContains(page, "This task is cancelled.")
    assertNotContains(page, f"Resume task #{job.pk}?")


def test_a_second_click_is_told_that_it_is_so_already(staff_client, job):
    address = reverse("admin:catalog_metadatafetchtask_pause", args=(job.pk,))
    staff_client.post(address)

    assertContains(staff_client.post(address, follow=True), f"Task #{job.pk} is paused already.")
