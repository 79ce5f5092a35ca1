"""Failures of a task: by code on its page, as a list, and as a file for a spreadsheet."""

import csv
import io
import re

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.admin import csv_export
from catalog.admin.csv_export import safe_cell
from catalog.explanations import EXPLANATIONS, explain
from catalog.fetching import work_on_job
from catalog.jobs import retries
from catalog.models import FailureCount, FetchFailure, MetadataFetchTask, Track
from catalog.song_lists import Entry
from catalog.tests.addresses import page_of

LIST = "/admin/catalog/fetchfailure/"
KNOWN, UNKNOWN = "USAAA2500001", "USAAA2500002"
pytestmark = pytest.mark.django_db


def csv_of(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_failures_csv", args=(job.pk,))


def retry_of(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_retry", args=(job.pk,))


def rows_of(client: Client, address: str) -> list[dict[str, str]]:
    content = b"".join(client.get(address).streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(content, newline="")))


@pytest.fixture
def job(make_track, make_failed_job, broker) -> MetadataFetchTask:
    """An ended job of three tracks, of which two are unknown and one got no answer in time."""
    job = make_failed_job(*(make_track(number, name=f"Song {number}") for number in range(3)))
    job.failures.filter(track__name="Song 2").update(code="timeout", message="Too slow.")
    FailureCount.objects.filter(job=job).update(count=2)
    FailureCount.objects.create(job=job, code="timeout", count=1)
    return job


# --- by code


@pytest.mark.parametrize("code", ["not_found", "timeout"])
def test_the_page_explains_each_code_and_says_what_to_do(staff_client, job, code):
    page = staff_client.get(page_of(job))

    for words in (explain(code).title, explain(code).meaning, explain(code).what_to_do):
        assertContains(page, words, html=False)


def test_the_page_leads_to_the_tracks_of_each_code(staff_client, job):
    assertContains(staff_client.get(page_of(job)), f"{LIST}?job__id__exact={job.pk}&amp;code=timeout")


def test_failures_are_counted_by_code_as_they_are_saved(make_track, make_failed_job, broker):
    job = make_failed_job(make_track(0), make_track(1))

    assert list(job.failure_counts.values_list("code", "count")) == [("not_found", 2)]


def test_a_hostile_message_is_shown_as_text(staff_client, job):
    job.failures.update(message="<script>alert(1)</script>", track=None)
    job.failures.filter(code="timeout").update(item="<img src=x onerror=alert(1)>")

    for address in (page_of(job), f"{LIST}?job__id__exact={job.pk}"):
        page = staff_client.get(address)
        assertNotContains(page, "<script>alert")
        assertNotContains(page, "<img src=x")


# --- the list


def test_the_list_of_one_job_and_code_holds_just_these(staff_client, job):
    page = staff_client.get(LIST, {"job__id__exact": job.pk, "code": "timeout"})

    assert [row.message for row in page.context["cl"].result_list] == ["Too slow."]
    assert page.context["cl"].paginator.count == 1


def test_the_list_of_a_job_leads_back_and_to_its_file(staff_client, job):
    page = staff_client.get(LIST, {"job__id__exact": job.pk, "code": "timeout"})

    assertContains(page, page_of(job))
    assertContains(page, f"{csv_of(job)}?code=timeout")
    assertContains(page, explain("timeout").what_to_do)


@pytest.mark.parametrize("term", ["US-UM7-19-00764", " usum71900764 "])
def test_what_a_list_brought_is_found_in_any_spelling(staff_client, job, term):
    failure = FetchFailure.objects.create(job=job, item="USUM71900764", code="not_found", message="No.")

    assert list(staff_client.get(LIST, {"q": term}).context["cl"].result_list) == [failure]


def test_pages_of_the_list_follow_each_other_without_gap(staff_client, job, monkeypatch):
    monkeypatch.setattr("catalog.admin.failures.FetchFailureAdmin.list_per_page", 2)

    pages = [staff_client.get(LIST, {"p": number}).context["cl"].result_list for number in (1, 2)]

    shown = [row.pk for page in pages for row in page]
    assert shown == list(FetchFailure.objects.order_by("pk").values_list("pk", flat=True))


def test_the_list_offers_the_orders_that_an_index_has(staff_client, job):
    page = staff_client.get(LIST).content.decode()

    assert [column for column in range(6) if f"?o={column}" in page or f"?o=-{column}" in page] == [2]


def test_the_filter_offers_the_known_codes_without_reading_a_failure(staff_client, job):
    with CaptureQueriesContext(connection) as queries:
        page = staff_client.get(LIST)

    assertContains(page, "?code=quota_exhausted")
    assert not any("DISTINCT" in query["sql"] for query in queries)
    (spec,) = page.context["cl"].filter_specs
    assert len(list(spec.choices(page.context["cl"]))) == 1 + len(EXPLANATIONS)


@pytest.mark.parametrize(("query", "words"), [({}, "Nothing has failed"), ({"q": "x"}, "No failure fits")])
def test_an_empty_list_says_what_that_means(staff_client, query, words):
    assertContains(staff_client.get(LIST, query), words)


# --- the file


def test_the_file_holds_every_failure_with_its_words(staff_client, job, monkeypatch):
    monkeypatch.setattr(csv_export, "STEP", 2)

    rows = rows_of(staff_client, csv_of(job))

    assert [row["track"] for row in rows] == ["Song 0", "Song 1", "Song 2"]
    assert {row["task"] for row in rows} == {str(job.pk)}
    assert rows[2]["what happened"] == explain("timeout").title
    assert [row["uuid"] for row in rows] == [str(track.uuid) for track in Track.objects.order_by("pk")]


def test_the_file_of_one_code_holds_just_these(staff_client, job):
    assert [row["code"] for row in rows_of(staff_client, f"{csv_of(job)}?code=timeout")] == ["timeout"]


def test_the_file_is_named_after_the_job_and_read_as_utf8_by_excel(staff_client, job):
    answer = staff_client.get(f'{csv_of(job)}?code=timeout"; x')

    name = f"fetch-task-{job.pk}-failures-timeoutx.csv"
    assert answer["Content-Disposition"] == f'attachment; filename="{name}"'
    assert b"".join(answer.streaming_content).startswith("\ufeff".encode())


@pytest.mark.parametrize(
    "value",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        " =1",
        '=HYPERLINK("x")',
        "＝1",
        "\u200b=1",
        "\ufeff+1",
        "\tx",
        "\t=1",
        "\r=1",
        "\n=1",
    ],
)
def test_no_cell_begins_a_formula(staff_client, job, value):
    Track.objects.update(name=value, credit_name=value, isrc=value)
    FetchFailure.objects.update(message=value)

    for row in rows_of(staff_client, csv_of(job)):
        assert [row[name] for name in ("track", "credit", "ISRC", "message")] == [f"'{value}"] * 4


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a;=1+1", "a;'=1+1"),
        ("a\t=1+1", "a\t'=1+1"),
        ("a\n@SUM(A1)", "a\n'@SUM(A1)"),
        ("a\r+1", "a\r'+1"),
        ("a; -1", "a;' -1"),
        ("a;;=1;\t=2", "a;;'=1;'\t'=2"),
        ('a;"=1+1"', 'a;\'"=1+1"'),
        ("a;＝1", "a;'＝1"),
        ("=1;=2", "'=1;'=2"),
    ],
)
def test_no_formula_begins_inside_of_a_cell_either(staff_client, job, value, written):
    FetchFailure.objects.update(message=value)

    assert {row["message"] for row in rows_of(staff_client, csv_of(job))} == {written}
    for cell in re.split(r"[;\t\r\n]", written):
        assert not cell.lstrip(' "').startswith(("=", "+", "-", "@", "＝"))


@pytest.mark.parametrize("value", ["Song", "a=b", "1-2", "", "Beyoncé – “Halo”", "a; b", "a, -b", "AC;DC\tx"])
def test_other_cells_stay_as_they_are(value):
    assert safe_cell(value) == value


def test_the_file_is_read_in_steps_and_not_at_once(staff_client, job, monkeypatch):
    monkeypatch.setattr(csv_export, "STEP", 1)
    parts = iter(staff_client.get(csv_of(job)).streaming_content)

    next(parts), next(parts)
    with CaptureQueriesContext(connection) as queries:
        next(parts)

    assert len(queries) == 1
    assert "LIMIT 1" in queries[0]["sql"]


def test_who_may_not_see_tasks_gets_no_file(staff, staff_client, job):
    staff.user_permissions.clear()

    assert staff_client.get(csv_of(job)).status_code == 403


def test_the_file_of_an_unknown_job_is_not_found(staff_client):
    assert staff_client.get("/admin/catalog/metadatafetchtask/999999/failures.csv").status_code == 404


# --- trying again


def test_the_failures_of_one_code_are_tried_again_alone(staff_client, staff, job):
    staff_client.post(retry_of(job), {"code": "timeout"})

    retry = MetadataFetchTask.objects.latest("pk")
    slow = job.failures.get(code="timeout")
    assert (retry.parent, retry.title) == (job, f"Failures of task #{job.pk}: No answer in time")
    assert list(retry.chunks.values_list("track_ids", flat=True)) == [[slow.track_id]]


def test_a_code_that_no_failure_has_is_not_tried_again(staff_client, job):
    page = staff_client.post(retry_of(job), {"code": "nonsense"}, follow=True)

    assertContains(page, "Nothing was changed.")
    assert MetadataFetchTask.objects.count() == 1


def test_a_track_that_was_fetched_since_is_skipped_and_costs_nothing(
    make_track, make_failed_job, simulator, broker
):
    job = make_failed_job(make_track(0))
    work_on_job(jobs.request_metadata([Track.objects.get().pk]).job.pk)
    calls = simulator.state.calls.total()

    retry = jobs.request_retry(job).job
    work_on_job(retry.pk)

    retry.refresh_from_db()
    assert (retry.outcome_sentence, simulator.state.calls.total()) == ("1 skipped", calls)


def test_more_failures_than_a_selection_holds_are_tried_again_too(
    make_track, make_failed_job, simulator, broker, monkeypatch, settings
):
    tracks = [make_track(number) for number in range(7)]
    job = make_failed_job(*tracks)
    settings.CHUNK_SIZE = 2
    monkeypatch.setattr(retries, "LARGEST_SELECTION", 3)
    tracks[3].delete()

    retry = jobs.request_retry(job).job
    assert jobs.request_retry(job).is_joined
    work_on_job(retry.pk)

    retry.refresh_from_db()
    assert (retry.status, retry.total_tracks, retry.updated_tracks) == ("completed", 6, 6)


# --- a row of an import is no track


@pytest.fixture
def failed_import(broker) -> MetadataFetchTask:
    """An ended import of a list of two ISRCs, of which Soundcharts knew one."""
    rows = [Entry(line, isrc, isrc) for line, isrc in enumerate((KNOWN, UNKNOWN), start=1)]
    job = jobs.request_list_import(rows).job
    chunk = jobs.claim_chunk(job.pk, owner="a worker")
    with transaction.atomic():
        jobs.advance_chunk(chunk, count=2)
        failures = [jobs.Failure(UNKNOWN, "not_found", "Not known.")]
        jobs.record_outcomes(chunk, counts=jobs.Counts(updated=1, failed=1), failures=failures, calls=2)
    job.refresh_from_db()
    return job


@pytest.mark.on_sqlite_alone
def test_an_unknown_row_of_an_import_is_not_said_to_be_asked_for_again(staff_client, failed_import):
    words = explain("not_found", is_of_import=True)
    failure = failed_import.failures.get()
    shown = (
        page_of(failed_import),
        page_of(failure),
        f"{retry_of(failed_import)}?code=not_found",
        f"{LIST}?job__id__exact={failed_import.pk}&code=not_found",
    )
    for address in shown:
        page = staff_client.get(address)
        assertContains(page, words.what_to_do)
        assertNotContains(page, explain("not_found").what_to_do)
    assert rows_of(staff_client, csv_of(failed_import))[0]["what to do"] == words.what_to_do


@pytest.mark.on_sqlite_alone
def test_a_retry_is_the_main_button_only_where_it_is_of_use(
    staff_client, failed_import, make_track, make_failed_job
):
    absent = make_failed_job(make_track(1), make_track(2))
    for job in (failed_import, absent):
        assertContains(staff_client.get(page_of(job)), '<a class="ln-button" id="job-retry"')

    FailureCount.objects.filter(job=absent).update(code="timeout")
    assertContains(staff_client.get(page_of(absent)), '<a class="ln-button ln-main" id="job-retry"')
