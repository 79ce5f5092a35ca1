"""Add the outcome `moved`, and count known tracks in a row that were not found."""

import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0020_quota_renewal'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='metadatafetchtask',
            name='counters_add_up',
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='known_missing',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='Tracks in a row that Soundcharts knew before, and now says that it does not know.'),
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='moved_tracks',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='Soundcharts answered with another UUID.'),
        ),
        migrations.AddField(
            model_name='track',
            name='moved_song',
            field=models.JSONField(blank=True, editable=False, help_text='What that answer said, for when it is adopted.', null=True),
        ),
        migrations.AddField(
            model_name='track',
            name='moved_to',
            field=models.UUIDField(blank=True, editable=False, help_text='The UUID with which Soundcharts answers instead.', null=True),
        ),
        migrations.AlterField(
            model_name='metadatafetchtask',
            name='successful_tracks',
            field=models.PositiveIntegerField(default=0, help_text='Updated, unchanged, moved, or skipped because already fresh.'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(condition=models.Q(('moved_to__isnull', False)), fields=['id'], name='track_moved'),
        ),
        migrations.AddConstraint(
            model_name='metadatafetchtask',
            constraint=models.CheckConstraint(condition=models.Q(('processed_tracks', django.db.models.expressions.CombinedExpression(models.F('successful_tracks'), '+', models.F('failed_tracks'))), ('successful_tracks', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('updated_tracks'), '+', models.F('unchanged_tracks')), '+', models.F('skipped_tracks')), '+', models.F('moved_tracks')))), name='counters_add_up'),
        ),
    ]
