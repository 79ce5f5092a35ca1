"""A save that is refused: what is wrong stands first, and the keyboard is where it can be put right."""

from playwright.sync_api import expect

from catalog.models import Track
from catalog.tests.addresses import page_of
from catalog.tests.browser.pages import TRACKS
from catalog.tests.browser.steps import A_TASK, choose
from catalog.tests.browser.visitor import Visitor


def test_errors_of_a_track_are_listed_first_and_the_keyboard_is_at_the_first_of_them(visitor, add_tracks):
    (track,) = add_tracks(1, name="Blue")
    visitor.visit(page_of(track))
    page = visitor.page
    page.get_by_label("ISRC", exact=True).first.fill("nonsense")
    page.get_by_label("Image", exact=True).first.fill("ftp://example.com/x.jpg")
    visitor.follow(page.get_by_role("button", name="Save", exact=True))
    problems = page.get_by_role("alert").filter(has_text="Not saved")
    expect(problems.get_by_role("link")).to_have_count(2)
    expect(page.locator("#id_isrc")).to_be_focused()
    expect(page.locator("#id_isrc")).to_be_in_viewport()
    problems.get_by_role("link", name="Image").click()
    expect(page.locator("#id_image_url")).to_be_focused()
    assert not visitor.find_barriers()


def test_two_people_with_one_track_choose_which_value_stays(visitor, open_browser, add_tracks):
    (track,) = add_tracks(1, name="Blue", label="Label")
    visitor.visit(page_of(track))
    other = open_browser("editor")
    other.visit(page_of(track))
    other.page.locator("#id_name").fill("Theirs")
    other.follow(other.page.get_by_role("button", name="Save", exact=True))
    visitor.page.locator("#id_name").fill("Mine")
    visitor.page.locator("#id_label").fill("My label")
    visitor.follow(visitor.page.get_by_role("button", name="Save", exact=True))
    visitor.says("Someone else changed this to “Theirs”.")
    mine = visitor.page.get_by_role("radio", name="Keep mine: Mine")
    expect(mine).to_be_focused()
    visitor.page.get_by_role("radio", name="Take theirs: Theirs (by editor)").check()
    assert not visitor.find_barriers()
    visitor.follow(visitor.page.get_by_role("button", name="Save with these choices"))
    track.refresh_from_db()
    assert (track.name, track.label) == ("Theirs", "My label")


def test_ticked_tracks_are_deleted_by_way_of_one_page(open_browser, add_tracks):
    visitor = open_browser("admin")
    tracks = add_tracks(4)
    visitor.visit(TRACKS)
    choose(visitor, "Delete selected tracks", *tracks[:3])
    visitor.says("Delete 3 tracks?")
    assert not visitor.find_barriers()
    visitor.follow(visitor.page.get_by_role("button", name="Delete 3 tracks"))
    visitor.says("Deleted 3 tracks.")
    assert list(Track.objects.all()) == tracks[3:]


def test_a_dialog_that_meets_a_busy_database_stays_open_and_says_so(visitor, add_tracks):
    add_tracks(1)
    visitor.visit(TRACKS)
    visitor.press("Fetch All Metadata")
    dialog = visitor.page.get_by_role("dialog")
    visitor.page.route("**/fetch_all_metadata/*", lambda route: route.fulfill(status=503), times=1)
    with visitor.expecting(503):
        dialog.get_by_role("button", name="Fetch").click()
        expect(dialog.get_by_role("alert")).to_contain_text("The database is busy")
    # What htmx itself writes to the console.
    visitor.problems = [problem for problem in visitor.problems if "Error Code 503" not in problem]
    dialog.get_by_role("button", name="Fetch").click()
    expect(visitor.page).to_have_url(A_TASK)


def test_what_is_typed_outlives_a_session_that_ends_and_a_log_in_in_another_tab(open_browser, add_tracks):
    (track,) = add_tracks(1, name="Blue")
    visitor = open_browser("operator", is_new=True)
    visitor.visit(page_of(track))
    visitor.page.locator("#id_name").fill("Typed before")
    visitor.context.clear_cookies(name="sessionid")
    with visitor.expecting(401):
        visitor.press("Fetch Metadata from API")
        dialog = visitor.page.get_by_role("dialog")
        expect(dialog.get_by_role("alert")).to_contain_text("Your session has ended")
    assert not visitor.find_barriers()
    visitor.problems = [problem for problem in visitor.problems if "Error Code 401" not in problem]
    visitor.page.keyboard.press("Escape")
    tab = Visitor(visitor.context, visitor.site)
    tab.visit("/admin/login/")
    tab.log_in("operator")
    tab.says("The catalogue")
    tab.page.close()
    visitor.press("Fetch Metadata from API")
    dialog.get_by_role("button", name="Fetch now").click()
    visitor.says("Not saved yet, and kept in the form as you typed it: Name")
    visitor.follow(visitor.page.get_by_role("button", name="Save", exact=True))
    track.refresh_from_db()
    assert track.name == "Typed before"
