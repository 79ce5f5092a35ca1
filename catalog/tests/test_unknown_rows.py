"""An import whose first rows are all unknown asks once whether it is the right list."""

import pytest
from django.urls import reverse
from pytest_django.asserts import assertContains

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import FetchChunk, MetadataFetchTask
from catalog.song_lists import read_list
from catalog.tests.outcomes import assert_days_add_up, finish_here, run
from catalog.tests.together import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

CODE = "first_rows_unknown"


def strangers(count: int) -> list[str]:
    return [f"ZZZZZ26{number:05}" for number in range(count)]


def strange_uuids(simulator, count: int) -> list[str]:
    return [str(simulator.song_uuid(5000 + number)) for number in range(count)]


def request_list(*identifiers: str) -> MetadataFetchTask:
    return jobs.request_list_import(read_list("\n".join(identifiers)).entries).job


def test_thirty_unknown_rows_pause_the_import_with_the_rest_untried(simulator, broker, staff_client):
    job = run(request_list(*strangers(1000)))
    assert (job.status, job.error_code) == ("paused", CODE)
    assert (job.failed_tracks, job.api_calls, simulator.state.quota_used) == (30, 30, 30)
    assert "None of the first 30 rows" in job.error_message
    assert "right column" in job.error_message
    assert "30 API calls used so far; the other 970 rows would use about 970 more." in job.error_message
    assertContains(
        staff_client.get(reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,))),
        "runs to the end without pausing again",
    )


def test_resume_goes_on_to_the_end_and_never_asks_again(simulator, broker):
    job = run(request_list(*strangers(200)))
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.failed_tracks, simulator.state.quota_used) == ("failed", 200, 200)
    assert job.events.filter(kind="paused").count() == 1


def test_unknown_uuids_count_ten_a_call(simulator, broker):
    # What the account can is known: a batch of which nothing is known tells nothing of it.
    run(request_list(*(str(simulator.song_uuid(number)) for number in range(10))))
    used = simulator.state.quota_used
    job = run(request_list(*strange_uuids(simulator, 100)))
    assert (job.status, job.error_code, job.failed_tracks) == ("paused", CODE, 30)
    assert job.api_calls == simulator.state.quota_used - used == 3


@pytest.mark.parametrize("place", [0, 15, 29])
def test_one_known_row_among_the_first_is_enough_to_go_on(simulator, broker, place):
    rows = strange_uuids(simulator, 60)
    rows[place] = str(simulator.song_uuid(0))
    job = run(request_list(*rows))
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 1, 59)


def test_a_row_that_is_here_already_is_enough_too(simulator, broker, make_track):
    make_track(0, isrc="QZXYZ2600001")
    job = run(request_list("QZXYZ2600001", *strangers(60)))
    assert (job.status, job.unchanged_tracks, job.failed_tracks) == ("completed", 1, 60)


def test_a_short_list_of_strangers_fails_without_asking(simulator, broker):
    job = run(request_list(*strangers(30)))
    assert (job.status, job.error_code, job.failed_tracks) == ("failed", "all_failed", 30)


def test_rows_that_fail_for_another_reason_are_not_unknown(simulator, broker):
    simulator.faults.set("ambiguous_isrcs", isrcs=strangers(40))
    job = run(request_list(*strangers(40)))
    assert (job.status, job.failed_tracks) == ("failed", 40)


def test_trying_the_failures_again_does_not_ask(simulator, broker):
    job = run(request_list(*strangers(50)))
    jobs.resume_job(job)
    finish_here(job)
    again = jobs.request_retry(job).job
    finish_here(again)
    assert (again.status, again.failed_tracks) == ("failed", 50)


def test_several_workers_pause_it_once_and_count_every_row_once(simulator, broker, settings):
    settings.CHUNK_SIZE = 40
    job = request_list(*strangers(400))
    all_at_once(lambda: work_on_job(job.pk), times=4)
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("paused", CODE)
    assert job.events.filter(kind="paused").count() == 1
    # What others had under way is paid for, and saved.
    assert 30 <= job.failed_tracks <= 4 * 30
    assert job.failed_tracks == job.api_calls == simulator.state.quota_used == job.import_rows.count()
    assert not FetchChunk.objects.exclude(lease_owner="").exists()
    jobs.resume_job(job)
    finish_here(job)
    assert (job.failed_tracks, simulator.state.quota_used) == (400, 400)
    assert_days_add_up()
