"""A list that somebody brings: what would come of it, what came of every row, and the same as a file."""

import re

from django.utils import timezone
from playwright.sync_api import expect

from catalog.models import MetadataFetchTask, Track
from catalog.tests.browser.pages import TASKS, TRACKS
from catalog.tests.browser.steps import A_TASK, UNKNOWN, download, has_stayed, state_of_task, stay
from catalog.tests.browser.visitor import Visitor
from catalog.tests.gate import gate

CONFIRM = re.compile(r"^Import \(\d+ API calls?\)$")


def paste(visitor: Visitor, *entries: object) -> None:
    """Paste a list into the first step of the import, and go on to the second."""
    visitor.visit(TRACKS)
    visitor.press("Import from API")
    visitor.page.locator("textarea[name=text]").fill("\n".join(map(str, entries)))
    visitor.follow(visitor.control("Continue: see what would come (free)"))


def figure(visitor: Visitor, name: str) -> str:
    """Return a number of the second step, by what stands above it."""
    one = visitor.page.locator(".ln-facts > div").filter(has=visitor.page.get_by_text(name, exact=True))
    return one.locator("dd").inner_text()


def test_a_pasted_list_is_previewed_imported_live_and_reported_row_by_row(visitor, site, add_tracks):
    simulator = site.simulator
    (here,) = add_tracks(1, name="Here before", metadata_fetched_at=timezone.now())
    new, unknown, isrc = simulator.song_uuid(1), simulator.song_uuid(UNKNOWN), simulator.catalogue.isrc(2)
    paste(visitor, new, isrc, unknown, here.uuid, "nonsense", new)
    names = ("New", "Already here", "ISRCs to ask for", "Duplicates", "Invalid")
    assert {name: figure(visitor, name) for name in names} == {
        "New": "2",
        "Already here": "1",
        "ISRCs to ask for": "1",
        "Duplicates": "1",
        "Invalid": "1",
    }
    visitor.says("About 2 API calls")
    visitor.says("Duplicate: the same as in line 1.")
    assert simulator.state.calls.total() == 0
    with gate(simulator) as calls:
        visitor.press(CONFIRM)
        expect(visitor.page).to_have_url(A_TASK)
        stay(visitor)
        calls.wait_for_calls()
        visitor.says("Report: what became of every row")
        calls.open()
        state_of_task(visitor, "Completed")
    visitor.says("2 added, 1 already here, 1 failed")
    report = visitor.page.locator("#import-rows")
    for row, outcome in enumerate(("Added", "Added", "Not found", "Already here", "Invalid", "Duplicate")):
        expect(report.locator("tbody tr").nth(row)).to_contain_text(outcome)
    expect(report.get_by_role("link", name="Here before")).to_be_visible()
    assert has_stayed(visitor)
    report.get_by_role("link", name="Not found 1").click()
    expect(report.locator("tbody tr")).to_have_count(1)
    expect(report.locator("tbody tr")).to_contain_text(str(unknown))
    assert [row["Entry"] for row in download(visitor, "Download as CSV")] == [str(unknown)]
    report.get_by_role("link", name="All 6").click()
    expect(report.locator("tbody tr")).to_have_count(6)
    rows = download(visitor, "Download as CSV")
    assert [(row["Line"], row["Outcome"]) for row in rows] == [
        ("1", "Added"),
        ("2", "Added"),
        ("3", "Not found"),
        ("4", "Already here"),
        ("5", "Invalid"),
        ("6", "Duplicate"),
    ]
    entries = [str(new), isrc, str(unknown), str(here.uuid), "nonsense", str(new)]
    assert [row["Entry"] for row in rows] == entries
    assert rows[1]["Track UUID"] == str(simulator.song_uuid(2))
    assert rows[3]["Track"] == "Here before"
    assert Track.objects.count() == 3


def test_a_double_click_on_import_is_one_import(visitor, site, empty_catalogue):
    paste(visitor, site.simulator.song_uuid(3))
    visitor.press_twice(visitor.control(CONFIRM))
    expect(visitor.page).to_have_url(A_TASK)
    state_of_task(visitor, "Completed")
    assert MetadataFetchTask.objects.filter(task_type=MetadataFetchTask.Type.IMPORT).count() == 1
    visitor.visit(TASKS)
    visitor.says("Import of a list, 1 song")


def test_unknown_isrcs_are_checked_again_if_ticked_and_not_any_more_if_cancelled(visitor, site):
    paste(visitor, "ZZZZZ2600001", "ZZZZZ2600002", site.simulator.song_uuid(1))
    visitor.page.get_by_label("Check unknown ISRCs again after 2, 24 and 72 hours").check()
    visitor.press(CONFIRM)
    expect(visitor.page).to_have_url(A_TASK)
    state_of_task(visitor, re.compile("^Completed"))
    visitor.says("2 unknown ISRCs to check again: next check in 1 h 59 min, up to 6 API calls.")
    visitor.press("Cancel checks")
    visitor.says("2 unknown ISRCs will not be checked again.")
    visitor.says("Checks after 2, 24 and 72 hours use up to 6 API calls.")
