"""The Chromium of this machine, for the browser tests and for the pictures of the README."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoChromium(Exception):
    """Chromium is not installed."""


@contextmanager
def run_chromium() -> Iterator[Browser]:
    """Run it without a window, and without a word to anybody but this machine. Raises NoChromium."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise NoChromium(f"Chromium is not installed: there is none of {', '.join(NAMES)}.")
    quiet = ("background-networking", "component-update", "sync", "extensions", "gpu", "dev-shm-usage")
    with _queries_allowed(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                # As root, in a container, there is none to be had. Only our own pages are opened.
                "--no-sandbox",
                "--no-first-run",
                *(f"--disable-{name}" for name in quiet),
                # Whatever a page asks for elsewhere is not found.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _queries_allowed() -> Iterator[None]:
    """Allow queries while Playwright keeps an event loop in this thread, which Django takes for ours."""
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
