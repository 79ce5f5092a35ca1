"""Markup that comes from outside is text: nothing of it runs, loads, or changes a page."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from catalog import jobs
from catalog.models import Track
from catalog.tests.browser.pages import FAILURES, TASKS, TRACKS
from catalog.tests.tracks import add_tracks

HOSTILE = "<img src=x onerror=\"hit='img'\"><script>hit='script'</script>'\"><svg onload=hit=1>"


@pytest.fixture(scope="module")
def hostile(site) -> Iterator[dict[str, int]]:
    """A track and a task whose every text is hostile, brought by a worker."""
    (track,) = add_tracks(site.simulator, 1)
    song = {"name": HOSTILE, "creditName": HOSTILE, "imageUrl": "javascript:window.hit=1"}
    site.simulator.faults.set("payloads", songs={track.uuid: song})
    site.finish(jobs.request_metadata([track.pk]).job)
    with site.simulator.faults.during("error", status=400, message=HOSTILE):
        job = site.finish(jobs.request_metadata([track.pk]).job)
    Track.objects.filter(pk=track.pk).update(metadata_warnings=[HOSTILE], label=HOSTILE, genre=HOSTILE)
    assert HOSTILE[:50] in job.title
    assert HOSTILE[:50] in job.failures.get().message
    yield {"track": track.pk, "job": job.pk}
    site.clear()


@pytest.mark.parametrize(
    "path",
    [
        TRACKS,
        f"{TRACKS}?q={quote(HOSTILE)}",
        f"{TRACKS}{{track}}/change/",
        f"{TRACKS}{{track}}/history/",
        TASKS,
        f"{TASKS}{{job}}/change/",
        FAILURES,
        "/admin/",
    ],
)
def test_a_hostile_text_is_shown_and_does_nothing(path, hostile, open_browser):
    visitor = open_browser("admin")
    visitor.visit(path.format(**hostile))
    assert visitor.page.evaluate("window.hit") is None
    assert visitor.page.locator("img[src=x], svg[onload]").count() == 0


def test_a_hostile_text_does_nothing_in_messages_and_dialogs(hostile, open_browser):
    visitor = open_browser("admin")
    visitor.visit(f"{TRACKS}{hostile['track']}/change/")
    visitor.page.locator("#track-fetch").click()
    visitor.says("Fetched:")
    visitor.visit(f"{TRACKS}{hostile['track']}/delete/")
    assert visitor.page.evaluate("window.hit") is None
    assert visitor.page.locator("img[src=x], svg[onload]").count() == 0
