"""A track's own page: the answer in place, why the track is as it is, and what happened to it."""

import json
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog import jobs
from catalog.admin import track_story
from catalog.explanations import explain
from catalog.fetching import work_on_job
from catalog.models import METADATA_FIELDS, ApiAccount, MetadataFetchTask, Track, TrackAudience, TrackChange
from catalog.tests.addresses import page_of
from soundcharts.errors import SoundchartsError
from soundcharts.service import get_service

pytestmark = pytest.mark.on_sqlite_alone

CONFIRMED = {"_form_submitted": "on"}
HTMX = {"HX-Request": "true"}
UNKNOWN = 10_000
NOW = timezone.now()


def page(client: Client, track: Track, part: str = "change", **query: str):
    return client.get(reverse(f"admin:catalog_track_{part}", args=(track.pk,)), query)


def fetch_in_place(client: Client, track: Track):
    return client.post(reverse("admin:catalog_track_fetch_now", args=(track.pk,)), CONFIRMED, headers=HTMX)


def release(client: Client, track: Track, field: str, **headers: str):
    address = reverse("admin:catalog_track_release", args=(track.pk,))
    answer = client.post(address, {"field": field}, headers=headers)
    track.refresh_from_db()
    return answer


def fetch(track: Track) -> MetadataFetchTask:
    job = jobs.request_metadata([track.pk]).job
    work_on_job(job.pk)
    job.refresh_from_db()
    track.refresh_from_db()
    return job


class PanelReader(HTMLParser):
    """Reads what the script of the page is told: the values that the form is to show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: dict[str, object] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if attributes.get("id") == "track-panel" and "data-values" in attributes:
            self.values = json.loads(attributes["data-values"] or "")


# --- the answer in place


@pytest.mark.django_db
def test_the_answer_takes_the_panels_place_wherever_the_button_stood(
    staff_client, make_track, broker, simulator
):
    answer = fetch_in_place(staff_client, make_track(1))

    headers = {name: answer.headers.get(name) for name in ("HX-Retarget", "HX-Reselect", "HX-Reswap")}
    assert headers == {
        "HX-Retarget": "#track-panel",
        "HX-Reselect": "#track-panel",
        "HX-Reswap": "outerHTML",
    }
    assert "HX-Redirect" not in answer.headers


@pytest.mark.django_db
def test_the_answer_names_each_change_its_calls_and_its_time(staff_client, make_track, broker, simulator):
    answer = fetch_in_place(staff_client, make_track(1, name="Working title"))

    assertContains(answer, "<del>Working title</del>")
    assertContains(answer, f"<ins>{escape(simulator.catalogue.name(1))}</ins>")
    assertContains(answer, "fields changed.")
    assertContains(answer, "1 API call spent, 0.")


@pytest.mark.django_db
def test_the_answer_is_read_out(staff_client, make_track, broker, simulator):
    track = make_track(1)
    assertContains(page(staff_client, track), '<div id="track-live" class="ln-heard" role="status"')
    fetch(track)

    answer = fetch_in_place(staff_client, track)

    said = "Fetched: Soundcharts says nothing new.  1 API call spent"
    assertContains(answer, f'<div id="track-live" hx-swap-oob="innerHTML">{said}')


@pytest.mark.django_db
def test_the_answer_brings_the_values_that_the_form_is_to_show(staff_client, make_track, broker, simulator):
    track = make_track(1, genre="By hand", edited_fields=["genre"])
    told = {"releaseDate": "2001-02-03T00:00:00+00:00", "duration": 77}
    simulator.faults.set("payloads", songs={track.uuid: told})

    values = PanelReader(fetch_in_place(staff_client, track).content.decode()).values

    track.refresh_from_db()
    assert set(values) == {*METADATA_FIELDS, "edited_fields"}
    assert (values["name"], values["genre"]) == (track.name, "By hand")
    assert (values["release_date"], values["duration"]) == ("2001-02-03", "1:17")
    assert values["edited_fields"] == ["genre"]
    assert values["slug"] == ""


@pytest.mark.django_db
def test_a_failure_is_explained_with_what_to_do(staff_client, make_track, broker, simulator):
    answer = fetch_in_place(staff_client, make_track(UNKNOWN))

    assertContains(answer, "Soundcharts does not know this identifier.")
    assertContains(answer, "The track is as it was. Check the UUID.")


@pytest.mark.django_db
def test_a_busy_answer_says_so_and_looks_again_by_itself(staff_client, make_track, broker, simulator):
    track = make_track()
    job = jobs.request_metadata([track.pk]).job
    jobs.claim_chunk(job.pk, owner="a worker")

    answer = fetch_in_place(staff_client, track)

    assertContains(answer, f"Task #{job.pk} is fetching this track right now.")
    assertContains(answer, "This click spent no call.")
    assertContains(answer, f"{reverse('admin:catalog_track_panel', args=(track.pk,))}?job={job.pk}")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_a_click_does_not_wait_for_the_next_try_of_a_task(staff_client, make_track, broker, simulator):
    track = make_track(1)
    job = jobs.request_metadata([track.pk]).job
    for is_whole_job in (False, True):
        chunk = jobs.claim_chunk(job.pk, owner="a worker", is_at_once=True)
        delay = jobs.Delay(600, is_attempt=True)
        error = SoundchartsError("It is down.")
        jobs.postpone_chunk(chunk, delay=delay, error=error, is_whole_job=is_whole_job)

    answer = fetch_in_place(staff_client, track)

    assertContains(answer, "fields changed.")
    job.refresh_from_db()
    assert (job.status, job.updated_tracks, simulator.state.calls.total()) == ("completed", 1, 1)
    assert MetadataFetchTask.objects.count() == 1


@pytest.mark.django_db
def test_a_click_during_a_long_rate_limit_leaves_the_task_to_go_on_by_itself(
    staff_client, make_track, broker, simulator
):
    track = make_track()
    job = jobs.request_metadata([track.pk]).job
    get_service()._client.limiter.pause(300)

    answer = fetch_in_place(staff_client, track)

    assertContains(answer, f"Task #{job.pk} is waiting: rate limit, resumes in ")
    assertContains(answer, "This click spent no call.")
    job.refresh_from_db()
    assert (job.status, job.failed_tracks) == ("pending", 0)


@pytest.mark.django_db
def test_without_calls_a_click_fails_and_says_so_before_and_after(
    staff_client, make_track, broker, simulator, account_of_its_own
):
    simulator.state.quota = 0
    track = make_track(1)
    answer = fetch_in_place(staff_client, track)

    assertContains(answer, "no calls left")
    assertContains(answer, explain("quota_exhausted").what_to_do)
    assertNotContains(answer, "by itself")
    assertContains(answer, "Fetches fail until the quota renews.")
    job = jobs.jobs_of_track(track.pk).get()
    assert (job.status, job.failed_tracks) == ("failed", 1)


@pytest.mark.django_db
def test_looking_again_shows_nothing_until_the_task_has_ended(staff_client, make_track, broker, simulator):
    track = make_track(1, name="Working title", metadata_fetched_at=NOW - timedelta(days=90))
    job = jobs.request_metadata([track.pk]).job
    assert page(staff_client, track, "panel", job=str(job.pk)).status_code == 204

    work_on_job(job.pk)

    answer = page(staff_client, track, "panel", job=str(job.pk))
    assertContains(answer, "fields changed.")
    assertContains(answer, "<del>Working title</del>")
    assert PanelReader(answer.content.decode()).values["name"] == simulator.catalogue.name(1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("first fetch", "Fetched for the first time."),
        ("unchanged", "Soundcharts says nothing new."),
        ("failed", "Soundcharts does not know this identifier."),
        ("cancelled", "was cancelled: nothing was fetched."),
        ("paused", "is paused by hand."),
    ],
)
def test_looking_again_says_what_became_of_the_task(staff_client, make_track, broker, simulator, state, said):
    track = make_track(UNKNOWN if state == "failed" else 1)
    if state == "unchanged":
        fetch(track)
    job = jobs.request_metadata([track.pk]).job
    match state:
        case "cancelled":
            jobs.cancel_job(job)
        case "paused":
            jobs.pause_job(job)
        case _:
            work_on_job(job.pk)

    assertContains(page(staff_client, track, "panel", job=str(job.pk)), said)


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["x", "999999", "9" * 30, "-1", ""])
def test_looking_for_a_task_that_is_not_this_tracks_own_shows_the_panel_alone(
    staff_client, make_track, broker, number
):
    track = make_track(0)
    other = jobs.request_metadata([make_track(1).pk]).job

    for asked in (number, str(other.pk)):
        shown = page(staff_client, track, "panel", job=asked)
        assertContains(shown, 'id="track-panel"')
        assert shown.context["answer"] is None


@pytest.mark.django_db
def test_looking_at_the_page_its_panel_and_its_history_spends_nothing(
    staff_client, make_track, broker, simulator
):
    track = make_track()

    for part in ("change", "panel", "history", "fetch_now"):
        assert page(staff_client, track, part).status_code == 200

    assert simulator.state.calls.total() == 0
    assert not MetadataFetchTask.objects.exists()


@pytest.mark.django_db
def test_whoever_may_fetch_but_not_edit_gets_the_page_anew(
    viewer, viewer_client, make_track, broker, simulator
):
    viewer.user_permissions.add(Permission.objects.get(codename="fetch_track"))
    track = make_track(1, name="Working title")

    answer = fetch_in_place(viewer_client, track)

    address = reverse("admin:catalog_track_change", args=(track.pk,))
    assert answer.headers["HX-Redirect"] == address
    assertContains(viewer_client.get(address), "<del>Working title</del>")


@pytest.mark.django_db
def test_the_panel_is_not_for_those_who_may_not_view_tracks(viewer, viewer_client, make_track):
    track = make_track()
    viewer.user_permissions.clear()

    assert page(viewer_client, track, "panel").status_code == 403
    assert page(viewer_client, track, "history").status_code == 403


# --- the price


@pytest.mark.django_db
def test_what_is_left_of_the_plan_stands_beside_the_button_with_when_it_was_said(staff_client, make_track):
    said_at = timezone.now().replace(year=2026, month=3, day=4, hour=5, minute=6)
    account = get_service().account
    ApiAccount.objects.create(fingerprint=account, quota_remaining=1234, observed_at=said_at)
    track = make_track()

    for part in ("change", "fetch_now"):
        assertContains(
            page(staff_client, track, part),
            "1,234 calls remaining as of 4 Mar 2026, 05:06.",
        )
    assertContains(page(staff_client, track), "1 API call.")


@pytest.mark.django_db
def test_a_quota_that_was_never_told_is_not_made_up(staff_client, make_track):
    assertContains(page(staff_client, make_track()), "The calls remaining are not known yet.")


@pytest.mark.django_db
def test_viewers_see_the_panel_without_its_buttons(viewer_client, make_track):
    track = make_track(label="By hand", edited_fields=["label"])

    shown = page(viewer_client, track)

    assertContains(shown, "<strong>Label</strong>: By hand")
    assertNotContains(shown, "Let the next fetch overwrite it")
    assertNotContains(shown, "track-fetch")


# --- why it is as it is


@pytest.mark.django_db
def test_a_track_that_was_never_fetched_says_so(staff_client, make_track):
    shown = page(staff_client, make_track())

    assertContains(shown, "Never answered.")
    assertContains(shown, "Stale: the next refresh of what is stale takes it.")
    assertContains(shown, "None by tasks of its own for its metadata.")


@pytest.mark.django_db
def test_a_fetched_track_says_when_by_which_task_and_when_it_is_due(
    staff_client, make_track, broker, simulator, settings
):
    settings.METADATA_REFRESH_DAYS = 30
    track = make_track(1)
    job = fetch(track)

    shown = page(staff_client, track)

    stale_from = track.metadata_fetched_at + timedelta(days=30)
    assertContains(shown, f"Stale from {stale_from:%-d %b %Y, %H:%M} (30 days after the last)")
    assertContains(shown, f">task #{job.pk}</a>.")
    assertContains(shown, "1 API call by 1 task of its own for its metadata.")
    assertContains(shown, "None on record since it was first fetched here.")


@pytest.mark.django_db
def test_the_last_change_is_stated(staff_client, make_track, broker, simulator):
    track = make_track(1)
    fetch(track)
    Track.objects.filter(pk=track.pk).update(label="An old label")
    fetch(track)

    assertContains(page(staff_client, track), "<del>An old label</del>", count=2)  # And in the timeline.


@pytest.mark.django_db
def test_a_song_that_soundcharts_does_not_know_says_until_when_it_waits(
    staff_client, make_track, broker, simulator
):
    track = make_track(UNKNOWN)
    job = fetch(track)

    shown = page(staff_client, track)

    assertContains(shown, f"Not by itself before {track.metadata_retry_at:%-d %b %Y, %H:%M}")
    assertContains(shown, "did not know it, 1 time in a row")
    assertContains(shown, "failed: Unknown at Soundcharts.")
    assertContains(shown, f">task #{job.pk}</a>),")


@pytest.mark.django_db
def test_a_fresh_track_is_due_when_it_is_stale_although_it_may_be_tried_earlier(staff_client, make_track):
    track = make_track(
        metadata_fetched_at=NOW, metadata_retry_at=NOW + timedelta(days=1), metadata_error="not_found"
    )

    assertContains(page(staff_client, track), "Stale from ")
    assertNotContains(page(staff_client, track), "Not by itself before")


@pytest.mark.django_db
def test_a_track_that_is_wholly_edited_says_that_fetches_change_nothing(staff_client, make_track):
    all_but_one, whole = list(METADATA_FIELDS[1:]), list(METADATA_FIELDS)

    assertNotContains(page(staff_client, make_track(0, edited_fields=all_but_one)), "It changes nothing here")
    assertContains(page(staff_client, make_track(1, edited_fields=whole)), "It changes nothing here")


@pytest.mark.django_db
def test_a_task_that_is_under_way_is_named(staff_client, make_track, broker):
    track = make_track()
    job = jobs.request_metadata([track.pk]).job

    assertContains(page(staff_client, track), f">Task #{job.pk}</a> is queued.")


@pytest.mark.django_db
def test_what_people_changed_is_no_change_by_soundcharts(staff_client, make_track, broker, simulator):
    track = make_track(1)
    fetch(track)

    assertContains(page(staff_client, track), "<dt>Last change by Soundcharts</dt>")


@pytest.mark.django_db
def test_tasks_for_the_audience_are_named_with_what_they_spent(staff_client, make_track, broker, simulator):
    track, other = make_track(1), make_track(2)
    platforms = ["spotify", "youtube"]
    many = jobs.request_audience([track.pk, other.pk], platforms=platforms[:1]).job
    work_on_job(many.pk)
    own = jobs.request_audience([track.pk], platforms=platforms[1:]).job
    work_on_job(own.pk)

    shown = page(staff_client, track)

    for job in (many, own):
        assertContains(shown, f'<a class="ln-link" href="{page_of(job)}">#{job.pk}</a> (audience) completed')
    assertContains(shown, "1 by the last task of its own for its audience.")
    for part in (shown, page(staff_client, track, "history")):
        assertContains(part, "last answered about the audience on Spotify.")
        assertContains(part, "last answered about the audience on YouTube.")
        assertContains(part, f'(<a class="ln-link" href="{page_of(own)}">task #{own.pk}</a>)')


@pytest.mark.django_db
def test_an_answer_is_not_put_down_to_the_task_that_failed_after_it(staff_client, make_track):
    track = make_track(1)
    row = TrackAudience(track=track, platform="spotify", job_id=77, fetched_at=NOW)
    row.save()
    assertContains(page(staff_client, track, "history"), "(task #77, no longer kept)")

    TrackAudience.objects.update(error="timeout")
    shown = page(staff_client, track, "history")
    assertContains(shown, "last answered about the audience on Spotify.")
    assertNotContains(shown, "task #77")


@pytest.mark.django_db(transaction=True)
def test_fetching_the_audience_in_place_brings_what_is_left_up_to_date(
    staff_client, make_track, broker, simulator
):
    track = make_track(1)
    address = reverse("admin:catalog_track_fetch_audience_now", args=(track.pk,))
    form = {"_form_submitted": "on", "platforms": ["spotify"], "days": ""}

    answer = staff_client.post(address, form, headers=HTMX)

    assertContains(answer, '<div id="track-calls-left" hx-swap-oob="innerHTML">')
    assertContains(answer, f"{simulator.state.quota_remaining:,} calls remaining")
    assertContains(answer, "1 by the last task of its own for its audience.")
    whole = page(staff_client, track)
    for part in ("calls-left", "spent", "tasks", "audience"):
        assertContains(answer, f'id="track-{part}" hx-swap-oob="innerHTML"')
        assertContains(whole, f'id="track-{part}"')


@pytest.mark.django_db
def test_calls_of_other_tracks_are_not_counted(staff_client, make_track, broker, simulator):
    track, other = make_track(1), make_track(11)
    for _ in range(2):
        fetch(track)
    fetch(other)

    assertContains(page(staff_client, track), "2 API calls by 2 tasks of its own for its metadata.")


@pytest.mark.django_db
def test_the_song_is_linked_at_soundcharts_and_the_picture_opens_alone(staff_client, make_track):
    track = make_track(image_url="https://example.com/x.jpg")

    shown = page(staff_client, track)

    safe = 'target="_blank" rel="noopener noreferrer"'
    assertContains(shown, f'<a href="https://example.com/x.jpg" {safe}>')
    address = f"https://app.soundcharts.com/app/song/{track.uuid}/overview"
    assertContains(shown, f'<a class="ln-link" href="{address}" {safe}>')


@pytest.mark.django_db
def test_the_page_to_add_a_track_has_no_panel(staff_client):
    assertNotContains(staff_client.get(reverse("admin:catalog_track_add")), "track-panel")


@pytest.mark.django_db
def test_a_form_that_is_refused_still_has_its_panel(staff_client, make_track):
    track = make_track()

    refused = staff_client.post(
        reverse("admin:catalog_track_change", args=(track.pk,)), {"duration": "nonsense"}
    )

    assertContains(refused, 'id="track-panel"')


# --- giving a field back


@pytest.mark.django_db
def test_a_released_field_follows_soundcharts_from_the_next_fetch_on(
    staff_client, make_track, broker, simulator
):
    track = make_track(1, name="By hand", label="By hand", edited_fields=["name", "label"])

    release(staff_client, track, "name")
    assert (track.name, track.edited_fields) == ("By hand", ["label"])

    fetch(track)
    assert (track.name, track.label) == (simulator.catalogue.name(1), "By hand")


@pytest.mark.django_db
def test_a_release_is_answered_in_place_with_the_ticks_that_are_left(staff_client, make_track):
    track = make_track(edited_fields=["name", "label"])

    answer = release(staff_client, track, "name", **HTMX)

    assertContains(answer, "Name: the next fetch overwrites it if Soundcharts says something else.")
    assert PanelReader(answer.content.decode()).values["edited_fields"] == ["label"]


@pytest.mark.django_db
def test_without_javascript_a_release_leads_back_to_the_page_with_a_message(staff_client, make_track):
    track = make_track(edited_fields=["name"])

    answer = release(staff_client, track, "name")

    address = reverse("admin:catalog_track_change", args=(track.pk,))
    assertRedirects(answer, address, fetch_redirect_response=False)
    assertContains(page(staff_client, track), "Name: the next fetch overwrites it")


@pytest.mark.django_db
def test_a_release_is_logged(staff_client, staff, make_track):
    track = make_track(edited_fields=["isrc"])

    release(staff_client, track, "isrc")

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(track.pk))
    assert entry.get_change_message() == "Let the next fetch overwrite ISRC"


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["label", "metadata_error", "nonsense", "", "<script>"])
def test_what_is_not_kept_by_hand_cannot_be_released(staff_client, make_track, field):
    track = make_track(edited_fields=["name"])

    answer = release(staff_client, track, field, **HTMX)

    assertContains(answer, "That field was not kept by hand any more. Nothing was changed.")
    assert track.edited_fields == ["name"]
    assert not LogEntry.objects.exists()


@pytest.mark.django_db
def test_a_field_of_an_unknown_track_cannot_be_released(staff_client):
    address = reverse("admin:catalog_track_release", args=(999_999,))

    assert staff_client.post(address, {"field": "name"}).status_code == 404


# --- what happened


def sentences(client: Client, track: Track, **query: str) -> list[str]:
    events = page(client, track, "history", **query).context["events"]
    return [
        f"{event.who}: "
        + (", ".join(f"{change.label} {change.before} to {change.after}" for change in event.changes))
        + event.sentence
        for event in events
    ]


@pytest.mark.django_db
def test_the_history_tells_of_fetches_people_and_failures_newest_first(
    staff_client, staff, make_track, broker, simulator
):
    staff.first_name, staff.last_name = "Anna", "Berg"
    staff.save()
    track = make_track(1, label="Old", metadata_fetched_at=NOW - timedelta(days=90))
    fetch(track)
    form = {f"initial-{name}": getattr(track, name) or "" for name in METADATA_FIELDS}
    typed = {name: getattr(track, name) or "" for name in METADATA_FIELDS} | {"name": "Hers"}
    name = track.name
    staff_client.post(reverse("admin:catalog_track_change", args=(track.pk,)), form | typed)
    simulator.faults.set("error", status=404)
    fetch(track)

    failed, edited, fetched = sentences(staff_client, track)

    assert failed.startswith("Soundcharts: not fetched: Unknown at Soundcharts. Soundcharts does not know")
    assert edited == f"Anna Berg: Name {name} to Hers"
    assert fetched.startswith("Soundcharts: ")
    assert "Label Old to " in fetched


@pytest.mark.django_db
def test_a_log_entry_of_another_kind_is_told_in_its_own_words(staff_client, staff, make_track):
    track = make_track(name="A name")
    content_type = ContentType.objects.get_for_model(Track)
    for flag, message in ((1, '[{"added": {}}]'), (2, "Anything"), (2, "[1, 2]"), (2, '[{"changed": 1}]')):
        LogEntry.objects.create(
            user=staff,
            content_type=content_type,
            object_id=str(track.pk),
            object_repr="x",
            action_flag=flag,
            change_message=message if flag == 1 or message == "Anything" else "",
        )

    assert sentences(staff_client, track) == [
        "staff: saved it without a change",
        "staff: saved it without a change",
        "staff: Anything",
        "staff: added the track",
    ]


@pytest.mark.django_db
def test_entries_of_other_tracks_and_other_models_are_left_out(
    staff_client, staff, make_track, make_failed_job, broker
):
    track, other = make_track(0), make_track(1)
    make_failed_job(other)
    TrackChange.objects.create(track=other, at=NOW, changes={"name": ["a", "b"]})
    LogEntry.objects.create(
        user=staff,
        content_type=ContentType.objects.get_for_model(MetadataFetchTask),
        object_id=str(track.pk),
        action_flag=2,
    )

    assert sentences(staff_client, track) == []


@pytest.mark.django_db
def test_a_long_history_is_on_pages_with_nothing_twice_and_nothing_left_out(
    staff_client, make_track, monkeypatch
):
    monkeypatch.setitem(track_story.timeline.__kwdefaults__, "size", 4)
    track = make_track()
    TrackChange.objects.bulk_create(
        TrackChange(track=track, at=NOW - timedelta(hours=n), changes={"name": ["x", str(n)]})
        for n in range(10)
    )

    pages = [sentences(staff_client, track, p=str(number)) for number in (1, 2, 3, 4)]

    assert [len(each) for each in pages] == [4, 4, 2, 0]
    assert [each for some in pages for each in some] == [f"Soundcharts: Name x to {n}" for n in range(10)]


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 30, "²"])
def test_a_page_of_the_history_that_makes_no_sense_is_no_server_error(staff_client, make_track, number):
    assert page(staff_client, make_track(), "history", p=number).status_code == 200


@pytest.mark.django_db
def test_the_history_of_an_unknown_track_leads_to_the_start(staff_client):
    answer = staff_client.get(reverse("admin:catalog_track_history", args=(999_999,)), follow=True)

    assertContains(answer, "doesn’t exist. Perhaps it was deleted?")


@pytest.mark.django_db
@pytest.mark.parametrize("part", ["change", "panel", "history"])
def test_a_long_history_takes_no_more_queries_than_a_short_one(
    staff_client, staff, make_track, make_failed_job, broker, part
):
    track = make_track(name="A name")

    def live(count: int) -> int:
        content_type = ContentType.objects.get_for_model(Track)
        for _ in range(count):
            job = make_failed_job(track)
            TrackChange.objects.create(track=track, job=job, at=NOW, changes={"name": ["a", "b"]})
            LogEntry.objects.create(
                user=staff, content_type=content_type, object_id=str(track.pk), action_flag=2
            )
        Track.objects.filter(pk=track.pk).update(metadata_error="not_found", metadata_job=job)
        ContentType.objects.clear_cache()
        with CaptureQueriesContext(connection) as queries:
            assert page(staff_client, track, part).status_code == 200
        return len(queries)

    with_2 = live(2)

    assert live(20) == with_2 <= {"change": 19, "panel": 17, "history": 10}[part]
