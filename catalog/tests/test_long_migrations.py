"""Migrations over whole tables may take their time; what people wait for may not."""

import pytest
from django.db import OperationalError, connection, migrations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState

from catalog.migrating import LongMigration

SLEEP = "SELECT pg_sleep(1.5)"


class SlowMigration(LongMigration):
    operations = [migrations.RunSQL(SLEEP, SLEEP)]


@pytest.mark.django_db
def test_every_migration_of_ours_may_take_its_time():
    found = MigrationExecutor(connection).loader.disk_migrations
    ours = {name: migration for (app, name), migration in found.items() if app == "catalog"}
    assert len(ours) >= 11
    assert [name for name, migration in ours.items() if not isinstance(migration, LongMigration)] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no such timeout")
@pytest.mark.parametrize("is_atomic", [True, False])
@pytest.mark.parametrize("direction", ["apply", "unapply"])
def test_a_statement_of_a_migration_outlives_the_timeout_of_the_site(direction, is_atomic):
    migration = SlowMigration("slow", "catalog")
    migration.atomic = is_atomic
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 1000")
            cursor.execute("SHOW lock_timeout")
            lock_timeout = cursor.fetchone()
        with connection.schema_editor(atomic=is_atomic) as editor:
            getattr(migration, direction)(ProjectState(), editor)
            with connection.cursor() as cursor:
                cursor.execute("SHOW lock_timeout")
                assert cursor.fetchone() == lock_timeout != ("0",)
        if is_atomic:
            with pytest.raises(OperationalError, match="statement timeout"), connection.cursor() as cursor:
                cursor.execute(SLEEP)
    finally:
        connection.close()
