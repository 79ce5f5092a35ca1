"""What the dashboard shows: calls by day, counts of the catalogue, and who was seen when."""

from django.db import migrations, models

from catalog.migrating import LongMigration


class Migration(LongMigration):

    dependencies = [
        ('catalog', '0002_find_tracks'),
    ]

    operations = [
        migrations.CreateModel(
            name='ApiUsage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('fingerprint', models.CharField(help_text='The account; a hash, never a key.', max_length=64)),
                ('day', models.DateField(help_text='In UTC.')),
                ('calls', models.PositiveBigIntegerField(default=0)),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='CatalogueSnapshot',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('taken_at', models.DateTimeField()),
                ('seconds', models.FloatField(help_text='What counting took.')),
                ('never_fetched', models.PositiveBigIntegerField()),
                ('aged', models.PositiveBigIntegerField(help_text='Fetched once, but longer ago than the refresh interval.')),
                ('fresh', models.PositiveBigIntegerField()),
                ('failing', models.PositiveBigIntegerField(help_text='Of all these, those of which the last fetch failed.')),
                ('failures', models.JSONField(help_text='The recent failures of jobs: how many of each code.')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('worker', 'Worker'), ('beat', 'Beat'), ('sweep', 'Sweep')], max_length=10)),
                ('name', models.CharField(blank=True, help_text="A worker's node name; empty for the others.", max_length=200)),
                ('seen_at', models.DateTimeField()),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='apiaccount',
            name='answered_at',
            field=models.DateTimeField(blank=True, help_text='When Soundcharts last gave an answer that was of use.', null=True),
        ),
        migrations.AddField(
            model_name='apiaccount',
            name='last_error',
            field=models.CharField(blank=True, db_default='', help_text='The code of the last error that ended a batch.', max_length=50),
        ),
        migrations.AddField(
            model_name='apiaccount',
            name='last_error_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='apiaccount',
            name='last_error_message',
            field=models.TextField(blank=True, db_default=''),
        ),
        migrations.AddIndex(
            model_name='fetchfailure',
            index=models.Index(fields=['created_at', 'code'], name='failure_created'),
        ),
        migrations.AddConstraint(
            model_name='apiusage',
            constraint=models.UniqueConstraint(fields=('day', 'fingerprint'), name='one_usage_a_day'),
        ),
        migrations.AddConstraint(
            model_name='heartbeat',
            constraint=models.UniqueConstraint(fields=('kind', 'name'), name='one_heartbeat_each'),
        ),
    ]
