"""What each role does first: begin with nothing, find an artist, bring a file, add, correct, look around."""

import re
from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import expect

from catalog import jobs
from catalog.models import MetadataFetchTask, Track
from catalog.tests.browser.pages import TASKS, TRACKS
from catalog.tests.browser.steps import A_TASK, has_stayed, state_of_task, stay
from catalog.tests.gate import gate

LOGIN = re.compile(r"/admin/login/\?next=")


def test_an_editor_comes_from_an_empty_catalogue_to_the_songs_of_an_artist(
    open_browser, site, empty_catalogue
):
    artist = site.simulator.catalogue.artist_name(site.simulator.catalogue.artist_of(0))
    editor = open_browser("editor")
    editor.visit("/admin/")
    editor.says("The catalogue is empty.")
    editor.press("Import from API")
    editor.page.get_by_role("radio", name="The songs of an artist").check()
    editor.page.get_by_label("Artist's name").fill(artist)
    editor.follow(editor.control(re.compile("Search for the name")))
    assert site.simulator.state.calls.total() == 1
    editor.follow(editor.page.locator(".ln-artists").get_by_role("button", name=artist).first)
    editor.follow(editor.control("Show the first page (1 API call)"))
    expect(editor.page.get_by_role("region", name="The first page")).to_be_visible()
    new = int(editor.page.locator(".ln-facts > div").filter(has_text="New").locator("dd").inner_text())
    editor.press(re.compile(r"^Import"))
    expect(editor.page).to_have_url(A_TASK)
    state_of_task(editor, "Completed")
    editor.says(f"{new} added")
    # An editor may import, and neither pause nor cancel.
    expect(editor.control("Cancel task …")).to_have_count(0)
    editor.follow(editor.page.get_by_role("link", name=re.compile("Metadata of the tracks")))
    state_of_task(editor, "Completed")
    editor.visit("/admin/")
    expect(
        editor.page.locator(".ln-parts").get_by_role("link", name=re.compile(f"Fresh: {new}"))
    ).to_be_visible()


def test_a_file_from_a_spreadsheet_is_imported(open_browser, site, empty_catalogue, tmp_path):
    file = tmp_path / "songs.csv"
    songs = [site.simulator.catalogue.isrc(number) for number in range(3)]
    file.write_text("Title;ISRC\n" + "".join(f"Song {isrc[-2:]};{isrc}\n" for isrc in songs), "utf-8-sig")
    editor = open_browser("editor")
    editor.visit(f"{TRACKS}import/")
    editor.page.locator("input[type=file]").set_input_files(file)
    editor.press("Continue: see what would come (free)")
    editor.says("songs.csv: 3 entries")
    expect(editor.page.get_by_label("Column with the identifiers")).to_contain_text("ISRC")
    editor.press("Import (3 API calls)")
    state_of_task(editor, "Completed")
    editor.says("3 added")
    assert {*Track.objects.values_list("isrc", flat=True)} == {*songs}


def test_a_track_is_added_by_its_uuid_fetched_corrected_and_given_back(visitor, site, empty_catalogue):
    name = site.simulator.catalogue.name(0)
    visitor.visit(f"{TRACKS}add/")
    visitor.page.get_by_label("Soundcharts UUID").fill(str(site.simulator.song_uuid(0)))
    visitor.press("Save and continue editing")
    visitor.says("Never answered.")
    visitor.press("Fetch now")
    visitor.says("Fetched: 8 fields changed.")
    visitor.page.locator("input[name=name]").fill("A better name")
    visitor.follow(visitor.control("Save and continue editing"))
    visitor.press("Fetch now")
    visitor.says("Soundcharts says nothing new")
    assert Track.objects.get().name == "A better name"
    visitor.press(re.compile("^Let the next fetch overwrite it"))
    visitor.says("the next fetch overwrites it")
    visitor.press("Fetch now")
    visitor.says("1 field changed")
    expect(visitor.page.locator("input[name=name]")).to_have_value(name)
    visitor.page.get_by_role("link", name=re.compile("history")).last.click()
    visitor.says("A better name")


def test_a_viewer_goes_from_the_bar_of_the_dashboard_to_the_tracks_that_it_counts(open_browser, add_tracks):
    add_tracks(2, metadata_fetched_at=timezone.now() - timedelta(days=90))
    add_tracks(1, first=2, metadata_fetched_at=timezone.now())
    viewer = open_browser("viewer")
    viewer.visit("/admin/")
    viewer.page.locator(".ln-parts").get_by_role("link", name=re.compile("Aged: 2")).click()
    expect(viewer.page.locator("#result_list .data-row")).to_have_count(2)
    for name in ("Import from API", "Fetch All Metadata", "Add track"):
        expect(viewer.control(name)).to_have_count(0)


def test_a_form_that_outlived_its_session_is_sent_after_the_log_in(open_browser, add_tracks):
    (track,) = add_tracks(1, name="Song")
    visitor = open_browser("operator", is_new=True)
    visitor.visit(f"{TRACKS}{track.pk}/change/")
    visitor.context.clear_cookies(name="sessionid")
    visitor.page.locator("input[name=name]").fill("Typed for nothing")
    visitor.press("Save and continue editing")
    visitor.says("Your session had ended, so nothing was done.")
    assert Track.objects.get().name == "Song"
    expect(visitor.page).to_have_url(LOGIN)
    visitor.log_in("operator")
    expect(visitor.page).to_have_url(re.compile(rf"/track/{track.pk}/change/"))
    visitor.page.get_by_role("button", name="Send it now as operator").click()
    expect(visitor.page.locator("#id_name")).to_have_value("Typed for nothing")
    assert Track.objects.get().name == "Typed for nothing"


def test_what_one_tab_does_is_seen_in_the_other_and_a_late_press_changes_nothing(visitor, site, add_tracks):
    with gate(site.simulator) as calls:
        job = jobs.request_metadata([track.pk for track in add_tracks(60)]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        stay(visitor)
        calls.wait_for_calls()
        jobs.pause_job(job)
        state_of_task(visitor, "Paused by hand")
        assert has_stayed(visitor)
        visitor.press("Resume …")
        visitor.says(f"Resume task #{job.pk}?")
        jobs.cancel_job(MetadataFetchTask.objects.get(pk=job.pk))
        visitor.page.locator("#job-question").get_by_role("button", name="Resume", exact=True).click()
        visitor.says("Nothing was changed.")
        state_of_task(visitor, "Cancelled")


def test_a_page_asks_rarely_while_nobody_looks_and_no_more_when_its_task_has_ended(visitor, site, add_tracks):
    page = visitor.page
    page.clock.install()
    count = """asked = answered = 0;
        document.addEventListener('htmx:beforeRequest', () => { asked += 1; });
        document.addEventListener('htmx:afterRequest', () => { answered += 1; });"""
    hide = """Object.defineProperty(document, 'hidden', { get: () => %s, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));"""

    def asked_in(seconds: int, after: str = "0") -> int:
        """Return how often the page asks while its clock goes on by so much, once all that is answered."""
        before = page.evaluate("asked")
        page.evaluate(after)
        page.clock.run_for(seconds * 1000)
        page.wait_for_function("answered === asked")
        page.clock.run_for(100)
        return int(page.evaluate("asked") - before)

    with gate(site.simulator) as calls:
        job = jobs.request_metadata([track.pk for track in add_tracks(20)]).job
        visitor.visit(f"{TASKS}{job.pk}/change/")
        page.evaluate(count)
        # From here on its clock stands still, but where this test lets it go on.
        page.clock.pause_at(page.evaluate("Date.now()") + 60_000)
        asked_in(0)
        assert asked_in(3) == 1
        assert asked_in(29, after=hide % "true") == 0
        assert asked_in(2) == 1
        assert asked_in(0, after=hide % "false") == 1
        page.clock.resume()
        calls.open()
        state_of_task(visitor, "Completed")
    assert asked_in(60) == 0
