"""Who may do what: the groups that a new installation begins with.

They are made once, by migration 0008, and belong to the admins from then on: a group that is renamed,
changed or deleted stays so. A later migration gives a new permission to those that are still there, with
`grant`.
"""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.management import create_permissions

# Each may also do what those before it may. Deleting tracks and managing people are in none of them.
ROLES = {
    # Looks at everything in the catalogue.
    "Viewer": (
        *("view_track", "view_trackchange", "view_metadatafetchtask", "view_fetchfailure"),
        "view_refreshpolicy",
    ),
    # Adds tracks, by hand and from Soundcharts, and corrects them.
    "Editor": ("add_track", "change_track", "import_track"),
    # Fetches metadata and audience, pauses, resumes, cancels and retries what runs, and sets the schedule.
    "Operator": ("fetch_track", "control_metadatafetchtask", "change_refreshpolicy"),
}


def permissions_of(role: str) -> set[str]:
    """Return the codenames of all that a role may do."""
    names = list(ROLES)
    return {codename for name in names[: names.index(role) + 1] for codename in ROLES[name]}


def make_permissions(apps: Any, using: str) -> None:
    """Make the catalogue's permissions now: Django itself does so only after the last migration."""
    app_config = apps.get_app_config("catalog")
    # The models of a migration's state have no module, and without one Django makes no permissions.
    models_module, app_config.models_module = getattr(app_config, "models_module", None), True
    create_permissions(app_config, verbosity=0, interactive=False, using=using, apps=apps)
    app_config.models_module = models_module


def grant(apps: Any, using: str, groups: Iterable[Any], codenames: Iterable[str]) -> None:
    """Give permissions on the catalogue to groups, in a migration."""
    codenames = set(codenames)
    make_permissions(apps, using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    chosen = permissions.filter(content_type__app_label="catalog", codename__in=codenames)
    if missing := codenames - {permission.codename for permission in chosen}:
        raise LookupError(f"No such permissions: {', '.join(sorted(missing))}")
    for group in groups:
        group.permissions.add(*chosen)
