"""Audience beside everything else that writes tracks: nobody waits for another in a ring."""

from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import sleep

import pytest
from django.db import OperationalError, connection, transaction

from catalog import jobs
from catalog.fetching import figures, saving, work_on_job
from catalog.jobs import leases
from catalog.models import AudienceRecording, FailureCount, Track, TrackAudience
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.outcomes import keys_of
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize("is_one", [True, False])
def test_deleting_tracks_whose_audience_is_being_saved_is_no_deadlock(simulator, broker, monkeypatch, is_one):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")
    tracks = add_tracks(simulator, 3)
    for track in tracks:
        add_audience(track, days_from(TODAY - timedelta(days=20), list(range(10))))
    errors: list[Exception] = []
    redone: list[str] = []

    def delete() -> None:
        try:
            with transaction.atomic():
                if is_one:
                    Track.objects.get(pk=tracks[0].pk).delete()
                else:
                    Track.objects.filter(pk__in=keys_of(tracks)).delete()
        except OperationalError as error:
            errors.append(error)
        finally:
            connection.close()

    deleting = Thread(target=delete)
    write_days = figures._write_days

    def write_slowly(pairs: list) -> None:
        # The tracks are locked by now, and nothing else is.
        if deleting.ident is None:
            deleting.start()
            deleting.join(0.5)
        write_days(pairs)

    monkeypatch.setattr(figures, "_write_days", write_slowly)
    monkeypatch.setattr(saving.logger, "warning", lambda text, *_: redone.append(text))
    job = jobs.request_audience(keys_of(tracks)).job
    work_on_job(job.pk)
    deleting.join(60)
    job.refresh_from_db()
    assert (errors, redone) == ([], [])
    assert (job.status, job.processed_tracks) == ("completed", 3)
    left = tracks[1:] if is_one else []
    assert set(TrackAudience.objects.values_list("track", flat=True)) == set(keys_of(left))
    assert AudienceRecording.objects.exists() == bool(left)


def test_noting_what_the_plan_lacks_beside_a_failure_is_no_deadlock(simulator, broker, settings, monkeypatch):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")
    settings.CHUNK_SIZE = 1
    tracks = add_tracks(simulator, 2)
    job = jobs.request_audience(keys_of(tracks), platforms=["spotify", "tiktok"]).job
    chunks = [jobs.claim_chunk(job.pk, owner=f"worker {number}") for number in range(2)]
    has_counted, errors = Event(), []
    count_failures = leases._count_failures

    def count_slowly(*arguments: object) -> None:
        count_failures(*arguments)
        if not has_counted.is_set():
            has_counted.set()
            sleep(0.5)

    def save(number: int, *, is_refused: bool) -> None:
        try:
            with transaction.atomic():
                jobs.advance_chunk(chunks[number], count=1)
                if is_refused:
                    jobs.note_refused_platforms(job, ["tiktok"])
                failure = jobs.Failure(str(tracks[number].uuid), "not_found", "Not known.", tracks[number].pk)
                jobs.record_outcomes(
                    chunks[number], counts=jobs.Counts(failed=1), failures=[failure], calls=1
                )
        except OperationalError as error:
            errors.append(error)

    def save_other() -> None:
        save(1, is_refused=False)
        connection.close()

    monkeypatch.setattr(leases, "_count_failures", count_slowly)
    other = Thread(target=save_other)
    other.start()
    assert has_counted.wait(60)
    save(0, is_refused=True)
    other.join(60)
    assert errors == []
    assert FailureCount.objects.get(job=job).count == 2
