"""The link of something that is gone says what it was, and who deleted it and when."""

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.addresses import page_of

pytestmark = pytest.mark.on_sqlite_alone

LIST = "/admin/catalog/track/"


@pytest.fixture
def gone(staff_client, make_track) -> Track:
    """A track that staff have deleted, as it was."""
    track = make_track(name="Blue", credit_name="Ada")
    key = track.pk
    staff_client.post(reverse("admin:catalog_track_delete", args=(key,)), {"post": "yes"}, follow=True)
    assert not Track.objects.exists()
    track.pk = key
    return track


@pytest.mark.django_db
@pytest.mark.parametrize("part", ["change", "history", "delete"])
def test_a_deleted_track_is_named_with_who_deleted_it_and_when(staff_client, gone, part):
    page = staff_client.get(f"{LIST}{gone.pk}/{part}/", follow=True)

    assertRedirects(page, LIST)
    when = date_format(timezone.localtime(LogEntry.objects.get().action_time), "DATETIME_FORMAT")
    assertContains(page, f"Track “Blue – Ada” (UUID {gone.uuid}) was deleted by staff on {when}.")


@pytest.mark.django_db
def test_tracks_that_were_ticked_and_deleted_are_named_too(staff_client, make_track):
    track = make_track(name="<b>Blue</b>")
    values = {"action": "delete_selected", "_selected_action": track.pk, "post": "yes"}
    staff_client.post(LIST, values, follow=True)

    page = staff_client.get(f"{LIST}{track.pk}/change/", follow=True)

    assertContains(page, "Track “&lt;b&gt;Blue&lt;/b&gt;”")
    assertContains(page, "was deleted by staff")


@pytest.mark.django_db
def test_whoever_may_not_see_tracks_learns_nothing_of_one(client, gone):
    client.force_login(User.objects.create_user("guest", is_staff=True))

    for part in ("change", "history", "delete"):
        answer = client.get(f"{LIST}{gone.pk}/{part}/", follow=True)
        assert "Blue" not in answer.content.decode()


@pytest.mark.django_db
def test_an_edit_that_comes_after_the_deletion_says_so(staff_client, gone):
    assertContains(staff_client.post(page_of(gone), {"name": "Late"}, follow=True), "was deleted by staff")


@pytest.mark.django_db
@pytest.mark.parametrize("button", ["fetch_now", "fetch_audience_now"])
def test_a_fetch_that_comes_after_the_deletion_says_so_and_spends_nothing(
    staff_client, gone, broker, simulator, button
):
    values = {"_form_submitted": "on", "platforms": ["spotify"]}
    address = f"{LIST}{gone.pk}/{button}/"

    answer = staff_client.post(address, values, headers={"HX-Request": "true"})

    assert answer.headers["HX-Redirect"] == LIST
    assertContains(staff_client.get(LIST), "was deleted by staff")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_a_task_that_was_pruned_is_named_by_what_is_left_of_it(staff_client, staff, make_track, broker):
    job = jobs.request_metadata([make_track(name="Blue").pk]).job
    kind = ContentType.objects.get_for_model(MetadataFetchTask)
    address, title = page_of(job), str(job)
    LogEntry.objects.create(
        user=staff, content_type=kind, object_id=job.pk, object_repr=title, action_flag=CHANGE
    )
    MetadataFetchTask.objects.all().delete()

    page = staff_client.get(address, follow=True)

    assertContains(page, f"Fetch task “{title}” no longer exists. There is no record of who removed it.")


@pytest.mark.django_db
def test_what_was_never_there_is_said_to_be_none(staff_client):
    page = staff_client.get(f"{LIST}999999/change/", follow=True)

    assertContains(page, "doesn’t exist. Perhaps it was deleted?")
    assertNotContains(page, "was deleted by")


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["%00", "x" * 500, "9" * 300, "1%00"])
def test_strange_keys_are_no_server_error(staff_client, key):
    assert staff_client.get(f"{LIST}{key}/change/", follow=True).status_code in (200, 400, 404)
