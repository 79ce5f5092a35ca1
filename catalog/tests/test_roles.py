"""The ready-made groups: made once, complete, and the admins' own from then on."""

import importlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import pytest
from django.apps import apps as current_apps
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from catalog.roles import ROLES, grant, permissions_of

migration = importlib.import_module("catalog.migrations.0008_groups")


def migrate() -> None:
    """Run the migration as `migrate` would, with the models as they were at that time."""
    apps = MigrationLoader(connection).project_state(("catalog", "0008_groups")).apps
    migration.create_groups(apps, SimpleNamespace(connection=connection))


def groups() -> dict[str, set[str]]:
    return {
        group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()
    }


EXPECTED = {name: permissions_of(name) for name in ROLES}


@pytest.fixture
def no_groups(db) -> None:
    Group.objects.all().delete()


@pytest.mark.django_db
def test_an_empty_database_gets_groups_and_the_permissions_that_they_need(no_groups):
    ContentType.objects.all().delete()
    assert not Permission.objects.exists()
    migrate()
    assert groups() == EXPECTED


def test_a_filled_database_gets_the_same_groups(no_groups):
    before = Permission.objects.count()
    migrate()
    assert groups() == EXPECTED
    assert Permission.objects.count() == before


def test_a_group_that_has_such_a_name_already_is_left_as_it_is(no_groups):
    own = Group.objects.create(name="Operator")
    own.permissions.set(Permission.objects.filter(codename="view_track"))
    migrate()
    assert groups() == EXPECTED | {"Operator": {"view_track"}}


def test_groups_are_called_in_the_migration_as_in_the_table():
    in_migration = {"Viewer": migration.VIEWER, "Editor": migration.EDITOR, "Operator": migration.OPERATOR}
    assert {name: set(codenames) for name, codenames in in_migration.items()} == EXPECTED


def test_a_later_migration_gives_to_the_groups_that_are_still_there(no_groups):
    Group.objects.create(name="Viewer")
    Group.objects.create(name="The night shift")
    grant(current_apps, "default", Group.objects.filter(name__in=("Viewer", "Editor")), ["fetch_track"])
    assert groups() == {"Viewer": {"fetch_track"}, "The night shift": set()}


def test_a_permission_that_does_not_exist_is_named(no_groups):
    with pytest.raises(LookupError, match="fly_track"):
        grant(current_apps, "default", [], ["view_track", "fly_track"])


def test_every_permission_of_the_catalogue_that_a_page_asks_for_is_in_a_role_or_left_out_on_purpose(db):
    of_pages = Permission.objects.filter(
        content_type__app_label="catalog",
        content_type__model__in=(
            "track",
            "trackchange",
            "metadatafetchtask",
            "fetchfailure",
            "refreshpolicy",
        ),
    )
    left_out = {
        # Admins only: what is deleted is gone.
        "delete_track",
        # Nobody: these pages are to read, jobs and failures are made by the engine.
        *(
            f"{verb}_{name}"
            for verb in ("add", "change", "delete")
            for name in ("trackchange", "metadatafetchtask", "fetchfailure")
        ),
    }
    assert set(of_pages.values_list("codename", flat=True)) == permissions_of("Operator") | left_out


@pytest.mark.skipif("postgres" in os.environ.get("DATABASE_URL", ""), reason="makes a SQLite file")
def test_a_new_installation_has_them_and_what_was_deleted_does_not_come_back(tmp_path):
    file = tmp_path / "new.sqlite3"

    def run_migrate() -> set[str]:
        environment = os.environ | {"DATABASE_URL": f"sqlite:///{file}"}
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=settings.BASE_DIR, env=environment, check=True, timeout=120)
        with closing(sqlite3.connect(file)) as database:
            return {name for (name,) in database.execute("SELECT name FROM auth_group")}

    assert run_migrate() == {"Viewer", "Editor", "Operator"}
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM auth_group_permissions")
        database.execute("DELETE FROM auth_group WHERE name = 'Viewer'")
        database.execute("UPDATE auth_group SET name = 'Night shift' WHERE name = 'Editor'")
    assert run_migrate() == {"Night shift", "Operator"}


def test_the_readme_says_what_each_may_do():
    readme = (settings.BASE_DIR / "README.md").read_text()
    for role in ROLES:
        assert f"| *{role}* |" in readme
