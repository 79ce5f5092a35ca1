"""What the theme brings along works under our policy: switch, search, dates, filters, deleting, passwords."""

import re
from datetime import UTC, datetime

from playwright.sync_api import expect

from catalog.models import Track
from catalog.tests.browser.pages import TRACKS
from catalog.tests.browser.site import PASSWORD

DARK = re.compile(r"\bdark\b")


def test_the_theme_is_switched_and_stays_so(open_browser):
    visitor = open_browser("viewer", is_new=True)
    visitor.visit("/admin/")
    root = visitor.page.locator("html")
    expect(root).not_to_have_class(DARK)
    visitor.page.keyboard.press("Control+e")
    visitor.page.keyboard.press("Control+e")
    expect(root).to_have_class(DARK)
    visitor.visit(TRACKS)
    expect(root).to_have_class(DARK)


def test_the_search_for_pages_finds_and_goes_there(open_browser):
    visitor = open_browser("admin")
    visitor.visit("/admin/")
    visitor.page.keyboard.press("Control+k")
    search = visitor.page.locator("#search-input-command, input[x-ref=searchInputCommand]").first
    expect(search).to_be_visible()
    search.press_sequentially("track")
    result = visitor.page.locator("#command-results a", has_text=re.compile("Tracks")).first
    expect(result).to_be_visible()
    result.click()
    expect(visitor.page).to_have_url(re.compile(TRACKS))


def test_a_date_is_chosen_from_the_calendar(open_browser, add_tracks):
    (track,) = add_tracks(1)
    visitor = open_browser("editor")
    visitor.visit(f"{TRACKS}{track.pk}/change/")
    visitor.page.locator("#calendarlink0").click()
    calendar = visitor.page.locator("#calendarbox0")
    expect(calendar).to_be_visible()
    calendar.get_by_role("link", name="Today").click()
    visitor.press("Save")
    visitor.says("was changed successfully")
    track.refresh_from_db()
    assert abs((track.release_date - datetime.now(UTC).date()).days) <= 1


def test_a_filter_narrows_the_list(visitor, add_tracks):
    now = datetime.now(UTC)
    add_tracks(2)
    add_tracks(1, first=5, name="The fresh one", metadata_fetched_at=now)
    visitor.visit(TRACKS)
    visitor.press("Filters")
    visitor.page.locator("select[name=freshness]").select_option("fresh", force=True)
    visitor.press("Apply Filters")
    expect(visitor.page.locator("input[name=_selected_action]")).to_have_count(1)
    visitor.says("The fresh one")


def test_a_track_is_deleted_after_a_question(open_browser, add_tracks):
    (track,) = add_tracks(1, name="Not for long")
    visitor = open_browser("admin")
    visitor.visit(f"{TRACKS}{track.pk}/delete/")
    visitor.says("Not for long")
    visitor.page.get_by_role("button", name=re.compile("Yes, I.m sure")).click()
    visitor.says("was deleted successfully")
    assert not Track.objects.exists()


def test_a_password_is_changed(open_browser):
    visitor = open_browser("editor", is_new=True)
    visitor.visit("/admin/password_change/")
    visitor.page.get_by_label("Old password").fill(PASSWORD)
    visitor.page.get_by_label("New password", exact=False).first.fill("short")
    visitor.page.locator("input[name=new_password2]").fill("short")
    visitor.page.locator("form [type=submit]").last.click()
    visitor.says("This password is too short")
