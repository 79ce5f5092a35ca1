"""When unknown ISRCs of imports are looked up again."""

from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0016_track_aliases'),
    ]

    operations = [
        migrations.AddField(
            model_name='importrow',
            name='recheck_at',
            field=models.DateTimeField(blank=True, help_text='When an unknown ISRC is looked up again; empty: never.', null=True),
        ),
        migrations.AddField(
            model_name='importrow',
            name='rechecks',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='How often it was.'),
        ),
        migrations.AddIndex(
            model_name='importrow',
            index=models.Index(condition=models.Q(('recheck_at__isnull', False)), fields=['recheck_at', 'job'], name='import_row_recheck'),
        ),
    ]
