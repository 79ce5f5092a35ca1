"""The list of what fetches changed over all tracks, and the file that it can be taken away as."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertRedirects

from catalog import jobs
from catalog.admin import csv_export
from catalog.models import MetadataFetchTask, TrackChange

LIST = "/admin/catalog/trackchange/"
EXPORT = "/admin/catalog/trackchange/export/"
HEADER = ["at (UTC)", "track uuid", "track", "field", "before", "after", "task"]


@pytest.fixture
def make_change(make_track) -> Callable[..., TrackChange]:
    """A function that adds a change of these fields, on a track of its own unless one is given."""

    def make(number: int = 0, *, hours: float = 1, track=None, job=None, **changes: list[Any]) -> TrackChange:
        return TrackChange.objects.create(
            track=track or make_track(number, name=f"Song {number}"),
            job=job,
            at=timezone.now() - timedelta(hours=hours),
            changes=changes,
        )

    return make


def listed(client: Client, **query: str) -> list[int]:
    page = client.get(LIST, query)
    assert page.status_code == 200
    return [row.pk for row in page.context["cl"].result_list]


def exported(client: Client, **query: str) -> list[list[str]]:
    answer = client.get(EXPORT, query)
    assert answer.status_code == 200
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.django_db
def test_a_row_says_when_what_and_by_which_task(staff_client, make_change, make_track, broker):
    track = make_track(1, name="A name")
    job = jobs.request_metadata([track.pk]).job
    make_change(track=track, job=job, label=["Old", "New"])

    page = staff_client.get(LIST)

    assertContains(page, "<del>Old</del>")
    assertContains(page, "<ins>New</ins>")
    assertContains(page, reverse("admin:catalog_track_change", args=(track.pk,)))
    assertContains(page, reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,)))


@pytest.mark.django_db
def test_a_task_that_was_pruned_is_named_without_a_link(staff_client, make_change, make_track, broker):
    track = make_track(1)
    job = jobs.request_metadata([track.pk]).job
    make_change(track=track, job=job, label=["Old", "New"])
    MetadataFetchTask.objects.all().delete()

    assertContains(staff_client.get(LIST), f"#{job.pk}, no longer kept")


@pytest.mark.django_db
def test_the_newest_change_comes_first(staff_client, make_change):
    old, newest, middle = (make_change(n, hours=h, name=["a", "b"]) for n, h in ((0, 9), (1, 1), (2, 5)))

    assert listed(staff_client) == [newest.pk, middle.pk, old.pk]


@pytest.mark.django_db
def test_changes_are_filtered_by_field(staff_client, make_change):
    label = make_change(0, label=["a", "b"])
    both = make_change(1, hours=2, label=["a", "b"], name=["a", "b"])
    make_change(2, name=["a", "b"])

    assert listed(staff_client, field="label") == [label.pk, both.pk]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("period", "hours"), [("day", [1, 23]), ("week", [1, 23, 150]), ("", [1, 23, 150, 2000])]
)
def test_changes_are_filtered_by_period(staff_client, make_change, period, hours):
    made = {age: make_change(n, hours=age, name=["a", "b"]).pk for n, age in enumerate((1, 23, 150, 2000))}

    assert listed(staff_client, **({"period": period} if period else {})) == [made[age] for age in hours]


@pytest.mark.django_db
@pytest.mark.parametrize("term", ["Song 7", "song 7", lambda change: str(change.track.uuid)])
def test_changes_are_found_by_their_track_as_its_own_list_finds_it(staff_client, make_change, term):
    wanted = make_change(7, name=["a", "b"])
    make_change(8, name=["a", "b"])

    assert listed(staff_client, q=term(wanted) if callable(term) else term) == [wanted.pk]


@pytest.mark.django_db
def test_changes_of_one_task_can_be_asked_for(staff_client, make_change, make_track, broker):
    track = make_track(50)
    job = jobs.request_metadata([track.pk]).job
    wanted = make_change(track=track, job=job, name=["a", "b"])
    make_change(1, name=["a", "b"])

    assert listed(staff_client, job__id__exact=str(job.pk)) == [wanted.pk]


@pytest.mark.django_db
@pytest.mark.parametrize("query", [{"field": "x"}, {"period": "x"}, {"p": "99999"}, {"job__id__exact": "x"}])
def test_an_address_that_makes_no_sense_is_no_server_error(staff_client, make_change, query):
    make_change(name=["a", "b"])

    assert staff_client.get(LIST, query, follow=True).status_code == 200
    assert staff_client.get(EXPORT, query, follow=True).status_code == 200


@pytest.mark.django_db
def test_a_list_of_50_takes_no_more_queries_than_one_of_5(staff_client, make_change):
    def count() -> int:
        ContentType.objects.clear_cache()
        with CaptureQueriesContext(connection) as queries:
            staff_client.get(LIST)
        return len(queries)

    for number in range(5):
        make_change(number, name=["a", "b"])
    with_5 = count()
    for number in range(5, 50):
        make_change(number, name=["a", "b"])

    assert count() == with_5 <= 6


@pytest.mark.django_db
def test_nobody_adds_changes_or_deletes_entries(admin_client, make_change):
    change = make_change(name=["a", "b"])
    page = reverse("admin:catalog_trackchange_change", args=(change.pk,))

    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, {"changes": "{}"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403
    delete = reverse("admin:catalog_trackchange_delete", args=(change.pk,))
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403


@pytest.mark.django_db
def test_whoever_may_delete_a_track_deletes_its_history_with_it(admin_client, make_change):
    track = make_change(name=["a", "b"]).track

    answer = admin_client.post(reverse("admin:catalog_track_delete", args=(track.pk,)), {"post": "yes"})

    assertRedirects(answer, "/admin/catalog/track/")
    assert not TrackChange.objects.exists()


# --- the file


@pytest.mark.django_db
def test_the_file_has_a_line_for_each_changed_field(staff_client, make_change):
    change = make_change(3, name=["a", "b"], duration=[None, 180], release_date=["2020-01-01", "2021-02-03"])

    header, *lines = exported(staff_client)

    assert header == HEADER
    assert [line[3:6] for line in lines] == [
        ["name", "a", "b"],
        ["release_date", "2020-01-01", "2021-02-03"],
        ["duration", "", "180"],
    ]
    assert lines[0][:3] == [f"{change.at:%Y-%m-%d %H:%M:%S}", str(change.track.uuid), "Song 3"]


@pytest.mark.django_db
def test_the_file_is_filtered_and_searched_like_the_list(staff_client, make_change):
    make_change(1, hours=1, label=["a", "wanted"], name=["a", "b"])
    make_change(2, hours=1, name=["a", "b"])
    make_change(3, hours=100, label=["a", "too old"])

    lines = exported(staff_client, field="label", period="day", q="Song 1")[1:]

    assert [line[5] for line in lines] == ["b", "wanted"]


@pytest.mark.django_db
def test_the_list_leads_to_a_file_of_the_same_changes(staff_client, make_change):
    make_change(name=["a", "b"])

    page = staff_client.get(LIST, {"field": "name", "p": "1"})

    assertContains(page, f'href="{EXPORT}?field=name"')


@pytest.mark.django_db
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_long_file_is_read_in_steps_with_nothing_twice_and_nothing_left_out(
    staff_client, make_track, monkeypatch, step
):
    monkeypatch.setattr(csv_export, "STEP", step)
    track, now = make_track(), timezone.now()
    # Several at the same moment, as a batch writes them.
    TrackChange.objects.bulk_create(
        TrackChange(track=track, at=now - timedelta(hours=n // 3), changes={"name": ["x", str(n)]})
        for n in range(8)
    )

    after = [line[5] for line in exported(staff_client)[1:]]

    assert after == ["2", "1", "0", "5", "4", "3", "7", "6"]


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", '=HYPERLINK("x")'])
def test_no_cell_is_a_formula(staff_client, make_change, text):
    make_change(track=None, name=[text, text])

    line = exported(staff_client)[1]

    assert line[4:6] == [f"'{text}", f"'{text}"]


@pytest.mark.django_db
def test_the_file_is_one_to_save_and_not_to_guess_about(staff_client, make_change):
    answer = staff_client.get(EXPORT)

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="track-changes-')
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.django_db
def test_the_file_is_for_those_who_may_see_the_list(viewer, viewer_client, make_change):
    make_change(name=["a", "b"])
    assert len(exported(viewer_client)) == 2

    viewer.user_permissions.clear()

    assert viewer_client.get(EXPORT).status_code == 403
