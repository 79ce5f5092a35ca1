"""manage.py fetch_track_audience: every form, and a sentence for everything that goes wrong."""

from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from catalog import following, jobs
from catalog.fetching import work_on_job
from catalog.models import AudienceDay, MetadataFetchTask, Track, TrackAudience
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import workers

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("fetch_track_audience", *arguments, stdout=output, stderr=output)
    return output.getvalue()


@pytest.fixture
def no_worker_check(monkeypatch):
    monkeypatch.setattr(following.doorbell, "count_workers", lambda: 1)


def test_one_track_is_fetched_here_and_now_and_its_figures_are_told(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    output = run("--track-uuid", str(track.uuid), "--platform", "shazam", "--platform", "spotify")
    assert output.startswith(f"1 track ({track}), about 2 API calls")
    assert "Shazam: " in output
    assert "new figures" in output
    assert " streams on " in output
    assert "API calls: 2" in output


def test_a_track_that_cannot_be_fetched_is_a_sentence(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    with pytest.raises(CommandError, match="No track has the UUID"):
        run("--track-uuid", str(uuid4()))
    simulator.faults.set("unknown_uuids", uuids=[str(track.uuid)])
    with pytest.raises(CommandError, match="does not know"):
        run("--track-uuid", str(track.uuid))


def test_a_dry_run_states_the_price_and_changes_nothing(simulator, broker):
    add_tracks(simulator, 25)
    uuid = str(simulator.song_uuid(0))
    assert "25 tracks, about 25 API calls" in run("--all", "--dry-run")
    assert "25 tracks, about 50 API calls" in run(
        *("--bulk", "--platform", "spotify", "--platform", "youtube", "--dry-run")
    )
    assert "12 tracks, about 60 API calls" in run("--all", "--days", "365", "--limit", "12", "--dry-run")
    assert "about 1 API call" in run("--track-uuid", uuid, "--dry-run")
    assert "0 tracks" in run("--all", "--fill-gaps", "--dry-run")
    assert not MetadataFetchTask.objects.exists()
    assert sum(simulator.state.calls.values()) == 0


def test_all_is_followed_to_its_end(simulator, broker, patient_worker_check, tmp_path):
    add_tracks(simulator, 30)
    with workers(tmp_path):
        output = run("--all", "--wait")
    assert "completed: 30 updated; API calls: 30." in output
    assert "Nothing to fetch" in run("--all")


def test_days_back_are_fetched_also_of_what_is_fresh(simulator, broker, no_worker_check):
    tracks = add_tracks(simulator, 3)
    run("--track-uuid", str(tracks[0].uuid))
    assert "3 tracks" in run("--all", "--days", "180")
    job = MetadataFetchTask.objects.get(task_type="bulk_audience")
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.updated_tracks, job.api_calls) == (3, 5)
    assert "Nothing to fetch" in run("--all", "--days", "180")


def test_gaps_are_counted_and_filled(simulator, broker, no_worker_check):
    (track,) = add_tracks(simulator, 1)
    run("--track-uuid", str(track.uuid))
    audience = TrackAudience.objects.get()
    gone = audience.last_day - timedelta(days=10)
    deleted, _ = AudienceDay.objects.filter(day=gone).delete()
    audience.count_days(
        first=audience.first_day, last=audience.last_day, known=audience.days_known - bool(deleted)
    )
    audience.save()
    assert "1 track, about 1 API call" in run("--all", "--fill-gaps")
    job = MetadataFetchTask.objects.get(request__what="gaps")
    work_on_job(job.pk)
    assert AudienceDay.objects.filter(day=gone).exists() == bool(deleted)


def test_what_the_plan_lacks_is_a_sentence_and_an_exit_code(
    simulator, broker, patient_worker_check, tmp_path
):
    add_tracks(simulator, 3)
    simulator.faults.set("forbidden_platforms", platforms=["gaana"])
    with workers(tmp_path), pytest.raises(CommandError, match="does not include audience figures of Gaana"):
        run("--all", "--platform", "gaana", "--wait")
    assert Track.objects.filter(audience_fetched_at=None).count() == 3


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["--all", "--bulk"], ["--all", "--platform", "napster"], ["--all", "--days", "0"]),
        *(["--bulk", "--fill-gaps"], ["--all", "--fill-gaps", "--days", "90"]),
        *(["--track-uuid", "x"], ["--track-uuid", str(uuid4()), "--limit", "3"]),
    ],
)
def test_what_makes_no_sense_is_refused(broker, arguments):
    with pytest.raises(CommandError):
        run(*arguments)
    assert not jobs.has_work(0)
