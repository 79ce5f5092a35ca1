"""The dashboard: who sees what, what it says, how many queries it takes, and its parts."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import jobs
from catalog.explanations import explain
from catalog.models import (
    ApiAccount,
    ApiUsage,
    CatalogueSnapshot,
    FetchFailure,
    Heartbeat,
    MetadataFetchTask,
    Track,
)
from catalog.tests.addresses import words_of
from catalog.tests.conftest import SONGS
from catalog.tests.sightings import see
from soundcharts.service import get_service

PAGE = "/admin/"
PARTS = ("dashboard_catalogue", "dashboard_failures", "dashboard_jobs", "dashboard_health")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def address(part: str) -> str:
    return reverse(part)


@pytest.fixture
def catalogue(make_track) -> None:
    """Six tracks: three fresh, of which the last fetch of one failed, two aged, one never fetched."""
    now = timezone.now()
    for number, (age, error) in enumerate(((0, ""), (1, ""), (2, "timeout"), (40, ""), (50, ""))):
        make_track(number, metadata_fetched_at=now - timedelta(days=age), metadata_error=error)
    make_track(5)


@pytest.fixture
def member(db: None) -> Callable[..., Client]:
    """A function that logs in a new member of staff with these permissions and no others."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user(f"member {User.objects.count()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return log_in


# --- freshness


@pytest.mark.django_db
def test_the_catalogue_is_counted_by_freshness(viewer_client, catalogue, broker):
    counts = viewer_client.get(PAGE).context["counts"]
    assert (counts.total, counts.fresh, counts.aged, counts.never_fetched, counts.failing) == (6, 3, 2, 1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "count"), [("fresh", 3), ("aged", 2), ("never", 1), ("failing", 1)])
def test_each_number_leads_to_the_list_of_just_as_many_tracks(viewer_client, catalogue, broker, kind, count):
    link = f'href="/admin/catalog/track/?freshness={kind}">{count}</a>'
    assertContains(viewer_client.get(PAGE), link)
    listed = viewer_client.get("/admin/catalog/track/", {"freshness": kind})
    assert listed.context["cl"].result_count == count


@pytest.mark.django_db
def test_the_parts_of_the_bar_are_the_whole_and_say_in_words_what_they_are(viewer_client, catalogue, broker):
    page = viewer_client.get(PAGE)
    parts = page.context["parts"]
    assert [(part["name"], part["count"], part["percent"]) for part in parts] == [
        ("Fresh", 3, "50 %"),
        ("Aged", 2, "33 %"),
        ("Never fetched", 1, "17 %"),
    ]
    assert sum(part["count"] for part in parts) == Track.objects.count()
    assertContains(page, '<span class="ln-heard">Aged: 2, 33 %</span>')


@pytest.mark.django_db
def test_a_part_that_is_nothing_is_not_drawn(viewer_client, make_track, broker):
    make_track(0)
    assertNotContains(viewer_client.get(PAGE), "ln-part ln-fresh")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("permissions", "words"),
    [
        (("view_track", "import_track"), 'href="/admin/catalog/track/import/">Import from API</a>'),
        (("view_track", "add_track"), 'href="/admin/catalog/track/add/">Add a track</a>'),
        (("view_track",), "Whoever may import tracks begins"),
    ],
)
def test_an_empty_catalogue_says_how_to_begin(member, broker, permissions, words):
    page = member(*permissions).get(PAGE)
    assertContains(page, "The catalogue is empty.")
    assertContains(page, words)


@pytest.mark.django_db
def test_a_large_catalogue_is_shown_as_it_was_last_counted_with_the_time(viewer_client, catalogue, broker):
    taken_at = timezone.now().astimezone(UTC) - timedelta(minutes=3)
    CatalogueSnapshot.objects.create(
        taken_at=taken_at,
        seconds=0.1,
        never_fetched=600_000,
        aged=300_000,
        fresh=100_000,
        failing=7,
        failures={},
    )
    page = viewer_client.get(PAGE)
    assertContains(page, "1,000,000")
    assertContains(page, f"as of {taken_at.day} {taken_at:%b, %H:%M} UTC")


# --- failures


@pytest.mark.django_db
def test_failures_of_the_last_7_days_are_counted_and_explained(
    viewer_client, make_track, make_failed_job, broker
):
    job = make_failed_job(make_track(0), make_track(1), make_track(2))
    FetchFailure.objects.filter(pk=job.failures.first().pk).update(created_at=Now() - timedelta(days=8))
    page = viewer_client.get(PAGE)
    (row,) = page.context["failures"]
    assert (row["code"], row["count"]) == ("not_found", 2)
    assertContains(page, explain("not_found").meaning)
    assertContains(page, explain("not_found").what_to_do)
    assert viewer_client.get(row["address"]).context["cl"].result_count == 2


@pytest.mark.django_db
def test_who_may_not_view_failures_sees_none(member, make_track, make_failed_job, broker):
    make_failed_job(make_track(0))
    assertNotContains(member("view_metadatafetchtask").get(PAGE), "Failures of the last 7 days")


@pytest.mark.django_db
def test_without_failures_it_says_none(viewer_client, broker):
    assertContains(viewer_client.get(PAGE), "None since")


# --- jobs


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The time, at which the clock stands still."""
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    return now


@pytest.mark.django_db
def test_an_active_job_is_shown_with_progress_calls_and_a_link(viewer_client, make_track, broker, now):
    job = jobs.request_metadata([make_track(number).pk for number in range(4)]).job
    MetadataFetchTask.objects.update(
        status="running",
        processed_tracks=2,
        successful_tracks=2,
        updated_tracks=2,
        api_calls=3,
        started_at=now - timedelta(seconds=10),
    )
    page = viewer_client.get(PAGE)
    assertContains(page, reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,)))
    assertContains(page, 'aria-valuenow="50"')
    said = words_of(page)
    assert "2 of 4 (50 %): 2 updated. 3 calls spent." in said
    assert "0.2 tracks a second on average since it started; about 10 seconds left." in said


@pytest.mark.django_db
def test_a_paused_job_says_why_and_what_to_do(viewer_client, make_track, broker):
    job = jobs.request_metadata([make_track(0).pk]).job
    jobs.pause_job(job, code="quota_exhausted", reason="The plan has no calls left.")
    said = words_of(viewer_client.get(PAGE))
    assert "Paused: no calls left" in said
    assert f"The plan has no calls left. {explain('quota_exhausted', is_of_paused=True).what_to_do}" in said


@pytest.mark.django_db
def test_the_jobs_are_asked_for_again_only_while_some_are_active(viewer_client, make_track, broker):
    job = jobs.request_metadata([make_track(0).pk]).job
    active = viewer_client.get(address("dashboard_jobs"))
    assertContains(active, "every 2s [document.visibilityState == 'visible'], every 30s")
    jobs.cancel_job(job)
    ended = viewer_client.get(address("dashboard_jobs"))
    assertNotContains(ended, "every ")
    assertContains(ended, "No task in progress.")
    assertContains(ended, str(job))
    assert ended.headers["HX-Trigger"] == "jobs-ended"


@pytest.mark.django_db
def test_a_job_that_begins_elsewhere_is_told_to_the_part_that_rests(viewer_client, make_track, broker):
    assert "HX-Trigger" not in viewer_client.get(address("dashboard_health")).headers
    jobs.request_metadata([make_track(0).pk])
    assert viewer_client.get(address("dashboard_health")).headers["HX-Trigger"] == "jobs-active"


@pytest.mark.django_db
def test_of_many_active_jobs_the_running_ones_are_shown_first(viewer_client, broker):
    MetadataFetchTask.objects.bulk_create(
        MetadataFetchTask(
            task_type="metadata",
            status="running" if number == 0 else "pending",
            title=f"Job {number}",
            dedupe_key=str(number),
            fresh_after=timezone.now(),
        )
        for number in range(30)
    )
    active = viewer_client.get(PAGE).context["active"]
    assert [one.job.title for one in active.shown[:2]] == ["Job 0", "Job 29"]
    assert (len(active.shown), active.more) == (20, 10)


# --- calls


@pytest.mark.django_db
def test_the_chart_and_the_table_have_the_same_numbers(viewer_client, broker):
    today = timezone.now().astimezone(UTC).date()
    ApiUsage.objects.create(day=today, fingerprint="one", calls=12)
    ApiUsage.objects.create(day=today, fingerprint="another", calls=3)
    ApiUsage.objects.create(day=today - timedelta(days=2), fingerprint="one", calls=1234)
    ApiUsage.objects.create(day=today - timedelta(days=30), fingerprint="one", calls=99)
    page = viewer_client.get(PAGE)
    data = json.loads(page.context["chart"])["datasets"][0]["data"]
    assert data == [0] * 27 + [1234, 0, 15]
    assertContains(
        page, f'<td>{today:%a} {today.day} {today:%B %Y}</td><td class="ln-number">15</td>', html=True
    )
    assertContains(page, '<td class="ln-number">1,234</td>')


@pytest.mark.django_db
def test_what_is_left_and_what_is_kept_for_people_is_said(viewer_client, broker, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 31
    settings.SOUNDCHARTS_QUOTA_RENEWS = "1"
    ApiAccount.objects.create(
        fingerprint=get_service().account, quota_remaining=4321, observed_at=timezone.now()
    )
    said = words_of(viewer_client.get(PAGE))
    assert "Calls remaining 4,321" in said
    assert "Reserved for manual fetches 31" in said
    assert "The daily average appears after the first whole day. About 4,321 will remain" in said


@pytest.mark.django_db
def test_of_a_quota_whose_renewal_is_not_known_no_end_is_named(viewer_client, broker):
    account = ApiAccount.objects.create(fingerprint=get_service().account, quota_remaining=1025)
    yesterday = timezone.now().astimezone(UTC).date() - timedelta(days=1)
    ApiUsage.objects.create(fingerprint=account.fingerprint, day=yesterday, calls=100)
    said = words_of(viewer_client.get(PAGE))
    assert "The calls last about 10 days." in said
    assert "renew" not in said.partition("Soundcharts calls")[2].partition("The same as a table")[0]


@pytest.mark.django_db
@pytest.mark.parametrize("has_account", [False, True])
def test_a_quota_that_is_not_known_is_said_to_be_unknown(viewer_client, broker, has_account):
    if has_account:
        ApiAccount.objects.create(fingerprint=get_service().account)
    page = viewer_client.get(PAGE)
    assertContains(page, "not known yet")
    assertContains(page, "reports the calls remaining with its first answer")


# --- health


@pytest.mark.django_db
def test_when_all_is_well_there_is_one_calm_line(viewer_client, all_is_well):
    part = viewer_client.get(address("dashboard_health"))
    assert re.search(
        r"All systems OK\. 2 workers online\. Next refresh \d+ [A-Z][a-z]{2}, 03:15 UTC", words_of(part)
    )
    assertNotContains(part, "ln-troubles")


@pytest.mark.django_db
def test_a_silent_worker_is_a_trouble_that_says_what_to_do(viewer_client, all_is_well):
    Heartbeat.objects.filter(kind="worker").update(seen_at=Now() - timedelta(minutes=4))
    part = viewer_client.get(address("dashboard_health"))
    assert (
        "No worker online for 4 minutes. No task can start. Ask an operator to start a worker."
        in words_of(part)
    )
    assertContains(part, "celery -A config worker</code>")


@pytest.mark.django_db
def test_a_site_where_nothing_was_ever_seen_says_how_to_start_it(viewer_client, broker):
    said = words_of(viewer_client.get(address("dashboard_health")))
    assert "No worker online. No task can start." in said
    assert "Scheduler offline. Automatic refreshes and interrupted tasks are on hold." in said


@pytest.mark.django_db
def test_a_silent_beat_is_a_trouble(viewer_client, all_is_well, settings):
    settings.SWEEP_SECONDS = 60
    see("beat", ago=timedelta(minutes=10))
    assert "Scheduler offline for 10 minutes" in words_of(viewer_client.get(address("dashboard_health")))


@pytest.mark.django_db
def test_a_sweep_that_nobody_carries_out_is_a_trouble(viewer_client, all_is_well, settings):
    settings.SWEEP_SECONDS = 60
    see("sweep", ago=timedelta(hours=3))
    assert "Housekeeping overdue for 3 hours" in words_of(viewer_client.get(address("dashboard_health")))


@pytest.mark.django_db
def test_before_the_first_sweep_nothing_is_wrong(viewer_client, all_is_well):
    Heartbeat.objects.filter(kind="sweep").delete()
    assertContains(viewer_client.get(address("dashboard_health")), "All systems OK")


@pytest.mark.django_db
def test_a_job_that_stands_still_says_so(viewer_client, make_track, broker, now):
    job = jobs.request_metadata([make_track(0).pk]).job
    MetadataFetchTask.objects.update(status="running", started_at=Now())
    at = int((now.timestamp() - 20) * 1000)
    part = viewer_client.get(address("dashboard_jobs"), {"marks": f"{job.pk}:0:{at}:0:{at}"})
    assert "Nothing was done in the last 20 seconds." in words_of(part)


@pytest.mark.django_db
def test_a_broker_that_is_away_is_the_trouble_and_not_those_who_cannot_be_seen(viewer_client, no_broker):
    part = viewer_client.get(address("dashboard_health"))
    assert part.status_code == 200
    said = words_of(part)
    assert "Queue unavailable" in said
    assert "No worker online" not in said
    assert "All systems OK" not in said


@pytest.mark.django_db
def test_the_page_itself_asks_no_broker(viewer_client, no_broker, monkeypatch):
    monkeypatch.setattr("catalog.doorbell.is_answering", lambda: pytest.fail("asked the broker"))
    page = viewer_client.get(PAGE)
    assert page.context["health"].is_broker_answering is None
    assertContains(page, 'hx-trigger="load, every 30s')


@pytest.mark.django_db
def test_an_error_since_the_last_answer_is_a_trouble(viewer_client, all_is_well):
    account = ApiAccount.objects.create(
        fingerprint=get_service().account,
        answered_at=timezone.now() - timedelta(minutes=9),
        last_error="authentication_failed",
        last_error_message="They said no.",
        last_error_at=timezone.now() - timedelta(minutes=3),
    )
    part = viewer_client.get(address("dashboard_health"))
    assertContains(part, explain("authentication_failed").what_to_do)
    assertContains(part, "They said no.")
    account.answered_at = timezone.now()
    account.save()
    assertContains(viewer_client.get(address("dashboard_health")), "All systems OK")


@pytest.mark.django_db
def test_days_without_a_call_are_a_sentence_and_no_empty_chart(viewer_client, broker):
    page = viewer_client.get(PAGE)
    assertContains(page, "No call was spent in the last 30 days.")
    assertNotContains(page, "ln-chart")


@pytest.mark.django_db
def test_the_next_refresh_is_announced(viewer_client, all_is_well):
    part = viewer_client.get(address("dashboard_health"))
    found = part.context["health"]
    now = timezone.now()
    assert timedelta(0) < found.next_refresh_at - now <= timedelta(days=1)
    assert (found.next_refresh_at.hour, found.next_refresh_at.minute) == (3, 15)
    when = f"{found.next_refresh_at.day} {found.next_refresh_at:%b}, 03:15 UTC"
    assertContains(part, f"Next refresh {when}")


# --- permissions, hostile texts, queries


@pytest.mark.django_db
def test_who_may_view_tracks_only_sees_the_catalogue_only(member, catalogue, broker):
    client = member("view_track")
    page = client.get(PAGE)
    assertContains(page, 'id="dashboard-catalogue"')
    for part in ("failures", "jobs", "health"):
        assertNotContains(page, f'id="dashboard-{part}"')
        assert client.get(address(f"dashboard_{part}")).status_code == 403
    assertNotContains(page, "Soundcharts calls")
    assertNotContains(page, "Failures of the last 7 days")


@pytest.mark.django_db
def test_who_may_view_tasks_only_sees_all_but_the_tracks(member, catalogue, broker):
    page = member("view_metadatafetchtask").get(PAGE)
    assertNotContains(page, "ln-parts")
    for words in ("In progress", "Soundcharts calls", "Health"):
        assertContains(page, words)


@pytest.mark.django_db
def test_who_may_view_neither_gets_a_friendly_page(member, catalogue, broker):
    client = member()
    assertContains(client.get(PAGE), "Welcome to Liner Notes")
    assert {client.get(address(part)).status_code for part in PARTS} == {403}


@pytest.mark.django_db
@pytest.mark.parametrize("part", PARTS)
def test_visitors_are_sent_to_the_login_and_a_poll_reloads_the_page(client, part):
    assertRedirects(client.get(address(part)), f"{reverse('admin:login')}?next={address(part)}")
    assert client.get(address(part), headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"


@pytest.mark.django_db
@pytest.mark.parametrize("part", PARTS)
def test_the_parts_are_only_to_be_read(staff_client, part, broker):
    assert staff_client.post(address(part)).status_code == 405


@pytest.mark.django_db
def test_hostile_texts_are_shown_as_texts(viewer_client, make_track, make_failed_job, broker):
    job = make_failed_job(make_track(0))
    job.failures.update(code=HOSTILE[:50])
    other = jobs.request_metadata([make_track(1, name=HOSTILE).pk]).job
    MetadataFetchTask.objects.filter(pk=other.pk).update(error_message=HOSTILE, error_code=HOSTILE[:50])
    ApiAccount.objects.create(
        fingerprint=get_service().account,
        last_error=HOSTILE[:50],
        last_error_message=HOSTILE,
        last_error_at=timezone.now(),
    )
    see("worker", HOSTILE)
    for where in (PAGE, *map(address, PARTS)):
        assertNotContains(viewer_client.get(where), "<script>alert")
        assertNotContains(viewer_client.get(where), "<img src=x")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "marks",
    [
        HOSTILE,
        "1:2:3:4",
        "9" * 5000,
        "1:-5:0:0:0",
        "%00",
        ",".join(["1:999999999999:0:0:0"] * 500),
        "١:٢:٣:٤:٥",
    ],
)
def test_marks_that_nobody_wrote_change_nothing(viewer_client, make_track, broker, marks):
    job = jobs.request_metadata([make_track(0).pk]).job
    part = viewer_client.get(address("dashboard_jobs"), {"marks": marks})
    assert [one.job for one in part.context["active"].shown] == [job]
    assertNotContains(part, "<script>alert")


def count_queries(client: Client, where: str) -> int:
    ContentType.objects.clear_cache()
    with CaptureQueriesContext(connection) as queries:
        assert client.get(where).status_code == 200
    return len(queries)


@pytest.mark.django_db
def test_the_page_takes_as_many_queries_whatever_there_is(viewer_client, all_is_well):
    def fill(first: int, last: int) -> None:
        tracks = Track.objects.bulk_create(Track(uuid=SONGS.song_uuid(n)) for n in range(first, last))
        made = MetadataFetchTask.objects.bulk_create(
            MetadataFetchTask(
                task_type="metadata",
                status="running",
                dedupe_key=str(number),
                fresh_after=timezone.now(),
                requested_by=User.objects.create_user(f"user {number}"),
            )
            for number in range(first, last)
        )
        FetchFailure.objects.bulk_create(
            FetchFailure(job=job, track=track, item=str(track.uuid), code=f"code_{track.pk}")
            for job, track in zip(made, tracks, strict=True)
        )
        for number in range(first, last):
            day = timezone.now().date() - timedelta(days=number)
            ApiUsage.objects.create(day=day, fingerprint="one", calls=1)
            see("worker", f"celery@{number}")

    fill(0, 3)
    of_3 = {where: count_queries(viewer_client, where) for where in (PAGE, *map(address, PARTS))}
    fill(3, 15)
    of_15 = {where: count_queries(viewer_client, where) for where in (PAGE, *map(address, PARTS))}
    assert of_3 == of_15
    assert of_15[PAGE] <= 21
    assert max(of_15[address(part)] for part in PARTS) <= 13
    CatalogueSnapshot.objects.create(
        taken_at=timezone.now(), seconds=0.1, never_fetched=10**6, aged=0, fresh=0, failing=0, failures={}
    )
    assert count_queries(viewer_client, PAGE) == of_15[PAGE] - 5


@pytest.mark.django_db
def test_looking_changes_nothing_and_spends_nothing(viewer_client, catalogue, all_is_well, simulator):
    before = (CatalogueSnapshot.objects.count(), ApiUsage.objects.count(), Heartbeat.objects.count())
    for where in (PAGE, *map(address, PARTS)):
        with CaptureQueriesContext(connection) as queries:
            viewer_client.get(where)
        assert [q["sql"] for q in queries if q["sql"].startswith(("INSERT", "UPDATE", "DELETE"))] == []
    assert before == (CatalogueSnapshot.objects.count(), ApiUsage.objects.count(), Heartbeat.objects.count())
    assert simulator.state.calls.total() == 0
