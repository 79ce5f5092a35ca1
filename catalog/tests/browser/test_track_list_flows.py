"""From a filtered list of tracks to the job over all of it: the price stands between the two."""

import re

from playwright.sync_api import expect

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.browser.pages import TRACKS
from catalog.tests.browser.steps import A_TASK, choose, has_stayed, state_of_task, stay
from catalog.tests.gate import gate


def test_a_whole_filtered_list_is_fetched_once_its_price_is_known_and_followed_live(
    visitor, site, add_tracks
):
    known = add_tracks(2)
    # What is left of the plan is known from the first answer on.
    site.finish(jobs.request_metadata([track.pk for track in known]).job)
    add_tracks(60, first=2, label="Kept")
    add_tracks(3, first=62, label="Other")
    spent = site.simulator.state.calls.total()
    visitor.visit(TRACKS)
    visitor.press("Filters")
    visitor.page.get_by_label("Beginning of the label").fill("kept")
    visitor.follow(visitor.control("Apply Filters"))
    expect(visitor.page.locator("input[name=_selected_action]")).to_have_count(50)
    visitor.page.locator("#action-toggle").check()
    visitor.page.get_by_role("link", name="Select all 60 tracks").click()
    visitor.says("All 60 tracks are selected")
    choose(visitor, "Create bulk metadata fetch task")
    visitor.says("60 tracks selected: 60 stale, 0 fresh.")
    visitor.says("This is the whole list")
    price = re.compile(r"The 60 stale: about 6 API calls, [\d,]+ left after; this takes less than a minute")
    expect(visitor.page.get_by_text(price)).to_be_visible()
    assert site.simulator.state.calls.total() == spent
    assert MetadataFetchTask.objects.count() == 1
    with gate(site.simulator, after=2) as calls:
        visitor.press(re.compile(r"^Fetch the 60 stale \(about 6 API calls"))
        expect(visitor.page).to_have_url(A_TASK)
        stay(visitor)
        calls.wait_for_calls()
        visitor.says("20 of 60")
        calls.open()
        state_of_task(visitor, "Completed")
    visitor.says("60 of 60")
    visitor.says("60 updated")
    assert has_stayed(visitor)
    assert site.simulator.state.calls.total() == spent + 6
    assert Track.objects.never_fetched().count() == 3


def test_a_whole_list_is_not_fetched_by_whoever_cancels(visitor, site, add_tracks):
    add_tracks(60)
    visitor.visit(f"{TRACKS}?freshness=never")
    visitor.page.locator("#action-toggle").check()
    visitor.page.get_by_role("link", name="Select all 60 tracks").click()
    choose(visitor, "Fetch metadata from Soundcharts API (Background)")
    visitor.says("60 tracks selected")
    visitor.press("Cancel")
    expect(visitor.page).to_have_url(re.compile(r"\?freshness=never$"))
    assert not MetadataFetchTask.objects.exists()
    assert site.simulator.state.calls.total() == 0
