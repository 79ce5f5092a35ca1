"""When the quota was seen to be renewed: how the dashboard learns its term."""

from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0019_duration_in_words'),
    ]

    operations = [
        migrations.AddField(
            model_name='apiaccount',
            name='quota_peak',
            field=models.BigIntegerField(blank=True, help_text='The most calls that were left since the last renewal.', null=True),
        ),
        migrations.AddField(
            model_name='apiaccount',
            name='renewed_at',
            field=models.DateTimeField(blank=True, help_text='When the quota was last seen to be renewed.', null=True),
        ),
        migrations.AddField(
            model_name='apiaccount',
            name='renewed_before_at',
            field=models.DateTimeField(blank=True, help_text='The renewal before that one.', null=True),
        ),
    ]
