"""Editing a track by hand: what is edited stays, what is not is left to the fetches."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import METADATA_FIELDS, MetadataFetchTask, Track
from catalog.tests import browser_forms
from catalog.tests.addresses import page_of
from catalog.tests.browser_forms import Values
from catalog.tests.together import Meanwhile


def open_form(client: Client, track: Track) -> Values:
    return browser_forms.open_form(client, page_of(track), "track_form")


def save(client: Client, track: Track, form: Values, **changes: object) -> HttpResponse:
    page = client.post(page_of(track), form | changes)
    track.refresh_from_db()
    return page


def fetch(track: Track) -> None:
    work_on_job(jobs.request_metadata([track.pk]).job.pk)
    track.refresh_from_db()


@pytest.mark.django_db
def test_an_edit_is_saved_and_ticked_as_made_by_hand(staff_client, make_track):
    track = make_track(name="Before", label="Label")

    save(staff_client, track, open_form(staff_client, track), name="After")

    assert (track.name, track.label, track.edited_fields) == ("After", "Label", ["name"])


@pytest.mark.django_db
@pytest.mark.parametrize("typed", ["bad", "USUM7190076", "USUM71900764 x"])
def test_what_is_no_isrc_is_refused_with_what_one_looks_like(staff_client, make_track, typed):
    track = make_track(name="Before", isrc="GBAAA0000001")

    page = save(staff_client, track, open_form(staff_client, track), isrc=typed, name="After")

    assertContains(page, "This is no ISRC: it has two letters, three letters or digits, and seven digits")
    assert (track.name, track.isrc, track.edited_fields) == ("Before", "GBAAA0000001", [])


@pytest.mark.django_db
@pytest.mark.parametrize(("typed", "kept"), [("us-um7-19-00764", "USUM71900764"), ("", "")])
def test_an_isrc_is_kept_in_its_one_spelling_and_may_be_emptied(staff_client, make_track, typed, kept):
    track = make_track(isrc="GBAAA0000001")

    save(staff_client, track, open_form(staff_client, track), isrc=typed)

    assert (track.isrc, track.edited_fields) == (kept, ["isrc"])


@pytest.mark.django_db
def test_what_soundcharts_sent_for_an_isrc_hinders_no_other_edit(staff_client, make_track):
    track = make_track(isrc="sent so")

    save(staff_client, track, open_form(staff_client, track), name="After")

    assert (track.name, track.isrc, track.edited_fields) == ("After", "sent so", ["name"])


@pytest.mark.django_db(transaction=True)
def test_two_people_who_edit_at_once_both_keep_their_fields(staff_client, make_track):
    track = make_track(name="Before", label="Label")
    fields = open_form(staff_client, track) | {"name": ["Hers"]}

    with transaction.atomic():
        Track.objects.filter(pk=track.pk).update(label="His", edited_fields=["label"])
        hers = Meanwhile(lambda: staff_client.post(page_of(track), fields))
        hers.wait_until_blocked()
    assert hers.result().status_code == 302

    track.refresh_from_db()
    assert (track.name, track.label, track.edited_fields) == ("Hers", "His", ["name", "label"])


@pytest.mark.django_db
def test_saving_a_fetched_track_as_it_is_edits_nothing(staff_client, make_track, broker, simulator):
    track = make_track()
    fetch(track)
    before = {name: getattr(track, name) for name in METADATA_FIELDS}

    save(staff_client, track, open_form(staff_client, track))

    assert track.edited_fields == []
    assert {name: getattr(track, name) for name in METADATA_FIELDS} == before


@pytest.mark.django_db
def test_an_address_that_a_fetch_may_store_does_not_keep_the_form_from_saving(staff_client, make_track):
    track = make_track(image_url="https://cdn_7.example.com/cover.jpg")

    save(staff_client, track, open_form(staff_client, track), name="After")

    assert (track.name, track.edited_fields) == ("After", ["name"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "typed", "kept"),
    [
        ("name", "By hand", "By hand"),
        ("credit_name", "By hand", "By hand"),
        ("slug", "by-hand", "by-hand"),
        ("isrc", "GBAAA0000001", "GBAAA0000001"),
        ("label", "By hand", "By hand"),
        ("genre", "By hand", "By hand"),
        ("duration", "77", 77),
        ("duration", "3:45", 225),
        ("duration", "03:05", 185),
        ("duration", "75:00", 4500),
        ("duration", "1:02:03", 3723),
        ("duration", "\u00a03:45\u200b", 225),
        ("release_date", "2001-02-03", "2001-02-03"),
        ("release_date", "2001-02-03T00:00:00Z", "2001-02-03"),
        ("release_date", "2001/02/03", "2001-02-03"),
        ("release_date", "20010203", "2001-02-03"),
        ("release_date", "3 February 2001", "2001-02-03"),
        ("release_date", "Feb 3, 2001", "2001-02-03"),
        ("release_date", "3.2.2001", "2001-02-03"),
        ("release_date", "1900-01-01", "1900-01-01"),
        ("name", "Beyonce\u0301", "Beyonc\u00e9"),
        ("label", "  Two\u3000\u00a0blanks ", "Two blanks"),
        ("image_url", "https://example.com/x.jpg", "https://example.com/x.jpg"),
    ],
)
def test_every_field_of_soundcharts_can_be_edited_by_hand(staff_client, make_track, field, typed, kept):
    track = make_track()

    save(staff_client, track, open_form(staff_client, track), **{field: typed})

    value = getattr(track, field)
    assert (value if isinstance(value, int) else str(value)) == kept
    assert track.edited_fields == [field]


@pytest.mark.django_db
def test_a_later_fetch_keeps_an_edit_and_updates_the_rest(staff_client, make_track, broker, simulator):
    track = make_track()
    save(staff_client, track, open_form(staff_client, track), name="By hand")

    fetch(track)

    assert track.name == "By hand"
    assert track.credit_name == simulator.catalogue.credit_name(0)


@pytest.mark.django_db
def test_an_emptied_field_stays_empty(staff_client, make_track, broker, simulator):
    track = make_track(label="Wrong label")
    save(staff_client, track, open_form(staff_client, track), label="")

    fetch(track)

    assert track.label == ""


@pytest.mark.django_db
def test_an_unticked_field_follows_soundcharts_again(staff_client, make_track, broker, simulator):
    track = make_track(name="By hand", label="By hand", edited_fields=["name", "label"])
    save(staff_client, track, open_form(staff_client, track), edited_fields=["label"])

    fetch(track)

    assert track.edited_fields == ["label"]
    assert (track.name, track.label) == (simulator.catalogue.name(0), "By hand")


@pytest.mark.django_db
def test_a_ticked_field_stays_without_being_changed(staff_client, make_track, broker, simulator):
    track = make_track(name="Right as it is")
    save(staff_client, track, open_form(staff_client, track), edited_fields=["name"])

    fetch(track)

    assert track.name == "Right as it is"


@pytest.mark.django_db
def test_a_form_opened_before_a_fetch_does_not_undo_it(staff_client, make_track, broker, simulator):
    track = make_track(name="Old", label="Old")
    form = open_form(staff_client, track)
    fetch(track)
    fetched_at = track.metadata_fetched_at

    fetched_label = track.label
    page = save(staff_client, track, form, label="By hand")

    assert (track.label, track.edited_fields) == ("By hand", ["label"])
    told = [str(message) for message in get_messages(page.wsgi_request)]
    assert f"Label: a fetch changed it to “{fetched_label}” while you edited. Your value was kept." in told
    assert (track.name, track.metadata_fetched_at) == (simulator.catalogue.name(0), fetched_at)


@pytest.mark.django_db
def test_a_form_opened_before_a_colleagues_edit_does_not_undo_it(staff_client, make_track):
    track = make_track(name="Old", label="Old")
    form = open_form(staff_client, track)
    save(staff_client, track, open_form(staff_client, track), name="The colleague's")

    save(staff_client, track, form, label="Mine")

    assert (track.name, track.label) == ("The colleague's", "Mine")
    assert track.edited_fields == ["name", "label"]


@pytest.mark.django_db
def test_a_form_opened_before_a_colleague_unticked_a_field_does_not_tick_it_again(staff_client, make_track):
    track = make_track(name="By hand", edited_fields=["name"])
    form = open_form(staff_client, track)
    save(staff_client, track, open_form(staff_client, track), edited_fields=[])

    save(staff_client, track, form, label="Mine")

    assert track.edited_fields == ["label"]


@pytest.mark.django_db
def test_an_edit_is_logged_with_the_field(staff_client, staff, make_track):
    track = make_track()

    save(staff_client, track, open_form(staff_client, track), isrc="GBAAA0000001")

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(track.pk))
    assert entry.get_change_message() == "Changed ISRC."


@pytest.mark.django_db
def test_a_tracks_uuid_cannot_be_changed(staff_client, make_track):
    track = make_track()
    uuid = track.uuid

    save(staff_client, track, open_form(staff_client, track), uuid="11e81bcc-9c1c-ce38-b96b-a0369fe50396")

    assert track.uuid == uuid


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["metadata_fetched_at", "metadata_error", "metadata_absences"])
def test_what_the_fetches_record_cannot_be_changed_by_hand(staff_client, make_track, field):
    track = make_track()
    before = getattr(track, field)

    save(staff_client, track, open_form(staff_client, track), **{field: "1"})

    assert getattr(track, field) == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("image_url", "javascript:alert(1)"),
        ("image_url", "data:text/html,x"),
        ("image_url", "ftp://example.com/x.jpg"),
        ("name", "x" * 10_000),
        ("duration", "-1"),
        ("duration", "9" * 30),
        ("duration", "3:75"),
        ("duration", "3:4"),
        ("duration", "1:60:00"),
        ("duration", "3.45"),
        ("duration", "24:00:01"),
        ("release_date", "yesterday"),
        ("release_date", "02/03/2001"),
        ("release_date", "9999-12-31"),
        ("release_date", "0001-01-01"),
        ("edited_fields", ["metadata_error"]),
        ("name", "with a NUL \x00"),
    ],
)
def test_nonsense_is_refused_with_a_word_at_the_field(staff_client, make_track, field, typed):
    track = make_track(name="Before")

    page = save(staff_client, track, open_form(staff_client, track), **{field: typed})

    assert list(page.context["adminform"].form.errors) == [field]
    # Above everything else, with a link to the field.
    words = page.content.decode()
    problem = f'<li><a class="ln-link" href="#id_{field}'
    assert words.index("Not saved") < words.index(problem) < words.index('id="track-panel"')
    assert words.count(problem) == 1
    assert (track.name, track.edited_fields) == ("Before", [])


@pytest.mark.django_db
def test_viewers_read_the_track_and_cannot_edit_it(viewer_client, make_track):
    track = make_track(name="Before")

    assertContains(viewer_client.get(page_of(track)), "Before")
    assert viewer_client.post(page_of(track), {"name": "After"}).status_code == 403


@pytest.mark.django_db
def test_a_track_is_added_by_its_uuid_alone(staff_client, simulator):
    page = staff_client.get(reverse("admin:catalog_track_add"))
    assertNotContains(page, 'name="name"')

    staff_client.post(reverse("admin:catalog_track_add"), {"uuid": str(simulator.song_uuid(7))})

    track = Track.objects.get()
    assert (track.uuid, track.edited_fields, track.metadata_fetched_at) == (simulator.song_uuid(7), [], None)
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_the_same_track_is_not_added_twice(staff_client, make_track):
    track = make_track()

    page = staff_client.post(reverse("admin:catalog_track_add"), {"uuid": track.uuid.hex})

    assertContains(page, "already exists")
    assert Track.objects.count() == 1


@pytest.mark.django_db
def test_an_unknown_track_is_said_to_be_none(staff_client):
    page = staff_client.get("/admin/catalog/track/999999/change/", follow=True)

    assertContains(page, "doesn’t exist. Perhaps it was deleted?")


@pytest.mark.django_db
def test_deleting_a_track_keeps_the_failures_of_its_jobs(admin_client, make_track, make_failed_job, broker):
    track = make_track()
    job = make_failed_job(track)

    admin_client.post(reverse("admin:catalog_track_delete", args=(track.pk,)), {"post": "yes"})

    assert Track.objects.count() == 0
    assert MetadataFetchTask.objects.get().failures.get().item == str(track.uuid)
    assert job.failures.get().track is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("release_date", "29.3.", "Use YYYY-MM-DD, for example 2019-03-29."),
        ("release_date", "03/29/2019", "Use YYYY-MM-DD, for example 2019-03-29."),
        ("release_date", "2019-02-30", "Use YYYY-MM-DD, for example 2019-03-29."),
        ("release_date", "9999-12-31", "Use a date from 1860 to 2 years ahead."),
        ("duration", "three minutes", "Use minutes and seconds, for example 3:45."),
        ("duration", "99:59:59", "Use at most 24 hours."),
    ],
)
def test_a_refusal_says_which_form_is_wanted(staff_client, make_track, field, typed, said):
    track = make_track(duration=225, release_date="2001-02-03")

    page = save(staff_client, track, open_form(staff_client, track), **{field: typed})

    assertContains(page, said)
    assert (track.duration, str(track.release_date)) == (225, "2001-02-03")


@pytest.mark.django_db
def test_a_duration_is_shown_as_a_clock_shows_it_and_saved_as_it_is_shown(staff_client, make_track):
    track = make_track(name="Before", duration=3723)
    form = open_form(staff_client, track)

    save(staff_client, track, form, name="After")

    assert form["duration"] == ["1:02:03"]
    assert (track.duration, track.edited_fields) == (3723, ["name"])


@pytest.mark.django_db
def test_a_duration_that_nobody_would_type_hinders_no_other_edit(staff_client, make_track):
    track = make_track(name="Before", duration=194_000)

    save(staff_client, track, open_form(staff_client, track), name="After")

    assert (track.name, track.duration, track.edited_fields) == ("After", 194_000, ["name"])


@pytest.mark.django_db
def test_who_only_looks_sees_the_duration_as_a_clock_shows_it(viewer_client, make_track):
    page = viewer_client.get(page_of(make_track(duration=225)))

    assertContains(page, "3:45")
    assertNotContains(page, "225")


@pytest.mark.django_db
def test_the_history_shows_durations_as_a_clock_shows_them(staff_client, make_track):
    track = make_track(duration=194)
    save(staff_client, track, open_form(staff_client, track), duration="3:45")

    history = staff_client.get(reverse("admin:catalog_track_history", args=(track.pk,)))

    assertContains(history, "<del>3:14</del>")
    assertContains(history, "<ins>3:45</ins>")
