"""Imports of lists: UUIDs and ISRCs that somebody brought become tracks, each row with its outcome."""

import os
import signal
from collections import Counter
from uuid import uuid4

import pytest
from django.utils import timezone

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import FetchChunk, ImportRow, MetadataFetchTask, Track, tracks_by_identifier
from catalog.song_lists import read_list
from catalog.tests.gate import gate
from catalog.tests.outcomes import expire_leases, finish_here
from catalog.tests.together import Meanwhile, all_at_once
from catalog.tests.tracks import add_tracks
from catalog.tests.workers import die_before, wait_until
from soundcharts.service import SoundchartsService

pytestmark = pytest.mark.django_db(transaction=True)


def request_list(*identifiers: object, **options: object) -> MetadataFetchTask:
    return jobs.request_list_import(read_list("\n".join(map(str, identifiers))).entries, **options).job


def run_list(*identifiers: object) -> MetadataFetchTask:
    job = request_list(*identifiers)
    work_on_job(job.pk)
    job.refresh_from_db()
    return job


def uuids_of(simulator, *numbers: int) -> list[str]:
    return [str(simulator.song_uuid(number)) for number in numbers]


def isrcs_of(simulator, count: int, *, first: int = 0) -> list[str]:
    found = (simulator.catalogue.isrc(number) for number in range(first, simulator.catalogue.songs))
    return [isrc for isrc in found if isrc][:count]


def outcomes_of(job: MetadataFetchTask) -> dict[str, int]:
    return dict(Counter(job.import_rows.values_list("outcome", flat=True)))


# --- What becomes of the rows ---------------------------------------------------------------------


def test_uuids_are_fetched_ten_a_call_and_come_with_all_their_metadata(simulator, broker):
    job = run_list(*uuids_of(simulator, *range(95)))
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 95, 10)
    assert simulator.state.calls == {"songs": 10}
    assert Track.objects.fresh().exclude(name="").count() == 95
    assert not job.follow_ups.exists()
    assert outcomes_of(job) == {"added": 95}


def test_isrcs_cost_one_call_each_and_none_for_their_metadata(simulator, broker):
    isrcs = isrcs_of(simulator, 40)
    job = run_list(*isrcs)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 40, 40)
    assert simulator.state.calls == {"song_by_isrc": 40}
    assert set(Track.objects.fresh().values_list("isrc", flat=True)) == set(isrcs)
    assert not job.follow_ups.exists()


def test_what_is_here_already_costs_nothing(simulator, broker):
    isrc = isrcs_of(simulator, 1, first=50)[0]
    add_tracks(simulator, 5, fetched_at=timezone.now())
    add_tracks(simulator, 1, first=200, fetched_at=timezone.now(), isrc=isrc)
    job = run_list(*uuids_of(simulator, *range(5)), isrc)
    assert (job.status, job.unchanged_tracks, job.api_calls) == ("completed", 6, 0)
    assert outcomes_of(job) == {"here": 6}


def test_what_is_here_and_stale_is_queued_for_its_metadata(simulator, broker):
    add_tracks(simulator, 3)
    job = run_list(*uuids_of(simulator, *range(5)))
    assert outcomes_of(job) == {"added": 2, "here": 3}
    follow_up = job.follow_ups.get()
    finish_here(follow_up)
    assert (follow_up.updated_tracks, Track.objects.stale().count()) == (3, 0)


def test_an_unknown_uuid_leaves_no_track_and_says_so_with_its_line(simulator, broker):
    stranger = str(uuid4())
    job = run_list(*uuids_of(simulator, 0, 1), stranger, *uuids_of(simulator, 2))
    row = job.import_rows.get(item=stranger)
    assert (row.outcome, row.line, row.track_id) == ("not_found", 3, None)
    assert "does not know" in row.message
    assert Track.objects.count() == 3
    assert list(job.failures.values_list("item", "code")) == [(stranger, "not_found")]
    assert job.outcome_sentence == "3 added, 1 failed"


def test_an_unknown_and_an_ambiguous_isrc_are_told_apart(simulator, broker):
    known, shared = isrcs_of(simulator, 2)
    simulator.faults.set("ambiguous_isrcs", isrcs=[shared])
    job = run_list(known, shared, "ZZZZZ0000000")
    assert list(job.import_rows.values_list("outcome", flat=True)) == ["added", "failed", "not_found"]
    assert "belongs to several recordings" in job.import_rows.get(item=shared).message
    assert job.failures.get(item=shared).code == "ambiguous_isrc"


def test_invalid_rows_and_duplicates_are_reported_and_asked_nothing(simulator, broker):
    (uuid,) = uuids_of(simulator, 0)
    job = run_list(uuid, "nonsense", uuid.upper(), "12345")
    assert (job.total_tracks, job.updated_tracks, job.api_calls) == (1, 1, 1)
    assert list(job.import_rows.values_list("number", "line", "outcome", "message")) == [
        (1, 1, "added", ""),
        (2, 2, "invalid", "Neither a UUID nor an ISRC."),
        (3, 3, "duplicate", "The same as in line 1."),
        (4, 4, "invalid", "Neither a UUID nor an ISRC."),
    ]


def test_an_isrc_and_a_uuid_of_the_same_song_are_one_track(simulator, broker, settings):
    settings.FETCH_AHEAD = 1
    (isrc,) = isrcs_of(simulator, 1)
    number = simulator.catalogue.index_of_isrc(isrc)
    job = run_list(*uuids_of(simulator, number), isrc)
    assert Track.objects.count() == 1
    # Here by its ISRC, because the uuid came first; so it costs no call.
    assert (job.updated_tracks, job.skipped_tracks, job.api_calls) == (1, 1, 1)
    assert job.import_rows.get(number=2).message == "The same song as in line 1."
    assert job.outcome_sentence == "1 added, 1 listed twice"


def test_an_isrc_of_a_track_that_was_never_fetched_brings_its_metadata(simulator, broker):
    (isrc,) = isrcs_of(simulator, 1)
    (track,) = add_tracks(simulator, 1, first=simulator.catalogue.index_of_isrc(isrc), edited_fields=["name"])
    job = run_list(isrc)
    track.refresh_from_db()
    assert (track.isrc, track.name) == (isrc, "")
    assert not track.is_stale
    assert outcomes_of(job) == {"here": 1}
    assert not job.follow_ups.exists()


def test_the_metadata_job_keeps_the_order_of_the_list(simulator, broker):
    numbers = [7, 2, 9, 4]
    keys = {track.uuid: track.pk for track in add_tracks(simulator, 10)}
    job = run_list(*uuids_of(simulator, *numbers))
    (chunk,) = job.follow_ups.get().chunks.all()
    assert chunk.track_ids == [keys[simulator.song_uuid(number)] for number in numbers]


def test_a_track_deleted_at_the_last_moment_is_looked_up_again(simulator, broker, monkeypatch, settings):
    from catalog.fetching import lists

    add_tracks(simulator, 1, fetched_at=timezone.now())
    commit = lists.commit_items

    def delete_first(*args, **kwargs):
        Track.objects.all().delete()
        monkeypatch.setattr(lists, "commit_items", commit)
        commit(*args, **kwargs)

    monkeypatch.setattr(lists, "commit_items", delete_first)
    job = run_list(*uuids_of(simulator, 0))
    assert (job.status, outcomes_of(job)) == ("running", {})
    FetchChunk.objects.update(not_before=None)
    finish_here(job)
    assert outcomes_of(job) == {"added": 1}


def test_a_song_that_came_back_under_another_isrc_is_bought_once(simulator, broker):
    asked, own = isrcs_of(simulator, 1)[0], "QZAAA2600001"
    uuid = str(simulator.song_uuid(simulator.catalogue.index_of_isrc(asked)))
    simulator.faults.set("payloads", songs={uuid: {"isrc": {"value": own}}})
    first = run_list(asked)
    assert (first.updated_tracks, first.api_calls, Track.objects.get().isrc) == (1, 1, own)
    again = run_list(asked, own, uuid)
    assert (again.status, again.unchanged_tracks, again.skipped_tracks) == ("completed", 1, 2)
    assert again.api_calls == 0
    assert simulator.state.quota_used == 1
    # Who carries the ISRC itself comes first; and with the track its other names are forgotten.
    (other,) = add_tracks(simulator, 1, first=250, isrc=asked, fetched_at=timezone.now())
    assert tracks_by_identifier([asked, own]) == {asked: other.pk, own: Track.objects.get(isrc=own).pk}
    Track.objects.filter(isrc=own).delete()
    assert tracks_by_identifier([own, uuid]) == {}


def test_an_isrc_of_a_track_whose_isrc_was_edited_is_bought_once(simulator, broker):
    (asked,) = isrcs_of(simulator, 1)
    run_list(asked)
    Track.objects.update(isrc="QZAAA2600002", edited_fields=["isrc"])
    assert run_list(asked).api_calls == 1
    assert run_list(asked).api_calls == 0


# --- The engine's promises ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("catalog.jobs.claim_chunk", id="nothing done"),
        pytest.param("catalog.fetching.lists.commit_items", id="answers received"),
        pytest.param("catalog.jobs.leases.finish_if_done", id="written, not committed"),
        pytest.param("catalog.fetching.lists.move_on", id="first rows committed"),
        pytest.param("catalog.quota.note_quota", id="rows committed, the next not begun"),
    ],
)
def test_an_import_killed_at_any_step_adds_every_song_once(simulator, broker, settings, step):
    settings.CHUNK_SIZE, settings.FETCH_AHEAD = 30, 2
    isrcs = isrcs_of(simulator, 15, first=100)
    uuids = uuids_of(simulator, *range(60))
    job = request_list(*uuids[:30], "junk", *isrcs, uuids[0], *uuids[30:])
    die_before(step, lambda: work_on_job(job.pk))
    broker.delete("liner-notes")
    expire_leases()
    wait_until(jobs.sweep)
    finish_here(job)
    assert (job.status, job.total_tracks, job.updated_tracks) == ("completed", 75, 75)
    assert Track.objects.fresh().count() == 75
    assert outcomes_of(job) == {"added": 75, "invalid": 1, "duplicate": 1}
    assert sorted(job.import_rows.values_list("number", flat=True)) == list(range(1, 78))


def test_pause_and_resume_go_on_at_the_row(simulator, broker, settings):
    settings.FETCH_AHEAD = 1
    job = request_list(*uuids_of(simulator, *range(40)))
    work_on_job(job.pk, is_stopping=lambda: simulator.state.answered_songs() > 0)
    job.refresh_from_db()
    done = job.processed_tracks
    assert 0 < done < 40
    jobs.pause_job(job)
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.processed_tracks) == ("paused", done)
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 40, 4)


def test_a_used_up_quota_pauses_the_import_and_wastes_no_answer(simulator, broker, settings):
    settings.FETCH_AHEAD = 4
    isrcs = isrcs_of(simulator, 20)
    with simulator.faults.during("quota_exhausted", after=6):
        job = run_list(*isrcs)
    assert (job.status, job.error_code) == ("paused", "quota_exhausted")
    assert job.processed_tracks == job.api_calls == 6
    jobs.resume_job(job)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 20, 20)


def test_the_reserve_is_left_to_people(simulator, broker, settings):
    simulator.state.quota = 30
    settings.SOUNDCHARTS_QUOTA_RESERVE = 20
    job = run_list(*isrcs_of(simulator, 40))
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert simulator.state.quota_remaining >= 20
    assert job.processed_tracks == job.api_calls == 30 - simulator.state.quota_remaining


def test_a_row_that_fails_for_a_passing_reason_is_put_off_alone(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = [0]
    simulator.faults.set("error", status=500, times=4, kinds=["song_by_isrc"])
    isrcs = isrcs_of(simulator, 12)
    job = request_list(*isrcs)
    finish_here(job)
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 12, 0)
    assert job.api_calls == 12


def test_rows_that_keep_failing_are_named_and_can_be_tried_again_alone(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = []
    good, bad = isrcs_of(simulator, 5), "ZZZZZ0000000"
    job = run_list(*good, bad)
    assert (job.status, job.failed_tracks) == ("completed", 1)
    requested = jobs.request_retry(job)
    assert (requested.job.total_tracks, requested.job.parent, requested.job.retry_count) == (1, job, 1)
    work_on_job(requested.job.pk)
    requested.job.refresh_from_db()
    assert requested.job.status == "failed"
    assert "does not know" in requested.job.error_message


def test_an_outage_beyond_all_tries_fails_the_rows_and_not_their_neighbours(simulator, broker, settings):
    settings.BATCH_RETRY_DELAYS = []
    settings.FETCH_AHEAD = 1
    simulator.faults.set("error", status=500, after=1)
    job = run_list(*uuids_of(simulator, *range(30)))
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 10, 20)
    assert outcomes_of(job) == {"added": 10, "failed": 20}


def test_a_row_on_which_workers_die_is_given_up_alone(simulator, broker):
    deadly = simulator.song_uuid(5)
    job = request_list(*uuids_of(simulator, *range(12)))
    get_songs = SoundchartsService.get_songs

    def work_and_die() -> None:
        def get_or_die(service, uuids):
            if deadly in uuids:
                os.kill(os.getpid(), signal.SIGKILL)
            return get_songs(service, uuids)

        SoundchartsService.get_songs = get_or_die
        work_on_job(job.pk)

    for _ in range(jobs.MAX_LEASES):
        die_before("catalog.tests.workers.nothing_at_all", work_and_die)
        expire_leases()
    finish_here(job)
    assert (job.updated_tracks, job.failed_tracks) == (11, 1)
    assert job.import_rows.get(outcome="failed").item == str(deadly)
    assert job.failures.get().code == "worker_lost"


def test_two_requests_for_the_same_list_make_one_job(simulator, broker):
    uuids = uuids_of(simulator, *range(5))
    answers = all_at_once(lambda: jobs.request_list_import(read_list(" ".join(uuids)).entries), times=4)
    (job,) = MetadataFetchTask.objects.all()
    assert {answer.job.pk for answer in answers} == {job.pk}
    assert sum(answer.is_joined for answer in answers) == 3
    assert jobs.request_list_import(read_list(" ".join(reversed(uuids))).entries).is_joined


def test_two_imports_of_the_same_songs_at_once_count_each_song_as_added_once(simulator, broker, settings):
    uuids = uuids_of(simulator, *range(100))
    first, second = request_list(*uuids), request_list(*reversed(uuids), *uuids_of(simulator, 100))
    waiting = iter((first, second))
    all_at_once(lambda: finish_here(next(waiting)), times=2)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == ("completed", "completed")
    assert first.updated_tracks + second.updated_tracks == Track.objects.count() == 101
    assert ImportRow.objects.filter(outcome="added").count() == 101


def test_a_list_without_an_identifier_is_refused():
    with pytest.raises(ValueError, match="not a single UUID or ISRC"):
        jobs.request_list_import(read_list("junk and more junk").entries)


def test_a_list_makes_as_many_calls_at_once_as_the_account_may(simulator, broker, settings):
    settings.FETCH_AHEAD = 8
    job = request_list(*isrcs_of(simulator, 32))
    # The first call, alone, finds out how Soundcharts answers.
    with gate(simulator, after=1) as calls:
        worker = Meanwhile(lambda: work_on_job(job.pk))
        calls.wait_for_calls(8)
        calls.open()
        worker.result()
    job.refresh_from_db()
    assert job.updated_tracks == 32
    assert simulator.state.max_concurrency == 8
