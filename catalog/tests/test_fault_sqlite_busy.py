"""Fault 12: workers, edits in the admin and a long reader at the same SQLite file at once."""

import sqlite3
from collections.abc import Iterator

import pytest
from django.db import connection
from django.urls import reverse

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.outcomes import assert_one_outcome_each, assert_quiet, is_over, keys_of
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import workers

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="about SQLite"),
]

TRACKS, EDITED = 300, 20


@pytest.fixture
def long_reader(db) -> Iterator[sqlite3.Connection]:
    """Somebody who began to read the tracks, and takes their time."""
    reader = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    yield reader
    reader.close()


def test_workers_editors_and_a_long_reader_wait_for_each_other(
    simulator, broker, settings, long_reader, staff_client, tmp_path, caplog
):
    # One call and one transaction for each track: as many writers' turns as possible.
    settings.CHUNK_SIZE, settings.FETCH_AHEAD = 25, 1
    tracks = add_tracks(simulator, TRACKS)
    long_reader.execute("BEGIN")
    assert long_reader.execute("SELECT count(*) FROM catalog_track").fetchone() == (TRACKS,)
    with workers(tmp_path, count=2, processes=2, SOUNDCHARTS_BATCH_SIZE="1") as crew:
        job = jobs.request_metadata(keys_of(tracks)).job
        edits = edit_until_over(staff_client, job, tracks[-EDITED:])
    assert edits >= EDITED
    assert_one_outcome_each(job, tracks)
    assert set(Track.objects.filter(pk__in=keys_of(tracks[-EDITED:])).values_list("name", flat=True)) == {
        "Mine"
    }
    # What the reader sees is what there was when it began.
    fetched = "SELECT count(*) FROM catalog_track WHERE metadata_fetched_at IS NOT NULL"
    assert long_reader.execute(fetched).fetchone() == (0,)
    assert "locked" not in caplog.text
    assert_quiet(*crew)


def edit_until_over(client, job: MetadataFetchTask, tracks: list[Track]) -> int:
    """Save the forms of tracks, over and over until the job has ended; return how often."""
    edits = 0
    while not is_over(job) or edits < len(tracks):
        track = tracks[edits % len(tracks)]
        address = reverse("admin:catalog_track_change", args=(track.pk,))
        page = client.get(address)
        form = page.context["adminform"].form
        values = {
            name: value
            for name in form.fields
            if (value := form.get_initial_for_field(form.fields[name], name)) is not None
        }
        answer = client.post(address, values | {"name": "Mine"})
        assert answer.status_code == 302
        edits += 1
    return edits
