"""Let a chunk remember that batches left its next tracks out."""

from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0021_moved_tracks'),
    ]

    operations = [
        migrations.AddField(
            model_name='fetchchunk',
            name='asks_singly',
            field=models.BooleanField(db_default=False, default=False, help_text='Batches left its next tracks out, again and again.'),
        ),
    ]
