from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.apps import apps as all_apps
from django.db.models.signals import post_migrate


class CatalogConfig(AppConfig):
    name = "catalog"
    verbose_name = "Catalogue"

    def ready(self) -> None:
        # Users and groups have the name that the side bar gives them.
        all_apps.get_app_config("auth").verbose_name = "People"
        import_module("catalog.checks")
        post_migrate.connect(_fill_in_schedule, sender=self)


def _fill_in_schedule(*, apps: Any = all_apps, **kwargs: Any) -> None:
    """Make the rows of the schedule that are missing, once its tables are there."""
    try:
        apps.get_model("catalog", "RefreshPolicy")
    except LookupError:
        return  # Migrated to an older state only.
    from catalog.schedule import ensure_entries

    ensure_entries()
