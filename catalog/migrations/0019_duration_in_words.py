"""A duration is typed and shown as a clock shows it, so its name does not say seconds any more."""

from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):
    dependencies = [("catalog", "0018_missing_days")]

    operations = [
        migrations.AlterField(
            model_name="track",
            name="duration",
            field=models.PositiveIntegerField(blank=True, help_text="In seconds.", null=True),
        ),
    ]
