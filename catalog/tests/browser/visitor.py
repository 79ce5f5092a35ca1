"""A person with a browser, who notices whatever a page should not do."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    Request,
    Response,
    expect,
)

from catalog.tests.browser.site import PASSWORD, Site

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
# Chromium's own words for any status from 400 on, which are looked at themselves, and for covers from hosts
# that are not to be found here.
FAILED_LOAD = "Failed to load resource"
# Only a test that fails waits so long; a machine that is busy with other things needs some of it.
WAIT_SECONDS = 60
expect.set_options(timeout=WAIT_SECONDS * 1000)
# Pages that follow tasks ask every 2 s, which people can wait for.
ASK_SOON = """(() => {
    const usual = window.setTimeout;
    window.setTimeout = (work, after, ...rest) => usual(work, after === 2000 ? 400 : after, ...rest);
})()"""
# Its scripts have run, and nothing of it will move because letters become others.
IS_READY = """document.readyState === "complete" && document.fonts.status === "loaded"
    && !document.documentElement.hasAttribute("x-cloak")"""
# What moves has come to its end, and so has what that has set in motion: a colour is handed down by and by.
BE_STILL = """async () => {
    const moving = () => document.getAnimations().filter(
        (one) => one.playState === "running" && one.effect.getComputedTiming().endTime !== Infinity
    );
    while (moving().length) await Promise.allSettled(moving().map((one) => one.finished));
}"""


def box_of(locator: Locator) -> FloatRect:
    """Return where something is shown, once it is: a part that is being replaced is nowhere for a moment."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while True:
        expect(locator).to_be_visible()
        if (box := locator.bounding_box()) is not None:
            return box
        assert time.monotonic() < give_up_at, f"{locator} is shown, and has no place"


class Visitor:
    """One tab of a browser. `check` fails when anything in it went wrong since it was opened.

    Wrong is: an error in the console (so is what the Content-Security-Policy refuses), an error that a script
    did not catch, a request to any other host (but for covers, which are pictures by https or of the
    simulated Soundcharts), and any answer of 400 or more that was not expected.
    """

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context, self.site = context, site
        self.problems: list[str] = []
        self._expected: set[int] = set()
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_SECONDS * 1000)
        self.page.add_init_script(ASK_SOON)
        # It only listens: to answer in the place of others would keep the browser from caching.
        self.page.on("request", self._note_request)
        self.page.on("response", self._note_response)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))

    # --- what it notices

    def _is_here(self, url: str) -> bool:
        return url.startswith((f"{self.site.url}/", "data:", "about:"))

    def _note_request(self, request: Request) -> None:
        covers = ("https://", f"{self.site.simulator.url}/covers/")
        is_cover = request.resource_type == "image" and request.url.startswith(covers)
        if not self._is_here(request.url) and not is_cover:
            self.problems.append(f"request to another host: {request.resource_type} {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self._expected:
            self.problems.append(f"status {response.status} of {urlsplit(response.url).path}")

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(FAILED_LOAD):
            self.problems.append(f"console {message.type}: {message.text}")

    def check(self) -> None:
        assert not self.problems, "\n".join(self.problems)

    @contextmanager
    def expecting(self, *statuses: int) -> Iterator[None]:
        """Take these statuses for right while inside."""
        before, self._expected = self._expected, self._expected | set(statuses)
        try:
            yield
        finally:
            self._expected = before

    # --- what it does

    def visit(self, path: str, *, status: int = 200) -> None:
        """Open a page of the site, wait until it is ready, and check that it is all right."""
        self.page.emulate_media(color_scheme="light")
        with self.expecting(status):
            answer = self.page.goto(f"{self.site.url}{path}")
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}"
        self.wait_until_ready()
        self.check()

    def wait_until_ready(self) -> None:
        """Return when the scripts of the page have begun their work."""
        self.page.wait_for_function(IS_READY)

    def wait_until_still(self) -> None:
        """Return when nothing moves any more: in the middle a colour is neither the one nor the other."""
        self.page.evaluate(BE_STILL)

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        """Fill in the log-in page that is open, and send it."""
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.follow(self.page.get_by_role("button", name="Log in"))

    def turn_dark(self) -> None:
        """Choose the dark theme, as its switch does."""
        self.page.emulate_media(color_scheme="dark")
        self.page.evaluate("document.documentElement.classList.add('dark')")
        self.wait_until_still()

    def control(self, name: str | re.Pattern[str]) -> Locator:
        """Return what is to be pressed, by its words: a button, or a link that looks like one."""
        either = self.page.get_by_role("button", name=name, exact=True)
        return either.or_(self.page.get_by_role("link", name=name, exact=True)).first

    def press(self, name: str | re.Pattern[str]) -> None:
        """Click on a control of a page that is ready; on a phone those of the page are behind one more."""
        self.wait_until_ready()
        more = self.control("More actions")
        if not self.control(name).is_visible() and more.is_visible():
            more.click()
        self.control(name).click()

    def press_twice(self, control: Locator) -> None:
        """Click on a control, and again before anything can have come of the first click."""
        self.wait_until_ready()
        control.click(trial=True)
        control.evaluate("control => { control.click(); control.click(); }")

    def follow(self, control: Locator) -> None:
        """Click on what leads to another page, and wait until that is ready."""
        with self.page.expect_navigation():
            control.click()
        self.wait_until_ready()

    # --- what it sees

    def says(self, text: str) -> None:
        """Wait until the page says this."""
        expect(self.page.get_by_text(text).first).to_be_visible()

    @property
    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        width: int = self.page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        return max(0, width)

    def find_barriers(self, *rules: str) -> list[str]:
        """Return what keeps people out of the page, by axe: what is serious or critical."""
        # One rule takes its time and finds what is moderate.
        options: dict[str, Any] = {"resultTypes": ["violations"], "rules": {"region": {"enabled": False}}}
        if rules:
            options["runOnly"] = {"type": "rule", "values": list(rules)}
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        found = self.page.evaluate("options => axe.run(options)", options)["violations"]
        return [
            f"{violation['id']} ({violation['impact']}): {node['target']} {node['html'][:200]} "
            f"{'; '.join(check['message'] for check in node['any'][:1])}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
