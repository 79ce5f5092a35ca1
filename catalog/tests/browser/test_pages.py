"""Every page: nothing wrong in it, nothing too wide for a phone, nobody kept out of it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from catalog import jobs
from catalog.models import ImportDraft, MetadataFetchTask, Track, TrackChange
from catalog.tests.browser.pages import PAGES
from catalog.tests.browser.visitor import DEVICES
from catalog.tests.tracks import add_tracks


@pytest.fixture(scope="module")
def things(site) -> Iterator[dict[str, Any]]:
    """A catalogue with something of everything: the keys of what pages are about."""
    now = timezone.now()
    admin = User.objects.get(username="admin")
    fetched = add_tracks(site.simulator, 12)
    completed = jobs.request_metadata([track.pk for track in fetched], requested_by=admin).job
    site.finish(completed)
    # Covers are elsewhere, and there is no elsewhere here.
    Track.objects.update(image_url=f"{site.url}/static/catalog/favicon.svg")
    Track.objects.filter(pk=fetched[1].pk).update(
        name="A name that is as long as those of live recordings, remixes and medleys are (Remastered)",
        metadata_fetched_at=now - timedelta(days=90),
        metadata_error="not_found",
        metadata_warnings=["releaseDate: not a date", "duration: negative"],
    )
    audience = jobs.request_audience(
        [track.pk for track in fetched], platforms=["spotify", "youtube"], requested_by=admin
    ).job
    site.finish(audience)
    unknown = add_tracks(site.simulator, 3, first=10_000)
    failed = site.finish(jobs.request_metadata([track.pk for track in unknown], requested_by=admin).job)
    # No worker is told, or it might be done before it is paused.
    paused = jobs.request_metadata([fetched[0].pk], is_rung=False).job
    jobs.pause_job(paused, code="quota_exhausted", reason="The plan has no calls left.")
    TrackChange.objects.create(track=fetched[1], at=now, changes={"label": ["Old", "New"]})
    assert failed.status == MetadataFetchTask.Status.FAILED
    yield {
        "track": fetched[1].pk,
        "completed": completed.pk,
        "audience": audience.pk,
        "failed": failed.pk,
        "paused": paused.pk,
        "failure": failed.failures.all()[0].pk,
        "draft": ImportDraft.objects.create(
            source=ImportDraft.Source.LIST,
            text="USUM71900764\nusum71900764\nnonsense\n" + str(fetched[0].uuid),
        ).pk,
        "user": User.objects.get(username="viewer").pk,
        "group": Group.objects.get(name="Viewer").pk,
    }
    site.clear()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_is_well_made(page, device, things, passer_by):
    visitor = passer_by(page.who, device)
    visitor.visit(page.path.format(**things), status=page.status)
    if page.open:
        page.open(visitor)
    visitor.wait_until_still()
    assert visitor.overflow == 0
    assert visitor.find_barriers() == []
    visitor.turn_dark()
    assert visitor.find_barriers("color-contrast") == []
