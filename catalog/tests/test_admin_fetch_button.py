"""The button "Fetch Metadata from API" on a track's form."""

import threading
from collections import Counter

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import jobs
from catalog.models import FetchFailure, MetadataFetchTask, Track
from catalog.tests.gate import GIVE_UP_SECONDS, gate
from catalog.tests.workers import wait_until

pytestmark = pytest.mark.on_sqlite_alone

CONFIRMED = {"_form_submitted": "on"}
UNKNOWN = 10_000


def address(track: Track) -> str:
    return reverse("admin:catalog_track_fetch_now", args=(track.pk,))


def click(client: Client, track: Track, *, follow: bool = False):
    return client.post(address(track), CONFIRMED, follow=follow)


@pytest.mark.django_db
def test_staff_see_the_button_on_the_form(staff_client, make_track):
    track = make_track()

    page = staff_client.get(reverse("admin:catalog_track_change", args=(track.pk,)))

    assertContains(page, address(track))


@pytest.mark.django_db
def test_viewers_do_not_see_the_button(viewer_client, make_track):
    track = make_track()

    page = viewer_client.get(reverse("admin:catalog_track_change", args=(track.pk,)))

    assertNotContains(page, address(track))


@pytest.mark.django_db
def test_the_dialog_states_the_price_and_spends_nothing(staff_client, make_track, simulator):
    dialog = staff_client.get(address(make_track()))

    assertContains(dialog, "It costs 1 API call.")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_a_click_fetches_the_track_with_one_call(staff_client, make_track, broker, simulator):
    track = make_track(1)

    click(staff_client, track)

    track.refresh_from_db()
    assert track.name == simulator.catalogue.name(1)
    assert track.metadata_fetched_at is not None
    assert simulator.state.calls.total() == 1


@pytest.mark.django_db
def test_the_message_names_every_change_and_what_was_spent(staff_client, make_track, broker, simulator):
    track = make_track(1, name="Working title")

    page = click(staff_client, track, follow=True)

    assertContains(page, "fields changed.")
    assertContains(page, "<del>Working title</del>")
    assertContains(page, f"<ins>{escape(simulator.catalogue.name(1))}</ins>")
    assertContains(page, "1 API call spent, ")


@pytest.mark.django_db
def test_the_message_leads_to_the_job(staff_client, make_track, broker, simulator):
    page = click(staff_client, make_track(), follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,)))


@pytest.mark.django_db(transaction=True)
def test_a_click_on_a_fresh_track_asks_again_and_says_that_nothing_is_new(
    staff_client, make_track, broker, simulator
):
    track = make_track()
    click(staff_client, track)

    page = click(staff_client, track, follow=True)

    assertContains(page, "Soundcharts says nothing new.")
    assert simulator.state.asked(track.uuid) == 2


@pytest.mark.django_db
def test_the_job_ends_completed_in_the_name_of_who_clicked(
    staff_client, staff, make_track, broker, simulator
):
    click(staff_client, make_track())

    job = MetadataFetchTask.objects.get()
    assert (job.task_type, job.status, job.requested_by) == ("metadata", "completed", staff)


@pytest.mark.django_db
def test_a_click_is_logged_on_the_track(staff_client, staff, make_track, broker, simulator):
    track = make_track()

    click(staff_client, track)

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(track.pk))
    assert entry.get_change_message() == "Fetch Metadata from API: updated"


@pytest.mark.django_db
def test_a_click_that_failed_is_logged_with_the_code(staff_client, make_track, broker, simulator):
    click(staff_client, make_track(UNKNOWN))

    assert LogEntry.objects.get().get_change_message() == "Fetch Metadata from API: failed not_found"


@pytest.mark.django_db
def test_a_song_that_soundcharts_does_not_know_is_said_and_the_track_kept(
    staff_client, make_track, broker, simulator
):
    track = make_track(UNKNOWN, name="Known to us")

    page = click(staff_client, track, follow=True)

    assertContains(page, "Soundcharts does not know this identifier.")
    assertContains(page, "The track is as it was.")
    track.refresh_from_db()
    assert track.name == "Known to us"


@pytest.mark.django_db
def test_a_failed_click_leaves_a_job_with_its_failure(staff_client, make_track, broker, simulator):
    track = make_track(UNKNOWN)

    click(staff_client, track)

    failure = FetchFailure.objects.get()
    assert (failure.track, failure.code, failure.job.status) == (track, "not_found", "failed")


@pytest.mark.django_db
def test_an_upstream_outage_is_an_error_message_and_no_500(staff_client, make_track, broker, simulator):
    simulator.faults.set("quota_exhausted")

    page = click(staff_client, make_track(), follow=True)

    assertContains(page, "The Soundcharts plan has no calls left.")


@pytest.mark.django_db(transaction=True)
def test_the_button_works_without_the_broker(staff_client, make_track, no_broker, simulator):
    track = make_track(1)

    page = click(staff_client, track, follow=True)

    assertContains(page, "fields changed.")
    track.refresh_from_db()
    assert track.name == simulator.catalogue.name(1)


@pytest.mark.django_db
def test_a_click_while_a_worker_is_at_it_joins_that_job_and_spends_nothing(
    staff_client, make_track, broker, simulator
):
    track = make_track()
    job = jobs.request_metadata([track.pk]).job
    jobs.claim_chunk(job.pk, owner="a worker")

    page = click(staff_client, track, follow=True)

    assertContains(page, f"Task #{job.pk} is fetching this track right now.")
    assert MetadataFetchTask.objects.count() == 1
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment_make_one_job_and_one_call(
    staff, make_track, broker, simulator, settings
):
    # The call of the one is held until the other has its answer.
    settings.SOUNDCHARTS_TIMEOUT = GIVE_UP_SECONDS
    track = make_track()
    shown: Counter[str] = Counter()
    start = threading.Barrier(2)

    def click_once() -> None:
        client = Client()
        client.force_login(staff)
        start.wait()
        page = click(client, track, follow=True).content.decode()
        shown.update(
            text for text in ("fields changed.", "is fetching this track right now.") if text in page
        )
        connection.close()

    threads = [threading.Thread(target=click_once) for _ in range(2)]
    with gate(simulator):
        for thread in threads:
            thread.start()
        wait_until(lambda: shown)
    for thread in threads:
        thread.join()

    assert shown == {"fields changed.": 1, "is fetching this track right now.": 1}
    assert MetadataFetchTask.objects.count() == 1
    assert simulator.state.asked(track.uuid) == 1


@pytest.mark.django_db
def test_a_click_goes_on_with_the_paused_job_of_that_track(staff_client, make_track, broker, simulator):
    track = make_track()
    job = jobs.request_metadata([track.pk]).job
    jobs.pause_job(job)

    click(staff_client, track)

    job.refresh_from_db()
    assert job.status == "completed"
    assert MetadataFetchTask.objects.count() == 1


@pytest.mark.django_db
def test_without_javascript_the_browser_is_redirected_to_the_form(
    staff_client, make_track, broker, simulator
):
    track = make_track()

    answer = staff_client.post(address(track), CONFIRMED)

    assertRedirects(answer, reverse("admin:catalog_track_change", args=(track.pk,)))


@pytest.mark.django_db
def test_an_edit_by_hand_is_kept_and_the_message_says_so(staff_client, make_track, broker, simulator):
    track = make_track(1, name="Our own name", edited_fields=["name"], metadata_fetched_at=timezone.now())

    page = click(staff_client, track, follow=True)

    name = escape(simulator.catalogue.name(1))
    words = f"your edit “<bdi>Our own name</bdi>” is kept; Soundcharts says “<bdi>{name}</bdi>”."
    assertContains(page, words)
    track.refresh_from_db()
    assert track.name == "Our own name"


@pytest.mark.django_db
def test_what_could_not_be_understood_is_in_the_message_and_on_the_form(
    staff_client, make_track, broker, simulator
):
    track = make_track()
    simulator.faults.set("payloads", songs={track.uuid: {"releaseDate": "yesterday"}})

    page = click(staff_client, track, follow=True)

    # The page that the message stands on is the form.
    assertContains(page, "releaseDate: &#x27;yesterday&#x27; is not a date", count=2)


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["0", "999999", "9" * 30, "nonsense", "_3Cscript_3E"])
def test_an_unknown_track_is_not_found(staff_client, broker, simulator, key):
    answer = staff_client.post(reverse("admin:catalog_track_fetch_now", args=(key,)), CONFIRMED)

    assert answer.status_code == 404
    assert MetadataFetchTask.objects.count() == 0
