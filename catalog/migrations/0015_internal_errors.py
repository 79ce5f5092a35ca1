"""Unexpected errors are counted on their job, and noted of the sweep and of beat.

A job that could not be planned has met one, too: its code of before is renamed.
"""

from django.db import migrations, models

from catalog.migrating import LongMigration

BEFORE, CODE = "unplannable", "internal_error"


def rename(apps, schema_editor):
    apps.get_model("catalog", "MetadataFetchTask").objects.filter(error_code=BEFORE).update(error_code=CODE)
    apps.get_model("catalog", "JobEvent").objects.filter(code=BEFORE).update(code=CODE)


class Migration(LongMigration):
    dependencies = [("catalog", "0014_one_form_of_values")]

    operations = [
        migrations.AddField(
            model_name="heartbeat",
            name="failed_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When it met an unexpected error; empty once it works again.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="heartbeat",
            name="reference",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of that error, in the logs.",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="metadatafetchtask",
            name="internal_errors",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="Unexpected errors in a row, since a track last had its outcome.",
            ),
        ),
        migrations.AddField(
            model_name="metadatafetchtask",
            name="usage_refused",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Whether the free usage call was refused, too, when it paused for credentials.",
            ),
        ),
        # A rename back is not needed: the version before knows no code by name.
        migrations.RunPython(rename, migrations.RunPython.noop),
    ]
