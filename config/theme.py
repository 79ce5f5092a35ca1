"""The theme of the admin (django-unfold): its name, its style sheets, and what its side bar leads to."""

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy


def _page(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
    """Return a line of the admin's side bar, shown to those who may view what it leads to."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Liner Notes",
    "SITE_HEADER": "Liner Notes",
    "SITE_SYMBOL": "library_music",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("catalog/favicon.svg"),
        }
    ],
    # There is no other site to return to.
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    # In theme.css, and not in a <style> of every page, which the Content-Security-Policy refuses.
    "COLORS": lambda request: {},
    "STYLES": [
        lambda request: static("catalog/theme.css"),
        lambda request: static("catalog/liner_notes.css"),
    ],
    "SCRIPTS": [
        lambda request: static("catalog/page_setup.js"),
        lambda request: static("catalog/accessible.js"),
        lambda request: static("catalog/dialogs.js"),
        lambda request: static("catalog/form_problems.js"),
    ],
    "DASHBOARD_CALLBACK": "catalog.admin.dashboard.add_dashboard",
    "LOGIN": {"form": "config.login.LoginForm"},
    "SIDEBAR": {
        "navigation": [
            {"items": [{"title": "Dashboard", "icon": "dashboard", "link": reverse_lazy("admin:index")}]},
            {
                "title": "Catalogue",
                "items": [
                    _page("Tracks", "music_note", "catalog", "track"),
                    _page("Track changes", "history", "catalog", "trackchange"),
                    _page("Fetch tasks", "sync", "catalog", "metadatafetchtask"),
                    _page("Fetch failures", "error", "catalog", "fetchfailure"),
                    _page("Schedule", "schedule", "catalog", "refreshpolicy"),
                ],
            },
            {
                "title": "People",
                "separator": True,
                "items": [
                    _page("Users", "person", "auth", "user"),
                    _page("Groups", "group", "auth", "group"),
                ],
            },
        ],
    },
}
