"""What comes from the API is text, on every page; and what is secret is on none."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from pytest_django.asserts import assertContains, assertNotContains

from catalog import jobs
from catalog.fetching import work_on_job
from catalog.models import FetchFailure, ImportDraft, MetadataFetchTask, Track, TrackChange
from conftest import API_KEY

pytestmark = pytest.mark.on_sqlite_alone

NAME = '<script>alert("name")</script>'
ERROR = "<script>alert('error')</script><img src=x onerror=alert(1)>"
SONG = {
    "name": NAME,
    "slug": "<b onclick=alert(1)>",
    "creditName": '"><img src=x onerror=alert(1)>',
    "isrc": {"value": '" onclick=alert(1) "'},
    "labels": [{"name": "'><svg onload=alert(1)>"}],
    "genres": [{"root": "</option></select><script>alert(1)</script>"}],
    "imageUrl": "javascript:alert(1)",
    "releaseDate": "<script>alert('date')</script>",
}
DIALOGS = ("import_from_api", "fetch_all_metadata", "fetch_now")


class ScriptFinder(HTMLParser):
    """Collects whatever in a page would run a script that says `alert`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attrs:
            is_handler = name.startswith(("on", "x-", "hx-on", "@")) and "alert" in (value or "")
            is_address = name in ("href", "src", "action", "formaction", "hx-get", "hx-post")
            if is_handler or (is_address and (value or "").strip().lower().startswith("javascript:")):
                self.found.append(f"<{tag} {name}={value!r}>")

    def handle_data(self, data: str) -> None:
        if self._tag == "script" and "alert" in data:
            self.found.append(f"<script>{data}")

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


def scripts_in(page: str) -> list[str]:
    finder = ScriptFinder()
    finder.feed(page)
    return finder.found


def visit_all(client: Client, track: Track) -> dict[str, str]:
    """Return every page on which this track, its jobs or their failures appear."""
    answers = {
        "index": client.get(reverse("admin:index")),
        "app": client.get(reverse("admin:app_list", args=("catalog",))),
        "confirmation": client.post(
            reverse("admin:catalog_track_changelist"),
            {"action": "create_bulk_task", "_selected_action": [track.pk]},
        ),
    }
    for model in (Track, TrackChange, MetadataFetchTask, FetchFailure):
        name = model._meta.model_name
        answers[f"{name} list"] = client.get(reverse(f"admin:catalog_{name}_changelist"))
        for row in model.objects.all():
            for part in ("change", "history", "delete"):
                address = reverse(f"admin:catalog_{name}_{part}", args=(row.pk,))
                answers[f"{part} {name} {row.pk}"] = client.get(address)
    answers["panel"] = client.get(reverse("admin:catalog_track_panel", args=(track.pk,)))
    answers["track changes as CSV"] = client.get(reverse("admin:catalog_trackchange_export"))
    for job in MetadataFetchTask.objects.all():
        address = reverse("admin:catalog_metadatafetchtask_progress", args=(job.pk,))
        answers[f"progress {job.pk}"] = client.get(address)
    for button in DIALOGS:
        keys = (track.pk,) if button == "fetch_now" else ()
        address = reverse(f"admin:catalog_track_{button}", args=keys)
        answers[button] = client.get(address, {"_selected_action": [track.pk]})
    assert {answer.status_code for answer in answers.values()} <= {200, 403}
    return {
        name: (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode()
        for name, answer in answers.items()
        if answer.status_code == 200
    }


def click_fetch(client: Client, track: Track) -> str:
    address = reverse("admin:catalog_track_fetch_now", args=(track.pk,))
    return client.post(address, {"_form_submitted": "on"}, follow=True).content.decode()


@pytest.fixture
def hostile_track(make_track, broker, simulator) -> Track:
    """A track whose every field came from the API full of markup, and a job that failed with some."""
    track = make_track()
    simulator.faults.set("payloads", songs={track.uuid: SONG})
    work_on_job(jobs.request_metadata([track.pk]).job.pk)
    simulator.faults.set("error", status=400, message=ERROR)
    work_on_job(jobs.request_metadata([track.pk]).job.pk)
    track.refresh_from_db()
    assert (track.name, track.metadata_error) == (NAME, "invalid_request")
    return track


@pytest.mark.parametrize(
    "text", [NAME, ERROR, *(SONG[name] for name in ("slug", "creditName")), '<a href="javascript:alert(1)">']
)
def test_unescaped_markup_would_be_found(text):
    assert scripts_in(text) != []


@pytest.mark.django_db
def test_markup_from_the_api_is_text_on_every_page(staff_client, hostile_track):
    pages = visit_all(staff_client, hostile_track)
    # A file and no page: a browser that is told not to guess never renders it.
    pages.pop("track changes as CSV")

    assert {name: found for name, page in pages.items() if (found := scripts_in(page))} == {}


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["track", "metadatafetchtask", "fetchfailure"])
def test_markup_in_a_name_is_shown_as_it_is(staff_client, hostile_track, model):
    assertContains(staff_client.get(reverse(f"admin:catalog_{model}_changelist")), escape(NAME))


@pytest.mark.django_db
def test_markup_in_an_error_is_shown_as_it_is(staff_client, hostile_track):
    page = reverse(
        "admin:catalog_metadatafetchtask_change", args=(MetadataFetchTask.objects.latest("pk").pk,)
    )

    assertContains(staff_client.get(page), f"Soundcharts says: {escape(ERROR)}</td>")


@pytest.mark.django_db
def test_an_address_that_is_no_web_address_is_not_kept_but_named_as_not_understood(
    staff_client, hostile_track
):
    assert hostile_track.image_url == ""
    page = staff_client.get(reverse("admin:catalog_track_change", args=(hostile_track.pk,)))
    assertContains(page, "imageUrl: &#x27;javascript:alert(1)&#x27; is not a web address")


@pytest.mark.django_db
def test_markup_is_text_in_the_message_about_changes(staff_client, make_track, broker, simulator):
    track = make_track(name="<i onclick=alert(1)>Before</i>")
    simulator.faults.set("payloads", songs={track.uuid: SONG})

    page = click_fetch(staff_client, track)

    assert "<del>&lt;i onclick=alert(1)&gt;Before&lt;/i&gt;</del>" in page
    assert f"<ins>{escape(NAME)}</ins>" in page
    assert scripts_in(page) == []


@pytest.mark.django_db
def test_markup_is_text_in_the_answer_that_appears_in_the_page(staff_client, make_track, broker, simulator):
    track = make_track(name="<i onclick=alert(1)>", label="</section><script>alert(2)</script>")
    simulator.faults.set("payloads", songs={track.uuid: SONG})
    address = reverse("admin:catalog_track_fetch_now", args=(track.pk,))

    panel = client_answer(staff_client, address)

    assert f"<ins>{escape(NAME)}</ins>" in panel
    assert scripts_in(panel) == []


def client_answer(client: Client, address: str) -> str:
    answer = client.post(address, {"_form_submitted": "on"}, headers={"HX-Request": "true"})
    return answer.content.decode()


@pytest.mark.django_db
def test_markup_that_was_replaced_is_text_in_the_history(staff_client, make_track, broker, simulator):
    track = make_track(
        name="<script>alert(3)</script>", edited_fields=["label"], label="<svg onload=alert(4)>",
        metadata_fetched_at=timezone.now(),
    )  # fmt: skip
    simulator.faults.set("payloads", songs={track.uuid: SONG})
    click_fetch(staff_client, track)
    track.refresh_from_db()

    pages = visit_all(staff_client, track)

    shown = {name for name, page in pages.items() if escape("<script>alert(3)</script>") in page}
    change = TrackChange.objects.get()
    assert {f"change track {track.pk}", f"history track {track.pk}", "trackchange list"} <= shown
    assert f"change trackchange {change.pk}" in shown
    html = {name: page for name, page in pages.items() if not name.endswith("CSV")}
    assert {name: found for name, page in html.items() if (found := scripts_in(page))} == {}


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,<script>alert(1)</script>"])
def test_a_cover_that_is_no_web_address_is_neither_shown_nor_linked(staff_client, make_track, address):
    track = make_track(image_url=address)

    page = staff_client.get(reverse("admin:catalog_track_change", args=(track.pk,)))

    assertContains(page, "No picture")
    assert scripts_in(page.content.decode()) == []


# What the policy of every page refuses would be a broken picture.
SHOWN = {
    "https://covers.example/a.jpg?x=1": "https://covers.example/a.jpg?x=1",
    "http://covers.example/a.jpg?x=1": "https://covers.example/a.jpg?x=1",
    "http://covers.example:80/a.jpg": "https://covers.example/a.jpg",
    "http://covers.example:8080/a.jpg": "",
    "http://localhost/a.jpg": "",
    "http://127.0.0.1:8800/a.jpg": "",
    "http://demo.example:8800/covers/a.svg": "http://demo.example:8800/covers/a.svg",
    "http://demo.example/covers/a.svg": "https://demo.example/covers/a.svg",
    "HTTP://covers.example/a.jpg": "https://covers.example/a.jpg",
    "//covers.example/a.jpg": "",
    "javascript:alert(1)": "",
}


def pictures_of(page: str) -> list[str]:
    found = (unescape(address) for address in re.findall(r'<img [^>]*src="([^"]*)"', page))
    return [address for address in found if "static" not in address]


@pytest.mark.django_db
@pytest.mark.parametrize(("address", "shown"), SHOWN.items())
def test_pictures_are_shown_where_the_policy_allows_it(staff_client, make_track, settings, address, shown):
    settings.IMAGE_ORIGINS = ["http://demo.example:8800"]
    track = make_track(name="Blue Sky", image_url=address)
    artist = {"uuid": "7d534228-5165-11e9-9375-549f35161576", "name": "Artist", "image_url": address}
    draft = ImportDraft.objects.create(source="artist", artist_name="Artist", artists=[artist])
    pages = {
        "list": reverse("admin:catalog_track_changelist"),
        "track": reverse("admin:catalog_track_change", args=(track.pk,)),
        "panel": reverse("admin:catalog_track_panel", args=(track.pk,)),
        "import": reverse("admin:catalog_track_import_from_api") + f"?draft={draft.pk}",
    }

    found = {name: pictures_of(staff_client.get(path).content.decode()) for name, path in pages.items()}

    assert found == dict.fromkeys(pages, [shown] if shown else [])
    # What is stored stays as it came.
    assert Track.objects.get().image_url == address


@pytest.mark.django_db
def test_markup_is_text_in_the_message_about_a_kept_edit(staff_client, make_track, broker, simulator):
    track = make_track(name="<i onclick=alert(1)>", edited_fields=["name"])
    simulator.faults.set("payloads", songs={track.uuid: SONG})

    page = click_fetch(staff_client, track)

    assert "your edit “<bdi>&lt;i onclick=alert(1)&gt;</bdi>” is kept" in page
    assert f"Soundcharts says “<bdi>{escape(NAME)}</bdi>”" in page
    assert scripts_in(page) == []


@pytest.mark.django_db
def test_markup_is_text_in_the_message_about_an_error(staff_client, make_track, broker, simulator):
    simulator.faults.set("error", status=400, message=ERROR)

    page = click_fetch(staff_client, make_track())

    assert escape(ERROR) in page
    assert scripts_in(page) == []


@pytest.mark.django_db
@pytest.mark.parametrize("text", [NAME, '"><img src=x onerror=alert(1)>', "javascript:alert(1)"])
def test_markup_in_an_address_is_text(staff_client, make_track, text):
    make_track()

    page = staff_client.get(reverse("admin:catalog_track_changelist"), {"q": text, "freshness": text})

    assert scripts_in(page.content.decode()) == []


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["name", "creditName", "slug"])
def test_a_text_that_is_too_long_is_named_and_the_rest_taken(
    staff_client, make_track, broker, simulator, field
):
    track = make_track(name="Before", credit_name="Before", slug="before")
    simulator.faults.set("payloads", songs={track.uuid: {field: "x" * 10_000}})

    page = click_fetch(staff_client, track)

    assert "10,000 characters are more than the 500 that fit" in page
    assert "x" * 501 not in page
    track.refresh_from_db()
    assert track.genre


@pytest.mark.django_db
def test_an_error_of_10_000_characters_breaks_no_page(staff_client, make_track, broker, simulator):
    simulator.faults.set("error", status=400, message="x" * 10_000)
    track = make_track()

    click_fetch(staff_client, track)

    assert len(visit_all(staff_client, track)) > 10


@pytest.mark.django_db
def test_no_page_shows_the_api_key(admin_client, hostile_track):
    pages = visit_all(admin_client, hostile_track)

    assert [name for name, page in pages.items() if API_KEY in page] == []


@pytest.mark.django_db
def test_no_page_shows_an_api_key_that_was_refused(admin_client, make_track, broker, simulator, settings):
    settings.SOUNDCHARTS_API_KEY = "a-key-that-is-wrong"
    track = make_track()
    work_on_job(jobs.request_metadata([track.pk]).job.pk)

    pages = visit_all(admin_client, track) | {"after a click": click_fetch(admin_client, track)}

    assert "does not accept our credentials" in pages["after a click"]
    assert [name for name, page in pages.items() if settings.SOUNDCHARTS_API_KEY in page] == []


@pytest.mark.django_db
def test_no_page_shows_an_api_key_that_soundcharts_repeats_in_an_error(
    admin_client, make_track, broker, simulator
):
    simulator.faults.set("error", status=400, message=f"The key {API_KEY} may not do this.")
    track = make_track()

    pages = {"after a click": click_fetch(admin_client, track)} | visit_all(admin_client, track)

    assert [name for name, page in pages.items() if API_KEY in page] == []


@pytest.mark.django_db
def test_a_cover_is_asked_for_without_telling_where_from(staff_client, make_track):
    track = make_track(image_url="https://example.com/x.jpg")

    page = staff_client.get(reverse("admin:catalog_track_change", args=(track.pk,)))

    assertContains(page, 'referrerpolicy="no-referrer"')
    assertNotContains(page, "http://example.com")
