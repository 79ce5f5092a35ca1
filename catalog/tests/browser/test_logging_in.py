"""Logging in, and being logged out in the middle of something."""

import re

from playwright.sync_api import expect

from catalog import jobs
from catalog.tests.browser.pages import TASKS
from catalog.tests.browser.visitor import Visitor
from catalog.tests.gate import gate

LOGIN = re.compile(r"/admin/login/")


def test_a_wrong_password_is_refused_and_the_right_one_leads_to_the_page_that_was_wanted(open_browser):
    visitor = open_browser(None, is_new=True)
    visitor.visit("/admin/catalog/metadatafetchtask/")
    expect(visitor.page).to_have_url(LOGIN)
    visitor.log_in("operator", "not it")
    visitor.says("Please enter the correct username and password")
    visitor.check()
    visitor.log_in("operator")
    expect(visitor.page).to_have_url(re.compile(r"/admin/catalog/metadatafetchtask/$"))


def test_after_too_many_wrong_passwords_the_page_says_how_long_to_wait(open_browser, site):
    visitor = open_browser(None, is_new=True)
    visitor.visit("/admin/login/")
    with visitor.expecting(429):
        for _ in range(5):
            visitor.log_in("somebody", "not it")
        visitor.says("Try again in 15 minutes.")


def test_logging_out_ends_at_the_log_in(open_browser):
    visitor = open_browser(None, is_new=True)
    visitor.visit("/admin/login/")
    visitor.log_in("viewer")
    visitor.page.locator("#nav-sidebar").get_by_text("viewer", exact=True).last.click()
    visitor.page.get_by_role("button", name="Log out").click()
    visitor.says("You have been successfully logged out")
    visitor.visit("/admin/")
    expect(visitor.page).to_have_url(LOGIN)


def test_a_session_that_ends_leaves_no_live_page_open_that_is_live_no_more(
    open_browser, look_after, closing, site, add_tracks
):
    visitor = open_browser(None, is_new=True)
    with gate(site.simulator):
        job = jobs.request_metadata([track.pk for track in add_tracks(30)]).job
        visitor.visit("/admin/login/")
        visitor.log_in("operator")
        visitor.says("The catalogue")
        visitor.visit(f"/admin/catalog/metadatafetchtask/{job.pk}/change/")
        visitor.says("0 of 30")
        others = {path: look_after(Visitor(visitor.context, site)) for path in ("/admin/", TASKS)}
        for path, other in others.items():
            closing.callback(other.page.close)
            other.visit(path)
            other.says("0 of 30")
        visitor.context.clear_cookies(name="sessionid")
        for tab in (visitor, *others.values()):
            expect(tab.page).to_have_url(LOGIN)
    # Whoever logs in again is where the session ended.
    visitor.log_in("operator")
    expect(visitor.page).to_have_url(re.compile(rf"/metadatafetchtask/{job.pk}/change/"))
