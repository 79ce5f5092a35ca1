import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from catalog.migrating import LongMigration


# Rows a statement.
STEP = 2000


def tell_what_is_known(apps, schema_editor):
    """Count the failures that are there, and note what the jobs' own rows tell of their past."""
    FetchFailure = apps.get_model("catalog", "FetchFailure")
    FailureCount = apps.get_model("catalog", "FailureCount")
    MetadataFetchTask = apps.get_model("catalog", "MetadataFetchTask")
    JobEvent = apps.get_model("catalog", "JobEvent")
    counted = FetchFailure.objects.order_by().values("job_id", "code").annotate(count=models.Count("pk"))
    FailureCount.objects.bulk_create((FailureCount(**row) for row in counted.iterator(STEP)), batch_size=STEP)
    events = []
    for job in MetadataFetchTask.objects.order_by("pk").iterator(STEP):
        moments = [("requested", job.created_at, job.requested_by_id), ("started", job.started_at, None)]
        if job.completed_at:
            moments.append((job.status, job.completed_at, None))
        events += [
            JobEvent(job_id=job.pk, kind=kind, at=at, last_at=at, person_id=person)
            for kind, at, person in moments
            if at
        ]
    JobEvent.objects.bulk_create(events, batch_size=STEP)


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0003_dashboard'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='FailureCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(max_length=50)),
                ('count', models.PositiveIntegerField(default=0)),
            ],
            options={
                'ordering': ('-count', 'code'),
            },
        ),
        migrations.CreateModel(
            name='JobEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('requested', 'Asked for'), ('planned', 'Planned'), ('started', 'Started'), ('went_on', 'Went on'), ('waiting', 'Waiting'), ('paused', 'Paused'), ('resumed', 'Resumed'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('retried', 'Tried again')], max_length=10)),
                ('code', models.CharField(blank=True, help_text='Why; the same code is the same reason.', max_length=50)),
                ('text', models.TextField(blank=True)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('count', models.PositiveIntegerField(default=1, help_text='How many times, the last of them at last_at.')),
                ('last_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('until', models.DateTimeField(blank=True, help_text='When it is tried again.', null=True)),
            ],
            options={
                'ordering': ('pk',),
            },
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='earlier_pace_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='earlier_pace_tracks',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='not_before',
            field=models.DateTimeField(blank=True, help_text='No chunk is handed out before this: what hinders it hinders all.', null=True),
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='pace_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='pace_tracks',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='metadatafetchtask',
            name='unreadable_tries',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='Tries in a row of which no answer could be read.'),
        ),
        migrations.AlterField(
            model_name='fetchfailure',
            name='job',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='failures', to='catalog.metadatafetchtask'),
        ),
        migrations.AddIndex(
            model_name='fetchfailure',
            index=models.Index(fields=['job', 'id'], name='failure_of_job'),
        ),
        migrations.AddIndex(
            model_name='fetchfailure',
            index=models.Index(fields=['job', 'code', 'id'], name='failure_of_job_by_code'),
        ),
        migrations.AddIndex(
            model_name='fetchfailure',
            index=models.Index(fields=['code', 'id'], name='failure_by_code'),
        ),
        migrations.AddIndex(
            model_name='fetchfailure',
            index=models.Index(condition=models.Q(('track', None)), fields=['job', 'code'], name='failure_without_track'),
        ),
        migrations.AddField(
            model_name='failurecount',
            name='job',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='failure_counts', to='catalog.metadatafetchtask'),
        ),
        migrations.AddField(
            model_name='jobevent',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='catalog.metadatafetchtask'),
        ),
        migrations.AddField(
            model_name='jobevent',
            name='person',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddConstraint(
            model_name='failurecount',
            constraint=models.UniqueConstraint(fields=('job', 'code'), name='one_count_per_job_and_code'),
        ),
        migrations.RunPython(tell_what_is_known, migrations.RunPython.noop, elidable=True),
    ]
