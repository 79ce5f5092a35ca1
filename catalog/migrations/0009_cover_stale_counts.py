"""What is stale of a label, a genre or a year is counted from an index alone (on PostgreSQL; SQLite has no such
indexes, and makes the same ones anew)."""

from django.db import migrations, models

from catalog.migrating import LongMigration
from catalog.models.tracks import SortKey

COUNTED = ("metadata_fetched_at", "metadata_retry_at")


class Migration(LongMigration):
    dependencies = [("catalog", "0008_groups")]

    operations = [
        migrations.RemoveIndex("track", "track_by_label"),
        migrations.AddIndex(
            "track", models.Index(SortKey("label"), "id", include=("label", *COUNTED), name="track_by_label")
        ),
        migrations.RemoveIndex("track", "track_by_genre"),
        migrations.AddIndex(
            "track", models.Index(fields=["genre", "id"], include=COUNTED, name="track_by_genre")
        ),
        migrations.RemoveIndex("track", "track_by_release_date"),
        migrations.AddIndex(
            "track", models.Index(fields=["release_date", "id"], include=COUNTED, name="track_by_release_date")
        ),
    ]
