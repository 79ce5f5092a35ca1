"""Before anything is spent: what a dialog is about, and a button only where there is something to do."""

from datetime import UTC, datetime, timedelta

from django.utils import timezone
from playwright.sync_api import expect

from catalog.models import MetadataFetchTask
from catalog.tests.audiences import add_audience, days_from
from catalog.tests.browser.pages import SCHEDULE, TRACKS
from catalog.tests.browser.steps import A_TASK, choose


def test_a_dialog_without_ticks_is_about_what_the_lists_filter_matches(visitor, site, add_tracks):
    tracks = add_tracks(2, genre="pop")
    others = add_tracks(3, first=2, genre="rock")
    visitor.visit(f"{TRACKS}?genre=pop")
    dialog = visitor.page.get_by_role("dialog")
    visitor.press("Fetch audience")
    expect(dialog).to_contain_text("the whole filtered list: Tracks of genre pop")
    expect(dialog).to_contain_text("2 tracks")
    dialog.get_by_label("YouTube", exact=True).check()
    expect(dialog).to_contain_text("about 4 API calls")
    dialog.get_by_text("Cancel").click()
    visitor.press("Fetch All Metadata")
    expect(dialog).to_contain_text("the whole filtered list: Tracks of genre pop")
    dialog.get_by_role("button", name="Fetch").click()
    expect(visitor.page).to_have_url(A_TASK)
    site.finish(MetadataFetchTask.objects.get())
    assert [site.simulator.state.asked(track.uuid) for track in tracks + others] == [1, 1, 0, 0, 0]


def test_a_dialog_with_nothing_to_do_has_no_button_to_press(visitor, add_tracks, schedule_as_it_was):
    (track,) = add_tracks(1, metadata_fetched_at=timezone.now())
    add_audience(track, days_from(datetime.now(UTC).date() - timedelta(days=3), [1, 2, 3, 4]))
    visitor.visit(TRACKS)
    visitor.press("Fetch All Metadata")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Fetch")).to_be_disabled()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_text("Cancel").click()
    # The button follows the choice.
    visitor.press("Fetch audience")
    button = dialog.get_by_role("button", name="Fetch")
    reach = dialog.get_by_label("How far back")
    reach.select_option(label="Only missing days")
    expect(button).to_be_disabled()
    reach.select_option(label="A year")
    expect(dialog).to_contain_text("about 5 API calls")
    expect(button).to_be_enabled()
    visitor.visit(SCHEDULE)
    visitor.press("Run now")
    expect(dialog).to_have_accessible_name("Run now: refresh of stale metadata")
    expect(dialog.get_by_role("button", name="Run now")).to_be_disabled()


def test_the_confirmation_of_an_audience_offers_other_platforms_for_the_same_tracks(
    visitor, site, add_tracks
):
    tracks = add_tracks(3)
    visitor.visit(TRACKS)
    choose(visitor, "Fetch audience from Soundcharts", *tracks[:2])
    visitor.press("Other platforms or days …")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 tracks you ticked")
    dialog.get_by_label("YouTube", exact=True).check()
    expect(dialog).to_contain_text("about 4 API calls")
    dialog.get_by_role("button", name="Fetch").click()
    expect(visitor.page).to_have_url(A_TASK)
    job = site.finish(MetadataFetchTask.objects.get())
    assert (job.total_tracks, job.request["platforms"]) == (2, ["spotify", "youtube"])
