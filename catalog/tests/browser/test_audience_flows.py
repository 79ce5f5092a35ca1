"""Audience, from the log-in to the chart: one track, a filtered list, a lacking platform, the schedule."""

import csv
import re
from pathlib import Path

from django_celery_beat.models import PeriodicTask
from playwright.sync_api import expect

from catalog.models import AudienceDay, MetadataFetchTask, Track, TrackAudience
from catalog.tests.browser.pages import SCHEDULE, TRACKS
from catalog.tests.browser.steps import A_TASK, choose, has_stayed, state_of_task, stay
from catalog.tests.browser.visitor import Visitor

HAVE_CHARTS = "[...document.querySelectorAll('#audience canvas')].every(canvas => Chart.getChart(canvas))"
IS_DRAWN = """canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.some(part => part > 0);
}"""


def charts_of(visitor: Visitor) -> list[bool]:
    """Return of each chart on the page whether anything is drawn on it."""
    # What htmx brings is drawn once it has settled.
    visitor.page.wait_for_function(HAVE_CHARTS)
    return [canvas.evaluate(IS_DRAWN) for canvas in visitor.page.locator("#audience canvas").all()]


def test_one_track_is_asked_for_in_place_and_its_charts_appear(visitor, site, add_tracks):
    (track,) = add_tracks(1, name="Blue")
    visitor.visit(f"{TRACKS}{track.pk}/change/")
    visitor.says("Nothing has been fetched yet.")
    stay(visitor)
    visitor.page.locator("input[name=label]").fill("Typed and not saved")
    visitor.press("Fetch audience")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("about 1 API call")
    expect(dialog.get_by_label("Spotify", exact=True)).to_be_focused()
    dialog.get_by_label("YouTube", exact=True).check()
    expect(dialog).to_contain_text("about 2 API calls")
    assert site.simulator.state.calls.total() == 0
    visitor.press_twice(dialog.get_by_role("button", name="Fetch now"))
    expect(visitor.page.locator("#audience .ln-answer")).to_contain_text("2 API calls spent")
    expect(dialog).to_be_hidden()
    expect(visitor.page.locator("#track-audience")).to_contain_text("Soundcharts answered on")
    expect(visitor.page.locator("#track-history")).to_contain_text("Fetch audience: updated")
    assert charts_of(visitor) == [True, True]
    # And again for another range, which htmx brings.
    visitor.page.get_by_role("link", name="90 days").click()
    visitor.says("of 90 days are known")
    assert charts_of(visitor) == [True, True]
    visitor.page.get_by_text("The same as a table").first.click()
    latest = TrackAudience.objects.get(track=track, platform="spotify").latest_value
    expect(visitor.page.get_by_role("cell", name=f"{latest:,}", exact=True)).to_be_visible()
    expect(visitor.page.locator("input[name=label]")).to_have_value("Typed and not saved")
    assert has_stayed(visitor)
    assert site.simulator.state.calls.total() == 2
    assert MetadataFetchTask.objects.count() == 1


def test_a_chart_can_be_read_in_both_themes(visitor, site, add_tracks):
    (track,) = add_tracks(1)
    visitor.visit(f"{TRACKS}{track.pk}/change/")
    visitor.press("Fetch audience")
    visitor.page.get_by_role("dialog").get_by_role("button", name="Fetch now").click()
    visitor.says("1 API call spent")
    colour = "canvas => Chart.getChart(canvas).options.scales.x.ticks.color"
    canvas = visitor.page.locator("#audience canvas")
    light = canvas.evaluate(colour)
    visitor.turn_dark()
    visitor.page.wait_for_function(
        f"light => ({colour})(document.querySelector('#audience canvas')) !== light", arg=light
    )
    assert charts_of(visitor) == [True]


def test_a_whole_filtered_list_is_fetched_sorted_and_taken_away(visitor, site, add_tracks):
    add_tracks(52, label="Kept")
    add_tracks(2, first=52, label="Other")
    visitor.visit(f"{TRACKS}?label=kept")
    visitor.page.locator("#action-toggle").check()
    visitor.page.get_by_role("link", name="Select all 52 tracks").click()
    visitor.press("Fetch audience")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Tracks of label kept…")
    expect(dialog).to_contain_text("about 52 API calls")
    assert site.simulator.state.calls.total() == 0
    visitor.press_twice(dialog.get_by_role("button", name="Fetch", exact=True))
    expect(visitor.page).to_have_url(A_TASK)
    state_of_task(visitor, "Completed")
    visitor.says("52 updated")
    assert site.simulator.state.calls.total() == 52
    assert MetadataFetchTask.objects.count() == 1
    visitor.visit(f"{TRACKS}?label=kept")
    expect(visitor.page.locator("svg.ln-spark")).to_have_count(50)
    for _ in range(2):
        visitor.follow(visitor.page.get_by_role("link", name="28 days"))
    first = Track.objects.order_by("-audience_gain", "-pk")[0]
    expect(visitor.page.locator("input[name=_selected_action]").first).to_have_value(str(first.pk))
    visitor.page.locator("#action-toggle").check()
    visitor.page.get_by_role("link", name="Select all 52 tracks").click()
    with visitor.page.expect_download() as loading:
        choose(visitor, "Export audience as CSV")
    rows = list(csv.DictReader(Path(loading.value.path()).read_text("utf-8-sig").splitlines()))
    assert len(rows) == AudienceDay.objects.count()
    assert len({row["uuid"] for row in rows}) == 52


def test_what_the_plan_lacks_is_said_once_and_not_asked_for_again(visitor, site, add_tracks):
    tracks = add_tracks(6)
    site.simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    visitor.visit(TRACKS)
    for track in tracks[:4]:
        visitor.page.locator(f'input[name=_selected_action][value="{track.pk}"]').check()
    visitor.press("Fetch audience")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("about 4 API calls")
    # The keyboard is in a dialog that is ready.
    expect(dialog.get_by_label("Spotify", exact=True)).to_be_focused()
    dialog.get_by_label("TikTok", exact=True).check()
    expect(dialog).to_contain_text("about 8 API calls")
    dialog.get_by_role("button", name="Fetch", exact=True).click()
    state_of_task(visitor, "Completed")
    visitor.says("4 updated")
    visitor.says("The Soundcharts plan does not include TikTok: not asked for any more.")
    visitor.says("Refused in part")
    # And a look at the usage, which is free, whether all is refused or TikTok alone.
    assert site.simulator.state.calls == {"audience": 5, "usage": 1}


def test_the_daily_refresh_is_off_until_somebody_turns_it_on(visitor, add_tracks, schedule_as_it_was):
    add_tracks(25)
    visitor.visit(SCHEDULE)
    heading = visitor.page.get_by_role("heading", name="Refresh of audience")
    card = visitor.page.locator(".ln-stack", has=heading).last
    expect(card).to_contain_text("None: it is off")
    expect(card).to_contain_text("25 tracks: about 25 API calls")
    visitor.follow(card.get_by_role("link", name="Change"))
    visitor.says("about 25 API calls")
    visitor.page.get_by_label("Runs by itself").check()
    visitor.page.get_by_label("At most so many tracks a run").fill("10")
    visitor.says("about 10 API calls")
    visitor.press("Save")
    visitor.says("Refresh of audience: on; at most 10 tracks a run.")
    expect(card).to_contain_text(re.compile(r"Next run\s+\w+day "))
    assert PeriodicTask.objects.get(name="refresh-stale-audience").enabled
