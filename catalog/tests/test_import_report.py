"""The report of an import: every row and its outcome, on the task's page and as a file."""

import csv
import io
import tracemalloc

import pytest
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import ImportRow, MetadataFetchTask, Track
from catalog.song_lists import read_list
from catalog.tests.tracks import add_tracks

Outcome = ImportRow.Outcome


def report(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_rows", args=(job.pk,))


def file_of(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_rows_file", args=(job.pk,))


def read_csv(answer) -> list[list[str]]:
    content = b"".join(answer.streaming_content)
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.fixture
def job(db, broker) -> MetadataFetchTask:
    """An import of a list with 130 rows in the report, 60 of them added."""
    text = "\n".join(["GBAYE0601498", *("junk" for _ in range(10))])
    job = jobs.request_list_import(read_list(text).entries).job
    ImportRow.objects.filter(job=job).delete()
    outcomes = [Outcome.ADDED] * 60 + [Outcome.INVALID] * 40 + [Outcome.NOT_FOUND] * 30
    ImportRow.objects.bulk_create(
        ImportRow(job=job, number=n, line=n + 1, item=f"item {n}", outcome=outcome, message=f"message {n}")
        for n, outcome in enumerate(outcomes, start=1)
    )
    return job


def test_the_page_of_an_import_has_the_report_and_other_jobs_have_none(staff_client, job, make_track):
    page = reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,))
    assertContains(staff_client.get(page), f'hx-get="{report(job)}"')

    other = jobs.request_metadata([make_track().pk]).job
    page = reverse("admin:catalog_metadatafetchtask_change", args=(other.pk,))
    assertNotContains(staff_client.get(page), "import-rows")
    assert staff_client.get(report(other)).status_code == 404
    assert staff_client.get(file_of(other)).status_code == 404


def test_all_rows_are_counted_by_outcome_and_come_in_pages(staff_client, job):
    page = staff_client.get(report(job))
    for text in ("All 130", "Added 60", "Invalid 40", "Not found 30", "1 to 50 of 130"):
        assertContains(page, text)
    assert [row.number for row, _ in page.context["rows"]] == list(range(1, 51))

    last = staff_client.get(report(job), {"page": "3"})
    assertContains(last, "101 to 130 of 130")
    assertNotContains(last, ">Next<")


def test_one_outcome_can_be_chosen(staff_client, job):
    page = staff_client.get(report(job), {"outcome": "invalid"})
    assertContains(page, "1 to 40 of 40")
    assert {row.outcome for row, _ in page.context["rows"]} == {"invalid"}


@pytest.mark.parametrize("page", ["0", "-1", "x", "9" * 30, "²", "99"])
@pytest.mark.parametrize("outcome", ["", "x", "<script>"])
def test_nonsense_in_the_address_is_ignored(staff_client, job, page, outcome):
    answer = staff_client.get(report(job), {"page": page, "outcome": outcome})
    assertContains(answer, "of 130")
    assertNotContains(answer, '<script>"')


def test_the_part_for_the_tasks_page_has_no_frame_and_asks_again_while_the_task_is_active(staff_client, job):
    part = staff_client.get(report(job), headers={"HX-Request": "true"})
    assertNotContains(part, "<html")
    assertContains(part, "every 5s")
    MetadataFetchTask.objects.update(status="completed")
    assertNotContains(staff_client.get(report(job), headers={"HX-Request": "true"}), "every 5s")


@pytest.mark.parametrize("rows", [5, 130])
def test_the_report_takes_the_same_queries_for_any_import(staff_client, job, rows, django_assert_num_queries):
    ImportRow.objects.filter(number__gt=rows).delete()
    # Session, user and permissions, then the job, the counts, the rows, what is to be checked again.
    with django_assert_num_queries(8):
        staff_client.get(report(job), headers={"HX-Request": "true"})


def test_the_report_is_for_those_who_may_see_the_task(client, viewer_client, viewer, job):
    assert viewer_client.get(report(job)).status_code == 200
    assert viewer_client.get(file_of(job)).status_code == 200
    viewer.user_permissions.clear()
    assert viewer_client.get(report(job)).status_code == 403
    assert viewer_client.get(file_of(job)).status_code == 403
    for address in (report(job), file_of(job)):
        assertRedirects(client.get(address), f"{reverse('admin:login')}?next={address}")
    part = client.get(report(job), headers={"HX-Request": "true"})
    assert part.headers["HX-Refresh"] == "true"


def test_the_file_has_every_row_and_runs_nothing_in_a_spreadsheet(staff_client, job, make_track):
    track = make_track(name="=cmd|' /C calc'!A0", credit_name="Ünïcode")
    ImportRow.objects.filter(job=job, number=1).update(
        item=" =HYPERLINK(1)", message="+1\n@2", track_id=track.pk
    )
    ImportRow.objects.filter(job=job, number=2).update(item='-1,"x"', line=None)
    rows = read_csv(staff_client.get(file_of(job)))

    assert len(rows) == 131
    assert rows[0] == ["Number", "Line", "Entry", "Outcome", "Message", "Track UUID", "Track"]
    assert rows[1] == [
        *("1", "2", "' =HYPERLINK(1)", "Added", "'+1\n'@2", str(track.uuid), "'=cmd|' /C calc'!A0")
    ]
    assert rows[2][:4] == ["2", "", '\'-1,"x"', "Added"]
    assert len(read_csv(staff_client.get(file_of(job), {"outcome": "not_found"}))) == 31


@pytest.mark.django_db(transaction=True)
def test_a_large_file_is_sent_in_constant_memory(staff_client, job):
    ImportRow.objects.bulk_create(
        (
            ImportRow(job=job, number=n, item=f"item {n}", outcome=Outcome.ADDED, message="x" * 300)
            for n in range(1000, 21_000)
        ),
        batch_size=1000,
    )
    answer = staff_client.get(file_of(job))
    tracemalloc.start()
    size = sum(len(part) for part in answer.streaming_content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 6_000_000
    assert peak < 4_000_000


@pytest.mark.django_db(transaction=True)
def test_a_deleted_track_leaves_its_row(staff_client, broker, simulator):
    job = jobs.request_list_import(read_list(str(simulator.song_uuid(0))).entries).job
    work_on_job(job.pk)
    Track.objects.get().delete()
    row = ImportRow.objects.get()
    assert (row.outcome, row.track_id) == ("added", None)
    assertContains(staff_client.get(report(job)), str(simulator.song_uuid(0)))


@pytest.mark.django_db(transaction=True)
def test_the_rows_of_a_list_of_soundcharts_say_what_was_new(staff_client, broker, simulator):
    here = add_tracks(simulator, 1, first=simulator.catalogue.index_at_rank(6))
    simulator.faults.set("payloads", songs={str(simulator.song_uuid(0)): {"uuid": "nonsense"}})
    job = jobs.request_import(limit=120, offset=5).job
    work_on_job(job.pk)
    assert list(ImportRow.objects.filter(job=job).values_list("number", flat=True)) == list(range(6, 126))
    assert ImportRow.objects.get(outcome="here").track_id == here[0].pk
    assert ImportRow.objects.get(outcome="here").number == 7
    job.refresh_from_db()
    assert ImportRow.objects.filter(outcome="added").count() == job.updated_tracks
    assertContains(staff_client.get(report(job)), '<td data-label="Place">6</td>')
