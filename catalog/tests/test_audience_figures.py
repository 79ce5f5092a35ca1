"""Figures as they come: without identifier, twice, from far back; and what is said and shown of them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.models import Track, TrackAudience
from catalog.tests.audiences import add_audience, days_from, series_of
from catalog.tests.outcomes import keys_of, run
from catalog.tests.tracks import add_tracks
from soundcharts.payloads import AudiencePoint, Page, parse_audience
from soundcharts.service import SoundchartsService

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def answer(monkeypatch):
    """A function that sets what Soundcharts says of every track."""

    def set_answer(*plots: dict) -> None:
        page: Page[AudiencePoint] = parse_audience(
            {"items": [{"date": YESTERDAY.isoformat(), "plots": list(plots)}]}
        )
        monkeypatch.setattr(SoundchartsService, "get_audience_series", lambda *_, **__: page)

    return set_answer


@pytest.mark.parametrize("identifier", [None, "a"])
def test_of_two_figures_of_the_same_day_and_identifier_one_is_kept_and_the_other_told(
    simulator, broker, answer, identifier
):
    (track,) = add_tracks(simulator, 1)
    answer({"identifier": identifier, "value": 5}, {"identifier": identifier, "value": 7})
    _, report = fetch_audience_now(track)
    assert series_of(track) == {identifier or "": {YESTERDAY: 5}}
    (warning,) = report.warnings
    assert "7" in warning


def test_the_same_figure_twice_is_no_matter(simulator, broker, answer):
    (track,) = add_tracks(simulator, 1)
    answer({"identifier": "a", "value": 5}, {"identifier": "a", "value": 5})
    assert fetch_audience_now(track)[1].warnings == []


def test_an_identifier_that_is_a_number_is_one_like_any_other(simulator, broker, answer):
    (track,) = add_tracks(simulator, 1)
    answer({"identifier": 41, "value": 5}, {"identifier": 42, "value": 7})
    fetch_audience_now(track)
    assert series_of(track) == {"41": {YESTERDAY: 5}, "42": {YESTERDAY: 7}}
    assert TrackAudience.objects.get().latest_value == 12


def test_an_identifier_that_makes_no_sense_is_told(simulator, broker, answer):
    (track,) = add_tracks(simulator, 1)
    answer({"identifier": ["x"], "value": 5})
    _, report = fetch_audience_now(track)
    assert len(report.warnings) == 1
    assert series_of(track) == {"": {YESTERDAY: 5}}


def test_what_is_summed_up_of_a_track_does_not_depend_on_how_far_back_was_asked(simulator, broker, answer):
    """A second identifier that came 22 days ago: new as seen from far, late as seen from near."""
    tracks = add_tracks(simulator, 2)
    fetched_at = timezone.now() - timedelta(days=1)
    for track in tracks:
        first, second = days_from(TODAY - timedelta(days=60), list(range(60))), list(range(22))
        add_audience(
            track,
            first,
            days_from(TODAY - timedelta(days=22), second),
            fetched_at=fetched_at,
            fetched_until=YESTERDAY,
        )
    answer()
    run(jobs.request_audience([tracks[0].pk]).job)
    run(jobs.request_audience([tracks[1].pk], days=180).job)
    alone, beside = TrackAudience.objects.order_by("track")
    assert None not in alone.trend
    assert alone.trend == beside.trend


def test_a_platform_that_is_no_longer_known_leaves_the_page_as_it_is(staff_client, make_track):
    track = make_track()
    add_audience(track, days_from(YESTERDAY, [3]), platform="myspace")
    add_audience(track, days_from(YESTERDAY, [5]))
    page = staff_client.get(reverse("admin:catalog_track_change", args=(track.pk,)))
    assert [chart["audience"].platform for chart in page.context["audience_charts"]] == ["spotify", "myspace"]


def test_a_platform_that_the_plan_lacks_is_no_failure_of_the_track_that_found_out(simulator, broker):
    tracks = add_tracks(simulator, 3)
    run(jobs.request_audience(keys_of(tracks)).job)
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    job = run(jobs.request_audience(keys_of(tracks), platforms=["spotify", "tiktok"], only_stale=True).job)
    assert (job.status, job.failed_tracks, job.api_calls) == ("completed", 0, 1)
    assert "TikTok" in job.refused_sentence
    assert Track.objects.exclude(audience_fetched_at=None).count() == 3
