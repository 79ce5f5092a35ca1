"""How far a task has asked for an audience, so that days which stay empty are asked for once."""

from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0010_audience'),
    ]

    operations = [
        migrations.AddField(
            model_name='trackaudience',
            name='asked_until',
            field=models.DateField(blank=True, help_text='The newest day that this task asked for.', null=True),
        ),
        migrations.AlterField(
            model_name='trackaudience',
            name='fetched_at',
            field=models.DateTimeField(blank=True, help_text='When Soundcharts last answered up to the newest day.', null=True),
        ),
    ]
