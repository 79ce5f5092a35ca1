"""The base of every migration of ours. Imports nothing of the project, so old migrations keep working."""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class LongMigration(migrations.Migration):
    """A migration, in either direction, whose statements may run longer than the site's `statement_timeout`.

    Lifts it on PostgreSQL for this migration's transaction alone. `lock_timeout` stays: a migration that
    cannot get its lock fails and can be run again, instead of making every page queue behind it.
    """

    def apply(
        self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False
    ) -> ProjectState:
        _lift_timeout(schema_editor, is_local=self.atomic)
        return super().apply(project_state, schema_editor, collect_sql)

    def unapply(
        self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False
    ) -> ProjectState:
        _lift_timeout(schema_editor, is_local=self.atomic)
        return super().unapply(project_state, schema_editor, collect_sql)


def _lift_timeout(schema_editor: Any, *, is_local: bool) -> None:
    """Lift the timeout for the transaction; without one, for the connection, which ends with the command."""
    if schema_editor.connection.vendor == "postgresql":
        scope = "LOCAL" if is_local else "SESSION"
        schema_editor.execute(f"SET {scope} statement_timeout = 0", params=None)
