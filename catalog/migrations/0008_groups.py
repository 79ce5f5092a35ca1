"""The groups that a new installation begins with (see catalog.roles)."""

from django.db import migrations

from catalog.migrating import LongMigration
from catalog.roles import grant

VIEWER = (
    *("view_track", "view_trackchange", "view_metadatafetchtask", "view_fetchfailure"),
    "view_refreshpolicy",
)
EDITOR = (*VIEWER, "add_track", "change_track", "import_track")
OPERATOR = (*EDITOR, "fetch_track", "control_metadatafetchtask", "change_refreshpolicy")


def create_groups(apps, schema_editor):
    using = schema_editor.connection.alias
    groups = apps.get_model("auth", "Group").objects.using(using)
    for name, codenames in (("Viewer", VIEWER), ("Editor", EDITOR), ("Operator", OPERATOR)):
        group, is_new = groups.get_or_create(name=name)
        # Somebody's own group of that name keeps the permissions that it was given.
        if is_new:
            grant(apps, using, [group], codenames)


class Migration(LongMigration):
    dependencies = [
        ("catalog", "0007_refresh_policy"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop)]
