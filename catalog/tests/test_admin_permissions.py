"""Who may press what: every button has its own permission, is a POST, and asks for a CSRF token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertRedirects

from catalog import jobs
from catalog.models import FetchChunk, FetchFailure, ImportDraft, MetadataFetchTask, RefreshPolicy, Track

pytestmark = pytest.mark.on_sqlite_alone

CONFIRMED = {"_form_submitted": "on"}


@dataclass(frozen=True)
class Press:
    """A button that would do something now, and the permission that it needs."""

    address: str
    permission: str
    values: dict[str, str]

    def by(self, client: Client):
        return client.post(self.address, self.values)


def _of_a_job(verb: str, job: MetadataFetchTask) -> Press:
    address = reverse(f"admin:catalog_metadatafetchtask_{verb}", args=(job.pk,))
    return Press(address, "control_metadatafetchtask", {})


def _in_the_list(name: str, permission: str, **values: str) -> Press:
    return Press(reverse(f"admin:catalog_track_{name}"), permission, CONFIRMED | values)


BUTTONS = [
    *(
        "import",
        "fetch all",
        "fetch now",
        "release",
        "adopt",
        "pause",
        "resume",
        "cancel",
        "retry",
        "run now",
    ),
]


@pytest.fixture(params=BUTTONS)
def press(request, make_track, make_failed_job, broker, simulator) -> Press:
    """Each button in turn, in a state in which it has an effect."""
    tracks = [make_track(number) for number in range(2)]
    match request.param:
        case "import":
            draft = ImportDraft.objects.create(source="top", limit=10, offset=0)
            address = reverse("admin:catalog_track_import_preview", args=(draft.pk,))
            return Press(address, "import_track", {"do": "confirm"})
        case "fetch all":
            return _in_the_list("fetch_all_metadata", "fetch_track")
        case "fetch now":
            address = reverse("admin:catalog_track_fetch_now", args=(tracks[0].pk,))
            return Press(address, "fetch_track", CONFIRMED)
        case "release":
            Track.objects.filter(pk=tracks[0].pk).update(edited_fields=["name"])
            address = reverse("admin:catalog_track_release", args=(tracks[0].pk,))
            return Press(address, "change_track", {"field": "name"})
        case "adopt":
            Track.objects.filter(pk=tracks[0].pk).update(moved_to=uuid4())
            return Press(reverse("admin:catalog_track_adopt", args=(tracks[0].pk,)), "change_track", {})
        case "run now":
            address = reverse("admin:catalog_refreshpolicy_run_now", args=("metadata",))
            return Press(address, "change_refreshpolicy", CONFIRMED)
        case "retry":
            return _of_a_job("retry", make_failed_job(*tracks))
    job = jobs.request_metadata([track.pk for track in tracks]).job
    if request.param == "resume":
        jobs.pause_job(job)
    return _of_a_job(request.param, job)


def everything() -> list[list[dict[str, Any]]]:
    """Return all that a button could change."""
    models = (Track, MetadataFetchTask, FetchChunk, FetchFailure, RefreshPolicy, LogEntry)
    return [list(model.objects.order_by("pk").values()) for model in models]


@pytest.fixture
def nothing_happens(simulator) -> Callable[[], bool]:
    """A function that says whether no row has changed and no call was made since now."""
    before = everything()
    return lambda: everything() == before and simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_a_press_by_staff_has_an_effect(staff_client, press, nothing_happens):
    press.by(staff_client)

    assert not nothing_happens()


@pytest.mark.django_db
def test_a_press_by_a_viewer_is_forbidden(viewer_client, press, nothing_happens):
    assert press.by(viewer_client).status_code == 403
    assert nothing_happens()


@pytest.mark.django_db
def test_the_dialog_is_forbidden_to_a_viewer_too(viewer_client, press):
    # That one has no dialog: it refuses a GET from anybody.
    expected = 405 if press.permission == "change_track" else 403
    assert viewer_client.get(press.address).status_code == expected


@pytest.mark.django_db
def test_a_press_by_staff_without_just_this_permission_is_forbidden(
    staff, staff_client, press, nothing_happens
):
    staff.user_permissions.remove(Permission.objects.get(codename=press.permission))

    assert press.by(staff_client).status_code == 403
    assert nothing_happens()


@pytest.mark.django_db
def test_just_this_permission_is_enough(viewer, viewer_client, press, nothing_happens):
    viewer.user_permissions.add(Permission.objects.get(codename=press.permission))

    press.by(viewer_client)

    assert not nothing_happens()


@pytest.mark.django_db
def test_a_press_by_a_user_who_is_not_staff_leads_to_the_login(press, nothing_happens):
    client = Client()
    client.force_login(User.objects.create_user("customer"))

    assertRedirects(press.by(client), f"{reverse('admin:login')}?next={press.address}")
    assert nothing_happens()


@pytest.mark.django_db
def test_an_anonymous_press_leads_to_the_login(client, press, nothing_happens):
    assertRedirects(press.by(client), f"{reverse('admin:login')}?next={press.address}")
    assert nothing_happens()


@pytest.mark.django_db
def test_a_press_without_a_csrf_token_is_forbidden(staff, press, nothing_happens):
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)

    assert press.by(client).status_code == 403
    assert nothing_happens()


@pytest.mark.django_db
def test_a_link_changes_nothing_whatever_it_holds(staff_client, press, nothing_happens):
    staff_client.get(press.address, press.values | {"fetch": "all"})

    assert nothing_happens()


@pytest.mark.django_db
def test_every_press_is_logged_in_the_name_of_who_pressed(staff, staff_client, press):
    press.by(staff_client)

    assert LogEntry.objects.get().user == staff
