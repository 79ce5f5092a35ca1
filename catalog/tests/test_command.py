"""manage.py fetch_track_metadata: every form, and a sentence for everything that goes wrong."""

import os
import re
import subprocess
import sys
from io import StringIO
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from catalog import doorbell, following, jobs
from catalog.management import fetching
from catalog.models import MetadataFetchTask, Track
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import workers
from conftest import use_broker
from soundcharts.service import SoundchartsService

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("fetch_track_metadata", *arguments, stdout=output, stderr=output)
    return output.getvalue()


@pytest.fixture
def no_worker_check(monkeypatch):
    monkeypatch.setattr(following.doorbell, "count_workers", lambda: 1)


def test_one_track_is_fetched_here_and_now_and_its_changes_are_listed(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    output = run("--track-uuid", str(track.uuid))
    track.refresh_from_db()
    assert track.metadata_fetched_at
    assert f"Name: empty -> {track.name}" in output
    assert output.startswith(f"1 track ({track.uuid}), about 1 API call")
    assert "API calls: 1" in output


def test_an_unknown_uuid_is_a_sentence(broker):
    uuid = uuid4()
    with pytest.raises(CommandError, match=f"No track has the UUID {uuid}"):
        run("--track-uuid", str(uuid))


def test_a_track_that_cannot_be_fetched_is_a_sentence(simulator, broker):
    (track,) = add_tracks(simulator, 1)
    simulator.faults.set("unknown_uuids", uuids=[str(track.uuid)])
    with pytest.raises(CommandError, match="does not know"):
        run("--track-uuid", str(track.uuid))


def test_a_dry_run_states_tracks_and_calls_and_changes_nothing(simulator, broker):
    add_tracks(simulator, 25)
    assert "25 tracks, about 3 API calls" in run("--all", "--dry-run")
    assert "12 tracks, about 2 API calls" in run("--bulk", "--limit", "12", "--dry-run")
    assert "1 API call" in run("--track-uuid", str(simulator.song_uuid(0)), "--dry-run")
    assert not MetadataFetchTask.objects.exists()
    assert sum(simulator.state.calls.values()) == 0


def test_bulk_is_what_was_never_fetched_and_all_is_everything_stale(simulator, broker, no_worker_check):
    add_tracks(simulator, 2)
    run("--bulk")
    run("--all", "--limit", "1")
    assert [job.request for job in MetadataFetchTask.objects.order_by("pk")] == [
        {"what": "never_fetched", "limit": None},
        {"what": "stale", "limit": 1},
    ]


def test_nothing_due_queues_nothing(broker):
    assert "no track is due" in run("--all")
    assert not MetadataFetchTask.objects.exists()


def test_without_a_worker_the_job_is_saved_and_the_command_fails_in_a_sentence(simulator, broker):
    add_tracks(simulator, 1)
    with pytest.raises(CommandError, match=r"No worker answers.*saved"):
        run("--all")
    assert MetadataFetchTask.objects.get().status == "pending"


def test_without_a_broker_the_job_is_saved_and_the_command_fails_in_a_sentence(simulator, broker):
    add_tracks(simulator, 1)
    use_broker("redis://127.0.0.1:1/0")
    with pytest.raises(CommandError, match=r"broker .* cannot be reached"):
        run("--all")
    assert MetadataFetchTask.objects.get().error_code == "broker_unreachable"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--bulk", "--all"),
        ("--track-uuid", str(uuid4()), "--all"),
        ("--track-uuid", "nonsense"),
        ("--all", "--limit", "0"),
        ("--all", "--limit", "many"),
        ("--track-uuid", str(uuid4()), "--limit", "3"),
    ],
)
def test_contradictory_or_senseless_options_are_refused(db, arguments):
    with pytest.raises(CommandError):
        run(*arguments)


def test_wait_follows_to_the_end_and_fails_if_anything_failed(
    simulator, broker, patient_worker_check, tmp_path
):
    tracks = add_tracks(simulator, 30)
    with workers(tmp_path):
        output = run("--bulk", "--wait")
        assert "30 updated; API calls: 3" in output
        Track.objects.update(metadata_fetched_at=None)
        simulator.faults.set("unknown_uuids", uuids=[str(tracks[0].uuid)])
        with pytest.raises(CommandError, match="29 unchanged, 1 failed"):
            run("--all", "--wait")


def test_wait_ends_with_the_reason_when_the_job_is_paused(simulator, broker, patient_worker_check, tmp_path):
    add_tracks(simulator, 3)
    simulator.faults.set("quota_exhausted")
    with workers(tmp_path), pytest.raises(CommandError, match=r"paused.*no calls left"):
        run("--all", "--wait")


def test_wait_gives_up_on_workers_that_are_gone(simulator, broker, monkeypatch):
    add_tracks(simulator, 1)
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.5)
    job = jobs.request_stale_metadata().job
    with pytest.raises(following.NoWorker):
        following.follow(job, stream=StringIO())


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DATABASE_URL": "sqlite:////nowhere/at/all.sqlite3"}, "DATABASE_URL points to a folder"),
        ({"DATABASE_URL": "sqlite:///:memory:"}, "The database cannot be used"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must be"),
        ({"DEBUG": "perhaps"}, "DEBUG must be true or false"),
    ],
)
def test_what_stops_the_start_is_a_sentence_not_a_traceback(environment, sentence):
    result = subprocess.run(
        [sys.executable, "manage.py", "fetch_track_metadata", "--all"],
        cwd=django_settings.BASE_DIR,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


# --- Ctrl-C


def interrupt(monkeypatch, module: object, name: str) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, stop)


def stopped(*arguments: str) -> str:
    with pytest.raises(CommandError) as raised:
        run(*arguments)
    assert raised.value.returncode == 130
    return str(raised.value)


@pytest.mark.parametrize("name", ["price_of", "remaining_calls"])
def test_whoever_stops_before_a_task_is_made_is_told_that_there_is_none(simulator, broker, monkeypatch, name):
    (track,) = add_tracks(simulator, 1)
    interrupt(monkeypatch, fetching, name)
    what = ("--track-uuid", str(track.uuid)) if name == "remaining_calls" else ("--all",)
    # Somebody else's is none of ours.
    jobs.request_metadata([track.pk])
    assert stopped(*what) == "Stopped. No task was created, and no call was used."
    assert MetadataFetchTask.objects.count() == 1


def test_whoever_stops_while_the_workers_are_told_is_told_of_the_task_that_is_saved(
    simulator, broker, monkeypatch
):
    add_tracks(simulator, 1)
    interrupt(monkeypatch, doorbell, "ring")
    assert re.fullmatch(r"Stopped following\. Task #\d+ continues in the workers\.", stopped("--all"))
    assert MetadataFetchTask.objects.get().is_active


def test_whoever_stops_following_is_told_what_the_task_is(simulator, broker, monkeypatch, no_worker_check):
    add_tracks(simulator, 1)
    interrupt(monkeypatch, following.time, "sleep")
    said = stopped("--all", "--wait")
    job = MetadataFetchTask.objects.get()
    assert said == f"Stopped following. Task #{job.pk} continues in the workers."
    jobs.pause_job(job)
    interrupt(monkeypatch, fetching, "follow")
    assert stopped("--all", "--wait") == f"Stopped. Task #{job.pk} is paused."


def test_whoever_stops_a_fetch_here_and_now_is_told_of_its_task(simulator, broker, monkeypatch):
    (track,) = add_tracks(simulator, 1)
    interrupt(monkeypatch, SoundchartsService, "get_songs")
    interrupt(monkeypatch, SoundchartsService, "get_song_metadata_enhanced")
    said = stopped("--track-uuid", str(track.uuid))
    assert said == f"Stopped following. Task #{MetadataFetchTask.objects.get().pk} continues in the workers."
