"""Logging in, and the wait after too many wrong passwords."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog.models import ImportDraft
from catalog.tests.addresses import page_of
from catalog.tests.browser_forms import open_form, values_in
from config import kept_forms

LOGIN = reverse("admin:login")
WAIT = "Too many failed log-ins for this user name from your address."
FAILURES = 5


@pytest.fixture(autouse=True)
def users(db, settings) -> None:
    # The real one takes its time, which is its purpose.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for name in ("ada", "grace"):
        User.objects.create_user(name, password=f"secret of {name}", is_staff=True)


def log_in(client: Client, name: str = "ada", password: str | None = None, **headers: str):
    values = {"username": name, "password": password or f"secret of {name}"}
    return client.post(LOGIN, values, **headers)


def fail(client: Client, name: str = "ada", *, times: int = FAILURES, **headers: str):
    for _ in range(times):
        answer = log_in(client, name, "wrong", **headers)
    return answer


def is_logged_in(client: Client) -> bool:
    return client.get(reverse("admin:index")).status_code == 200


def let_pass(**duration: int) -> None:
    """Make every failure so much older."""
    for attempt in AccessAttempt.objects.all():
        moment = attempt.attempt_time - timedelta(**duration)
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=moment)


def test_the_right_password_leads_to_the_start_page(client):
    assertRedirects(log_in(client), reverse("admin:index"))


def test_the_log_in_leads_to_the_page_that_was_asked_for(client):
    wanted = reverse("admin:password_change")
    answer = client.post(f"{LOGIN}?next={wanted}", {"username": "ada", "password": "secret of ada"})
    assertRedirects(answer, wanted)


def test_a_wrong_password_says_so_and_no_more(client):
    answer = log_in(client, password="wrong")
    assertContains(answer, "Please enter the correct username and password")
    assertNotContains(answer, WAIT)


def test_one_failure_less_than_too_many_does_not_keep_anybody_out(client):
    fail(client, times=FAILURES - 1)
    assertRedirects(log_in(client), reverse("admin:index"))


def test_the_last_failure_says_how_long_to_wait(client):
    answer = fail(client)
    assertContains(answer, f"{WAIT} Try again in 15 minutes.", status_code=429)
    assert answer.headers["Retry-After"] == "900"


def test_meanwhile_not_even_the_right_password_is_taken(client):
    fail(client)
    let_pass(minutes=13, seconds=30)
    assertContains(log_in(client), f"{WAIT} Try again in 2 minutes.", status_code=429)
    assert not is_logged_in(client)


def test_after_the_wait_the_right_password_is_taken(client):
    fail(client)
    let_pass(minutes=15, seconds=1)
    assertRedirects(log_in(client), reverse("admin:index"))


def test_trying_on_does_not_make_the_wait_longer(client):
    fail(client)
    let_pass(minutes=14)
    fail(client)
    let_pass(minutes=1, seconds=1)
    assertRedirects(log_in(client), reverse("admin:index"))


def test_a_log_in_that_works_ends_the_counting(client):
    for _ in range(3):
        fail(client, times=FAILURES - 1)
        assertRedirects(log_in(client), reverse("admin:index"))


def test_a_name_that_does_not_exist_is_treated_alike(client):
    assertContains(fail(client, "nobody"), f"{WAIT} Try again in 15 minutes.", status_code=429)


def test_colleagues_behind_the_same_address_are_not_kept_out(client):
    fail(client, "ada")
    assertRedirects(log_in(client, "grace"), reverse("admin:index"))


def test_a_stranger_elsewhere_keeps_nobody_out(client):
    fail(Client(), REMOTE_ADDR="203.0.113.9")
    assertRedirects(log_in(client), reverse("admin:index"))


def test_another_browser_on_the_same_address_is_no_way_around(client):
    fail(client, headers={"User-Agent": "one"}, times=3)
    answer = fail(client, headers={"User-Agent": "another"}, times=2)
    assertContains(answer, WAIT, status_code=429)


def test_another_address_of_the_same_household_is_no_way_around(client):
    fail(client, REMOTE_ADDR="2001:db8:1:2::3", times=3)
    answer = fail(client, REMOTE_ADDR="2001:db8:1:2:ffff::4", times=2)
    assertContains(answer, WAIT, status_code=429)
    assertRedirects(log_in(client, REMOTE_ADDR="2001:db8:1:3::3"), reverse("admin:index"))


def test_behind_a_proxy_it_is_the_address_that_the_proxy_saw(client, settings):
    settings.BEHIND_TLS_PROXY = True
    fail(client, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="198.51.100.1, 203.0.113.9")
    answer = log_in(client, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="made up, 203.0.113.9")
    assertContains(answer, WAIT, status_code=429)
    other = log_in(client, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9, 203.0.113.10")
    assertRedirects(other, reverse("admin:index"))


def test_without_a_proxy_that_header_is_not_believed(client):
    for n in range(FAILURES - 1):
        log_in(client, password="wrong", HTTP_X_FORWARDED_FOR=f"203.0.113.{n}")
    answer = log_in(client, password="wrong", HTTP_X_FORWARDED_FOR="203.0.113.99")
    assertContains(answer, WAIT, status_code=429)


@pytest.mark.parametrize("address", ["", "unix:", "300.1.1.1", "x" * 2000])
def test_an_address_that_is_none_counts_as_one(client, address):
    assertContains(fail(client, REMOTE_ADDR=address), WAIT, status_code=429)
    assertRedirects(log_in(client, REMOTE_ADDR="203.0.113.9"), reverse("admin:index"))


def test_strange_input_is_a_failure_and_no_error(client):
    for name in ("x" * 10_000, "\0", "💿", "' OR 1=1 --", ""):
        assert log_in(client, name, "y" * 10_000).status_code == 200


def test_what_is_kept_of_failures_does_not_grow(client):
    for n in range(30):
        log_in(client, f"name {n}", "wrong")
    fail(client, times=40)
    let_pass(minutes=16)
    log_in(client, "grace")
    assert AccessAttempt.objects.count() == 0
    assert AccessLog.objects.count() == 0


def test_a_password_is_kept_nowhere(client, caplog):
    log_in(client, "ada", "hunter2")
    attempt = AccessAttempt.objects.get()
    assert "hunter2" not in "".join(str(getattr(attempt, field.name)) for field in attempt._meta.fields)
    assert "hunter2" not in caplog.text
    assert "ada" not in caplog.text


def test_redis_is_not_needed_to_log_in(client, no_broker, settings):
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(settings.REDIS_URL).ping()
    fail(client, times=2)
    assertRedirects(log_in(client), reverse("admin:index"))


def test_whoever_is_logged_in_is_not_put_out_by_failures_elsewhere(client):
    log_in(client)
    fail(Client())
    assert is_logged_in(client)


def test_the_numbers_are_settings(client, settings):
    settings.AXES_FAILURE_LIMIT = 2
    settings.AXES_COOLOFF_TIME = timedelta(minutes=1)
    assertContains(fail(client, times=2), "Try again in 1 minute.", status_code=429)


def test_the_side_bar_does_not_show_the_counting(admin_client):
    page = admin_client.get(reverse("admin:index"))
    assertNotContains(page, "Access")
    assertNotContains(page, "Axes")


@pytest.mark.django_db
def test_whoever_sends_something_after_the_end_of_a_session_is_told_that_it_was_not_done(client):
    page = client.post("/admin/catalog/track/add/", {"uuid": "x"}, follow=True)

    assertContains(page, "Your session had ended, so nothing was done.")


@pytest.mark.django_db
def test_whoever_only_looks_after_the_end_of_a_session_is_just_asked_to_log_in(client):
    assertNotContains(client.get("/admin/catalog/track/", follow=True), "Your session had ended")


@pytest.mark.django_db
def test_whoever_logs_out_is_not_told_of_a_session_that_had_ended(admin_client):
    assertNotContains(admin_client.post("/admin/logout/", follow=True), "Your session had ended")


# --- what is sent after the end of a session

IMPORT = "/admin/catalog/track/import/"
LIST_OF_ISRCS = "\n".join(f"USUM7{number:07}" for number in range(5_000))
# The longest list of an import, and the hardest to compress.
LIST_OF_UUIDS = "\r\n".join(str(uuid4()) for _ in range(10_000))


@pytest.fixture
def editor(db) -> Client:
    """Ada, who may do everything, in a browser that checks its tokens, with the page of the import open."""
    User.objects.filter(username="ada").update(is_superuser=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="ada"))
    client.get(IMPORT)
    return client


def send(client: Client, address: str, values: dict[str, str], **options: Any):
    token = {"csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    return client.post(address, values | token, **options)


def log_in_again(client: Client, page, name: str = "ada"):
    values = {"username": name, "password": f"secret of {name}"}
    return send(client, f"{LOGIN}?{page.request['QUERY_STRING']}", values, follow=True)


def kept_in(page) -> dict[str, list[str]]:
    text = page.content.decode().replace('<form method="post"', '<form id="kept"', 1)
    return values_in(text, "kept")


@pytest.mark.parametrize("entries", [LIST_OF_ISRCS, LIST_OF_UUIDS], ids=["ISRCs", "UUIDs"])
def test_a_pasted_list_survives_the_end_of_a_session(editor, entries):
    Session.objects.all().delete()
    page = send(editor, IMPORT, {"source": "list", "text": entries, "step": "continue"}, follow=True)
    assertContains(page, "Your session had ended, so nothing was done. Log in: your entries are kept.")

    page = log_in_again(editor, page)

    assertContains(page, "You are logged in again")
    assert page.headers["Cache-Control"].startswith("max-age=0")
    values = kept_in(page)
    assert values["text"] == [entries]
    assert ImportDraft.objects.count() == 0
    page = editor.post(IMPORT, values, follow=True)
    assert ImportDraft.objects.get().text.splitlines() == entries.splitlines()
    # Once sent, it is gone.
    assertNotContains(editor.get(IMPORT), "You are logged in again")


def test_an_edit_of_a_track_survives_the_end_of_a_session(editor, make_track):
    track = make_track(name="Before")
    form = open_form(editor, page_of(track), "track_form")
    Session.objects.all().delete()

    page = log_in_again(editor, editor.post(page_of(track), form | {"name": "After"}, follow=True))

    editor.post(page_of(track), kept_in(page))
    track.refresh_from_db()
    assert track.name == "After"


def test_what_is_kept_can_be_discarded(editor):
    Session.objects.all().delete()
    page = send(editor, IMPORT, {"source": "list", "text": "USUM71900764"}, follow=True)
    log_in_again(editor, page)

    page = send(editor, "/admin/kept/discard/", {}, follow=True)

    assertRedirects(page, IMPORT)
    assertContains(page, "Import, step 1 of 2")


def test_a_colleague_at_the_same_machine_does_not_see_what_was_kept(editor):
    Session.objects.all().delete()
    page = send(editor, IMPORT, {"source": "list", "text": "USUM71900764"}, follow=True)

    assertNotContains(log_in_again(editor, page, "grace"), "USUM71900764", status_code=403)


def test_what_is_kept_is_forgotten_after_an_hour(editor, monkeypatch):
    Session.objects.all().delete()
    page = send(editor, IMPORT, {"source": "list", "text": "USUM71900764"}, follow=True)
    monkeypatch.setattr(kept_forms, "SECONDS", 0)

    assertNotContains(log_in_again(editor, page), "You are logged in again")


def test_no_password_is_kept(editor):
    address = f"/admin/auth/user/{User.objects.get(username='grace').pk}/password/"
    Session.objects.all().delete()

    page = send(editor, address, {"password1": "hunter2", "password2": "hunter2", "other": "x"}, follow=True)
    page = log_in_again(editor, page)

    values = kept_in(page)
    assert {*values} == {"csrfmiddlewaretoken", "other"}
    assert "hunter2" not in page.content.decode()


def test_a_stranger_fills_no_database_with_what_is_kept(client):
    page = client.post(IMPORT, {"text": LIST_OF_ISRCS}, follow=True)

    assertContains(page, "Your session had ended, so nothing was done. Log in and try again.")
    assert Session.objects.count() == 0


def test_what_is_too_large_is_said_not_to_be_kept(editor, monkeypatch):
    monkeypatch.setattr(kept_forms, "MOST_BYTES", 1_000)
    Session.objects.all().delete()

    page = send(editor, IMPORT, {"source": "list", "text": LIST_OF_ISRCS}, follow=True)

    assertContains(page, "Log in and try again.")


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_dialog_after_the_end_of_a_session_gets_no_log_in_page(client, method):
    address = "/admin/catalog/track/fetch_all_metadata/"

    answer = getattr(client, method)(address, headers={"HX-Request": "true"})

    assert (answer.status_code, answer.content) == (401, b"")


# --- a page that is older than the log-in

OURS = {"Origin": "http://testserver"}


def test_a_page_older_than_the_log_in_is_sent_again_with_all_that_was_typed(editor):
    old = {"source": "list", "text": "USUM71900764", "csrfmiddlewaretoken": "x" * 64}

    page = editor.post(IMPORT, old, headers=OURS)

    assertContains(page, "This page is older than your log-in", status_code=403)
    assert ImportDraft.objects.count() == 0
    assert editor.post(IMPORT, kept_in(page) | {"step": "continue"}, headers=OURS).status_code == 302
    assert ImportDraft.objects.get().text == "USUM71900764"


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_a_form_of_another_site_is_offered_to_nobody(editor, headers):
    page = editor.post(IMPORT, {"source": "list", "text": "USUM71900764"}, headers=headers)

    assertNotContains(page, "USUM71900764", status_code=403)
