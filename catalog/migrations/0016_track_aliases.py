"""Which ISRCs led to which tracks, and what people asked Soundcharts before there is a job.

The reports of imports tell the first for lists that were imported before: the latest one counts.
"""

import re

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from catalog.migrating import LongMigration

ISRC = re.compile("[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", re.ASCII)
ROWS = 2000


def note_what_imports_found(apps, schema_editor):
    TrackAlias = apps.get_model("catalog", "TrackAlias")
    rows = apps.get_model("catalog", "ImportRow").objects.order_by("pk")
    # Only rows whose track is still there: nothing in the database says so.
    rows = rows.filter(line__isnull=False, track__uuid__isnull=False)
    last = 0
    while step := list(rows.filter(pk__gt=last).values_list("pk", "item", "track_id", "track__isrc")[:ROWS]):
        last = step[-1][0]
        found = {}
        for _, item, track_id, own in step:
            isrc = re.sub(r"[^A-Z0-9]", "", item.upper()).removeprefix("ISRC")
            if ISRC.fullmatch(isrc) and isrc != own:
                found[isrc] = track_id
        TrackAlias.objects.bulk_create(
            [TrackAlias(identifier=isrc, track_id=track_id) for isrc, track_id in found.items()],
            update_conflicts=True,
            unique_fields=["identifier"],
            update_fields=["track"],
        )


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0015_internal_errors'),
    ]

    operations = [
        migrations.CreateModel(
            name='SharedAnswer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=700, unique=True)),
                ('answer', models.JSONField(blank=True, null=True)),
                ('answered_at', models.DateTimeField(blank=True, null=True)),
                ('asked_at', models.DateTimeField(blank=True, help_text='Since when somebody asks; else empty.', null=True)),
                ('failures', models.PositiveIntegerField(db_default=0, default=0)),
                ('error', models.TextField(blank=True, help_text='What the last failure said.')),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name='TrackAlias',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('identifier', models.CharField(max_length=36, unique=True)),
                ('noted_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('track', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='aliases', to='catalog.track')),
            ],
        ),
        migrations.RunPython(note_what_imports_found, migrations.RunPython.noop),
    ]
