"""Figures that cannot be read: a failure that names the day, beside those that can."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.models import Track, TrackAudience
from catalog.tests.audiences import series_of
from catalog.tests.outcomes import run
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
DAY = TODAY - timedelta(days=30)


@pytest.fixture
def track(simulator, broker) -> Track:
    """A song that has a figure on the day."""
    for track in add_tracks(simulator, 5):
        fetch_audience_now(track)
        if any(DAY in days for days in series_of(track).values()):
            TrackAudience.objects.filter(track=track).delete()
            return track
    raise AssertionError("None of the songs has a figure on the day.")


@pytest.mark.parametrize("value", [None, "many", -1, 12.5, 2**70, True, [5], {}])
def test_a_figure_that_cannot_be_read_is_a_failure_that_names_its_day(simulator, track, value):
    simulator.faults.set("unreadable_figures", value=value, days=[str(DAY)])
    job = run(jobs.request_audience([track.pk]).job)
    failure = job.failures.get()
    assert (job.status, failure.code, job.api_calls) == ("failed", "unreadable_figures", 1)
    assert str(DAY) in failure.message
    audience = TrackAudience.objects.get(track=track)
    assert (audience.error, audience.fetched_at) == ("unreadable_figures", None)
    days = {day for days in series_of(track).values() for day in days}
    assert DAY not in days
    assert len(days) == audience.days_known > 80


@pytest.mark.parametrize(
    ("where", "value"), [("plots", None), ("plots", {}), ("date", None), ("date", "soon")]
)
def test_a_day_without_plots_or_date_is_a_failure_too(simulator, track, where, value):
    simulator.faults.set("unreadable_figures", value=value, where=where, days=[str(DAY)])
    _, report = fetch_audience_now(track)
    assert (report.outcome, report.code) == ("failed", "unreadable_figures")
    assert any(
        "soon" in warning or str(DAY) in warning or "nothing" in warning for warning in report.warnings
    )
    assert TrackAudience.objects.get(track=track).days_known > 80


@pytest.mark.parametrize(("value", "kept"), [(12.0, 12), ("12", 12), (0, 0), (2**63 - 1, 2**63 - 1)])
def test_a_whole_number_in_another_form_is_a_figure(simulator, track, value, kept):
    simulator.faults.set("unreadable_figures", value=value, days=[str(DAY)])
    assert fetch_audience_now(track)[1].outcome == "updated"
    assert {days[DAY] for days in series_of(track).values() if DAY in days} == {kept}


def test_a_day_without_any_plot_has_no_figure_and_is_no_failure(simulator, track):
    simulator.faults.set("unreadable_figures", value=[], where="plots", days=[str(DAY)])
    assert fetch_audience_now(track)[1].outcome == "updated"
    assert TrackAudience.objects.get(track=track).missing_days >= 1


def test_figures_of_which_none_can_be_read_are_an_answer_that_makes_no_sense(simulator, track, settings):
    settings.BATCH_RETRY_DELAYS = []
    simulator.faults.set("unreadable_figures", value="many")
    job = run(jobs.request_audience([track.pk]).job)
    failure = job.failures.get()
    assert (job.status, failure.code) == ("failed", "invalid_response")
    assert "'many'" in failure.message
    assert not series_of(track)


def test_what_was_unreadable_is_asked_for_again_by_the_next_fetch_and_by_retry(simulator, track):
    with simulator.faults.during("unreadable_figures", days=[str(DAY)]):
        job = run(jobs.request_audience([track.pk]).job)
    again = run(jobs.request_retry(job).job)
    assert (again.status, again.updated_tracks, again.api_calls) == ("completed", 1, 1)
    audience = TrackAudience.objects.get(track=track)
    assert any(DAY in days for days in series_of(track).values())
    assert (audience.error, audience.fetched_at is None) == ("", False)


def test_the_page_of_the_track_and_of_the_task_say_what_was_unreadable(simulator, track, staff_client):
    with simulator.faults.during("unreadable_figures", days=[str(DAY)]):
        job = run(jobs.request_audience([track.pk]).job)
    page = staff_client.get(f"/admin/catalog/track/{track.pk}/change/").content.decode()
    assert "Figures not understood" in page
    page = staff_client.get(f"/admin/catalog/metadatafetchtask/{job.pk}/change/").content.decode()
    assert str(DAY) in page
