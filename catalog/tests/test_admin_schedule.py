"""The page Schedule: what it shows, who may change it, and what every press says and logs."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse, reverse_lazy
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import schedule
from catalog.models import ApiAccount, MetadataFetchTask, RefreshPolicy
from catalog.tests.tracks import add_tracks
from catalog.timing import timing_words
from soundcharts.service import get_service

PAGE = "/admin/catalog/refreshpolicy/"
FORM = f"{PAGE}metadata/change/"
PRICE = f"{PAGE}metadata/price/"
RUN = reverse_lazy("admin:catalog_refreshpolicy_run_now", args=("metadata",))
SAVED = {
    "is_on": "on",
    "frequency": "day",
    "weekday": "1",
    "hours": "6",
    "at": "03:15",
    "max_age_days": "30",
    "tracks_per_run": "",
}
CONFIRMED = {"_form_submitted": "on"}
RUN_AUDIENCE = reverse_lazy("admin:catalog_refreshpolicy_run_now", args=("audience",))


def row() -> PeriodicTask:
    return PeriodicTask.objects.get(name="refresh-stale-metadata")


def policy() -> RefreshPolicy:
    return RefreshPolicy.objects.get(pk="metadata")


@pytest.fixture
def beat_is_running(db) -> None:
    """Rows as beat leaves them."""
    PeriodicTask.objects.create(
        name="sweep",
        task="catalog.tasks.sweep_jobs",
        interval=IntervalSchedule.objects.create(every=60, period="seconds"),
        last_run_at=timezone.now(),
    )


# --- what it shows


@pytest.mark.django_db
def test_the_page_says_when_it_runs_what_came_of_it_and_what_a_run_costs(
    staff_client, simulator, broker, beat_is_running
):
    add_tracks(simulator, 25)
    ApiAccount.objects.create(
        fingerprint=get_service().account, quota_remaining=1000, observed_at=timezone.now()
    )
    page = staff_client.get(PAGE)
    assertContains(page, "Every day at 03:15 UTC")
    assertContains(page, "30 days")
    assertContains(page, f'hx-get="{PRICE}"')
    cost = staff_client.get(PRICE)
    assertContains(cost, "25 tracks")
    assertContains(cost, "about 3 API calls, 997 left after")
    assertContains(page, "1,000 calls left")
    assertContains(page, "Not yet")
    assertContains(page, "Every 60 seconds")
    assertNotContains(page, "does not seem to be running")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_the_last_run_leads_to_its_job(staff_client, simulator, broker):
    add_tracks(simulator, 3)
    job = schedule.run(schedule.BY_KIND["metadata"]).job
    page = staff_client.get(PAGE)
    assertContains(page, reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,)))
    assertContains(page, "by the schedule")


@pytest.mark.django_db(transaction=True)
def test_a_last_run_that_found_everything_fresh_says_so(staff_client, broker):
    schedule.run(schedule.BY_KIND["metadata"])
    assertContains(staff_client.get(PAGE), "nothing was stale")


@pytest.mark.django_db
def test_the_page_says_when_beat_is_not_running(staff_client, beat_is_running):
    hour_ago = timezone.now() - timedelta(hours=1)
    PeriodicTask.objects.filter(name="sweep").update(last_run_at=hour_ago)
    PeriodicTask.objects.filter(name="refresh-stale-metadata").update(
        last_run_at=hour_ago - timedelta(days=2)
    )
    page = staff_client.get(PAGE)
    assertContains(page, "does not seem to be running")
    assertContains(page, "Overdue")


@pytest.mark.django_db
def test_the_page_works_before_there_are_rows(staff_client):
    PeriodicTask.objects.all().delete()
    RefreshPolicy.objects.all().delete()
    assertContains(staff_client.get(PAGE), "Every day at 03:15 UTC")
    assertContains(staff_client.get(FORM), "03:15")
    assert not PeriodicTask.objects.exists()


@pytest.mark.django_db
def test_the_page_takes_as_many_queries_whatever_there_is(staff_client, simulator, broker, make_track):
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert staff_client.get(PAGE).status_code == 200
        return len(queries)

    empty = count()
    for number in range(40):
        make_track(number)
    schedule.run(schedule.BY_KIND["metadata"])
    assert count() == empty <= 7


@pytest.mark.django_db
def test_the_side_bar_leads_here_and_not_to_the_pages_of_beat(staff_client, viewer_client):
    for client in (staff_client, viewer_client):
        page = client.get("/admin/catalog/track/")
        assertContains(page, f'href="{PAGE}"')
        assertNotContains(page, "django_celery_beat")


def test_the_pages_of_beat_are_not_registered():
    assert not [model for model in admin.site._registry if model._meta.app_label == "django_celery_beat"]


# --- changing it


@pytest.mark.django_db
def test_saving_changes_the_schedule_says_what_comes_next_and_logs_it(
    staff, staff_client, broker, make_track
):
    make_track(0, metadata_fetched_at=timezone.now() - timedelta(days=10))
    values = {
        "frequency": "week",
        "weekday": "5",
        "at": "22:00",
        "max_age_days": "7",
        "tracks_per_run": "500",
    }
    page = staff_client.post(FORM, SAVED | values, follow=True)
    assertRedirects(page, PAGE)
    assert timing_words(row()) == "every Friday at 22:00 UTC"
    assert (policy().max_age_days, policy().tracks_per_run) == (7, 500)
    (message,) = map(str, page.context["messages"])
    assert "every Friday at 22:00 UTC; stale after 7 days; at most 500 tracks a run" in message
    assert "The next run is on" in message
    assert "A run now would fetch 1 track: about 1 API call" in message
    entry = LogEntry.objects.get()
    assert entry.user == staff
    assert "stale after 7 days" in entry.get_change_message()


@pytest.mark.django_db
def test_turning_it_off_says_so(staff_client, broker):
    page = staff_client.post(FORM, {k: v for k, v in SAVED.items() if k != "is_on"}, follow=True)
    assert not row().enabled
    assertContains(page, "It is off.")
    assertContains(page, "None: it is off")


@pytest.mark.django_db
def test_the_form_shows_what_is_saved(staff_client):
    staff_client.post(FORM, SAVED | {"frequency": "hours", "hours": "8", "at": "02:30", "max_age_days": "7"})
    form = staff_client.get(FORM).context["form"]
    shown = {name: form[name].value() for name in form.fields}
    assert shown == {
        "is_on": True,
        "frequency": "hours",
        "hours": 8,
        "weekday": 1,
        "at": "02:30",
        "max_age_days": 7,
        "tracks_per_run": None,
    }


@pytest.mark.django_db
def test_saving_without_a_difference_changes_and_logs_nothing(staff_client, broker):
    before = PeriodicTask.objects.values().get(name="refresh-stale-metadata")
    assertContains(staff_client.post(FORM, SAVED, follow=True), "nothing was changed")
    assert PeriodicTask.objects.values().get(name="refresh-stale-metadata") == before
    assert not LogEntry.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_age_days", "0"),
        ("max_age_days", "3651"),
        ("max_age_days", ""),
        ("tracks_per_run", "0"),
        ("tracks_per_run", "many"),
        ("tracks_per_run", "9" * 30),
        ("frequency", "minute"),
        ("frequency", "'); alert(1); ('"),
        ("weekday", "7"),
        ("hours", "5"),
        ("at", "25:00"),
        ("at", ""),
    ],
)
def test_nonsense_is_refused_beside_its_field(staff_client, field, value):
    page = staff_client.post(FORM, SAVED | {field: value})
    assert page.status_code == 200
    assert list(page.context["form"].errors) == [field]
    assertNotContains(page, "'); alert")
    assert timing_words(row()) == "every day at 03:15 UTC"
    assert policy().max_age_days is None


@pytest.mark.django_db
def test_the_form_says_what_a_run_would_cost_with_what_is_typed(staff_client, broker, make_track):
    for number in range(15):
        make_track(number, metadata_fetched_at=timezone.now() - timedelta(days=number))
    assertContains(staff_client.get(PRICE, {"max_age_days": "10"}), "5 tracks")
    limited = staff_client.get(PRICE, {"max_age_days": "10", "tracks_per_run": "3"})
    assertContains(limited, "3 tracks</strong> (the limit)")
    assertContains(staff_client.get(PRICE, {"max_age_days": "40"}), "No track is due")
    assertContains(staff_client.get(PRICE, {"max_age_days": "soon"}), "Fill in")


# --- who may


@pytest.mark.django_db
def test_viewers_see_the_page_and_no_button(viewer_client):
    page = viewer_client.get(PAGE)
    assertContains(page, "Every day at 03:15 UTC")
    assertContains(viewer_client.get(PRICE), "No track is due")
    assertNotContains(page, FORM)
    assertNotContains(page, str(RUN))


@pytest.mark.django_db
def test_viewers_change_nothing(viewer_client):
    assertRedirects(viewer_client.get(FORM), PAGE)
    assert viewer_client.post(FORM, SAVED | {"max_age_days": "1"}).status_code == 403
    assert policy().max_age_days is None


@pytest.mark.django_db
def test_staff_without_the_permission_to_view_do_not_see_it(staff, staff_client):
    staff.user_permissions.remove(*Permission.objects.filter(codename__endswith="refreshpolicy"))
    assert staff_client.get(PAGE).status_code == 403
    assert staff_client.get(PRICE).status_code == 403
    assertNotContains(staff_client.get("/admin/catalog/track/"), PAGE)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["change", "price", "run_now"])
def test_what_is_not_in_the_schedule_is_not_found(staff_client, name):
    address = reverse(f"admin:catalog_refreshpolicy_{name}", args=("other",))
    assert staff_client.get(address).status_code == 404
    assert staff_client.post(address, CONFIRMED).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("address", [f"{PAGE}add/", f"{PAGE}metadata/delete/"])
def test_nothing_is_added_or_deleted_here(admin_client, address):
    assert admin_client.post(address, {"post": "yes"}).status_code in {403, 404}
    assert RefreshPolicy.objects.count() == len(schedule.REFRESHES)


# --- running it now


@pytest.mark.django_db
def test_the_dialog_states_the_price_within_the_limit_and_does_nothing(staff_client, make_track, broker):
    for number in range(25):
        make_track(number)
    RefreshPolicy.objects.update(tracks_per_run=12)
    dialog = staff_client.get(RUN)
    assertContains(dialog, "12 tracks</strong> (the limit)")
    assertContains(dialog, "about 2 API calls")
    assert not MetadataFetchTask.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_run_now_makes_the_job_in_the_name_of_who_pressed_and_logs_it(staff, staff_client, simulator, broker):
    add_tracks(simulator, 3)
    before = row().last_run_at
    page = staff_client.post(RUN, CONFIRMED, follow=True)
    job = MetadataFetchTask.objects.get()
    assertRedirects(page, reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,)))
    assert (job.requested_by, policy().last_run_by, policy().last_run_job) == (staff, staff, job)
    assert LogEntry.objects.get().get_change_message() == f"Run now: made task #{job.pk}"
    assert row().last_run_at == before
    assertContains(staff_client.get(PAGE), f"by {staff.username}")


@pytest.mark.django_db(transaction=True)
def test_a_second_press_joins_the_job_of_the_first(staff_client, simulator, broker):
    add_tracks(simulator, 3)
    staff_client.post(RUN, CONFIRMED)
    page = staff_client.post(RUN, CONFIRMED, follow=True)
    assert MetadataFetchTask.objects.count() == 1
    assertContains(page, "Already running as task #")


@pytest.mark.django_db(transaction=True)
def test_run_now_says_when_the_broker_is_away(staff_client, simulator, no_broker):
    add_tracks(simulator, 3)
    assertContains(staff_client.post(RUN, CONFIRMED, follow=True), "queue is unavailable")
    assert MetadataFetchTask.objects.get().status == "pending"


@pytest.mark.django_db(transaction=True)
def test_run_now_with_everything_fresh_says_so(staff_client, make_track, broker):
    make_track(metadata_fetched_at=timezone.now())
    page = staff_client.post(RUN, CONFIRMED, follow=True)
    assertContains(page, "Nothing is stale. Nothing was queued")
    assert not MetadataFetchTask.objects.exists()


@pytest.mark.django_db
def test_the_dialog_names_what_would_run_and_marks_a_run_that_would_do_nothing(
    staff_client, make_track, broker
):
    assertContains(staff_client.get(RUN), "Run now: refresh of stale metadata</h1>")
    assertContains(staff_client.get(RUN), "data-nothing")
    make_track()
    assertContains(staff_client.get(RUN_AUDIENCE), "Run now: refresh of audience</h1>")
    assertNotContains(staff_client.get(RUN_AUDIENCE), "data-nothing")


@pytest.mark.django_db
def test_the_cost_names_what_is_stale_and_waits(staff_client, make_track, broker):
    make_track(metadata_retry_at=timezone.now() + timedelta(days=1))
    said = "Left out: 1 track that Soundcharts did not know last time and that is asked for again later."
    assertContains(
        staff_client.get(PRICE), f"No track is due. A run now would fetch nothing and spend no call. {said}"
    )
    assertContains(staff_client.get(PRICE, {"max_age_days": "7"}), said)
    make_track(1)
    assertContains(staff_client.get(PRICE), "<strong>1 track</strong>")
    assertContains(staff_client.get(PRICE), said)
