"""What imports found before there were aliases is known to the next import."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from catalog.models import TrackAlias, tracks_by_identifier

BEFORE = ("catalog", "0015_internal_errors")

pytestmark = pytest.mark.django_db(transaction=True)


def migrate(*target: str) -> None:
    call_command("migrate", "catalog", *target, verbosity=0)


def test_the_reports_of_imports_tell_which_isrc_led_where(make_track):
    first, second, gone = make_track(0, isrc="QZAAA2600000"), make_track(1), make_track(2)
    entries = [
        ("us-um7-19-00764", first),
        ("QZAAA2600000", first),
        (str(second.uuid), second),
        ("GBAYE0601498", second),
        ("GBAYE0601499", None),
        ("GBAYE0601500", gone),
    ]
    try:
        migrate("0015")
        apps = MigrationExecutor(connection).loader.project_state([BEFORE]).apps
        ImportRow, MetadataFetchTask, Track = (
            apps.get_model("catalog", name) for name in ("ImportRow", "MetadataFetchTask", "Track")
        )
        job = MetadataFetchTask.objects.create(
            task_type="import",
            title="A list",
            request={"what": "import"},
            dedupe_key="x",
            fresh_after="2026-01-01T00:00Z",
        )
        ImportRow.objects.bulk_create(
            ImportRow(
                job=job, number=n, line=n, item=item, outcome="added", track_id=track.pk if track else None
            )
            for n, (item, track) in enumerate(entries, start=1)
        )
        # Of Soundcharts' own lists every row is a uuid.
        ImportRow.objects.create(job=job, number=90, item="GBAYE0601600", outcome="added", track_id=first.pk)
        Track.objects.filter(pk=gone.pk)._raw_delete("default")
    finally:
        migrate()
    assert dict(TrackAlias.objects.values_list("identifier", "track_id")) == {
        "USUM71900764": first.pk,
        "GBAYE0601498": second.pk,
    }
    assert tracks_by_identifier(["USUM71900764"]) == {"USUM71900764": first.pk}
