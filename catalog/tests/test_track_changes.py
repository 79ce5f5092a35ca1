"""What fetches write down about the values they replaced: only real changes, in the same transaction."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_track_now, saving, work_on_job
from catalog.models import METADATA_FIELDS, MetadataFetchTask, Track, TrackChange
from catalog.tests.tracks import add_tracks

LONG_AGO = timezone.now() - timedelta(days=90)
UNKNOWN = 10_000


def fetch(*tracks: Track) -> MetadataFetchTask:
    job = jobs.request_metadata([track.pk for track in tracks]).job
    work_on_job(job.pk)
    for track in tracks:
        track.refresh_from_db()
    job.refresh_from_db()
    return job


@pytest.fixture
def fetched_track(make_track, broker, simulator) -> Track:
    """A track as Soundcharts has described it once before."""
    track = make_track(1)
    fetch(track)
    return track


@pytest.mark.django_db
def test_a_first_fetch_writes_no_change(fetched_track):
    assert fetched_track.name
    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_a_later_fetch_writes_down_what_it_replaced(fetched_track, simulator):
    simulator.faults.set("payloads", songs={fetched_track.uuid: {"labels": [{"name": "New label"}]}})
    label = fetched_track.label

    job = fetch(fetched_track)

    change = TrackChange.objects.get()
    assert (change.track, change.job, change.at) == (fetched_track, job, fetched_track.metadata_fetched_at)
    assert change.changes == {"label": [label, "New label"]}


@pytest.mark.django_db
def test_every_field_is_written_down_in_a_form_that_json_has(fetched_track, simulator):
    Track.objects.filter(pk=fetched_track.pk).update(
        **dict.fromkeys(("name", "slug", "credit_name", "isrc", "label", "genre", "image_url"), "x"),
        release_date="1999-12-31",
        duration=1,
    )
    told = {"slug": "a-slug", "releaseDate": "2001-02-03T00:00:00+00:00"}
    simulator.faults.set("payloads", songs={fetched_track.uuid: told})

    fetch(fetched_track)

    changes = TrackChange.objects.get().changes
    assert set(changes) == set(METADATA_FIELDS)
    assert changes["duration"] == [1, fetched_track.duration]
    assert changes["release_date"] == ["1999-12-31", "2001-02-03"]


@pytest.mark.django_db
def test_a_fetch_that_finds_nothing_new_writes_no_change(fetched_track):
    job = fetch(fetched_track)

    assert job.unchanged_tracks == 1
    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_new_warnings_alone_are_no_change(fetched_track, simulator):
    simulator.faults.set("payloads", songs={fetched_track.uuid: {"releaseDate": "yesterday"}})

    fetch(fetched_track)

    assert fetched_track.metadata_warnings
    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_a_value_that_is_kept_by_hand_is_no_change(fetched_track):
    Track.objects.filter(pk=fetched_track.pk).update(label="By hand", edited_fields=["label"])

    fetch(fetched_track)

    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_a_failed_fetch_writes_no_change(make_track, broker, simulator):
    fetch(make_track(UNKNOWN, name="Known to us", metadata_fetched_at=LONG_AGO))

    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_a_batch_writes_its_changes_with_one_statement(broker, simulator):
    tracks = add_tracks(simulator, 40, fetched_at=LONG_AGO)
    with CaptureQueriesContext(connection) as queries:
        fetch(*tracks)

    inserts = [query for query in queries if 'INSERT INTO "catalog_trackchange"' in query["sql"]]
    assert TrackChange.objects.count() == 40
    assert len(inserts) <= 4


@pytest.mark.django_db
def test_where_nothing_changed_there_is_no_statement_for_changes(broker, simulator):
    tracks = add_tracks(simulator, 30)
    with CaptureQueriesContext(connection) as queries:
        fetch(*tracks)

    assert not any("catalog_trackchange" in query["sql"] for query in queries)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_rolled_back_leaves_no_change(fetched_track, simulator, monkeypatch):
    simulator.faults.set("payloads", songs={fetched_track.uuid: {"creditName": "Somebody else"}})
    credit = fetched_track.credit_name

    def lose_the_lease(*args, **kwargs):
        raise jobs.LeaseLost("taken")

    monkeypatch.setattr(saving.jobs, "record_outcomes", lose_the_lease)
    fetch_track_now(fetched_track)

    fetched_track.refresh_from_db()
    assert fetched_track.credit_name == credit
    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_a_track_names_the_task_that_last_asked_for_it(make_track, broker, simulator):
    updated, unchanged, failed = make_track(1), make_track(2), make_track(UNKNOWN)
    fetch(unchanged)
    Track.objects.filter(pk=unchanged.pk).update(metadata_job=None)

    job = fetch(updated, unchanged, failed)

    assert (job.updated_tracks, job.unchanged_tracks, job.failed_tracks) == (1, 1, 1)
    assert {track.metadata_job_id for track in (updated, unchanged, failed)} == {job.pk}


@pytest.mark.django_db
def test_a_track_that_was_skipped_still_names_the_task_before(fetched_track):
    before = fetched_track.metadata_job_id
    job = jobs.request_metadata([fetched_track.pk], only_stale=True).job
    work_on_job(job.pk)

    fetched_track.refresh_from_db()
    assert fetched_track.metadata_job_id == before


@pytest.mark.django_db
def test_changes_outlive_the_task_that_made_them(fetched_track, simulator):
    simulator.faults.set("payloads", songs={fetched_track.uuid: {"creditName": "Somebody else"}})
    job_id = fetch(fetched_track).pk

    MetadataFetchTask.objects.filter(pk=job_id).delete()

    change = TrackChange.objects.select_related("job").get()
    assert (change.job_id, change.job) == (job_id, None)
    fetched_track.refresh_from_db()
    assert fetched_track.metadata_job_id == job_id


@pytest.mark.django_db
def test_changes_go_with_their_track(fetched_track, simulator):
    simulator.faults.set("payloads", songs={fetched_track.uuid: {"creditName": "Somebody else"}})
    fetch(fetched_track)

    fetched_track.delete()

    assert not TrackChange.objects.exists()


@pytest.mark.django_db
def test_answers_that_say_the_same_in_other_forms_write_no_change(make_track, broker, simulator):
    track = make_track(1)
    forms: list[dict[str, object]] = [
        {"name": "Beyonc\u00e9", "isrc": "USUM71900764", "labels": [{"name": "A"}, {"name": "B"}]},
        {"name": "Beyonce\u0301", "isrc": "us-um7-19-00764", "labels": [{"name": "B"}, {"name": "A"}]},
    ]
    for number, form in enumerate(forms):
        cover = f"https://assets.example/a.jpg?Expires={number}&Signature={number}"
        genres = [{"root": "pop"}, {"root": "rock"}][:: -1 if number else 1]
        said = form | {"imageUrl": cover, "genres": genres, "releaseDate": "2019-03-29"}
        simulator.faults.set("payloads", songs={track.uuid: said})
        job = fetch(track)

    assert (job.updated_tracks, job.unchanged_tracks) == (0, 1)
    assert not TrackChange.objects.exists()
    assert (track.name, track.isrc, track.label, track.genre) == ("Beyonc\u00e9", "USUM71900764", "A", "pop")
    assert track.image_url.endswith("Expires=1&Signature=1")
