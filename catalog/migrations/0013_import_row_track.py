"""Whether an import has listed a track before is looked up by an index, for every page of it."""

from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0012_ambiguous_isrc'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='importrow',
            index=models.Index(fields=['job', 'track'], name='import_row_track'),
        ),
    ]
