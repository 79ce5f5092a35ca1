"""What every answer tells the browser, also the answers that nobody plans for."""

import re

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path, reverse

from config.policy import content_security_policy
from config.urls import urlpatterns as site_addresses


def break_down(request):
    raise RuntimeError("as it happens")


urlpatterns = [*site_addresses, path("broken", break_down)]


@pytest.fixture(autouse=True)
def as_on_a_site(settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


@pytest.fixture
def visitor() -> Client:
    return Client(raise_request_exception=False, enforce_csrf_checks=True)


@pytest.fixture(
    params=[("/healthz", 200), ("/admin/login/", 200), ("/nothing", 404), ("/broken", 500), ("/", 302)],
    ids=lambda param: param[0],
)
def answer(db, request, visitor):
    address, status = request.param
    answer = visitor.get(address)
    assert answer.status_code == status
    return answer


def policy_of(answer) -> dict[str, set[str]]:
    parts = [part.split() for part in answer.headers["Content-Security-Policy"].split(";")]
    return {name: set(values) for name, *values in parts}


def test_no_answer_allows_scripts_of_others_or_inline_ones(answer):
    assert policy_of(answer)["script-src"] == {"'self'", "'unsafe-eval'"}


def test_nothing_is_allowed_that_is_not_named(answer):
    assert policy_of(answer)["default-src"] == {"'none'"}


def test_pages_talk_to_this_site_only(answer):
    policy = policy_of(answer)
    for directive in ("connect-src", "form-action", "base-uri", "font-src", "style-src-elem"):
        assert policy[directive] == {"'self'"}, directive


def test_pages_are_shown_in_no_frame(answer):
    assert policy_of(answer)["frame-ancestors"] == {"'none'"}
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_covers_may_come_from_everywhere_by_https(answer):
    assert policy_of(answer)["img-src"] == {"'self'", "data:", "https:"}


def test_pictures_of_other_origins_are_shown_where_the_settings_name_them():
    directives = content_security_policy(image_origins=["http://127.0.0.1:8800"])["DIRECTIVES"]
    assert directives["img-src"] == ["'self'", "data:", "https:", "http://127.0.0.1:8800"]


def test_other_sites_learn_nothing_from_links_and_types_are_not_guessed(answer):
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_devices_are_out_of_reach(answer):
    for feature in ("camera", "microphone", "geolocation", "usb"):
        assert f"{feature}=()" in answer.headers["Permissions-Policy"]


@pytest.mark.django_db
def test_a_broken_page_says_so_without_a_word_of_how(visitor):
    text = visitor.get("/broken").content.decode()
    assert "Something went wrong" in text
    assert "as it happens" not in text


@pytest.mark.django_db
def test_a_page_that_is_not_there_leads_back_to_the_start(visitor):
    text = visitor.get("/nothing").content.decode()
    assert "There is no such page" in text
    assert f'href="{reverse("admin:index")}"' in text


@pytest.mark.django_db
def test_a_refused_page_says_that_nothing_was_changed(visitor):
    visitor.force_login(User.objects.create_user("someone", is_staff=True))
    answer = visitor.get(reverse("admin:catalog_track_changelist"))
    assert answer.status_code == 403
    assert "You may not do this" in answer.content.decode()


@pytest.mark.django_db
def test_a_form_that_is_no_longer_valid_says_what_to_do(visitor):
    answer = visitor.post(reverse("admin:login"), {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "reload the page" in answer.content.decode()


def test_no_template_of_ours_needs_what_the_policy_refuses():
    pattern = re.compile(r"<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|javascript:", re.IGNORECASE)
    templates = [*settings.BASE_DIR.glob("templates/**/*.html")]
    assert len(templates) > 10
    assert {str(file) for file in templates if pattern.search(file.read_text())} == set()
