"""From the button to the result, with real workers: what staff do all day."""

import re

from playwright.sync_api import expect

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.browser.pages import TASKS, TRACKS
from catalog.tests.browser.steps import (
    A_TASK,
    UNKNOWN,
    answer,
    choose,
    has_stayed,
    next_answer,
    state_of_task,
    stay,
)
from catalog.tests.gate import gate, refuse_calls


def test_an_import_can_be_followed_live_until_all_is_here(visitor, site, empty_catalogue):
    visitor.visit(TRACKS)
    with gate(site.simulator) as calls:
        visitor.press("Import from API")
        visitor.page.locator("input[name=source][value=top]").check()
        visitor.page.locator("input[name=limit]").fill("30")
        visitor.press("Continue: see what would come (free)")
        assert site.simulator.state.calls.total() == 0
        visitor.press(re.compile(r"^Import \(at most \d+ API calls?\)$"))
        expect(visitor.page).to_have_url(A_TASK)
        stay(visitor)
        calls.wait_for_calls()
        visitor.says("0 of 30")
        calls.open()
        state_of_task(visitor, "Completed")
    visitor.says("30 added")
    assert has_stayed(visitor)
    visitor.page.get_by_role("link", name=re.compile("Metadata of the tracks")).click()
    state_of_task(visitor, "Completed")
    visitor.says("30 updated")
    assert Track.objects.fresh().count() == 30


def test_a_rate_limit_is_seen_and_counted_down_until_the_task_resumes(visitor, site, add_tracks):
    tracks = add_tracks(30)
    with gate(site.simulator) as calls:
        job = jobs.request_metadata([track.pk for track in tracks]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        stay(visitor)
        refuse_calls(site.simulator, calls, count=1, reset=15)
        label = visitor.page.locator(".ln-status")
        expect(label).to_have_text(re.compile(r"^\s*Waiting: rate limit, resumes in 0:\d\d\s*$"))
        left = label.text_content()
        expect(label).not_to_have_text(left)
        state_of_task(visitor, "Completed")
    assert has_stayed(visitor)


def test_one_track_is_fetched_while_one_waits_and_what_it_changed_is_seen(visitor, site, add_tracks):
    (track,) = add_tracks(1, name="The name before")
    name = site.simulator.catalogue.name(0)
    visitor.visit(f"{TRACKS}{track.pk}/change/")
    stay(visitor)
    # A second press while the first waits is none.
    visitor.press_twice(visitor.page.locator("#track-fetch"))
    visitor.says("fields changed")
    report = visitor.page.locator(".ln-report li").filter(has_text="Name")
    expect(report.locator("del")).to_have_text("The name before")
    expect(report.locator("ins")).to_have_text(name)
    expect(visitor.page.locator("input[name=name]")).to_have_value(name)
    assert has_stayed(visitor)
    assert site.simulator.state.calls.total() == 1
    assert MetadataFetchTask.objects.count() == 1


def test_ticked_tracks_are_fetched_in_the_background_once_the_price_is_known(visitor, site, add_tracks):
    tracks = add_tracks(3)
    visitor.visit(TRACKS)
    choose(visitor, "Fetch metadata from Soundcharts API (Background)", *tracks[:2])
    visitor.says("2 tracks selected")
    assert site.simulator.state.calls.total() == 0
    visitor.press(re.compile(r"^Fetch the 2 stale \(about 1 API call"))
    expect(visitor.page).to_have_url(re.compile(rf"{TRACKS}$"))
    visitor.page.get_by_role("link", name="Follow its progress").click()
    state_of_task(visitor, "Completed")
    visitor.says("2 of 2")
    assert Track.objects.stale().count() == 1


def test_everything_stale_is_fetched_once_the_price_is_known(visitor, site, add_tracks):
    add_tracks(23)
    visitor.visit(TRACKS)
    visitor.press("Fetch All Metadata")
    visitor.says("23 tracks")
    visitor.says("about 3 API calls")
    assert site.simulator.state.calls.total() == 0
    visitor.press("Fetch")
    expect(visitor.page).to_have_url(A_TASK)
    state_of_task(visitor, "Completed")
    visitor.says("23 updated")


def test_a_task_is_paused_resumed_and_cancelled(visitor, site, add_tracks):
    with gate(site.simulator, after=1) as calls:
        job = jobs.request_metadata([track.pk for track in add_tracks(60)]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        calls.wait_for_calls()
        state_of_task(visitor, "Running")
        visitor.press("Pause")
        visitor.says("is paused.")
        state_of_task(visitor, "Paused by hand")
        visitor.press("Resume …")
        answer(visitor, "Resume")
        visitor.says("goes on where it stopped.")
        expect(visitor.control("Pause")).to_be_visible()
        visitor.press("Cancel task …")
        answer(visitor, "Cancel task")
        visitor.says("is cancelled.")
        state_of_task(visitor, "Cancelled")
        visitor.says("still being saved")
        calls.open()
        # The page follows until what was under way is saved.
        expect(visitor.page.locator("[data-ln-live]")).to_have_count(0)
        visitor.says(" updated.")
    site.finish(job)
    assert Track.objects.fresh().count() < 60


def test_a_press_counts_though_the_page_is_told_something_new_in_the_middle_of_it(visitor, site, add_tracks):
    with gate(site.simulator):
        job = jobs.request_metadata([track.pk for track in add_tracks(20)]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        visitor.page.get_by_role("button", name="Pause").hover()
        visitor.page.mouse.down()
        next_answer(visitor)
        visitor.page.mouse.up()
        visitor.says("is paused.")


def test_a_task_that_fails_says_so_by_itself_and_names_every_failure(visitor, site, add_tracks):
    with gate(site.simulator) as calls:
        tracks = add_tracks(2, first=UNKNOWN)
        job = jobs.request_metadata([track.pk for track in tracks]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        stay(visitor)
        calls.open()
        state_of_task(visitor, "Failed")
    for track in tracks:
        visitor.says(str(track.uuid))
    visitor.says("not_found")
    assert has_stayed(visitor)


def test_what_failed_is_tried_again_alone(visitor, site, add_tracks):
    tracks = [*add_tracks(2), *add_tracks(1, first=250)]
    site.simulator.faults.set("unknown_uuids", uuids=[tracks[2].uuid])
    job = site.finish(jobs.request_metadata([track.pk for track in tracks]).job)
    site.simulator.faults.clear()
    visitor.visit(f"{TASKS}{job.pk}/change/")
    visitor.press("Retry failed …")
    visitor.says("It will spend about 1 API call")
    answer(visitor, "Retry")
    state_of_task(visitor, "Completed")
    visitor.says("1 of 1")
    visitor.says("Comes from")


def test_a_double_click_in_a_dialog_is_one_press(visitor, site, add_tracks):
    add_tracks(1)
    visitor.visit(TRACKS)
    visitor.press("Fetch All Metadata")
    visitor.press_twice(visitor.control("Fetch"))
    visitor.says("1 of 1")
    site.finish(MetadataFetchTask.objects.get())
    assert site.simulator.state.calls.total() == 1


def test_a_double_click_on_a_confirmation_is_one_press(visitor, site, add_tracks):
    tracks = add_tracks(2)
    visitor.visit(TRACKS)
    choose(visitor, "Create bulk metadata fetch task", *tracks)
    visitor.says("2 tracks selected")
    visitor.press_twice(visitor.control(re.compile("^Fetch the 2 stale")))
    state_of_task(visitor, "Completed")
    assert MetadataFetchTask.objects.count() == 1
    assert site.simulator.state.calls.total() == 1


def test_a_viewer_follows_a_task_and_is_offered_no_button(open_browser, site, add_tracks):
    viewer = open_browser("viewer")
    with gate(site.simulator):
        job = jobs.request_metadata([track.pk for track in add_tracks(20)]).job
        viewer.visit(f"{TASKS}{job.pk}/change/")
        viewer.says("0 of 20")
        for button in ("Pause", "Resume …", "Cancel task …", "Retry failed …"):
            expect(viewer.control(button)).to_have_count(0)
    state_of_task(viewer, "Completed")
