"""The calls that an import spends before there is a job: each in one day, once, and logged."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import Sum
from django.test import Client
from django.urls import reverse

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.fetching.imports import import_page
from catalog.models import ApiAccount, ApiUsage, FetchChunk, ImportDraft, MetadataFetchTask, SharedAnswer
from catalog.tests.outcomes import assert_days_add_up, finish_here
from catalog.tests.together import all_at_once
from soundcharts.service import get_service

pytestmark = pytest.mark.django_db(transaction=True)


def step_one(client: Client, **values: object) -> str:
    """Fill in the first step; return the address that it leads to."""
    form = {"source": "top", "limit": "150", "place": "1", "step": "continue"}
    address = reverse("admin:catalog_track_import_from_api")
    return client.post(address, form | values).headers.get("Location", "")


def search(client: Client, name: str) -> str:
    return step_one(client, source="artist", artist_name=name, step="search")


def spent_in_days() -> int:
    return ApiUsage.objects.aggregate(calls=Sum("calls", default=0))["calls"]


def logged(user) -> list[str]:
    return [entry.get_change_message() for entry in LogEntry.objects.filter(user=user).order_by("pk")]


def test_a_first_page_is_counted_when_it_is_bought_and_logged(staff_client, staff, broker, simulator):
    staff_client.post(step_one(staff_client), {"do": "ask"})
    assert spent_in_days() == simulator.state.quota_used == 1
    assert logged(staff) == ["Import from API: asked for the first page, for 1 API call"]


def test_a_confirmed_preview_is_not_counted_a_second_time(staff_client, broker, simulator):
    preview = step_one(staff_client)
    staff_client.post(preview, {"do": "ask"})
    staff_client.post(preview, {"do": "confirm"})
    finish_here(MetadataFetchTask.objects.get(title__startswith="Import of"))
    assert MetadataFetchTask.objects.get(title__startswith="Import of").api_calls == 2
    # And the metadata of what was listed.
    finish_here(MetadataFetchTask.objects.latest("pk"))
    assert spent_in_days() == simulator.state.quota_used == 2 + 15
    assert_days_add_up()


def test_a_page_that_went_out_of_date_counts_as_often_as_it_was_bought(staff_client, broker, simulator):
    preview = step_one(staff_client)
    for _ in range(2):
        staff_client.post(preview, {"do": "ask"})
        ImportDraft.objects.update(page_at="2020-01-01T00:00:00Z")
        SharedAnswer.objects.update(answered_at="2020-01-01T00:00:00Z")
    staff_client.post(preview, {"do": "confirm"})
    job = MetadataFetchTask.objects.get()
    work_on_job(job.pk)
    job.refresh_from_db()
    assert job.api_calls == spent_in_days() == simulator.state.quota_used == 4


def test_two_people_who_look_at_the_same_page_buy_it_once_and_share_the_import(
    staff_client, broker, simulator
):
    first, second = step_one(staff_client), step_one(staff_client)
    for preview in (first, second):
        staff_client.post(preview, {"do": "ask"})
        staff_client.post(preview, {"do": "confirm"})
    job = MetadataFetchTask.objects.get()
    work_on_job(job.pk)
    job.refresh_from_db()
    assert job.api_calls == spent_in_days() == simulator.state.quota_used == 2


def test_a_worker_that_loses_its_lease_does_not_count_the_page_again(staff_client, broker, simulator):
    preview = step_one(staff_client)
    staff_client.post(preview, {"do": "ask"})
    staff_client.post(preview, {"do": "confirm"})
    job = MetadataFetchTask.objects.get()
    chunk = jobs.claim_chunk(job.pk, owner="somebody")
    FetchChunk.objects.update(lease_owner="another")
    with pytest.raises(jobs.LeaseLost):
        import_page(job, chunk, get_service())
    job.refresh_from_db()
    assert job.api_calls == spent_in_days() == simulator.state.quota_used == 1


def test_a_search_is_counted_and_logged_once_however_often_it_is_made(staff_client, staff, broker, simulator):
    for _ in range(2):
        search(staff_client, "a")
    assert spent_in_days() == simulator.state.quota_used == 1
    assert logged(staff) == ["Import from API: searched for artists like “a”, for 1 API call"]


@pytest.mark.parametrize(("status", "charged"), [(403, 1), (404, 1), (500, 0)])
def test_a_call_that_brings_nothing_counts_where_soundcharts_charges_it(
    staff_client, staff, broker, simulator, status, charged
):
    preview = step_one(staff_client, source="artist", artist_uuid=str(simulator.artist_uuid(1)))
    with simulator.faults.during("error", status=status):
        staff_client.post(preview, {"do": "ask"})
        search(staff_client, "a")
    assert spent_in_days() == simulator.state.quota_used == 2 * charged
    assert len(logged(staff)) == 2 * charged


def test_an_error_that_a_preview_meets_is_told_on_the_dashboard(staff_client, broker, simulator):
    preview = step_one(staff_client)
    with simulator.faults.during("error", status=500):
        staff_client.post(preview, {"do": "ask"})
    assert ApiAccount.objects.get().last_error == "upstream_unavailable"


def test_what_many_people_ask_at_once_is_all_counted(staff_client, broker, simulator):
    previews = [step_one(staff_client, limit=str(limit)) for limit in (10, 20, 30, 40)]
    all_at_once(lambda: staff_client.post(previews.pop(), {"do": "ask"}), times=4)
    assert spent_in_days() == simulator.state.quota_used == 4


@pytest.mark.parametrize("is_broker_there", [True, False])
def test_eight_searches_for_a_name_at_once_cost_one_call(
    staff_client, staff, broker, simulator, settings, is_broker_there
):
    if not is_broker_there:
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
    names = iter(["Aria", "aria", " ARIA ", "Aria", "aria", "Aria", "aria", "aRia"])
    simulator.state.latency = 0.3
    addresses = all_at_once(lambda: search(staff_client, next(names)), times=8)
    assert len({address for address in addresses if address}) == 8
    assert spent_in_days() == simulator.state.quota_used == 1
    assert len({str(draft.artists) for draft in ImportDraft.objects.all()}) == 1
    assert len(logged(staff)) == 1


def test_a_search_that_fails_is_told_to_all_who_waited_for_it_and_can_be_made_again(
    staff_client, broker, simulator
):
    simulator.state.latency = 0.3
    with simulator.faults.during("error", status=403, kinds=["artist_search"]):
        addresses = all_at_once(lambda: search(staff_client, "Aria"), times=8)
    assert addresses == [""] * 8
    assert spent_in_days() == simulator.state.quota_used == 1
    assert search(staff_client, "Aria")
    assert simulator.state.quota_used == 2


def test_whoever_died_while_asking_blocks_nobody_for_long(staff_client, broker, simulator):
    SharedAnswer.objects.create(key="artists:aria", asked_at="2020-01-01T00:00:00Z")
    assert search(staff_client, "Aria")
    assert simulator.state.quota_used == 1


def test_looking_at_a_list_spends_nothing(staff_client, staff, broker, simulator):
    preview = step_one(staff_client, source="list", text="USUM71900764")
    staff_client.get(preview)
    staff_client.post(preview, {"do": "ask"})
    assert spent_in_days() == simulator.state.quota_used == 0
    assert logged(staff) == []
