"""Which tracks and rows failed, and why, is seen by those who may see failures, wherever it would stand."""

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from catalog import jobs
from catalog.models import FetchFailure, ImportRow, MetadataFetchTask, Track
from catalog.snapshots import take_snapshot
from catalog.song_lists import read_list

pytestmark = pytest.mark.on_sqlite_alone

SAID = "quagga"
UNKNOWN_ISRC = "USZZZ9900001"
PERMISSIONS = {
    "view_track",
    "view_trackchange",
    "view_metadatafetchtask",
    "view_refreshpolicy",
    "control_metadatafetchtask",
}


@pytest.fixture
def failed(make_track, make_failed_job, broker) -> SimpleNamespace:
    """A task that failed, of which the track tells nothing itself, and an import with rows that failed."""
    track = make_track(1, name="Known")
    job = make_failed_job(track)
    FetchFailure.objects.update(message=SAID)
    Track.objects.filter(pk=track.pk).update(metadata_error="")
    imported = jobs.request_list_import(read_list(UNKNOWN_ISRC).entries).job
    values = {"job": imported, "item": UNKNOWN_ISRC, "message": SAID}
    ImportRow.objects.create(number=1, outcome=ImportRow.Outcome.FAILED, **values)
    ImportRow.objects.create(number=2, outcome=ImportRow.Outcome.NOT_FOUND, **values)
    ImportRow.objects.create(number=3, outcome=ImportRow.Outcome.DUPLICATE, job=imported, item="other")
    take_snapshot()
    return SimpleNamespace(track=track, job=job, imported=imported)


def client_with(*codenames: str) -> Client:
    user = User.objects.create_user("+".join(sorted(codenames)), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


TASK = "admin:catalog_metadatafetchtask"
# What stands at each address for those who may see failures; and without that, the status.
ADDRESSES = {
    "task": (f"{TASK}_change", "job", "", SAID, 200),
    "task, live": (f"{TASK}_progress", "job", "", SAID, 200),
    "task, as a file": (f"{TASK}_failures_csv", "job", "", SAID, 403),
    "task, one code as a file": (f"{TASK}_failures_csv", "job", "?code=not_found", SAID, 403),
    "retry by code": (f"{TASK}_retry", "job", "?code=not_found", "1 failed track with", 403),
    "retry, no code": (f"{TASK}_retry", "job", "?code=", "Try the 1 failed track again", 403),
    "report": (f"{TASK}_rows", "imported", "", SAID, 200),
    "report, one outcome": (f"{TASK}_rows", "imported", "?outcome=failed", SAID, 200),
    "report, another outcome": (f"{TASK}_rows", "imported", "?outcome=not_found", SAID, 200),
    "report, as a file": (f"{TASK}_rows_file", "imported", "", SAID, 200),
    "report, one outcome as a file": (f"{TASK}_rows_file", "imported", "?outcome=failed", SAID, 200),
    "track": ("admin:catalog_track_change", "track", "", SAID, 200),
    "track, its history": ("admin:catalog_track_history", "track", "", SAID, 200),
    "failures": ("admin:catalog_fetchfailure_changelist", "", "", SAID, 403),
    "dashboard": ("admin:index", "", "", "dashboard-failures", 200),
    "dashboard, live": ("dashboard_failures", "", "", "dashboard-failures", 403),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_failures_are_hidden_from_those_who_may_not_see_them(name, failed):
    address, thing, query, words, status = ADDRESSES[name]
    path = reverse(address, args=(getattr(failed, thing).pk,) if thing else ()) + query

    def read(client: Client) -> tuple[int, str]:
        answer = client.get(path)
        content = b"".join(answer) if answer.streaming else answer.content
        return answer.status_code, content.decode()

    seen, page = read(client_with(*PERMISSIONS, "view_fetchfailure"))
    assert (seen, words in page) == (200, True)
    seen, page = read(client_with(*PERMISSIONS))
    assert (seen, words in page) == (status, False)


def test_the_panel_of_a_track_tells_those_who_only_look_nothing_of_a_failure(failed):
    MetadataFetchTask.objects.filter(pk=failed.job.pk).update(dedupe_key=f"track:{failed.track.pk}")
    path = reverse("admin:catalog_track_panel", args=(failed.track.pk,)) + f"?job={failed.job.pk}"
    for permission in ("view_fetchfailure", "fetch_track"):
        assert SAID in client_with("view_track", permission).get(path).content.decode()
    assert SAID not in client_with("view_track").get(path).content.decode()


def test_how_many_failed_is_no_secret(failed):
    page = client_with(*PERMISSIONS).get(reverse(f"{TASK}_change", args=(failed.job.pk,)))
    assert "1 failed" in page.content.decode()


def test_a_code_cannot_be_retried_by_those_who_may_not_see_it(failed):
    address = reverse(f"{TASK}_retry", args=(failed.job.pk,))
    client = client_with(*PERMISSIONS)
    made = MetadataFetchTask.objects.count()
    assert client.post(address, {"code": "not_found"}).status_code == 403
    assert MetadataFetchTask.objects.count() == made
    # All of them can, as that tells nothing.
    assert client.post(address).status_code == 302
    assert MetadataFetchTask.objects.count() == made + 1
