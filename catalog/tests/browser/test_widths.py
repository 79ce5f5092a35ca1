"""On every width: nothing is cut off or beside the window, and on a phone a thumb hits what it aims at."""

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from catalog import jobs
from catalog.models import TrackChange
from catalog.tests.audiences import add_audience
from catalog.tests.browser.visitor import box_of

TRACKS = "/admin/catalog/track/"
# In pixels; less than the width of a fingertip is missed.
THUMB = 44


@pytest.fixture
def visitor(open_browser):
    return open_browser(device="phone")


def test_a_change_of_many_lines_is_shown_whole(visitor, add_tracks):
    (track,) = add_tracks(1, name="Song")
    address = "https://example.com/" + "a-long-path/" * 20
    TrackChange.objects.create(track=track, at=timezone.now(), changes={"image_url": [address, address]})

    visitor.visit("/admin/catalog/trackchange/")
    cell = visitor.page.locator("#result_list .field-what_changed")
    assert cell.evaluate("cell => cell.scrollHeight - cell.clientHeight") <= 0


def test_what_to_do_about_failures_is_read_without_scrolling_sideways(visitor, site, add_tracks):
    job = site.finish(jobs.request_metadata([add_tracks(1, first=10_000)[0].pk]).job)

    visitor.visit(f"/admin/catalog/metadatafetchtask/{job.pk}/change/")
    advice = visitor.page.locator(".ln-failures").get_by_text("Check the UUID.")
    box = box_of(advice)
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_a_card_of_a_track_is_as_high_as_what_it_says(visitor, add_tracks):
    add_tracks(1, name="Song")

    visitor.visit(TRACKS)
    card = visitor.page.locator("#result_list .data-row")
    expect(card).to_contain_text("never fetched")
    assert box_of(card)["height"] < 120


def test_a_page_is_named_by_what_it_is_about(visitor, add_tracks):
    (track,) = add_tracks(1, name="A name as long as those of remixes are", credit_name="Somebody")

    visitor.visit(f"{TRACKS}{track.pk}/change/")
    title = visitor.page.locator("h1 a").last
    assert box_of(title)["width"] > 100
    assert [link.is_visible() for link in visitor.page.locator("h1 a").all()] == [False, False, True]


def test_sources_and_buttons_are_as_large_as_a_thumb(visitor, add_tracks):
    visitor.visit(f"{TRACKS}import/")
    choices = visitor.page.locator(".ln-choice")
    expect(choices.first).to_be_visible()
    for choice in choices.all():
        assert box_of(choice)["height"] >= THUMB

    # No worker is told, or it might be done before it is paused.
    job = jobs.request_metadata([add_tracks(1)[0].pk], is_rung=False).job
    jobs.pause_job(job)
    visitor.visit(f"/admin/catalog/metadatafetchtask/{job.pk}/change/")
    for name in ("Resume …", "Cancel task …"):
        assert box_of(visitor.control(name))["height"] >= THUMB


def test_a_card_of_a_task_is_as_high_as_what_it_says(visitor, add_tracks):
    # No worker is told, or it might be done before it is paused.
    jobs.pause_job(jobs.request_metadata([track.pk for track in add_tracks(2)], is_rung=False).job)

    visitor.visit("/admin/catalog/metadatafetchtask/")
    card = visitor.page.locator("#result_list .data-row")
    for words in ("2 chosen tracks", "Paused", "0 of 2", "by itself"):
        expect(card).to_contain_text(words)
    assert box_of(card)["height"] < 200


def test_a_long_word_makes_no_list_wider_than_the_window(open_browser, add_tracks):
    (track,) = add_tracks(1, name="Song")
    TrackChange.objects.create(track=track, at=timezone.now(), changes={"name": ["a" * 255, "Song"]})
    visitor = open_browser()

    visitor.visit("/admin/catalog/trackchange/")
    table = visitor.page.locator("#result_list")
    assert table.evaluate("table => table.scrollWidth - table.parentElement.clientWidth") <= 0


def test_the_list_of_tracks_fits_a_small_desk_with_all_its_columns(open_browser, add_tracks):
    (track,) = add_tracks(
        1,
        name="A name as long as those of live recordings are",
        credit_name="The Broken Monday feat. Jonas Kowalczyk",
        isrc="GBAAA0000002",
        label="Lanternlight Recordings",
        genre="electronic",
        release_date="1985-12-21",
        metadata_error="not_found",
        metadata_fetched_at=timezone.now(),
    )
    add_audience(
        track,
        latest_day="2026-11-24",
        latest_value=114_273_541,
        gain=2_447_241,
        trend=[1, 3, 2],
    )
    visitor = open_browser()

    visitor.visit(TRACKS)
    table = visitor.page.locator("#result_list")
    expect(table).to_contain_text("114 M")
    assert table.evaluate("table => table.scrollWidth - table.parentElement.clientWidth") <= 0
