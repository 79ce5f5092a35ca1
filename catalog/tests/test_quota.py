"""The quota: remembered, stated before it is spent, kept for people, and waited for."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains

from catalog import jobs, prices, quota
from catalog.fetching import fetch_track_now
from catalog.models import ApiAccount, MetadataFetchTask, Track
from catalog.song_lists import read_list
from catalog.tests.outcomes import run
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import wait_until, workers
from soundcharts import budget
from soundcharts.batching import BATCH_WORKS, BATCH_WORKS_FOR
from soundcharts.service import get_service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("account_of_its_own")]


def may_ask_again() -> None:
    ApiAccount.objects.update(checked_at=timezone.now() - timedelta(seconds=quota.CHECK_EVERY + 1))


def test_what_an_answer_says_is_left_is_remembered(simulator, broker, settings):
    settings.FETCH_AHEAD = 1
    simulator.state.quota = 1000
    run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 25)]).job)
    assert quota.remaining_calls() == 997


def test_before_any_answer_a_price_says_nothing_of_what_is_left(simulator, broker):
    assert prices.price_of(3).sentence == "about 3 API calls"


@pytest.mark.parametrize(
    ("calls", "remaining", "sentence"),
    [
        (1, None, "about 1 API call"),
        (124, 1000, "about 124 API calls, 876 left after"),
        (5, 5, "about 5 API calls, 0 left after"),
        (124, 100, "about 124 API calls, but only 100 are left: it pauses until there are more"),
        (1, -20, "about 1 API call, but only 0 are left: it pauses until there are more"),
    ],
)
def test_a_price_says_what_is_left_after(calls, remaining, sentence, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 0
    assert prices.Price(calls, remaining).sentence == sentence


@pytest.mark.parametrize(
    ("calls", "remaining", "is_bulk", "sentence"),
    [
        (75, 100, True, "about 75 API calls, 25 left after"),
        (76, 100, True, "about 76 API calls, but only 75 are left besides the 25 kept for people: it pauses"),
        (1, 20, True, "about 1 API call, but only 0 are left besides the 20 kept for people: it pauses"),
        (1, 20, False, "about 1 API call, 19 left after"),
        (3, 2, False, "about 3 API calls, but only 2 remaining: it will fail"),
        (1, 0, False, "about 1 API call, but only 0 remaining: it will fail"),
    ],
)
def test_a_price_of_bulk_work_leaves_the_reserve_alone(calls, remaining, is_bulk, sentence, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    assert prices.Price(calls, remaining, is_bulk=is_bulk).sentence.startswith(sentence)


def test_the_price_in_the_admin_uses_what_is_left(simulator, broker, staff_client):
    simulator.state.quota = 500
    fetch_track_now(add_tracks(simulator, 1)[0])
    add_tracks(simulator, 30, first=1)
    dialog = staff_client.get(reverse("admin:catalog_track_fetch_all_metadata"))
    assertContains(dialog, "about 3 API calls, 496 left after")


@pytest.mark.parametrize("ahead", [1, 16])
def test_bulk_work_stops_at_the_reserve_and_says_so(simulator, broker, settings, ahead):
    settings.FETCH_AHEAD = ahead
    settings.SOUNDCHARTS_QUOTA_RESERVE = 5
    simulator.state.quota = 12
    job = run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 200)]).job)
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert "reserved for manual fetches" in job.error_message
    assert simulator.state.quota_remaining == 5
    assert (job.updated_tracks, job.failed_tracks, job.api_calls) == (70, 0, 7)
    assert simulator.state.answered_more_than_once() == {}


def test_several_workers_together_leave_the_reserve_alone(simulator, broker, settings, tmp_path):
    settings.CHUNK_SIZE = 40
    simulator.state.latency = 0.05
    simulator.state.quota = 40
    job = jobs.request_metadata([track.pk for track in add_tracks(simulator, 300)]).job
    with workers(tmp_path, processes=3, SOUNDCHARTS_QUOTA_RESERVE="20"):
        jobs.sweep()
        wait_until(lambda: MetadataFetchTask.objects.get(pk=job.pk).status in ("paused", "completed"))
        wait_until(lambda: not jobs.is_under_way(job.pk))
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert simulator.state.quota_remaining >= 20
    assert job.api_calls == 40 - simulator.state.quota_remaining


def test_a_new_process_finds_out_with_one_call_alone_what_is_left(simulator, broker, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    simulator.state.quota = 30
    # Another process has found that the account has batch calls, so nothing else holds this one back.
    get_service()._client.limiter.remember(BATCH_WORKS, BATCH_WORKS_FOR)
    job = run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 200)]).job)
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert (simulator.state.quota_remaining, job.api_calls) == (25, 5)


@pytest.mark.parametrize("pasted", [False, True], ids=["tracks", "a pasted list"])
def test_resumed_by_hand_a_job_asks_what_is_left_before_it_pauses_again(
    simulator, broker, settings, monkeypatch, pasted
):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    simulator.state.quota = 27
    if pasted:
        entries = read_list("\n".join(str(simulator.song_uuid(number)) for number in range(100))).entries
        job = run(jobs.request_list_import(entries).job)
    else:
        job = run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 100)]).job)
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    # The plan was renewed, which no answer has told this process; and what it has heard is long ago.
    simulator.state.quota = 1000
    monkeypatch.setattr(budget, "REFUSED_FOR", 0)
    jobs.resume_job(job)
    assert run(job).status == "completed"
    assert (job.updated_tracks, job.api_calls) == (100, 10)
    assert simulator.state.calls["usage"] == 1


def test_people_may_use_the_reserve(simulator, broker, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 5
    simulator.state.quota = 3
    first, second = add_tracks(simulator, 2)
    fetch_track_now(first)
    job, report = fetch_track_now(second)
    assert (job.status, report.outcome) == ("completed", "updated")


def test_a_job_goes_on_by_itself_when_the_quota_is_back(simulator, broker, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 5
    simulator.state.quota = 8
    job = run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 100)]).job)
    assert job.status == "paused"
    simulator.state.quota = 1000
    jobs.sweep()
    assert run(job).status == "completed"
    assert (job.updated_tracks, job.api_calls) == (100, 10)
    assert simulator.state.answered_more_than_once() == {}


def test_while_the_quota_is_gone_the_job_stays_paused_and_is_rarely_asked_about(simulator, broker):
    simulator.state.quota = 0
    job = run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 10)]).job)
    assert (job.status, job.error_code) == ("paused", "quota_exhausted")
    for _ in range(5):
        jobs.sweep()
    job.refresh_from_db()
    assert job.status == "paused"
    assert simulator.state.calls["usage"] == 1
    may_ask_again()
    jobs.sweep()
    assert simulator.state.calls["usage"] == 2


def test_asking_whether_the_quota_is_back_is_free(simulator, broker):
    simulator.state.quota = 0
    run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 10)]).job)
    jobs.sweep()
    assert simulator.state.quota_used == 0


def test_a_usage_that_cannot_be_read_leaves_the_job_paused(simulator, broker):
    simulator.state.quota = 0
    job = run(jobs.request_metadata([track.pk for track in add_tracks(simulator, 10)]).job)
    simulator.state.quota = 1000
    simulator.faults.set("error", status=500, kinds=["usage"])
    jobs.sweep()
    job.refresh_from_db()
    assert job.status == "paused"


def test_what_somebody_paused_by_hand_is_not_resumed(simulator, broker):
    job = jobs.request_metadata([track.pk for track in add_tracks(simulator, 10)]).job
    jobs.pause_job(job)
    jobs.sweep()
    job.refresh_from_db()
    assert job.status == "paused"
    assert simulator.state.calls["usage"] == 0


def test_what_a_job_spent_is_what_was_charged(simulator, broker):
    tracks = add_tracks(simulator, 100)
    simulator.faults.set("unknown_uuids", uuids=[str(tracks[3].uuid)])
    simulator.faults.set("poisoned_uuids", uuids=[str(tracks[57].uuid)])
    simulator.faults.set("error", status=503, every=5)
    job = run(jobs.request_metadata([track.pk for track in tracks]).job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 98, 2)
    assert job.api_calls == simulator.state.quota_used
    assert Track.objects.fresh().count() == 98


def test_the_account_is_known_by_a_hash(simulator, broker, settings):
    assert settings.SOUNDCHARTS_API_KEY not in get_service().account


def see_left(*numbers: int) -> ApiAccount:
    service = get_service()
    for number in numbers:
        service._client.quota_remaining = number
        quota.note_quota(service, is_last=True)
    return ApiAccount.objects.get()


def test_a_rise_to_what_there_was_is_a_renewal_and_the_one_before_is_kept(simulator):
    first = see_left(1000, 400, 10, 998)
    assert first.renewed_at is not None
    assert (first.renewed_before_at, first.quota_peak) == (None, 998)

    second = see_left(700, 30, 1000)

    assert second.renewed_at > first.renewed_at
    assert (second.renewed_before_at, second.quota_peak) == (first.renewed_at, 1000)


@pytest.mark.parametrize(
    "numbers",
    [
        (1000, 10, 110),  # some calls on top
        (1000, 990, 1000),  # answers that came in another order
        (1000, -20, 0, 5),
        (0, 0),
        (0, 1000),  # nothing is known of how many there were
        (1000,),
        (2**63 - 1, 5),
        (5, 10**18),
    ],
)
def test_a_raise_of_some_calls_is_no_renewal(simulator, numbers):
    assert see_left(*numbers).renewed_at is None


def test_a_larger_plan_is_a_renewal(simulator):
    assert see_left(1000, 100, 5000).renewed_at is not None
