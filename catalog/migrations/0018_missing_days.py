"""Missing days count from the oldest day that was asked for; and indexes of gaps, living leases and tasks' dates.

An answer that brought nothing counted as known, so its days were never asked for again.
"""

from django.db import migrations, models
from django.db.models import Q

from catalog.migrating import LongMigration

# As the model counts: up to the newest figure, from the release on where that is known; where there is no figure,
# the last 90 days that were asked for. Days are numbers by which one can count.
COUNT = """
UPDATE catalog_trackaudience SET missing_days = (
    SELECT CASE
        WHEN first_day IS NOT NULL THEN
            {greatest}(
                0, {until} - {least}({first}, {greatest}({since}, COALESCE({released}, {since}))) + 1 - days_known
            )
        ELSE {greatest}(0, {until} - {greatest}({since}, COALESCE({released}, {since})) + 1)
    END
    FROM catalog_track WHERE catalog_track.id = catalog_trackaudience.track_id
)
WHERE fetched_from IS NOT NULL AND fetched_until IS NOT NULL AND (first_day IS NULL OR fetched_from < first_day)
"""
COUNT_INNER = """
UPDATE catalog_trackaudience SET missing_days = CASE
    WHEN first_day IS NULL THEN 0 ELSE {greatest}(0, {number_of_last} - {first} + 1 - days_known)
END
"""


def _run(schema_editor, statement):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    number = "({0} - DATE '2000-01-01')" if is_postgresql else "CAST(julianday({0}) AS INTEGER)"
    least, greatest = ("LEAST", "GREATEST") if is_postgresql else ("MIN", "MAX")
    last, until, since = (number.format(name) for name in ("last_day", "fetched_until", "fetched_from"))
    schema_editor.execute(
        statement.format(
            least=least,
            greatest=greatest,
            first=number.format("first_day"),
            released=number.format("release_date"),
            number_of_last=last,
            until=f"CASE WHEN first_day IS NULL THEN {until} ELSE {last} END",
            since=f"CASE WHEN first_day IS NULL THEN {greatest}({since}, {until} - 89) ELSE {since} END",
        )
    )


def count(apps, schema_editor):
    _run(schema_editor, COUNT)


def count_inner(apps, schema_editor):
    _run(schema_editor, COUNT_INNER)


class Migration(LongMigration):
    dependencies = [("catalog", "0017_import_rechecks")]

    operations = [
        migrations.RunPython(count, count_inner),
        migrations.AlterField(
            model_name="trackaudience",
            name="missing_days",
            field=models.PositiveIntegerField(
                default=0, help_text="Days that were asked for, up to the newest figure, and have not come."
            ),
        ),
        migrations.AddIndex(
            model_name="trackaudience",
            index=models.Index(
                fields=["platform", "track"], condition=Q(missing_days__gt=0), name="audience_missing"
            ),
        ),
        migrations.AddIndex(
            model_name="fetchchunk",
            index=models.Index(
                fields=["lease_expires_at"],
                condition=Q(finished_at=None, lease_expires_at__isnull=False),
                name="chunk_leased",
            ),
        ),
        migrations.AddIndex(
            model_name="metadatafetchtask",
            index=models.Index(fields=["created_at", "id"], name="job_created"),
        ),
        migrations.AddIndex(
            model_name="metadatafetchtask",
            index=models.Index(fields=["completed_at"], name="job_completed"),
        ),
    ]
