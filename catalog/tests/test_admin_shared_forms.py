"""Two people with the same form: the second to save the same field is told, and chooses."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains

from catalog import schedule
from catalog.models import RefreshPolicy, Track
from catalog.tests.addresses import page_of
from catalog.tests.browser_forms import open_form, values_in
from catalog.tests.together import Meanwhile

THEIRS, MINE = "Theirs", "Mine"


@pytest.fixture
def colleague(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("colleague"))
    return client


def open_track(client: Client, track: Track) -> dict[str, list[str]]:
    return open_form(client, page_of(track), "track_form")


@pytest.fixture
def both_changed(staff_client, colleague, make_track):
    """A track whose name a colleague has saved after this form was opened; the page of our own try."""
    track = make_track(name="Before", label="Label")
    form = open_track(staff_client, track)
    colleague.post(page_of(track), open_track(colleague, track) | {"name": THEIRS})
    page = staff_client.post(page_of(track), form | {"name": MINE, "label": "My label"})
    return track, page


def choose(client: Client, track: Track, page, choice: str | None):
    form = values_in(page.content.decode(), "track_form")
    page = client.post(page_of(track), form | ({"keep-name": choice} if choice else {}))
    track.refresh_from_db()
    return page


@pytest.mark.django_db
def test_the_second_to_save_a_field_sees_both_values_and_nothing_is_saved(both_changed):
    track, page = both_changed

    assertContains(page, "Someone else changed this to “Theirs”. Choose which value to keep.")
    assertContains(page, "Keep mine: <bdi>Mine</bdi>")
    assertContains(page, "Take theirs: <bdi>Theirs</bdi>")
    assertContains(page, "(by colleague)")
    track.refresh_from_db()
    assert (track.name, track.label) == (THEIRS, "Label")


@pytest.mark.django_db
@pytest.mark.parametrize(("choice", "kept"), [("mine", MINE), ("theirs", THEIRS)])
def test_the_chosen_value_is_saved_with_all_else_that_was_typed(staff_client, both_changed, choice, kept):
    track, page = both_changed

    choose(staff_client, track, page, choice)

    assert (track.name, track.label, track.edited_fields) == (kept, "My label", ["name", "label"])


@pytest.mark.django_db
def test_without_a_choice_it_is_asked_again(staff_client, both_changed):
    track, page = both_changed

    assertContains(choose(staff_client, track, page, None), "Choose which value to keep.")
    assert (track.name, track.label) == (THEIRS, "Label")


@pytest.mark.django_db
@pytest.mark.parametrize("choice", ["mine", "theirs"])
def test_a_choice_counts_only_for_the_value_that_was_seen(staff_client, colleague, both_changed, choice):
    track, page = both_changed
    colleague.post(page_of(track), open_track(colleague, track) | {"name": "Newer"})

    assertContains(choose(staff_client, track, page, choice), "to “Newer”")
    assert track.name == "Newer"


@pytest.mark.django_db
def test_what_both_changed_to_the_same_needs_no_choice(staff_client, colleague, make_track):
    track = make_track(name="Before")
    form = open_track(staff_client, track)
    colleague.post(page_of(track), open_track(colleague, track) | {"name": THEIRS})

    assert staff_client.post(page_of(track), form | {"name": THEIRS}).status_code == 302


@pytest.mark.django_db
def test_their_value_is_escaped(staff_client, colleague, make_track):
    track = make_track(name="Before")
    form = open_track(staff_client, track)
    colleague.post(page_of(track), open_track(colleague, track) | {"name": "<b>x</b>"})

    assertNotContains(staff_client.post(page_of(track), form | {"name": MINE}), "<b>x</b>")


@pytest.mark.django_db(transaction=True)
def test_of_two_who_save_a_field_at_once_the_second_is_asked(staff_client, make_track):
    track = make_track(name="Before")
    form = open_track(staff_client, track) | {"name": MINE}

    with transaction.atomic():
        Track.objects.filter(pk=track.pk).update(name=THEIRS, edited_fields=["name"])
        mine = Meanwhile(lambda: staff_client.post(page_of(track), form))
        mine.wait_until_blocked()

    assertContains(mine.result(), "to “Theirs”")
    track.refresh_from_db()
    assert track.name == THEIRS


# --- the schedule, users and groups


@pytest.mark.django_db
def test_a_schedule_that_somebody_changed_meanwhile_is_asked_about(staff_client, colleague):
    schedule.ensure_entries()
    address = reverse("admin:catalog_refreshpolicy_change", args=("metadata",))
    form = open_form(staff_client, address, "refreshpolicy_form")
    for client, days in ((colleague, "40"), (colleague, "41")):
        theirs = open_form(client, address, "refreshpolicy_form") | {"max_age_days": days}
        assert client.post(address, theirs).status_code == 302

    page = staff_client.post(address, form | {"max_age_days": "50", "tracks_per_run": "7"})

    assertContains(page, "Someone else changed this to “41”.")
    assert RefreshPolicy.objects.get(pk="metadata").max_age_days == 41
    form = values_in(page.content.decode(), "refreshpolicy_form")
    assert staff_client.post(address, form | {"keep-max_age_days": "mine"}).status_code == 302
    policy = RefreshPolicy.objects.get(pk="metadata")
    assert (policy.max_age_days, policy.tracks_per_run) == (50, 7)


@pytest.mark.django_db
def test_a_schedule_keeps_what_somebody_else_changed_in_it(staff_client, colleague):
    schedule.ensure_entries()
    address = reverse("admin:catalog_refreshpolicy_change", args=("metadata",))
    form = open_form(staff_client, address, "refreshpolicy_form")
    colleague.post(address, open_form(colleague, address, "refreshpolicy_form") | {"at": "05:30"})

    staff_client.post(address, form | {"max_age_days": "50"})

    assert open_form(staff_client, address, "refreshpolicy_form")["at"] == ["05:30"]
    assert RefreshPolicy.objects.get(pk="metadata").max_age_days == 50


@pytest.mark.django_db
def test_a_users_form_keeps_what_was_not_touched_and_asks_about_what_was(admin_client, colleague):
    user = User.objects.create_user("anna", email="before@example.com", first_name="Anna")
    form = open_form(admin_client, page_of(user), "user_form")
    theirs = open_form(colleague, page_of(user), "user_form") | {"first_name": "Ann", "is_staff": "on"}
    assert colleague.post(page_of(user), theirs).status_code == 302

    assert admin_client.post(page_of(user), form | {"email": "after@example.com"}).status_code == 302
    user.refresh_from_db()
    assert (user.email, user.first_name, user.is_staff) == ("after@example.com", "Ann", True)

    page = admin_client.post(page_of(user), form | {"first_name": "Annette"})
    assertContains(page, "to “Ann”. Choose which value to keep.")


@pytest.mark.django_db
def test_groups_that_were_given_meanwhile_are_not_taken_away(admin_client, colleague):
    user, group = User.objects.create_user("anna"), Group.objects.get(name="Editor")
    form = open_form(admin_client, page_of(user), "user_form")
    theirs = open_form(colleague, page_of(user), "user_form") | {"groups": [str(group.pk)]}
    colleague.post(page_of(user), theirs)

    admin_client.post(page_of(user), form | {"first_name": "Anna"})

    assert list(user.groups.all()) == [group]
    page = admin_client.post(page_of(user), form | {"groups": [str(Group.objects.get(name="Viewer").pk)]})
    assertContains(page, "Take theirs: <bdi>Editor</bdi>")
    assert list(user.groups.all()) == [group]


@pytest.mark.django_db
def test_permissions_of_a_group_that_both_change_are_asked_about(admin_client, colleague):
    group = Group.objects.create(name="Guests")
    view, fetch = (Permission.objects.get(codename=name) for name in ("view_track", "fetch_track"))
    form = open_form(admin_client, page_of(group), "group_form")
    theirs = open_form(colleague, page_of(group), "group_form") | {"permissions": [str(view.pk)]}
    colleague.post(page_of(group), theirs)

    page = admin_client.post(page_of(group), form | {"permissions": [str(fetch.pk)]})

    assertContains(page, "Choose which value to keep.")
    assert list(group.permissions.all()) == [view]
    form = values_in(page.content.decode(), "group_form")
    assert admin_client.post(page_of(group), form | {"keep-permissions": "mine"}).status_code == 302
    assert list(group.permissions.all()) == [fetch]
