"""A task that fails in part: what failed and why, which to look at, the file of it, and trying again."""

import pytest
from playwright.sync_api import expect

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.browser.pages import TASKS
from catalog.tests.browser.steps import UNKNOWN, answer, download, has_stayed, state_of_task, stay
from catalog.tests.gate import gate


@pytest.fixture
def two_kinds_of_failures(site, add_tracks) -> tuple[list[Track], list[Track]]:
    """Tracks of a task yet to be made that Soundcharts does not know, and one that it refuses."""
    unknown = add_tracks(2, first=UNKNOWN)
    refused = add_tracks(1, first=40)
    site.simulator.faults.set("poisoned_uuids", uuids=[refused[0].uuid])
    add_tracks(19)
    return unknown, refused


def test_a_task_that_fails_in_part_names_what_failed_by_code_and_gives_it_as_a_file(
    visitor, site, two_kinds_of_failures
):
    unknown, refused = two_kinds_of_failures
    with gate(site.simulator) as calls:
        job = jobs.request_metadata(list(Track.objects.values_list("pk", flat=True))).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        visitor.says("0 of 22")
        stay(visitor)
        calls.open()
        # It is completed, and does not hide that something failed.
        state_of_task(visitor, "Completed with 3 errors")
    visitor.says("19 updated, 3 failed")
    kinds = visitor.page.get_by_role("region", name="Failures by what happened").locator("tbody tr")
    expect(kinds).to_have_count(2)
    expect(kinds.nth(0)).to_contain_text("Unknown at Soundcharts")
    expect(kinds.nth(0)).to_contain_text("Check the UUID. If it is right, do nothing")
    expect(kinds.nth(1)).to_contain_text("Request refused")
    assert has_stayed(visitor)
    assert {row["uuid"] for row in download(visitor, "download all as CSV")} == {
        str(track.uuid) for track in (*unknown, *refused)
    }
    kinds.nth(0).get_by_role("link", name="Show Unknown at Soundcharts").click()
    visitor.says("The track keeps the data it has.")
    rows = visitor.page.locator("#result_list tbody tr")
    expect(rows).to_have_count(2)
    found = download(visitor, "Download these as CSV")
    assert {(row["uuid"], row["code"], row["what happened"]) for row in found} == {
        (str(track.uuid), "not_found", "Unknown at Soundcharts") for track in unknown
    }
    visitor.page.get_by_role("link", name="Request refused: 1").click()
    expect(rows).to_have_count(1)
    visitor.says(str(refused[0].uuid))


def test_what_failed_of_one_code_is_tried_again_alone_and_both_tasks_tell_it(
    visitor, site, two_kinds_of_failures
):
    _, refused = two_kinds_of_failures
    job = site.finish(jobs.request_metadata(list(Track.objects.values_list("pk", flat=True))).job)
    site.simulator.faults.clear()
    visitor.visit(f"{TASKS}{job.pk}/change/")
    visitor.page.locator("#retry-invalid_request").click()
    visitor.says("Try the 1 failed track with “Request refused” again?")
    visitor.says("It will spend about 1 API call")
    question = visitor.page.locator("#job-question")
    visitor.press_twice(question.get_by_role("button", name="Retry", exact=True))
    state_of_task(visitor, "Completed")
    visitor.says("1 of 1")
    visitor.says("1 updated")
    assert MetadataFetchTask.objects.filter(parent=job).count() == 1
    refused[0].refresh_from_db()
    assert refused[0].metadata_error == ""
    visitor.page.locator("#job-progress").get_by_role("link", name=str(job)).click()
    visitor.says("Followed by")
    visitor.says("completed, 1 updated.")
    # The rest can still be tried; what has been fetched since is not paid for twice.
    visitor.press("Retry failed …")
    visitor.says("failed tracks again?")
    answer(visitor, "Retry")
    state_of_task(visitor, "Completed with 2 errors")
    visitor.says("1 skipped, 2 failed")
