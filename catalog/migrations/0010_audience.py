"""The audience of tracks.

Adds two columns with a default and two indexes to the tracks: at a million tracks some seconds of a lock. The
table of days is made by hand, for what Django cannot say: the database itself deletes the days of a recording
(the alternative is to load them, thousands at a time), and SQLite keeps them in the key itself and not a
second time in a table beside it.
"""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

from catalog.migrating import LongMigration

words = import_module("catalog.migrations.0002_find_tracks")

CREATE_DAYS = """
CREATE TABLE catalog_audienceday (
    recording_id integer NOT NULL REFERENCES catalog_audiencerecording (id)
        ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    day date NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (recording_id, day)
){options}
"""


def create_days(apps, schema_editor):
    options = " WITHOUT ROWID" if schema_editor.connection.vendor == "sqlite" else ""
    schema_editor.execute(CREATE_DAYS.format(options=options))


def drop_days(apps, schema_editor):
    schema_editor.execute("DROP TABLE catalog_audienceday")


def keep_words(apps, schema_editor):
    """Make the triggers that keep the index of words again.

    Where SQLite made the table anew they went with it; on the way back it only drops columns, and they stay.
    """
    if schema_editor.connection.vendor == "sqlite":
        for event in ("insert", "delete", "update"):
            schema_editor.execute(f"DROP TRIGGER IF EXISTS catalog_track_words_{event}")
        for statement in words.TRIGGERS:
            schema_editor.execute(statement, params=None)


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0009_cover_stale_counts'),
    ]

    operations = [
        migrations.CreateModel(
            name='TrackAudience',
            fields=[
                ('id', models.AutoField(primary_key=True, serialize=False)),
                ('track', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='audiences', to='catalog.track')),
                ('platform', models.CharField(choices=[('spotify', 'Spotify'), ('youtube', 'YouTube'), ('shazam', 'Shazam'), ('soundcloud', 'SoundCloud'), ('tiktok', 'TikTok'), ('instagram', 'Instagram'), ('youtube-shorts', 'YouTube Shorts'), ('audiomack', 'Audiomack'), ('jiosaavn', 'JioSaavn'), ('anghami', 'Anghami'), ('last-fm', 'Last.fm'), ('genius', 'Genius'), ('gaana', 'Gaana'), ('melon', 'Melon'), ('line-music', 'LINE MUSIC')], max_length=20)),
                ('latest_day', models.DateField(blank=True, help_text='The newest day with a figure of every identifier.', null=True)),
                ('latest_value', models.BigIntegerField(blank=True, help_text='The figure of that day: all identifiers together.', null=True)),
                ('gain', models.BigIntegerField(blank=True, help_text='What the last 28 days added, as far as they are known.', null=True)),
                ('trend', models.JSONField(blank=True, default=list, help_text='The gain of each of these days, oldest first; null: not known.')),
                ('first_day', models.DateField(blank=True, help_text='The oldest day with a figure.', null=True)),
                ('last_day', models.DateField(blank=True, help_text='The newest day with any figure.', null=True)),
                ('days_known', models.PositiveIntegerField(default=0, help_text='Days with a figure.')),
                ('missing_days', models.PositiveIntegerField(default=0, help_text='Days between the first and the last that have none.')),
                ('fetched_from', models.DateField(blank=True, help_text='The oldest day ever asked for.', null=True)),
                ('fetched_until', models.DateField(blank=True, help_text='The newest day ever asked for.', null=True)),
                ('fetched_at', models.DateTimeField(blank=True, help_text='When Soundcharts last answered.', null=True)),
                ('job', models.ForeignKey(blank=True, db_constraint=False, db_index=False, help_text='The task that last asked Soundcharts about it.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='catalog.metadatafetchtask')),
                ('error', models.CharField(blank=True, help_text='Why the last fetch failed.', max_length=50)),
                ('absences', models.PositiveSmallIntegerField(default=0, help_text='How many times in a row Soundcharts did not know the track here.')),
                ('retry_at', models.DateTimeField(blank=True, help_text='Not asked for again by itself before this.', null=True)),
            ],
            options={
                'verbose_name': 'audience of a track',
                'verbose_name_plural': 'audiences of tracks',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='AudienceRecording',
            fields=[
                ('id', models.AutoField(primary_key=True, serialize=False)),
                ('audience', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='recordings', to='catalog.trackaudience')),
                ('identifier', models.CharField(blank=True, help_text='Empty where Soundcharts named none.', max_length=100)),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.RunPython(migrations.RunPython.noop, keep_words),
        migrations.AddField(
            model_name='track',
            name='audience_gain',
            field=models.BigIntegerField(db_default=0, default=0, editable=False, help_text='What the last 28 days added to it.'),
        ),
        migrations.AddField(
            model_name='track',
            name='audience_total',
            field=models.BigIntegerField(db_default=0, default=0, editable=False, help_text='The latest figure on the first platform.'),
        ),
        migrations.AlterField(
            model_name='track',
            name='audience_fetched_at',
            field=models.DateTimeField(blank=True, help_text="When Soundcharts last answered for this track's audience on any platform.", null=True, verbose_name='audience fetched'),
        ),
        migrations.RunPython(keep_words, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['audience_total', 'id'], name='track_by_audience_total'),
        ),
        migrations.AddIndex(
            model_name='track',
            index=models.Index(fields=['audience_gain', 'id'], name='track_by_audience_gain'),
        ),
        migrations.AddIndex(
            model_name='trackaudience',
            index=models.Index(fields=['platform', 'fetched_at'], name='audience_fetched'),
        ),
        migrations.AddIndex(
            model_name='trackaudience',
            index=models.Index(condition=models.Q(('retry_at', None), _negated=True), fields=['platform', 'retry_at'], name='audience_waiting'),
        ),
        migrations.AddConstraint(
            model_name='trackaudience',
            constraint=models.UniqueConstraint(fields=('track', 'platform'), name='one_audience_per_track_and_platform'),
        ),
        migrations.AddConstraint(
            model_name='audiencerecording',
            constraint=models.UniqueConstraint(fields=('audience', 'identifier'), name='one_recording_per_audience_and_identifier'),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name='AudienceDay',
                    fields=[
                        ('pk', models.CompositePrimaryKey('recording_id', 'day', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('recording', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='days', to='catalog.audiencerecording')),
                        ('day', models.DateField()),
                        ('value', models.BigIntegerField()),
                    ],
                    options={
                        'default_permissions': (),
                    },
                ),
            ],
            database_operations=[migrations.RunPython(create_days, drop_days)],
        ),
        migrations.AlterField(
            model_name='jobevent',
            name='kind',
            field=models.CharField(choices=[('requested', 'Asked for'), ('planned', 'Planned'), ('started', 'Started'), ('went_on', 'Went on'), ('waiting', 'Waiting'), ('paused', 'Paused'), ('resumed', 'Resumed'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('retried', 'Tried again'), ('refused', 'Refused in part')], max_length=10),
        ),
        migrations.AlterField(
            model_name='refreshpolicy',
            name='kind',
            field=models.CharField(choices=[('metadata', 'Refresh of stale metadata'), ('audience', 'Refresh of audience')], max_length=20, primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name='refreshpolicy',
            name='last_run_outcome',
            field=models.CharField(blank=True, choices=[('made', 'Made a task'), ('joined', 'Joined the task that was there'), ('fresh', 'Everything was fresh')], max_length=10),
        ),
    ]
