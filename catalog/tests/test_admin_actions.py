"""The two actions on ticked tracks, and the page between choosing and spending."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog.fetching import work_on_job
from catalog.models import MetadataFetchTask, Track
from catalog.tests.addresses import page_of

pytestmark = pytest.mark.on_sqlite_alone

LIST = "/admin/catalog/track/"
IN_BACKGROUND, BULK_TASK = "fetch_in_background", "create_bulk_task"
both_actions = pytest.mark.parametrize("action", [IN_BACKGROUND, BULK_TASK])


def submit(
    client: Client, action: str, tracks: list[Track], *, query: str = "", follow: bool = False, **values: str
):
    """Send the list's form with these rows ticked; with `fetch`, the confirmation page's."""
    form = {"action": action, "select_across": "0", "_selected_action": [track.pk for track in tracks]}
    return client.post(LIST + query, form | values, follow=follow)


@pytest.fixture
def tracks(make_track) -> list[Track]:
    """Eleven never fetched, one fetched long ago, three fresh."""
    now = timezone.now()
    fetched_at = [None] * 11 + [now - timedelta(days=31)] + [now] * 3
    return [make_track(number, metadata_fetched_at=moment) for number, moment in enumerate(fetched_at)]


@pytest.mark.django_db
@both_actions
def test_staff_can_choose_the_action(staff_client, tracks, action):
    assertContains(staff_client.get(LIST), f'<option value="{action}">')


@pytest.mark.django_db
@both_actions
def test_viewers_cannot_choose_the_action(viewer_client, tracks, action):
    assertNotContains(viewer_client.get(LIST), action)


@pytest.mark.django_db
@both_actions
@pytest.mark.parametrize("choice", ["all", "stale"])
def test_an_action_sent_by_a_viewer_has_no_effect(viewer_client, tracks, broker, action, choice):
    submit(viewer_client, action, tracks, fetch=choice)

    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@both_actions
def test_an_action_sent_without_a_csrf_token_is_refused(staff, tracks, broker, action):
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)

    answer = submit(client, action, tracks, fetch="all", follow=True)

    assert answer.status_code == 403
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@both_actions
def test_an_anonymous_visitor_is_sent_to_the_login(client, tracks, broker, action):
    answer = submit(client, action, tracks, fetch="all", follow=True)

    assertRedirects(answer, f"{reverse('admin:login')}?next={LIST}")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@both_actions
def test_a_link_to_an_action_has_no_effect(staff_client, tracks, broker, action):
    query = {"action": action, "fetch": "all", "select_across": "1", "_selected_action": tracks[0].pk}

    staff_client.get(LIST, query, follow=True)

    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@both_actions
def test_the_price_of_each_choice_is_stated_before_anything_is_made_or_spent(
    staff_client, tracks, broker, simulator, action
):
    page = submit(staff_client, action, tracks, follow=True)

    assertContains(page, "15 tracks selected: 12 stale, 3 fresh.")
    assertContains(page, "Fetch the 12 stale (about 2 API calls)")
    assertContains(page, "Fetch all 15 (about 2 API calls)")
    assert MetadataFetchTask.objects.count() == 0
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_a_choice_without_tracks_is_not_offered(staff_client, tracks, broker):
    page = submit(staff_client, BULK_TASK, tracks[-3:], follow=True)

    assertNotContains(page, 'value="stale"')
    assertContains(page, "Fetch all 3 (about 1 API call)")


@pytest.mark.django_db
@both_actions
def test_the_confirmation_page_sends_back_what_makes_the_job(staff_client, tracks, broker, action):
    page = submit(staff_client, action, tracks[:3], follow=True).content.decode()
    hidden = re.findall(
        r'<input type="hidden" name="(action|select_across|_selected_action)" value="(.*?)">', page
    )
    form: dict[str, list[str]] = {}
    for name, value in hidden:
        form.setdefault(name, []).append(value)

    staff_client.post(LIST, form | {"fetch": "stale"})

    assert MetadataFetchTask.objects.get().total_tracks == 3


@pytest.mark.django_db(transaction=True)
@both_actions
def test_the_choice_stale_fetches_only_what_is_stale(staff_client, tracks, broker, simulator, action):
    submit(staff_client, action, tracks, fetch="stale")
    job = MetadataFetchTask.objects.get()

    work_on_job(job.pk)

    assert [simulator.state.asked(track.uuid) for track in tracks] == [1] * 12 + [0] * 3
    job.refresh_from_db()
    assert (job.outcome_sentence, job.api_calls) == ("12 updated, 3 skipped", 2)


@pytest.mark.django_db(transaction=True)
@both_actions
def test_the_choice_all_fetches_the_fresh_ones_too(staff_client, tracks, broker, simulator, action):
    submit(staff_client, action, tracks, fetch="all")

    work_on_job(MetadataFetchTask.objects.get().pk)

    assert [simulator.state.asked(track.uuid) for track in tracks] == [1] * 15


@pytest.mark.django_db
def test_fetching_in_the_background_stays_in_the_list_as_it_was_filtered(staff_client, tracks, broker):
    page = submit(staff_client, IN_BACKGROUND, tracks[:2], query="?freshness=never", fetch="all", follow=True)

    assertRedirects(page, f"{LIST}?freshness=never")
    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Task #{job.pk} is queued.")
    assertContains(page, page_of(job))


@pytest.mark.django_db
def test_creating_a_bulk_task_leads_to_its_page(staff_client, tracks, broker):
    page = submit(staff_client, BULK_TASK, tracks[:2], fetch="all", follow=True)

    job = MetadataFetchTask.objects.get()
    assert job.task_type == "bulk_metadata"
    assertRedirects(page, page_of(job))


@pytest.mark.django_db
@both_actions
def test_a_second_click_joins_the_active_job_and_says_so(staff_client, tracks, broker, action):
    submit(staff_client, action, tracks, fetch="stale")

    page = submit(staff_client, action, tracks, fetch="stale", follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Already running as task #{job.pk}.")


@pytest.mark.django_db
@both_actions
def test_an_action_is_logged_with_the_job(staff_client, staff, tracks, broker, action):
    submit(staff_client, action, tracks[:2], fetch="all")

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(MetadataFetchTask.objects.get().pk))
    assert "task made: 2 chosen tracks" in entry.get_change_message()


@pytest.mark.django_db(transaction=True)
@both_actions
def test_without_the_broker_the_job_is_saved_and_says_what_it_waits_for(
    staff_client, tracks, no_broker, action
):
    page = submit(staff_client, action, tracks, fetch="all", follow=True)

    job = MetadataFetchTask.objects.get()
    assert (job.status, job.error_code) == ("pending", "broker_unreachable")
    assertContains(page, f"Task #{job.pk} is saved, but the queue is unavailable.")


@pytest.mark.django_db
@pytest.mark.parametrize("pk", ["9" * 30, "-1", "nonsense", "", "²", "1; DROP TABLE catalog_track"])
@both_actions
def test_a_forged_tick_is_no_track_and_no_server_error(staff_client, tracks, broker, action, pk):
    form = {"action": action, "_selected_action": [pk], "fetch": "all"}

    page = staff_client.post(LIST, form, follow=True)

    assertContains(page, "None of the selected tracks is in this list any more. Nothing was queued.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_a_forged_tick_does_not_take_the_others_away(staff_client, tracks, broker):
    form = {"action": BULK_TASK, "_selected_action": ["9" * 30, tracks[0].pk], "fetch": "all"}

    staff_client.post(LIST, form)

    assert MetadataFetchTask.objects.get().total_tracks == 1


@pytest.mark.django_db
@pytest.mark.parametrize("choice", ["", "all", "stale"])
def test_tracks_that_have_left_the_filtered_list_meanwhile_are_said_to(staff_client, tracks, broker, choice):
    # The confirmation page stayed open while another job fetched them.
    Track.objects.update(metadata_fetched_at=timezone.now())

    page = submit(staff_client, BULK_TASK, tracks, query="?freshness=never", fetch=choice, follow=True)

    assertContains(page, "None of the selected tracks is in this list any more. Nothing was queued.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
@both_actions
def test_ticks_that_are_no_tracks_make_no_job(staff_client, tracks, broker, action):
    page = staff_client.post(
        LIST, {"action": action, "_selected_action": ["0", "999999"], "fetch": "all"}, follow=True
    )

    assertContains(page, "None of the selected tracks is in this list any more.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_an_action_without_ticks_says_to_tick_something(staff_client, tracks, broker):
    page = submit(staff_client, BULK_TASK, [], index="0", follow=True)

    assertContains(page, "Items must be selected in order to perform actions on them.")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db
def test_an_unknown_choice_is_asked_again_and_not_guessed(staff_client, tracks, broker):
    page = submit(staff_client, BULK_TASK, tracks, fetch="<script>alert(1)</script>", follow=True)

    assertContains(page, "15 tracks selected")
    assert MetadataFetchTask.objects.count() == 0
