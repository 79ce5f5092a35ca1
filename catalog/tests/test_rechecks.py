"""Unknown ISRCs of an import are looked up again after 2, 24 and 72 hours, where somebody wants that."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.jobs.rechecks import recheck_import
from catalog.models import ImportDraft, ImportRow, MetadataFetchTask, Track
from catalog.song_lists import read_list
from catalog.tests.addresses import page_of
from catalog.tests.outcomes import assert_days_add_up, finish_here
from catalog.tests.together import all_at_once
from catalog.tests.tracks import add_tracks
from soundcharts.simulator.endpoints import Endpoints

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def known(monkeypatch, simulator) -> dict[str, int]:
    """The ISRCs that Soundcharts knows, each with the number of its song; none at first."""
    songs: dict[str, int] = {}
    monkeypatch.setattr(Endpoints, "_song_by_isrc", lambda self, isrc: self._looked_up(songs.get(isrc)))
    return songs


def isrcs(count: int) -> list[str]:
    return [f"QZXYZ26{number:05}" for number in range(count)]


def run_import(*identifiers: str, is_rechecked: bool = True) -> MetadataFetchTask:
    entries = read_list("\n".join(identifiers)).entries
    job = jobs.request_list_import(entries, is_rechecked=is_rechecked).job
    finish_here(job)
    return job


def let_pass(hours: float) -> list[MetadataFetchTask]:
    """Let so much time pass for all that is to be checked; return the tasks that the sweep made, done."""
    known = list(MetadataFetchTask.objects.values_list("pk", flat=True))
    ImportRow.objects.filter(recheck_at__isnull=False).update(
        recheck_at=F("recheck_at") - timedelta(hours=hours)
    )
    jobs.sweep()
    new = list(MetadataFetchTask.objects.exclude(pk__in=known).order_by("pk"))
    for job in new:
        finish_here(job)
    return new


def test_an_unknown_isrc_is_checked_three_times_and_never_again(simulator, broker, known):
    wanted = isrcs(5)
    job = run_import(*wanted)
    assert simulator.state.quota_used == 5
    assert not let_pass(1.5)
    for number, hours in enumerate((0.6, 22, 48), start=1):
        (check,) = let_pass(hours)
        assert (check.parent, check.status, check.failed_tracks) == (job, "completed", 5)
        assert simulator.state.quota_used == 5 * (number + 1)
        assert not let_pass(1)
        ImportRow.objects.filter(recheck_at__isnull=False).update(
            recheck_at=F("recheck_at") + timedelta(hours=1)
        )
    assert not let_pass(1000)
    assert set(job.import_rows.values_list("rechecks", "recheck_at")) == {(3, None)}
    assert_days_add_up()


def test_what_a_check_finds_becomes_a_track_and_the_import_says_so(simulator, broker, known, staff_client):
    wanted = isrcs(3)
    job = run_import(*wanted)
    known[wanted[1]] = 7
    (check,) = let_pass(2.1)
    assert (check.status, check.updated_tracks, check.failed_tracks) == ("completed", 1, 2)
    track = Track.objects.get(uuid=simulator.song_uuid(7))
    row = job.import_rows.get(item=wanted[1])
    assert (row.track, row.recheck_at, row.outcome) == (track, None, "not_found")
    assert row.message == f"Not found at first; found later by task #{check.pk}."
    job.refresh_from_db()
    assert (job.failed_tracks, job.updated_tracks) == (3, 0)
    (second,) = let_pass(22.1)
    assert second.total_tracks == 2


def test_only_unknown_isrcs_are_checked_and_only_if_somebody_wanted_that(simulator, broker, known):
    stranger = str(simulator.song_uuid(9999))
    simulator.faults.set("error", status=410, kinds=["song_by_isrc"], after=1)
    job = run_import(stranger, *isrcs(2))
    rows = job.import_rows.exclude(recheck_at=None)
    assert [row.item in isrcs(2) for row in rows] == [True]
    assert sorted(job.import_rows.values_list("outcome", flat=True)) == ["failed", "not_found", "not_found"]
    simulator.faults.clear()
    other = run_import(*isrcs(4), is_rechecked=False)
    assert not other.import_rows.exclude(recheck_at=None).exists()


def test_an_isrc_that_came_here_meanwhile_costs_no_call(simulator, broker, known):
    job = run_import(*isrcs(2))
    (track,) = add_tracks(simulator, 1, isrc=isrcs(2)[0])
    (check,) = let_pass(2.1)
    assert (check.total_tracks, simulator.state.quota_used) == (1, 3)
    assert job.import_rows.get(track=track).message == "Not found at first; added since then."


def test_checks_leave_the_reserve_and_the_next_one_waits_for_them(
    simulator, broker, known, settings, account_of_its_own
):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 0
    simulator.state.quota = 16
    job = run_import(*isrcs(4))
    settings.SOUNDCHARTS_QUOTA_RESERVE = 10
    ImportRow.objects.update(recheck_at=F("recheck_at") - timedelta(hours=2.1))
    jobs.sweep()
    check = MetadataFetchTask.objects.get(parent=job)
    for _ in range(3):
        jobs_before = MetadataFetchTask.objects.count()
        work_on_job(check.pk)
        ImportRow.objects.exclude(recheck_at=None).update(recheck_at=F("recheck_at") - timedelta(hours=30))
        jobs.sweep()
        assert MetadataFetchTask.objects.count() == jobs_before
    check.refresh_from_db()
    assert (check.status, check.error_code) == ("paused", "quota_reserved")
    assert simulator.state.quota_remaining >= 10
    assert set(job.import_rows.values_list("rechecks", flat=True)) == {1}


def test_many_sweeps_at_once_make_one_check(simulator, broker, known):
    job = run_import(*isrcs(3))
    ImportRow.objects.update(recheck_at=F("recheck_at") - timedelta(hours=2.1))
    assert sum(all_at_once(lambda: recheck_import(job.pk), times=4)) == 1
    assert MetadataFetchTask.objects.count() == 2


def test_an_unknown_list_of_many_is_checked_without_asking_again(simulator, broker, known):
    job = jobs.request_list_import(read_list("\n".join(isrcs(40))).entries, is_rechecked=True).job
    work_on_job(job.pk)
    job.refresh_from_db()
    assert job.error_code == "first_rows_unknown"
    jobs.resume_job(job)
    finish_here(job)
    (check,) = let_pass(2.1)
    assert (check.status, check.failed_tracks) == ("completed", 40)


# --- What people see and press ----------------------------------------------------------------------


def report(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_rows", args=(job.pk,))


def press(client, job: MetadataFetchTask, verb: str):
    return client.post(
        reverse("admin:catalog_metadatafetchtask_rechecks", args=(job.pk,)), {"do": verb}, follow=True
    )


def test_the_preview_offers_the_checks_with_their_price(staff_client, simulator, broker, known):
    address = reverse("admin:catalog_track_import_from_api")
    preview = staff_client.post(address, {"source": "list", "text": "\n".join(isrcs(4))}).headers["Location"]
    page = staff_client.get(preview)
    assertContains(page, "Check unknown ISRCs again after 2, 24 and 72 hours: up to 12 more API calls")
    staff_client.post(preview, {"do": "confirm", "recheck": "on"})
    finish_here(MetadataFetchTask.objects.get())
    assert ImportRow.objects.exclude(recheck_at=None).count() == 4


def test_no_tick_no_checks(staff_client, simulator, broker, known):
    address = reverse("admin:catalog_track_import_from_api")
    preview = staff_client.post(address, {"source": "list", "text": "\n".join(isrcs(4))}).headers["Location"]
    staff_client.post(preview, {"do": "confirm"})
    finish_here(MetadataFetchTask.objects.get())
    assert not ImportRow.objects.exclude(recheck_at=None).exists()
    ImportDraft.objects.all().delete()
    uuid = str(simulator.song_uuid(0))
    preview = staff_client.post(address, {"source": "list", "text": uuid}).headers["Location"]
    assertNotContains(staff_client.get(preview), "Check unknown ISRCs")


def test_the_imports_page_tells_of_the_next_check_and_can_cancel_it(staff_client, simulator, broker, known):
    job = run_import(*isrcs(4))
    page = staff_client.get(report(job))
    assertContains(page, "4 unknown ISRCs to check again: next check in 1 h 59 min, up to 12 API calls.")
    done = press(staff_client, job, "cancel")
    assert done.redirect_chain[-1][0] == page_of(job)
    assertContains(done, "4 unknown ISRCs will not be checked again.")
    assert not let_pass(100)


def test_checks_can_be_wanted_afterwards(staff_client, simulator, broker, known):
    job = run_import(*isrcs(4), str(simulator.song_uuid(9999)), is_rechecked=False)
    assertContains(staff_client.get(report(job)), "Checks after 2, 24 and 72 hours use up to 12 API calls.")
    assertContains(press(staff_client, job, "schedule"), "4 unknown ISRCs will be checked again in 2 hours.")
    press(staff_client, job, "schedule")
    (check,) = let_pass(2.1)
    assert check.total_tracks == 4
    assertContains(staff_client.get(report(job)), "up to 8 API calls")


def test_whoever_may_only_look_changes_nothing(viewer_client, staff_client, simulator, broker, known):
    job = run_import(*isrcs(2))
    assertNotContains(viewer_client.get(report(job)), "Cancel checks")
    assert press(viewer_client, job, "cancel").status_code == 403
    address = reverse("admin:catalog_metadatafetchtask_rechecks", args=(job.pk,))
    assert staff_client.get(address).status_code == 405
    assert job.import_rows.exclude(recheck_at=None).count() == 2
