"""Every page that is looked at on a desk and on a phone, by day and by night. A new one is one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from catalog.tests.browser.visitor import Visitor


def _press(name: str, wait_for: str) -> Callable[[Visitor], None]:
    """Return what opens a dialog: pressing a button by its name and waiting for what appears."""

    def press(visitor: Visitor) -> None:
        visitor.press(name)
        visitor.page.locator(wait_for).locator("visible=true").first.wait_for()

    return press


@dataclass(frozen=True)
class Page:
    """Where it is (with the keys of `things` in braces), who looks at it, and what is opened on it."""

    name: str
    path: str
    who: str | None = "admin"
    status: int = 200
    open: Callable[[Visitor], None] | None = None

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


TRACKS, TASKS, FAILURES = (
    "/admin/catalog/track/",
    "/admin/catalog/metadatafetchtask/",
    "/admin/catalog/fetchfailure/",
)
SCHEDULE = "/admin/catalog/refreshpolicy/"
PAGES = (
    Page("log in", "/admin/login/", who=None),
    Page("dashboard", "/admin/"),
    Page("dashboard of a viewer", "/admin/", who="viewer"),
    Page("tracks", TRACKS),
    Page("tracks of a viewer", TRACKS, who="viewer"),
    Page("tracks, none found", f"{TRACKS}?q=nothing"),
    Page("tracks, filters", TRACKS, open=_press("Filters", "#changelist-filter")),
    Page("import", f"{TRACKS}import/"),
    Page("import, what would come", f"{TRACKS}import/{{draft}}/"),
    Page("tracks, fetch all", TRACKS, open=_press("Fetch All Metadata", "#dialog")),
    Page("track", f"{TRACKS}{{track}}/change/"),
    Page("track of a viewer", f"{TRACKS}{{track}}/change/", who="viewer"),
    Page("track, fetch now", f"{TRACKS}{{track}}/change/", open=_press("Fetch Metadata from API", "#dialog")),
    Page("track, fetch audience", f"{TRACKS}{{track}}/change/", open=_press("Fetch audience", "#dialog")),
    Page("tracks, fetch audience", TRACKS, open=_press("Fetch audience", "#dialog")),
    Page("track, new", f"{TRACKS}add/"),
    Page("track, history", f"{TRACKS}{{track}}/history/"),
    Page("track, delete", f"{TRACKS}{{track}}/delete/"),
    Page("tasks", TASKS),
    Page("task, completed", f"{TASKS}{{completed}}/change/"),
    Page("task of audience", f"{TASKS}{{audience}}/change/"),
    Page("task, failed", f"{TASKS}{{failed}}/change/"),
    Page("task, paused", f"{TASKS}{{paused}}/change/"),
    Page("task of a viewer", f"{TASKS}{{failed}}/change/", who="viewer"),
    Page("failures", FAILURES),
    Page("failure", f"{FAILURES}{{failure}}/change/"),
    Page("track changes", "/admin/catalog/trackchange/"),
    Page("schedule", SCHEDULE),
    Page("schedule of a viewer", SCHEDULE, who="viewer"),
    Page("schedule, change", f"{SCHEDULE}metadata/change/"),
    Page("schedule, change audience", f"{SCHEDULE}audience/change/"),
    Page("users", "/admin/auth/user/"),
    Page("user", "/admin/auth/user/{user}/change/"),
    Page("user, new", "/admin/auth/user/add/"),
    Page("user, password", "/admin/auth/user/{user}/password/"),
    Page("groups", "/admin/auth/group/"),
    Page("group", "/admin/auth/group/{group}/change/"),
    Page("own password", "/admin/password_change/"),
    Page("not found", "/nowhere/", status=404),
    Page("not allowed", "/admin/auth/user/", who="viewer", status=403),
    Page("broken", "/broken/", status=500),
)
