"""Import from API: the button, the two steps, and what a confirmed import costs."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from catalog.fetching import work_on_job
from catalog.models import ApiUsage, ImportDraft, MetadataFetchTask, Track, note_aliases
from catalog.tests.addresses import page_of
from catalog.tests.together import all_at_once
from catalog.tests.tracks import add_tracks
from soundcharts.simulator import endpoints

# An artist of 60 songs, and of a few more as a guest.
ARTIST = 6
ISRC = "USUM71900764"


def address() -> str:
    return reverse("admin:catalog_track_import_from_api")


def fill_in(client: Client, **values: object):
    form = {"source": "top", "limit": "20", "place": "1", "step": "continue"}
    return client.post(address(), form | values)


def step_two(client: Client, **values: object) -> str:
    """Fill in the first step; return the address of the second one."""
    page = fill_in(client, **values)
    assert page.status_code == 302, re.findall(r"<li>\s*(.*?)\s*</li>", page.content.decode())
    return page.headers["Location"]


def paste(client: Client, *entries: object, **values: object) -> str:
    return step_two(client, source="list", text="\n".join(map(str, entries)), **values)


def upload(client: Client, content: bytes, name: str = "songs.csv"):
    return fill_in(client, source="list", file=SimpleUploadedFile(name, content))


def confirm(client: Client, preview: str, *, follow: bool = False):
    return client.post(preview, {"do": "confirm"}, follow=follow)


def facts_of(page) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.content.decode())
    return dict(found)


# --- The button and the first step ----------------------------------------------------------------


@pytest.mark.django_db
def test_staff_see_the_button_above_the_list(staff_client):
    assertContains(staff_client.get(reverse("admin:catalog_track_changelist")), address())


@pytest.mark.django_db
def test_viewers_do_not_see_the_button_nor_the_page(viewer_client):
    assertNotContains(viewer_client.get(reverse("admin:catalog_track_changelist")), address())
    assert viewer_client.get(address()).status_code == 403


@pytest.mark.django_db
def test_the_second_step_is_for_those_who_may_import(viewer_client, staff_client):
    preview = step_two(staff_client)
    assert viewer_client.get(preview).status_code == 403
    assert viewer_client.post(preview, {"do": "ask"}).status_code == 403


@pytest.mark.django_db
def test_the_first_step_spends_nothing_and_makes_no_job(staff_client, simulator):
    assertContains(staff_client.get(address()), "nothing is spent but for a search by name, until")
    for values in ({}, {"source": "artist", "artist_uuid": str(uuid4())}, {"source": "list", "text": ISRC}):
        staff_client.get(step_two(staff_client, **values))
    assert simulator.state.calls.total() == 0
    assert MetadataFetchTask.objects.count() == 0
    assert Track.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"source": ""}, "This field is required"),
        ({"source": "everything"}, "Select a valid choice"),
        ({"limit": "0"}, "greater than or equal to 1"),
        ({"limit": "50001"}, "less than or equal to 50000"),
        ({"limit": ""}, "This field is required"),
        ({"limit": "many"}, "Enter a whole number"),
        ({"place": "0"}, "greater than or equal to 1"),
        ({"limit": "2", "place": "50000"}, "lists the first 50,000 songs"),
        ({"source": "artist", "artist_uuid": "<script>alert(1)</script>"}, "Enter a valid UUID"),
        ({"source": "artist", "artist_uuid": "x" * 10_000}, "Enter a valid UUID"),
        ({"source": "artist"}, "Give an artist&#x27;s UUID, or search for a name."),
        ({"source": "artist", "artist_name": "Billie"}, "Search for the name and choose an artist"),
        ({"source": "list"}, "Paste a list, or choose a file."),
        ({"source": "list", "text": " \n "}, "Paste a list, or choose a file."),
        ({"source": "list", "text": "hello <b>you</b>"}, "There is no UUID and no ISRC in it. Line 1 says"),
        ({"source": "list", "text": f"{ISRC}\0"}, "NUL characters"),
        ({"source": "list", "text": "a," * 10_001}, "more than 10,000 entries"),
        ({"source": "list", "text": "a" * 1_000_000}, "There is no UUID and no ISRC in it."),
        ({"source": "list", "text": "a" * 5_000_001}, "5,000,000 are the most"),
        ({"source": "artist", "artist_name": " ", "step": "search"}, "Type a name to search for."),
        ({"source": "artist", "artist_name": "x" * 201, "step": "search"}, "at most 200 characters"),
    ],
)
def test_nonsense_is_refused_in_the_form_and_what_was_typed_stays(staff_client, values, sentence):
    page = fill_in(staff_client, **values)

    assertContains(page, sentence)
    assertNotContains(page, "<script>alert")
    for name, value in values.items():
        if name in ("text", "artist_name", "limit", "place"):
            assert page.context["form"][name].value() == value
    assert ImportDraft.objects.count() == 0


@pytest.mark.django_db
def test_fields_of_another_source_do_not_count(staff_client):
    preview = step_two(staff_client, source="list", text=ISRC, limit="nonsense", artist_uuid="nonsense")
    assertContains(staff_client.get(preview), "The pasted list: 1 entry")


@pytest.mark.django_db
def test_back_shows_what_was_typed(staff_client):
    preview = paste(staff_client, ISRC, "<b>junk</b>")
    back = staff_client.get(preview).context["back"]
    form = staff_client.get(back).context["form"]
    assert form["text"].value() == f"{ISRC}\n<b>junk</b>"
    assert form["source"].value() == "list"


@pytest.mark.django_db
def test_back_keeps_a_file_until_another_list_is_given(staff_client):
    preview = upload(staff_client, f"{ISRC}\n".encode(), "songs.txt").headers["Location"]
    back = staff_client.get(preview).context["back"]
    assertContains(staff_client.get(back), "Kept from before: <strong>songs.txt</strong>")

    again = staff_client.post(back, {"source": "list", "text": ""})
    assertContains(staff_client.get(again.headers["Location"]), "songs.txt: 1 entry")
    other = staff_client.post(back, {"source": "list", "text": "GBAYE0601498\nGBAYE0601499"})
    assertContains(staff_client.get(other.headers["Location"]), "The pasted list: 2 entries")


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["0", "999999", "x", "9" * 40, "-1"])
def test_a_draft_that_is_gone_is_an_empty_form(staff_client, key):
    assertContains(staff_client.get(address(), {"draft": key}), "Import, step 1 of 2")


@pytest.mark.django_db
def test_an_old_draft_is_forgotten_and_its_preview_says_so(staff_client):
    preview = step_two(staff_client)
    ImportDraft.objects.update(created_at=Now() - timedelta(days=2))
    step_two(staff_client)
    assert ImportDraft.objects.count() == 1
    assertContains(staff_client.get(preview, follow=True), "Begin again")


# --- Files ----------------------------------------------------------------------------------------


def rows(*lines: str) -> str:
    return "\r\n".join(lines) + "\r\n"


TABLE = rows("Title;ISRC;Note", f'"A; B";{ISRC};=1+1', "C;GBAYE0601498;<b>x</b>", "D;;", "E;nonsense;")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TABLE.encode("utf-8-sig"), id="Excel's CSV UTF-8"),
        pytest.param(
            TABLE.replace(";", "\t").replace("A\t B", "A; B").encode("utf-16"), id="Excel's Unicode text"
        ),
        pytest.param(TABLE.replace("C;G", "Ça;G").encode("cp1252"), id="Excel's old CSV"),
        pytest.param(b"sep=;\r\n" + TABLE.encode(), id="with the separator named"),
        pytest.param(TABLE.replace("\r\n", "\n").encode(), id="Unix lines"),
        pytest.param(TABLE.replace("\r\n", "\r").encode(), id="old Mac lines"),
    ],
)
def test_a_table_of_any_make_is_read_with_its_header_and_the_likeliest_column(staff_client, content):
    page = staff_client.get(upload(staff_client, content).headers["Location"])

    assert page.context["songs"].column == 1
    assert facts_of(page) == {
        "New": "0",
        "Already here": "0",
        "ISRCs to ask for": "2",
        "Duplicates": "0",
        "Invalid": "2",
    }
    assertContains(page, "The first row, “ISRC”, is taken for the heading.")
    first_line = 5 if content.startswith(b"sep=") else 4
    assertContains(
        page,
        f'">{first_line}</td><td class="ln-entry">(empty)</td><td>Invalid: Nothing in the column “ISRC”.',
    )
    assertNotContains(page, "<b>x</b>")


@pytest.mark.django_db
def test_another_column_can_be_chosen(staff_client):
    uuid = uuid4()
    content = rows("isrc,song_uuid", f"{ISRC},{uuid}", f"GBAYE0601498,{uuid}", "GBAYE0601499,")
    preview = upload(staff_client, content.encode()).headers["Location"]
    assert facts_of(staff_client.get(preview))["ISRCs to ask for"] == "3"

    page = staff_client.post(preview, {"do": "column", "column": "1"}, follow=True)
    facts = facts_of(page)
    assert (facts["New"], facts["Duplicates"], facts["Invalid"]) == ("1", "1", "1")

    # A column that is none is as if nothing was chosen.
    page = staff_client.post(preview, {"do": "column", "column": "99"}, follow=True)
    assert page.context["songs"].column == 0
    assert staff_client.post(preview, {"do": "column", "column": "<script>"}).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file is empty."),
        (b"PK\x03\x04workbook", "This is an Excel workbook"),
        (b"\xef\xbb\xbf\xff\xfe\xfa", "The file is not text in UTF-8, UTF-16 or Windows-1252"),
        (b"\xff\xfea\x00b", "The file is not text in UTF-8, UTF-16 or Windows-1252"),
        (b"US\x81UM\x8d", "it breaks at byte 3."),
        ("USUM71900764\n".encode("utf-16-le"), "NUL characters"),
        (
            b"title;isrc\n" + b"x;USUM71900764\n" * 300 + b'"' + b"y" * 200_000,
            "cannot be read as a row of a table",
        ),
        (
            b"isrc\n" + b"".join(b"USUM7%07d\n" % number for number in range(10_001)),
            "more than 10,000 entries",
        ),
        (b"x" * 5_000_001, "The file has 5.0 MB; 5 MB are the most."),
    ],
    ids=[
        "empty",
        "workbook",
        "broken UTF-8",
        "broken UTF-16",
        "no encoding",
        "NULs",
        "giant cell",
        "rows",
        "size",
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_the_rest_of_the_form_stays(staff_client, content, sentence):
    page = fill_in(staff_client, source="list", limit="77", file=SimpleUploadedFile("songs.csv", content))

    assertContains(page, sentence)
    assert page.context["form"]["limit"].value() == "77"
    assert ImportDraft.objects.count() == 0


@pytest.mark.django_db
def test_a_list_and_a_file_at_once_are_not_guessed_about(staff_client):
    page = fill_in(staff_client, source="list", text=ISRC, file=SimpleUploadedFile("a.txt", ISRC.encode()))
    assertContains(page, "Paste a list or choose a file, not both")
    assert page.context["form"]["text"].value() == ISRC


# --- The second step, of a list -------------------------------------------------------------------


@pytest.mark.django_db
def test_what_would_come_of_a_list_is_counted_with_its_price(staff_client, simulator, settings):
    settings.SOUNDCHARTS_CALLS_PER_MINUTE = 60
    add_tracks(simulator, 12, fetched_at=timezone.now())
    add_tracks(simulator, 3, first=12)
    add_tracks(simulator, 1, first=15, isrc=ISRC, fetched_at=timezone.now())
    uuids = [simulator.song_uuid(number) for number in range(36)]

    page = staff_client.get(paste(staff_client, *uuids, ISRC, "GBAYE0601498", "junk", uuids[0]))

    assert facts_of(page) == {
        "New": "20",
        "Already here": "17",
        "ISRCs to ask for": "1",
        "Duplicates": "1",
        "Invalid": "1",
    }
    # 2 calls for 20 uuids, 1 for the ISRC, 1 for the three that are here and stale.
    assertContains(page, "About 4 API calls")
    assertContains(page, "This takes less than a minute at")
    assertContains(page, "Import (4 API calls)")
    assertContains(
        page,
        '">39</td><td class="ln-entry">junk</td><td>Invalid: Neither a UUID nor an ISRC.</td>',
    )
    assertContains(page, "Duplicate: the same as in line 1.")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db
def test_an_isrc_that_led_to_a_track_once_is_here_and_free(staff_client, simulator, settings):
    (track,) = add_tracks(simulator, 1, isrc="GBAYE0601498", fetched_at=timezone.now())
    note_aliases({ISRC: track.pk, "GBAYE0601498": track.pk})
    page = staff_client.get(paste(staff_client, ISRC))
    assert facts_of(page)["Already here"] == "1"
    assertContains(page, "Spends no API call")


@pytest.mark.django_db
def test_the_price_says_what_is_left_of_the_quota(staff_client, simulator, broker):
    preview = step_two(staff_client)
    staff_client.post(preview, {"do": "ask"})
    left = simulator.state.quota_remaining
    assertContains(staff_client.get(preview), f"About 2 API calls, {left - 2:,} left after")


@pytest.mark.django_db
def test_markup_in_a_list_is_shown_as_it_was_typed(staff_client):
    page = staff_client.get(paste(staff_client, ISRC, "<script>alert(1)</script>", "=HYPERLINK(1)"))
    assertNotContains(page, "<script>alert(1)")
    assertContains(page, "&lt;script&gt;alert(1)&lt;/script&gt;")


@pytest.mark.django_db
@pytest.mark.parametrize("count", [3, 3000])
def test_the_preview_takes_the_same_queries_for_any_list(
    staff_client, simulator, count, django_assert_max_num_queries
):
    add_tracks(simulator, 5)
    numbers = range(count)
    preview = paste(staff_client, *(simulator.song_uuid(number) for number in numbers), "junk")
    with django_assert_max_num_queries(9):
        staff_client.get(preview)


@pytest.mark.django_db(transaction=True)
def test_a_confirmed_list_costs_what_was_said_and_adds_what_was_said(staff_client, broker, simulator):
    uuids = [simulator.song_uuid(number) for number in range(25)]
    isrcs = [isrc for number in range(100, 110) if (isrc := simulator.catalogue.isrc(number))][:5]
    preview = paste(staff_client, *uuids, *isrcs, "junk")
    calls = staff_client.get(preview).context["cost"].calls

    page = confirm(staff_client, preview, follow=True)

    job = MetadataFetchTask.objects.get()
    assertRedirects(page, page_of(job))
    assertContains(page, f"to go: about {calls} API calls")
    assert simulator.state.calls.total() == 0
    work_on_job(job.pk)
    assert simulator.state.calls.total() == calls == 8
    assert Track.objects.fresh().count() == 30


# --- The second step, of a list of Soundcharts ----------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_most_that_an_import_can_cost_is_said_without_a_call(staff_client, broker, simulator):
    preview = step_two(staff_client, limit="200")
    page = staff_client.get(preview)
    assertContains(page, "At most: about 22 API calls")

    confirm(staff_client, preview)
    for _ in range(2):  # The import, and the job of the metadata that it made.
        work_on_job(MetadataFetchTask.objects.latest("pk").pk)

    # 1 for each 100 listed and 1 for each 10 fetched.
    assert simulator.state.calls == {"top_songs": 2, "songs": 20}


@pytest.mark.django_db(transaction=True)
def test_the_first_page_is_shown_for_one_call_and_not_bought_again(staff_client, broker, simulator):
    known = [simulator.catalogue.index_at_rank(rank) for rank in range(7)]
    for number in known:
        add_tracks(simulator, 1, first=number, fetched_at=timezone.now())
    preview = step_two(staff_client, limit="150")
    assertContains(staff_client.get(preview), "Show the first page (1 API call)")

    page = staff_client.post(preview, {"do": "ask"}, follow=True)

    assert simulator.state.calls == {"top_songs": 1}
    assert facts_of(page) == {
        "In the list": "150",
        "New": "93",
        "Already here": "7",
        "Unknown until asked": "50",
        "Invalid": "0",
    }
    assertContains(page, "already here", count=7)
    # 1 for the second page, 15 for 143 songs.
    assertContains(page, "Import (at most 16 API calls)")
    confirm(staff_client, preview)
    job = MetadataFetchTask.objects.get()
    work_on_job(job.pk)
    job.refresh_from_db()
    assert simulator.state.calls == {"top_songs": 2}
    # With the call that the first page has cost.
    assert (job.status, job.updated_tracks, job.unchanged_tracks, job.api_calls) == ("completed", 143, 7, 2)


@pytest.mark.django_db
def test_two_clicks_buy_the_first_page_once(staff_client, broker, simulator):
    preview = step_two(staff_client)
    for _ in range(2):
        staff_client.post(preview, {"do": "ask"})
    assert simulator.state.calls == {"top_songs": 1}


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_buy_the_first_page_once(staff_client, broker, simulator):
    preview = step_two(staff_client)
    simulator.state.latency = 0.3
    all_at_once(lambda: staff_client.post(preview, {"do": "ask"}), times=3)
    assert simulator.state.calls == {"top_songs": 1}


@pytest.mark.django_db(transaction=True)
def test_a_first_page_from_long_ago_is_asked_for_again(staff_client, broker, simulator):
    preview = step_two(staff_client, limit="50")
    staff_client.post(preview, {"do": "ask"})
    ImportDraft.objects.update(page_at=Now() - timedelta(minutes=31))
    assertContains(staff_client.get(preview), "asked for more than 30 minutes ago")
    confirm(staff_client, preview)
    job = MetadataFetchTask.objects.get()
    work_on_job(job.pk)
    job.refresh_from_db()
    assert simulator.state.calls == {"top_songs": 2}
    # Also with that of the first page, which came to nothing.
    assert job.api_calls == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"status": 403}, "does not include top songs. Give an artist"),
        ({"status": 500}, "problem of its own"),
    ],
)
def test_a_first_page_that_does_not_come_says_why_and_may_be_asked_for_again(
    staff_client, broker, simulator, fault, sentence
):
    preview = step_two(staff_client)
    with simulator.faults.during("error", **fault):
        assertContains(staff_client.post(preview, {"do": "ask"}, follow=True), sentence)
    assertContains(staff_client.post(preview, {"do": "ask"}, follow=True), "The first page")


@pytest.mark.django_db
def test_a_list_that_is_shorter_than_asked_for_says_so(staff_client, broker, simulator):
    songs = len(simulator.catalogue.songs_of_artist(1))
    preview = step_two(staff_client, source="artist", artist_uuid=str(simulator.artist_uuid(1)), limit="1000")
    page = staff_client.post(preview, {"do": "ask"}, follow=True)
    assert facts_of(page)["In the list"] == str(songs)
    assert not page.context["cost"].is_most


@pytest.mark.django_db(transaction=True)
def test_a_first_page_with_more_songs_than_were_asked_for_is_cut(
    staff_client, broker, simulator, monkeypatch
):
    monkeypatch.setattr(endpoints, "_window", lambda request, **options: (0, 100))
    preview = step_two(staff_client, limit="5")
    page = staff_client.post(preview, {"do": "ask"}, follow=True)
    assert facts_of(page)["In the list"] == facts_of(page)["New"] == "5"
    assert (len(page.context["page_songs"]), page.context["cost"].calls) == (5, 1)
    confirm(staff_client, preview)
    job = MetadataFetchTask.objects.get()
    work_on_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.total_tracks, job.progress_percent, job.api_calls) == ("completed", 5, 100, 1)
    assert Track.objects.count() == 5


@pytest.mark.django_db
def test_an_empty_page_offers_no_import(staff_client, broker, simulator):
    preview = step_two(
        staff_client, source="artist", artist_uuid=str(simulator.artist_uuid(1)), limit="10", place="501"
    )
    page = staff_client.post(preview, {"do": "ask"}, follow=True)
    assert not page.context["can_confirm"]
    assertNotContains(page, 'value="confirm"')


# --- The search for an artist ---------------------------------------------------------------------


def search(client: Client, name: str, **values: str):
    form = {"source": "artist", "artist_name": name, "limit": "30", "place": "1", "step": "search"}
    return client.post(address(), form | values, follow=True)


@pytest.mark.django_db(transaction=True)
def test_an_artist_is_searched_for_chosen_and_imported(staff_client, broker, simulator, settings):
    settings.IMAGE_ORIGINS = [simulator.url]
    name, uuid = simulator.catalogue.artist_name(ARTIST), simulator.artist_uuid(ARTIST)

    page = search(staff_client, name.upper())

    assertContains(page, f'name="artist" value="{uuid}"')
    assertContains(page, simulator.catalogue.artist(ARTIST)["imageUrl"])
    assertContains(page, f'<small class="ln-below">{uuid}</small>')
    # How many stands above what a press on an artist goes on with.
    said = page.content.decode()
    assert said.index('name="limit"') < said.index('name="place"') < said.index('name="artist" value=')
    assert simulator.state.calls == {"artist_search": 1}
    assert sum(ApiUsage.objects.values_list("calls", flat=True)) == simulator.state.quota_used == 1
    back = page.redirect_chain[-1][0]
    chosen = staff_client.post(back, {"artist": str(uuid), "source": "top", "limit": "30", "place": "1"})
    preview = chosen.headers["Location"]
    assertContains(staff_client.get(preview), f"30 songs of <bdi>{name}</bdi> from place 1")
    confirm(staff_client, preview)
    job = MetadataFetchTask.objects.get()
    assert job.title == f"Import of {name}, 30 from place 1"
    work_on_job(job.pk)
    songs = {simulator.song_uuid(index) for index in simulator.catalogue.songs_of_artist(ARTIST)}
    assert set(Track.objects.values_list("uuid", flat=True)) < songs
    assert Track.objects.count() == 30


@pytest.mark.django_db
def test_the_same_search_again_is_free(staff_client, broker, simulator):
    for _ in range(2):
        assertContains(search(staff_client, "a"), "Choose one to continue")
    assert simulator.state.calls == {"artist_search": 1}
    assertContains(search(staff_client, "zzzz"), "No artists match “<bdi>zzzz</bdi>”")


@pytest.mark.django_db
def test_a_search_that_fails_says_why_and_keeps_the_name(staff_client, broker, simulator):
    with simulator.faults.during("error", status=500):
        page = search(staff_client, "Billie")
    assertContains(page, "problem of its own")
    assert page.context["form"]["artist_name"].value() == "Billie"


@pytest.mark.django_db
def test_a_name_that_was_only_typed_is_not_taken_for_the_artists(staff_client, simulator):
    preview = step_two(staff_client, source="artist", artist_name="Somebody else", artist_uuid=str(uuid4()))
    assertNotContains(staff_client.get(preview), "Somebody else")


@pytest.mark.django_db
def test_names_and_pictures_of_artists_are_untrusted(staff_client, broker, simulator, monkeypatch):
    uuid = str(uuid4())
    hostile = {"uuid": uuid, "name": "<script>alert(1)</script>", "imageUrl": "javascript:alert(1)"}
    monkeypatch.setattr(simulator.catalogue, "artist", lambda artist: hostile)
    page = search(staff_client, "a")
    assertNotContains(page, "<script>alert(1)")
    assertNotContains(page, "javascript:alert")
    assertContains(page, uuid)


# --- The confirmation -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_top_songs_are_added_and_then_their_metadata_fetched(staff_client, broker, simulator):
    preview = step_two(staff_client, limit="20", place="6")
    assertContains(staff_client.get(preview), "20 of the top songs from place 6")
    # Counted from 0 inside, and from 1 again for whoever goes back.
    draft = ImportDraft.objects.get()
    assert draft.offset == 5
    assert staff_client.get(address(), {"draft": draft.pk}).context["form"]["place"].value() == 6
    confirm(staff_client, preview)
    work_on_job(MetadataFetchTask.objects.get().pk)
    assert Track.objects.never_fetched().count() == 20

    work_on_job(MetadataFetchTask.objects.latest("pk").pk)

    assert Track.objects.fresh().count() == 20
    assert {job.status for job in MetadataFetchTask.objects.all()} == {"completed"}


@pytest.mark.django_db
def test_a_confirmation_spends_nothing_and_leads_to_the_jobs_page(staff_client, broker, simulator):
    page = confirm(staff_client, step_two(staff_client), follow=True)

    job = MetadataFetchTask.objects.get()
    assertRedirects(page, page_of(job))
    assertContains(page, f"Task #{job.pk} is queued.")
    assert simulator.state.calls.total() == 0


@pytest.mark.django_db(transaction=True)
def test_confirming_twice_makes_one_job_even_after_it_has_ended(staff_client, broker, simulator):
    preview = paste(staff_client, simulator.song_uuid(0))
    confirm(staff_client, preview)
    job = MetadataFetchTask.objects.get()
    work_on_job(job.pk)

    page = confirm(staff_client, preview, follow=True)

    assert MetadataFetchTask.objects.get() == job
    assertRedirects(page, page_of(job))
    assertContains(page, f"Task #{job.pk} was made of this already, and is completed.")


@pytest.mark.django_db(transaction=True)
def test_confirming_at_the_same_moment_makes_one_job(staff_client, broker, simulator):
    preview = paste(staff_client, simulator.song_uuid(0), simulator.song_uuid(1))
    answers = all_at_once(lambda: confirm(staff_client, preview), times=4)
    job = MetadataFetchTask.objects.get()
    assert {answer.headers["Location"] for answer in answers} == {page_of(job)}


@pytest.mark.django_db
def test_the_same_import_from_another_draft_joins_and_says_so(staff_client, broker):
    confirm(staff_client, step_two(staff_client))

    page = confirm(staff_client, step_two(staff_client), follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Already running as task #{job.pk}.")


@pytest.mark.django_db
def test_a_second_click_on_a_paused_import_says_to_resume_it(staff_client, broker):
    preview = step_two(staff_client)
    confirm(staff_client, preview)
    MetadataFetchTask.objects.update(status="paused")

    page = confirm(staff_client, preview, follow=True)

    job = MetadataFetchTask.objects.get()
    assertContains(page, f"Already requested as task #{job.pk}, which is paused: resume it.")


@pytest.mark.django_db
def test_a_confirmation_is_logged_with_the_job(staff_client, staff, broker):
    confirm(staff_client, step_two(staff_client))

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (staff, str(MetadataFetchTask.objects.get().pk))
    assert "Import from API: task made" in entry.get_change_message()


@pytest.mark.django_db(transaction=True)
def test_without_the_broker_the_import_is_saved_and_says_what_it_waits_for(staff_client, no_broker):
    page = confirm(staff_client, step_two(staff_client), follow=True)

    job = MetadataFetchTask.objects.get()
    assert (job.status, job.error_code) == ("pending", "broker_unreachable")
    assertContains(page, f"Task #{job.pk} is saved, but the queue is unavailable.")
    assertContains(page, "The queue is unavailable. Nothing is lost")


@pytest.mark.django_db(transaction=True)
def test_an_artist_whom_soundcharts_does_not_know_fails_the_job_with_a_sentence(
    staff_client, broker, simulator
):
    stranger = simulator.artist_uuid(10_000)
    confirm(staff_client, step_two(staff_client, source="artist", artist_uuid=str(stranger)))
    job = MetadataFetchTask.objects.get()

    work_on_job(job.pk)

    assertContains(staff_client.get(page_of(job)), f"Soundcharts knows no artist {stranger}. Check the UUID.")


@pytest.mark.django_db(transaction=True)
def test_a_plan_without_top_songs_is_told_to_give_an_artist(staff_client, broker, simulator):
    simulator.faults.set("error", status=403)
    confirm(staff_client, step_two(staff_client))
    job = MetadataFetchTask.objects.get()

    work_on_job(job.pk)

    assertContains(staff_client.get(page_of(job)), "does not include top songs. Give an artist")


@pytest.mark.django_db
def test_the_jobs_page_tells_what_an_import_still_costs_in_lists(staff_client, broker, simulator):
    page = confirm(staff_client, step_two(staff_client, limit="300"), follow=True)

    assertContains(page, "0 API calls spent, to go: about 3 API calls")


@pytest.mark.django_db
def test_a_link_to_the_second_step_changes_nothing(staff_client, broker, simulator):
    preview = step_two(staff_client)
    staff_client.get(preview, {"do": "confirm"})
    staff_client.get(preview, {"do": "ask"})
    assert simulator.state.calls.total() == 0
    assert MetadataFetchTask.objects.count() == 0
