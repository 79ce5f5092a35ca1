"""The page Schedule: what staff decide there is said in plain words, and counts at once."""

import re
from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import expect

from catalog.models import MetadataFetchTask
from catalog.tests.browser.pages import SCHEDULE, TRACKS
from catalog.tests.browser.steps import A_TASK, state_of_task


def test_another_interval_and_age_are_priced_saved_and_stand_there_in_plain_words(
    visitor, add_tracks, schedule_as_it_was
):
    add_tracks(25)
    add_tracks(1, first=25, name="Ten days old", metadata_fetched_at=timezone.now() - timedelta(days=10))
    visitor.visit(SCHEDULE)
    visitor.says("Every day at")
    visitor.says("25 tracks")
    visitor.follow(visitor.control("Change"))
    visitor.says("25 tracks")
    day = visitor.page.get_by_label("Day of the week")
    expect(day).to_be_hidden()
    visitor.page.get_by_label("How often").select_option(label="Every week")
    day.select_option(label="Saturday")
    visitor.page.get_by_label("Time of day").fill("04:30")
    # What it would cost follows what is typed, before anything is saved.
    visitor.page.get_by_label("Stale after (days)").fill("7")
    visitor.says("26 tracks")
    visitor.says("about 3 API calls")
    visitor.page.get_by_label("At most so many tracks a run").fill("20")
    visitor.says("20 tracks")
    visitor.press("Save")
    visitor.says("every Saturday at 04:30 UTC; stale after 7 days; at most 20 tracks a run.")
    visitor.says("The next run is on")
    for words in ("Every Saturday at 04:30 UTC", "7 days", "At most 20 tracks, the neediest first"):
        expect(visitor.page.get_by_role("definition").filter(has_text=words)).to_be_visible()
    # It counts everywhere: what was fresh by the old age is stale in the list.
    visitor.visit(f"{TRACKS}?freshness=aged")
    visitor.says("Ten days old")


def test_a_run_now_is_priced_seen_to_its_end_and_told_on_the_page(
    visitor, site, add_tracks, schedule_as_it_was
):
    add_tracks(23)
    visitor.visit(SCHEDULE)
    visitor.press("Run now")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("23 tracks: about 3 API calls")
    assert site.simulator.state.calls.total() == 0
    visitor.press_twice(dialog.get_by_role("button", name="Run now"))
    expect(visitor.page).to_have_url(A_TASK)
    state_of_task(visitor, "Completed")
    visitor.says("23 updated")
    assert MetadataFetchTask.objects.count() == 1
    visitor.visit(SCHEDULE)
    visitor.says("by operator:")
    visitor.says("No track is due.")
    visitor.page.get_by_role("link", name=re.compile("^task #")).click()
    state_of_task(visitor, "Completed")
