"""What people do and see on the pages of tracks and tasks, for the tests of several ways through them."""

import csv
import re
from pathlib import Path

from playwright.sync_api import expect

from catalog.models import Track
from catalog.tests.browser.visitor import Visitor

A_TASK = re.compile(r"/metadatafetchtask/\d+/change/")
# The number of a song that the simulated Soundcharts does not have.
UNKNOWN = 10_000


def state_of_task(visitor: Visitor, state: str) -> None:
    """Wait until the task on this page is in a state, by its label."""
    expect(visitor.page.locator("#job-progress").get_by_text(state, exact=True).first).to_be_visible()


def next_answer(visitor: Visitor) -> None:
    """Wait until the page has asked for its task once more, and has done with the answer what it does."""
    visitor.page.evaluate("""new Promise(done => document.addEventListener(
        "htmx:afterRequest", () => setTimeout(done, 100), { once: true }
    ))""")


def choose(visitor: Visitor, action: str, *tracks: Track) -> None:
    """Tick these tracks in the list, and run an action on them, or on what is ticked already."""
    for track in tracks:
        visitor.page.locator(f'input[name=_selected_action][value="{track.pk}"]').check()
    visitor.page.locator("select[name=action]").select_option(label=action)
    visitor.press("Run")


def answer(visitor: Visitor, button: str) -> None:
    """Press a button of the question that a task's page asks."""
    visitor.page.locator("#job-question").get_by_role("button", name=button, exact=True).click()


def stay(visitor: Visitor) -> None:
    """Mark the page that is open, so that `has_stayed` tells whether it was loaded anew since."""
    visitor.page.evaluate("window.isSamePage = true")


def has_stayed(visitor: Visitor) -> bool:
    return bool(visitor.page.evaluate("window.isSamePage === true"))


def download(visitor: Visitor, link: str | re.Pattern[str]) -> list[dict[str, str]]:
    """Follow a link to a CSV file, and return its rows as a spreadsheet would read them."""
    with visitor.page.expect_download() as loading:
        visitor.page.get_by_role("link", name=link).click()
    assert loading.value.suggested_filename.endswith(".csv")
    text = Path(loading.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(text.splitlines()))
