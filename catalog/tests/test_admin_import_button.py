"""The button "Import from API" above the list of tracks."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog.fetching import work_on_job
from catalog.models import MetadataFetchTask, Track

# An artist of 60 songs, and of a few more as a guest.
ARTIST = 6


def address() -> str:
    return reverse("admin:catalog_track_import_from_api")


def job_page(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,))


def click(client: Client, *, follow: bool = False, **values: str):
    form = {"_form_submitted": "on", "artist_uuid": "", "limit": "20", "offset": "0"}
    return client.post(address(), form | values, follow=follow)


@pytest.mark.django_db
def test_staff_see_the_button_above_the_list(staff_client):
    assertContains(staff_client.get(reverse("admin:catalog_track_changelist")), address())


@pytest.mark.django_db
def test_viewers_do_not_see_the_button(viewer_client):
    assertNotContains(viewer_client.get(reverse("admin:catalog_track_changelist")), address())


@pytest.mark.django_db
def test_the_dialog_states_the_price_and_spends_nothing(staff_client, simulator):
    dialog = staff_client.get(address())

    assertContains(dialog, "1 API call for each 100")
    assertContains(dialog, "500 new songs cost about 55 calls")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_the_price_stated_is_what_an_import_costs(staff_client, broker, simulator):
    click(staff_client, limit="200")
    for _ in range(2):  # The import, and the job of the metadata that it made.
        work_on_job(MetadataFetchTask.objects.latest("pk").pk)

    # 1 for each 100 listed and 1 for each 10 fetched, as the dialog says.
    assert simulator.state.calls == {"top_songs": 2, "songs": 20}


@pytest.mark.django_db(transaction=True)
def test_top_songs_are_added_and_then_their_metadata_fetched(staff_client, broker, simulator):
    click(staff_client, limit="20", offset="5")
    work_on_job(MetadataFetchTask.objects.get().pk)
    assert Track.objects.never_fetched().count() == 20

    work_on_job(MetadataFetchTask.objects.latest("pk").pk)

    assert Track.objects.fresh().count() == 20
    assert {job.status for job in MetadataFetchTask.objects.all()} == {"completed"}


@pytest.mark.django_db(transaction=True)
def test_the_songs_of_an_artist_are_added(staff_client, broker, simulator):
    click(staff_client, artist_uuid=str(simulator.artist_uuid(ARTIST)), limit="100")
    work_on_job(MetadataFetchTask.objects.get().pk)

    songs = {simulator.song_uuid(index) for index in simulator.catalogue.songs_of_artist(ARTIST)}
    assert set(Track.objects.values_list("uuid", flat=True)) == songs


@pytest.mark.django_db
def test_a_click_spends_nothing_and_leads_to_the_jobs_page(staff_client, broker, simulator):
    page = click(staff_client, follow=True)

    job = MetadataFetchTask.objects.get()
    assertRedirects(page, job_page(job))
    assertContains(page, f"Task #{job.pk} is queued.")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_the_dialog_of_the_page_is_sent_to_the_jobs_page(staff_client, broker):
    form = {"_form_submitted": "on", "limit": "20", "offset": "0"}
    answer = staff_client.post(address(), form, headers={"HX-Request": "true"})

    assert answer.headers["HX-Redirect"] == job_page(MetadataFetchTask.objects.get())


@pytest.mark.django_db
def test_a_second_click_joins_the_active_import_and_says_so(staff_client, broker):
    click(staff_client)

    page = click(staff_client, follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Task #{job.pk} for exactly this is already under way. No second task was made.")


@pytest.mark.django_db
def test_a_second_click_on_a_paused_import_says_to_resume_it(staff_client, broker):
    click(staff_client)
    MetadataFetchTask.objects.update(status="paused")

    page = click(staff_client, follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Task #{job.pk} for exactly this is paused: resume it.")


@pytest.mark.django_db
def test_a_click_is_logged_with_the_job(staff_client, staff, broker):
    click(staff_client)

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(MetadataFetchTask.objects.get().pk))
    assert "Import from API: task made" in entry.get_change_message()


@pytest.mark.django_db(transaction=True)
def test_without_the_broker_the_import_is_saved_and_says_what_it_waits_for(staff_client, no_broker):
    page = click(staff_client, follow=True)

    job = MetadataFetchTask.objects.get()
    assert (job.status, job.error_code) == ("pending", "broker_unreachable")
    assertContains(page, f"Task #{job.pk} is saved and waits: the message broker (Redis) cannot be reached.")
    assertContains(page, "Waiting: the message broker (Redis) cannot be reached. Nothing is lost")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"limit": "0"}, "greater than or equal to 1"),
        ({"limit": "50001"}, "less than or equal to 50000"),
        ({"limit": ""}, "This field is required"),
        ({"limit": "many"}, "Enter a whole number"),
        ({"offset": "-1"}, "greater than or equal to 0"),
        ({"limit": "2", "offset": "49999"}, "lists the first 50,000 songs"),
        ({"artist_uuid": "<script>alert(1)</script>"}, "Enter a valid UUID"),
        ({"artist_uuid": "x" * 10_000}, "Enter a valid UUID"),
    ],
)
def test_nonsense_is_refused_in_the_dialog_and_nothing_is_made(staff_client, values, sentence):
    dialog = click(staff_client, **values)

    assertContains(dialog, sentence)
    assertNotContains(dialog, "<script>alert")
    assert MetadataFetchTask.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_an_artist_whom_soundcharts_does_not_know_fails_the_job_with_a_sentence(
    staff_client, broker, simulator
):
    stranger = simulator.artist_uuid(10_000)
    click(staff_client, artist_uuid=str(stranger))
    job = MetadataFetchTask.objects.get()

    work_on_job(job.pk)

    assertContains(
        staff_client.get(job_page(job)), f"Soundcharts knows no artist {stranger}. Check the UUID."
    )


@pytest.mark.django_db(transaction=True)
def test_a_plan_without_top_songs_is_told_to_give_an_artist(staff_client, broker, simulator):
    simulator.faults.set("error", status=403)
    click(staff_client)
    job = MetadataFetchTask.objects.get()

    work_on_job(job.pk)

    assertContains(staff_client.get(job_page(job)), "does not include top songs. Give an artist")


@pytest.mark.django_db
def test_the_jobs_page_tells_what_an_import_still_costs_in_lists(staff_client, broker, simulator):
    page = click(staff_client, limit="300", follow=True)

    assertContains(page, "0 API calls spent, to go: about 3 API calls")
