"""Without a mouse, and with little motion."""

import re

import pytest
from playwright.sync_api import Locator, expect

from catalog import jobs
from catalog.models import MetadataFetchTask
from catalog.tests.browser.pages import TASKS, TRACKS
from catalog.tests.browser.steps import next_answer
from catalog.tests.browser.visitor import Visitor
from catalog.tests.gate import gate


def tab_to(visitor: Visitor, name: str) -> Locator:
    """Press Tab until a control has the keyboard, and check that it can be seen."""
    control = visitor.control(name)
    for _ in range(80):
        visitor.page.keyboard.press("Tab")
        if control.evaluate("element => element === document.activeElement"):
            outline = control.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none", f"{name} has the keyboard, and it cannot be seen"
            return control
    raise AssertionError(f"{name} cannot be reached")


def test_the_dialog_of_the_list_opens_and_closes_by_keys_and_gives_the_keyboard_back(visitor):
    button = "Fetch All Metadata"
    visitor.visit(TRACKS)
    opener = tab_to(visitor, button)
    visitor.page.keyboard.press("Enter")
    dialog = visitor.page.get_by_role("dialog", name=button)
    expect(dialog).to_be_visible()
    expect(dialog.locator(":focus")).to_have_count(1)
    for _ in range(12):
        visitor.page.keyboard.press("Tab")
        expect(dialog.locator(":focus")).to_have_count(1)
    visitor.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()


def test_a_dialog_closes_by_its_cross_and_by_cancel_too(visitor):
    visitor.visit(TRACKS)
    for name in ("Close", "Cancel"):
        visitor.control("Fetch All Metadata").press("Enter")
        dialog = visitor.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name=name).press("Enter")
        expect(dialog).to_be_hidden()
        expect(visitor.control("Fetch All Metadata")).to_be_focused()


def test_a_track_is_fetched_by_keys_alone(visitor, add_tracks):
    (track,) = add_tracks(1)
    visitor.visit(f"{TRACKS}{track.pk}/change/")
    tab_to(visitor, "Fetch now")
    visitor.page.keyboard.press("Enter")
    visitor.says("fields changed")


def test_a_list_without_a_song_is_told_and_can_be_put_right(visitor, empty_catalogue):
    visitor.visit(f"{TRACKS}import/")
    visitor.page.locator("textarea[name=text]").fill("nonsense")
    visitor.press("Continue: see what would come (free)")
    expect(visitor.page.locator(".ln-import, #content, main").first).to_contain_text("nonsense")
    visitor.visit(f"{TRACKS}import/")
    visitor.page.locator("textarea[name=text]").fill("USUM71900764 nonsense")
    visitor.press("Continue: see what would come (free)")
    expect(visitor.control(re.compile(r"^Import \("))).to_be_visible()


def test_a_task_is_cancelled_by_keys_alone(visitor, site, add_tracks):
    with gate(site.simulator):
        job = jobs.request_metadata([track.pk for track in add_tracks(20)]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        tab_to(visitor, "Cancel task …")
        visitor.page.keyboard.press("Enter")
        question = visitor.page.locator("#job-question")
        expect(question.locator(":focus")).to_have_count(1)
        question.get_by_role("button", name="Cancel task").press("Enter")
        visitor.says("is cancelled")


@pytest.mark.parametrize("key", [" ", "Enter"])
def test_a_key_presses_a_button_of_a_task_once(visitor, site, add_tracks, key):
    with gate(site.simulator):
        job = jobs.request_metadata([track.pk for track in add_tracks(20)]).job
        jobs.pause_job(job)
        visitor.visit(f"{TASKS}{job.pk}/change/")
        for name in ("Resume …", "Cancel task …"):
            asked: list[str] = []
            visitor.page.on("request", lambda request, to=asked: to.append(request.url))
            visitor.control(name).press(key)
            question = visitor.page.locator("#job-question")
            expect(question.locator(":focus")).to_have_count(1)
            next_answer(visitor)
            assert len([url for url in asked if re.search("/(resume|cancel)/", url)]) == 1
            visitor.page.keyboard.press("Escape")
            expect(question).to_be_hidden()


def test_a_key_that_is_held_down_does_not_press_the_button_of_the_dialog_it_opens(visitor, add_tracks):
    add_tracks(1)
    visitor.visit(TRACKS)
    visitor.control("Fetch All Metadata").focus()
    visitor.page.keyboard.down("Enter")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.locator("[type=submit]").focus()
    for _ in range(3):
        visitor.page.keyboard.down("Enter")
    visitor.page.keyboard.up("Enter")
    # Whatever was sent would have arrived before the answer to this.
    visitor.page.evaluate("fetch(location.href)")
    expect(dialog).to_be_visible()
    assert not MetadataFetchTask.objects.exists()


def test_what_only_an_icon_shows_is_reached_and_has_a_name(open_browser):
    # The browser keeps how wide the side bar is.
    visitor = open_browser(is_new=True)
    visitor.visit(TRACKS)
    side_bar = visitor.page.locator("#nav-sidebar-apps")
    expect(side_bar).to_be_visible()
    tab_to(visitor, "Side bar")
    visitor.page.keyboard.press("Enter")
    expect(side_bar).to_be_hidden()
    visitor.page.keyboard.press(" ")
    expect(side_bar).to_be_visible()


def test_whoever_wants_little_motion_gets_none(visitor):
    visitor.page.emulate_media(reduced_motion="reduce")
    visitor.visit(TRACKS)
    visitor.press("Fetch All Metadata")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    moving = visitor.page.evaluate(
        "[...document.querySelectorAll('*')].filter((element) => {"
        " const { animationName, animationDuration, transitionDuration } = getComputedStyle(element);"
        " const longest = Math.max(...transitionDuration.split(',').map(parseFloat));"
        " return longest > 0.001 || (animationName !== 'none' && parseFloat(animationDuration) > 0.001);"
        "}).length"
    )
    assert moving == 0


def test_the_side_bar_is_skipped_by_the_first_key(visitor):
    visitor.visit(TRACKS)
    visitor.page.keyboard.press("Tab")
    link = visitor.page.get_by_role("link", name="Skip the side bar")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#main")).to_be_focused()
    visitor.page.keyboard.press("Tab")
    expect(visitor.page.locator("#main :focus")).to_have_count(1)


def test_what_is_open_and_has_the_keyboard_stays_so_while_a_task_moves_on(visitor, site, add_tracks):
    with gate(site.simulator):
        job = jobs.request_metadata([track.pk for track in add_tracks(20)]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        summary = visitor.page.locator("#job-details-summary")
        summary.press("Enter")
        next_answer(visitor)
        expect(summary).to_be_focused()
        expect(visitor.page.get_by_text("API calls of the plan")).to_be_visible()
