"""Without a mouse, and with little motion."""

import pytest
from playwright.sync_api import Locator, expect

from catalog import jobs
from catalog.tests.browser.pages import TASKS, TRACKS
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


@pytest.mark.parametrize("button", ["Import from API", "Fetch All Metadata"])
def test_the_dialogs_of_the_list_open_and_close_by_keys_and_give_the_keyboard_back(visitor, button):
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
        tab_to(visitor, "Import from API")
        visitor.page.keyboard.press("Enter")
        dialog = visitor.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name=name).press("Enter")
        expect(dialog).to_be_hidden()
        expect(visitor.control("Import from API")).to_be_focused()


def test_a_track_is_fetched_by_keys_alone(visitor, add_tracks):
    (track,) = add_tracks(1)
    visitor.visit(f"{TRACKS}{track.pk}/change/")
    tab_to(visitor, "Fetch Metadata from API")
    visitor.page.keyboard.press("Enter")
    expect(visitor.control("Fetch now")).to_be_focused()
    visitor.page.keyboard.press("Enter")
    visitor.says("fields changed")


def test_a_mistake_in_a_dialog_is_told_and_can_be_put_right(visitor, empty_catalogue):
    visitor.visit(TRACKS)
    visitor.press("Import from API")
    visitor.page.get_by_label("Limit").fill("0")
    visitor.page.keyboard.press("Enter")
    visitor.says("Ensure this value is greater than or equal to 1")
    visitor.page.get_by_label("Limit").fill("10")
    visitor.press("Import")
    visitor.says("Follow its progress")


def test_a_task_is_cancelled_by_keys_alone(visitor, site, add_tracks):
    with gate(site.simulator):
        job = jobs.request_metadata([track.pk for track in add_tracks(20)]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        tab_to(visitor, "Cancel task")
        visitor.page.keyboard.press("Enter")
        visitor.says("is cancelled")


def test_what_only_an_icon_shows_is_reached_and_has_a_name(visitor):
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
    visitor.press("Import from API")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    moving = visitor.page.evaluate(
        "[...document.querySelectorAll('*')].filter((element) => {"
        " const { animationName, animationDuration, transitionDuration } = getComputedStyle(element);"
        " const longest = Math.max(...transitionDuration.split(',').map(parseFloat));"
        " return longest > 0.001 || (animationName !== 'none' && parseFloat(animationDuration) > 0.001);"
        "}).length"
    )
    assert moving == 0
