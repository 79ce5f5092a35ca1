"""What was stored of a 410 keeps its rows and gets its right name, on the way there and back."""

from datetime import UTC, date, datetime

import pytest
from django.core.management import call_command
from django.utils import timezone

from catalog import jobs
from catalog.models import (
    ApiAccount,
    CatalogueSnapshot,
    FailureCount,
    FetchFailure,
    ImportRow,
    JobEvent,
    MetadataFetchTask,
    Track,
    TrackAudience,
)
from catalog.tests.audiences import add_audience, days_from
from soundcharts.errors import AmbiguousIsrc

pytestmark = pytest.mark.django_db(transaction=True)

OLD_SENTENCE = "Soundcharts has blacklisted this identifier."
NEW_SENTENCE = AmbiguousIsrc.default_message
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def migrate(*target: str) -> None:
    call_command("migrate", "catalog", *target, verbosity=0)


@pytest.fixture
def job(make_track) -> MetadataFetchTask:
    """A job with every trace that a 410 has ever left, as the version before wrote them."""
    track = make_track(
        metadata_error="blacklisted", metadata_absences=3, metadata_retry_at=LATER, name="Known"
    )
    make_track(1, metadata_error="not_found", metadata_absences=2, metadata_retry_at=LATER)
    audience = add_audience(track, days_from(date(2026, 1, 1), [1, 2]))
    TrackAudience.objects.filter(pk=audience.pk).update(error="blacklisted", absences=1, retry_at=LATER)
    job = jobs.request_metadata([track.pk]).job
    MetadataFetchTask.objects.filter(pk=job.pk).update(error_code="blacklisted", error_message=OLD_SENTENCE)
    MetadataFetchTask.objects.create(
        task_type="bulk_metadata",
        title="Failures",
        request={"what": "failures", "of": job.pk, "code": "blacklisted", "only_due": False},
        dedupe_key=f"failures:{job.pk}:blacklisted",
        fresh_after=timezone.now(),
    )
    said = f"{OLD_SENTENCE} Soundcharts says: This ISRC is blacklisted."
    FetchFailure.objects.create(job=job, track=track, item=str(track.uuid), code="blacklisted", message=said)
    FetchFailure.objects.create(job=job, item="another", code="not_found", message="Not known.")
    FailureCount.objects.create(job=job, code="blacklisted", count=7)
    FailureCount.objects.create(job=job, code="ambiguous_isrc", count=2)
    JobEvent.objects.create(job=job, kind="failed", code="blacklisted", text=OLD_SENTENCE)
    ImportRow.objects.create(job=job, number=1, item="DEA121300001", outcome="failed", message=said)
    ApiAccount.objects.create(fingerprint="f", last_error="blacklisted", last_error_message=OLD_SENTENCE)
    CatalogueSnapshot.objects.create(
        taken_at=timezone.now(),
        seconds=0,
        **dict.fromkeys(("never_fetched", "aged", "fresh", "failing"), 0),
        failures={"blacklisted": 4, "not_found": 1},
    )
    return job


def stored(job: MetadataFetchTask) -> dict[str, object]:
    """Return every stored code, and every sentence beside one. Reads no column of a later schema."""
    tasks = MetadataFetchTask.objects.only("error_code", "error_message", "request", "dedupe_key")
    job, retry = tasks.get(pk=job.pk), tasks.get(title="Failures")
    account = ApiAccount.objects.only("last_error", "last_error_message").get()
    event = JobEvent.objects.get(job=job, kind="failed")
    return {
        "track": Track.objects.values_list("metadata_error", flat=True).get(name="Known"),
        "audience": TrackAudience.objects.values_list("error", flat=True).get(),
        "failures": {*job.failures.values_list("code", flat=True)},
        "counts": dict(job.failure_counts.values_list("code", "count")),
        "job": (job.error_code, job.error_message),
        "retry": (retry.request["code"], retry.dedupe_key.rpartition(":")[2]),
        "event": (event.code, event.text),
        "account": (account.last_error, account.last_error_message),
        "snapshot": CatalogueSnapshot.objects.get().failures,
        "row": ImportRow.objects.only("message").get().message.partition(" Soundcharts says")[0],
        "failure": job.failures.get(track__isnull=False).message.partition(" Soundcharts says")[0],
    }


def expected(code: str, sentence: str) -> dict[str, object]:
    return {
        "track": code,
        "audience": code,
        "failures": {code, "not_found"},
        "counts": {code: 9},
        "job": (code, sentence),
        "retry": (code, code),
        "event": (code, sentence),
        "account": (code, sentence),
        "snapshot": {code: 4, "not_found": 1},
        "row": sentence,
        "failure": sentence,
    }


def test_every_stored_code_of_a_410_is_renamed_and_back(job):
    try:
        migrate("0011")
        assert stored(job) == expected("blacklisted", OLD_SENTENCE)
    finally:
        migrate()
    assert stored(job) == expected("ambiguous_isrc", NEW_SENTENCE)


def test_a_track_held_back_for_a_410_is_awaited_again_and_an_absent_one_is_not(job):
    try:
        migrate("0011")
    finally:
        migrate()
    ambiguous, absent = Track.objects.get(name="Known"), Track.objects.get(metadata_error="not_found")
    assert (ambiguous.metadata_absences, ambiguous.metadata_retry_at) == (0, None)
    assert (absent.metadata_absences, absent.metadata_retry_at) == (2, LATER)
    audience = TrackAudience.objects.get()
    assert (audience.absences, audience.retry_at) == (0, None)
