"""What stands where: nothing runs into its neighbour, and what matters most comes first."""

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone
from playwright.sync_api import expect

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.audiences import add_audience
from catalog.tests.browser.pages import FAILURES, TASKS, TRACKS
from catalog.tests.browser.steps import UNKNOWN, choose
from catalog.tests.browser.visitor import box_of

# In pixels; a second line makes more of it.
ONE_LINE = 26


@pytest.fixture
def phone(open_browser):
    return open_browser("admin", device="phone")


@pytest.fixture
def loved_track(add_tracks):
    (track,) = add_tracks(1, name="Song", metadata_fetched_at=timezone.now())
    add_audience(
        track,
        latest_day="2026-11-24",
        latest_value=25_459_766_597,
        gain=55_264_588,
        trend=[1, 3, 2],
    )
    return track


def _is_cut(locator):
    return locator.evaluate("element => element.scrollWidth > element.clientWidth")


def test_prices_stay_inside_their_buttons_and_the_buttons_in_the_window(phone, add_tracks):
    tracks = add_tracks(1)
    phone.visit(TRACKS)
    choose(phone, "Fetch audience from Soundcharts", *tracks)
    buttons = phone.page.locator("button[name=fetch]")
    expect(buttons.first).to_be_visible()
    for button in buttons.all():
        box = box_of(button)
        assert box["x"] + box["width"] <= 390 - 16
        assert not _is_cut(button)


def test_large_figures_keep_apart(phone, loved_track):
    phone.visit(f"{TRACKS}{loved_track.pk}/change/")
    figures = phone.page.locator("#audience .ln-facts dd")
    expect(figures.first).to_have_text("25,459,766,597")
    assert not any(_is_cut(figure) for figure in figures.all())


def test_the_list_says_whose_audience_it_shows(phone, open_browser, loved_track):
    phone.visit(TRACKS)
    label = "cell => getComputedStyle(cell, '::before')"
    cell = phone.page.locator(".field-audience_figure")
    assert cell.evaluate(f"{label}.content") == '"Audience on Spotify"'
    assert cell.evaluate(f"{label}.display") == "block"

    desk = open_browser()
    desk.visit(TRACKS)
    expect(desk.page.locator("th.column-audience_figure")).to_have_text("Audience on Spotify")


def test_save_comes_before_delete(phone, loved_track):
    phone.visit(f"{TRACKS}{loved_track.pk}/change/")
    save, delete = phone.page.locator("#submit-row [name=_save]"), phone.control("Delete track")
    assert box_of(save)["y"] < box_of(delete)["y"]


def test_a_history_begins_with_the_last_and_says_its_headings_once(open_browser, add_tracks):
    job = jobs.request_metadata([add_tracks(1)[0].pk]).job
    for word in ("First", "Last"):
        LogEntry.objects.create(
            user=User.objects.get(username="admin"),
            content_type=ContentType.objects.get_for_model(MetadataFetchTask),
            object_id=job.pk,
            action_flag=CHANGE,
            change_message=word,
        )
    desk = open_browser("admin")
    desk.visit(f"{TASKS}{job.pk}/history/")
    cells = desk.page.locator("tbody td[data-label=Action]")
    expect(cells).to_have_text(["Last", "First"])
    assert cells.first.evaluate("cell => getComputedStyle(cell, '::before').display") == "none"


def test_covers_are_shown_in_the_light_and_in_the_dark(visitor, site, add_tracks):
    site.finish(jobs.request_metadata([track.pk for track in add_tracks(2)]).job)
    first = Track.objects.order_by("pk")[0]
    assert first.image_url.startswith(f"{site.simulator.url}/covers/")
    for path, place, count in (
        (TRACKS, ".ln-thumb img", 2),
        (f"{TRACKS}{first.pk}/change/", ".ln-track-cover img", 1),
    ):
        visitor.visit(path)
        covers = visitor.page.locator(place)
        expect(covers).to_have_count(count)
        for turn in (lambda: None, visitor.turn_dark):
            turn()
            for cover in covers.all():
                box_of(cover)
                expect(cover).to_have_js_property("naturalWidth", 400)


def test_a_cover_by_http_is_no_hole_and_no_error_of_the_console(visitor, site, add_tracks):
    add_tracks(1, name="Blue Sky", image_url="http://covers.invalid:8080/a.jpg")
    (other,) = add_tracks(1, first=1, name="Red Sky", image_url="http://covers.invalid/a.jpg")
    visitor.visit(TRACKS)
    expect(visitor.page.locator(".ln-thumb img")).to_have_count(0)
    visitor.visit(f"{TRACKS}{other.pk}/change/")
    visitor.says("Cover not available")


def test_a_picture_that_does_not_come_leaves_no_hole(open_browser, site, add_tracks):
    (track,) = add_tracks(1, name="Song", image_url="https://covers.invalid/1.jpg")
    visitor = open_browser()
    for elsewhere in ("https://**", f"{site.simulator.url}/covers/**"):
        visitor.page.route(elsewhere, lambda route: route.abort())

    visitor.visit(f"{TRACKS}{track.pk}/change/")
    visitor.says("Cover not available")
    expect(visitor.page.locator(".ln-track-cover img")).to_have_count(0)

    visitor.visit(f"{TRACKS}import/")
    visitor.page.get_by_role("radio", name="The songs of an artist").check()
    visitor.page.get_by_label("Artist's name").fill("the")
    visitor.page.get_by_role("button", name="Search for the name").click()
    first = visitor.page.locator(".ln-artists li").first
    expect(first.locator(".material-symbols-outlined")).to_be_visible()
    expect(first.locator("img")).to_have_count(0)


def test_words_and_times_in_lists_are_not_broken(visitor, site, add_tracks):
    job = site.finish(jobs.request_metadata([add_tracks(1, first=UNKNOWN)[0].pk]).job)
    assert job.failed_tracks == 1

    visitor.visit(TRACKS)
    words = visitor.page.locator(".field-freshness .ln-word")
    expect(words).to_have_text(["never fetched", "failing: Unknown at Soundcharts"])
    assert all(box_of(word)["height"] < ONE_LINE for word in words.all())
    visitor.visit(TASKS)
    time = visitor.page.locator(".field-asked .ln-number")
    assert box_of(time)["height"] < ONE_LINE
    visitor.visit(FAILURES)
    row = visitor.page.locator("#result_list .data-row")
    assert row.inner_text().count(job.failures.get().item) == 1
    assert row.locator(".field-at").evaluate("cell => getComputedStyle(cell).whiteSpace") == "nowrap"


def test_an_empty_list_leads_to_no_other_page(visitor):
    visitor.visit("/admin/catalog/trackchange/")
    visitor.says("No fetch has changed anything yet")
    expect(visitor.page.get_by_text("Next", exact=True)).to_be_hidden()
