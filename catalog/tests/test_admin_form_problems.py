"""After a failed save, every form of the admin lists its errors at the top, each with a link to its field."""

import re

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from catalog import schedule

pytestmark = pytest.mark.on_sqlite_alone


def assert_listed(page, *fields: str) -> None:
    """Assert that these fields, and no others, are in the list, and that its links lead somewhere."""
    text = page.content.decode()
    listed = re.findall(r'<li><a class="ln-link" href="#(\w+)">', text)
    assert listed == [f"id_{field}" for field in fields]
    assert text.count('role="alert" aria-labelledby="form-problems"') == 1
    assert "Please correct the error" not in text
    assert all(f'id="{field}"' in text for field in listed)


@pytest.mark.django_db
def test_a_new_track_without_a_uuid(staff_client):
    assert_listed(staff_client.post(reverse("admin:catalog_track_add"), {"uuid": "none"}), "uuid")


@pytest.mark.django_db
def test_a_schedule(staff_client):
    schedule.ensure_entries()
    address = reverse("admin:catalog_refreshpolicy_change", args=("metadata",))
    values = {"frequency": "day", "weekday": "1", "hours": "4", "at": "25:00", "max_age_days": "0"}
    assert_listed(staff_client.post(address, values), "max_age_days", "at")


@pytest.mark.django_db
def test_an_import(staff_client):
    address = reverse("admin:catalog_track_import_from_api")
    values = {"source": "artist", "artist_uuid": "none", "limit": "10", "place": "1"}
    assert_listed(staff_client.post(address, values), "artist_uuid")


@pytest.mark.django_db
def test_a_user_and_their_password(admin_client):
    user = User.objects.create_user("anna")
    address = reverse("admin:auth_user_change", args=(user.pk,))
    values = {"username": "", "email": "none", "date_joined_0": "2026-01-02", "date_joined_1": "03:04:05"}
    assert_listed(admin_client.post(address, values), "username", "email")
    address = reverse("admin:auth_user_password_change", args=(user.pk,))
    assert_listed(
        admin_client.post(address, {"password1": "abc", "password2": "xyz", "usable_password": "true"}),
        "password2",
    )


@pytest.mark.django_db
def test_a_form_without_errors_has_no_list(staff_client):
    assert "form-problems" not in staff_client.get(reverse("admin:catalog_track_add")).content.decode()
