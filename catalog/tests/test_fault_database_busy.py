"""Fault 12, seen by a person: the database keeps them waiting too long, and nothing they typed is lost."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains

from catalog import schedule
from catalog.models import ImportDraft, RefreshPolicy, Track
from catalog.tests.addresses import page_of
from catalog.tests.browser_forms import open_form, values_in

pytestmark = pytest.mark.django_db(transaction=True)

BUSY = "The database is busy"
IMPORT = "/admin/catalog/track/import/"


@pytest.fixture(autouse=True)
def impatient(db) -> None:
    """This process waits for a tenth of a second, where the site waits for many."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA busy_timeout = 100")
        else:
            cursor.execute("SET lock_timeout = '100ms'")
    yield
    connection.close()


@contextmanager
def locked(*tables: str) -> Iterator[None]:
    """Let another connection hold what everybody needs who writes (into these tables)."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("BEGIN IMMEDIATE")
            else:
                cursor.execute(f"BEGIN; LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
            yield
            cursor.execute("ROLLBACK")
    finally:
        other.close()


def send_again(client: Client, page):
    """Press the button of the page, which sends what it holds."""
    text = page.content.decode().replace('<form method="post"', '<form id="kept"', 1)
    return client.post(page.request["PATH_INFO"], values_in(text, "kept"), follow=True)


def test_an_edit_of_a_track_is_kept_and_saved_by_the_next_try(staff_client, make_track):
    track = make_track(name="Before")
    form = open_form(staff_client, page_of(track), "track_form")
    typed = 'After "<b>'

    with locked("catalog_track"):
        page = staff_client.post(page_of(track), form | {"name": typed})
    assertContains(page, BUSY, status_code=503)
    assertContains(page, "After &quot;&lt;b&gt;", status_code=503)
    assert page.headers["Retry-After"] == "5"
    assert page.headers["Cache-Control"] == "no-store"
    assertNotContains(page, form["csrfmiddlewaretoken"][0], status_code=503)

    send_again(staff_client, page)
    track.refresh_from_db()
    assert track.name == typed


def test_a_pasted_list_is_kept_line_by_line(staff_client):
    text = "USUM71900764\nGBAAA0000001\n\n11e81bcc-9c1c-ce38-b96b-a0369fe50396"

    with locked("catalog_importdraft"):
        page = staff_client.post(IMPORT, {"source": "list", "text": text, "step": "continue"})
    assertContains(page, BUSY, status_code=503)

    send_again(staff_client, page)
    assert ImportDraft.objects.get().text.split() == text.split()


def test_a_changed_schedule_is_kept(staff_client):
    schedule.ensure_entries()
    address = reverse("admin:catalog_refreshpolicy_change", args=("metadata",))
    form = open_form(staff_client, address, "refreshpolicy_form")

    with locked("catalog_refreshpolicy"):
        page = staff_client.post(address, form | {"max_age_days": "77"})
    assertContains(page, BUSY, status_code=503)

    send_again(staff_client, page)
    assert RefreshPolicy.objects.get(pk="metadata").max_age_days == 77


@pytest.mark.parametrize("action", ["delete_selected", "create_bulk_task"])
def test_an_action_on_ticked_tracks_is_kept(staff_client, make_track, broker, action):
    track = make_track()
    values = {"action": action, "_selected_action": track.pk, "post": "yes", "fetch": "all"}

    with locked("catalog_track", "catalog_metadatafetchtask"):
        page = staff_client.post("/admin/catalog/track/", values)
    assertContains(page, BUSY, status_code=503)
    assert Track.objects.count() == 1

    assert send_again(staff_client, page).status_code == 200


def test_a_dialog_is_told_by_the_status(staff_client, make_track, broker):
    make_track()
    address = reverse("admin:catalog_track_fetch_all_metadata")

    with locked("catalog_metadatafetchtask"):
        answer = staff_client.post(address, {"_form_submitted": "on"}, headers={"HX-Request": "true"})

    assert answer.status_code == 503


def test_a_log_in_keeps_the_name_and_no_password(db):
    User.objects.create_user("ada", password="hunter2", is_staff=True)
    client = Client(raise_request_exception=False)

    with locked("django_session", "auth_user", "axes_accessattempt"):
        page = client.post(reverse("admin:login"), {"username": "ada", "password": "hunter2"})

    assertContains(page, BUSY, status_code=503)
    assertContains(page, 'name="username" value="ada"', status_code=503)
    assertNotContains(page, "hunter2", status_code=503)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="readers of SQLite wait for nobody")
def test_a_page_that_cannot_be_read_in_time_can_be_asked_for_again(staff_client):
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE catalog_track IN ACCESS EXCLUSIVE MODE")
        page = staff_client.get("/admin/catalog/track/?q=blue")
    other.close()

    assertContains(page, '<a href="/admin/catalog/track/?q=blue">Try again</a>', status_code=503)


@pytest.mark.parametrize("error", [OperationalError("no such table: x"), RuntimeError("database is locked")])
def test_other_errors_are_no_busy_database(staff_client, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("catalog.admin.tracks.TrackAdmin.save_model", fail)
    staff_client.raise_request_exception = False
    values = {"uuid": "11e81bcc-9c1c-ce38-b96b-a0369fe50396"}

    assert staff_client.post("/admin/catalog/track/add/", values).status_code == 500
