"""No day stays unknown because it was asked for: answers that brought nothing are asked for again."""

from datetime import UTC, date, datetime, time, timedelta
from types import SimpleNamespace

import pytest
from django.db.models import DateTimeField, Value
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from catalog import fetching, jobs, prices
from catalog.models import MetadataFetchTask, Track, TrackAudience
from catalog.prices import count_audience_gaps, estimate_job_calls
from catalog.tests.audiences import add_audience, days_from, series_of
from catalog.tests.outcomes import run
from catalog.tests.tracks import add_tracks
from soundcharts.service import SoundchartsService
from soundcharts.simulator.audience import AudienceSeries

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=89)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[date, date]]:
    """The periods that were asked for, first and last day."""
    periods = []
    get = SoundchartsService.get_audience_series

    def note(self, uuid, platform, *, start_date, end_date):
        periods.append((start_date, end_date))
        return get(self, uuid, platform, start_date=start_date, end_date=end_date)

    monkeypatch.setattr(SoundchartsService, "get_audience_series", note)
    return periods


@pytest.fixture
def track(simulator, broker) -> Track:
    """A song that is older than any period that is asked for here, and has every day."""
    series = AudienceSeries(simulator.catalogue)

    def has_every_day(index: int) -> bool:
        days = series.published_days(index, "spotify", TODAY - timedelta(days=400), TODAY, today=TODAY)
        return len(days) > 380

    index = next(index for index in range(300) if has_every_day(index))
    return add_tracks(simulator, 1, first=index)[0]


def published(simulator, track: Track, first: date, *, today: date = TODAY) -> set[date]:
    index = simulator.catalogue.song_index(track.uuid)
    series = AudienceSeries(simulator.catalogue)
    return set(series.published_days(index, "spotify", first, today, today=today))


def known(track: Track) -> set[date]:
    return {day for days in series_of(track).values() for day in days}


def make_due(track: Track) -> None:
    """Let what was fetched today have been fetched yesterday."""
    yesterday = timezone.now() - timedelta(days=1)
    TrackAudience.objects.filter(track=track).update(fetched_at=yesterday)
    Track.objects.filter(pk=track.pk).update(audience_fetched_at=yesterday)


def test_an_empty_first_answer_is_asked_for_again_as_a_whole_by_the_next_refresh(simulator, track, asked):
    with simulator.faults.during("no_figures"):
        job = run(jobs.request_stale_audience().job)
    assert (job.unchanged_tracks, job.api_calls) == (1, 1)
    make_due(track)
    job = run(jobs.request_stale_audience().job)
    assert (job.updated_tracks, job.api_calls) == (1, 1)
    assert asked == [(FIRST, TODAY)] * 2
    assert known(track) == published(simulator, track, FIRST)


def test_an_empty_first_answer_is_asked_for_again_by_filling_gaps(simulator, track, asked):
    with simulator.faults.during("no_figures"):
        run(jobs.request_stale_audience().job)
    assert count_audience_gaps() == {"spotify": 1}
    job = run(jobs.request_stale_audience(fill_gaps=True).job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 1, 1)
    assert asked == [(FIRST, TODAY)] * 2
    assert known(track) == published(simulator, track, FIRST)


def test_days_before_the_first_figure_are_asked_for_as_long_as_a_call_reaches_them(simulator, track, asked):
    """As after an empty first answer and a refresh by a version that asked for the newest days alone."""
    newest = days_from(TODAY - timedelta(days=14), list(range(15)))
    add_audience(track, newest, fetched_from=FIRST, fetched_at=timezone.now() - timedelta(days=1))
    make_due(track)
    assert run(jobs.request_stale_audience().job).api_calls == 1
    assert asked == [(FIRST, TODAY)]
    assert known(track) >= published(simulator, track, FIRST)


def test_days_before_the_first_figure_are_asked_for_by_filling_gaps(simulator, track, asked):
    newest = days_from(TODAY - timedelta(days=14), list(range(15)))
    audience = add_audience(track, newest, fetched_from=FIRST, fetched_until=TODAY)
    assert audience.missing_days == 75
    job = run(jobs.request_stale_audience(fill_gaps=True).job)
    assert (job.api_calls, job.updated_tracks) == (1, 1)
    assert asked == [(FIRST, TODAY - timedelta(days=15))]
    assert known(track) >= published(simulator, track, FIRST)


def test_days_before_the_release_are_no_gap(simulator, track, asked):
    released = TODAY - timedelta(days=20)
    Track.objects.filter(pk=track.pk).update(release_date=released)
    with simulator.faults.during("no_figures"):
        run(jobs.request_stale_audience().job)
    assert TrackAudience.objects.get().missing_days == 21
    run(jobs.request_stale_audience(fill_gaps=True).job)
    assert asked[1:] == [(released, TODAY)]


def test_a_series_that_stays_empty_costs_one_call_a_refresh(simulator, track, asked):
    simulator.faults.set("no_figures")
    for _ in range(3):
        job = run(jobs.request_stale_audience().job)
        assert (job.unchanged_tracks, job.api_calls) == (1, 1)
        make_due(track)
    assert not known(track)
    assert not TrackAudience.objects.get().error


def test_a_year_that_was_answered_with_nothing_is_asked_for_again_when_somebody_asks_for_it(
    simulator, track, asked
):
    with simulator.faults.during("no_figures"):
        assert run(jobs.request_audience([track.pk], days=365).job).api_calls == 5
    assert estimate_job_calls({"fill_gaps": False, "platforms": None, "days": 365}, 1, [track.pk]) == 5
    job = run(jobs.request_audience([track.pk], days=365).job)
    assert job.api_calls == 5
    assert known(track) == published(simulator, track, TODAY - timedelta(days=364))


def test_an_oldest_period_that_stayed_empty_is_a_gap(simulator, track, asked):
    with simulator.faults.during("no_figures", after=1, times=1):
        run(jobs.request_audience([track.pk], days=180).job)
    hole = (TODAY - timedelta(days=179), TODAY - timedelta(days=90))
    assert TrackAudience.objects.get().missing_days >= 90
    asked.clear()
    run(jobs.request_stale_audience(fill_gaps=True).job)
    assert hole in asked
    assert known(track) == published(simulator, track, TODAY - timedelta(days=179))


def test_a_refused_first_answer_leaves_nothing_that_counts_as_known(simulator, track, asked, settings):
    settings.BATCH_RETRY_DELAYS = []
    with simulator.faults.during("error", status=400, kinds=["audience"]):
        assert run(jobs.request_stale_audience().job).failed_tracks == 1
    run(jobs.request_stale_audience().job)
    assert asked == [(FIRST, TODAY)] * 2
    assert known(track) == published(simulator, track, FIRST)


def test_pruned_days_are_no_gap(simulator, track):
    audience = add_audience(track, days_from(TODAY - timedelta(days=9), list(range(10))))
    assert audience.missing_days == 0
    assert count_audience_gaps() == {"spotify": 0}


# What becomes of calls.
ANSWERS = {
    "whole": None,
    "empty": ("no_figures", {}),
    "refused": ("error", {"status": 400, "kinds": ["audience"]}),
    "no answer": ("wrong_shape", {"value": None, "kinds": ["audience"]}),
    "unreadable": ("unreadable_figures", {}),
    "unreadable in part": ("unreadable_figures", {"days": [str(TODAY - timedelta(days=n)) for n in (3, 50)]}),
}
# Days that pass, what is asked for then, how it is answered: so many calls well, then one or all of them so.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 3, 40, 100]),
        st.sampled_from(["refresh", "refresh", "gaps", "days"]),
        st.sampled_from(list(ANSWERS)),
        st.integers(0, 1),
        st.sampled_from([1, None]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture
def set_today(simulator, monkeypatch):
    """A function that sets the day on which audience is asked for, answered and priced."""

    def set_day(day: date) -> None:
        moment = datetime.combine(day, time(12), UTC)
        monkeypatch.setattr(fetching.audience, "Now", lambda: Value(moment, output_field=DateTimeField()))
        monkeypatch.setattr(fetching.figures, "database_now", lambda chunk: moment)
        monkeypatch.setattr(prices, "timezone", SimpleNamespace(now=lambda: moment))
        simulator.state.today = day

    return set_day


def test_no_day_stays_unknown_and_nothing_costs_more_than_was_said(simulator, track, settings, set_today):
    """Whatever was answered before, a refresh and filling the gaps bring every day that was asked for."""
    settings.BATCH_RETRY_DELAYS = []
    options = {"refresh": {}, "gaps": {"fill_gaps": True}, "days": {"days": 150}}

    def ask(what: str, *, extra: int = 0) -> MetadataFetchTask:
        job = jobs.request_audience([track.pk], **options[what]).job
        price = prices.estimate_job_calls(job.request, 1, [track.pk])
        run(job)
        assert job.status in job.ENDED
        assert job.api_calls <= price + extra
        return job

    @bounds(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(steps=STEPS)
    def check(steps) -> None:
        MetadataFetchTask.objects.all().delete()
        TrackAudience.objects.all().delete()
        today = TODAY - timedelta(days=1 + sum(days for days, *_ in steps))
        for days, what, answer, after, times in steps:
            today += timedelta(days=days)
            set_today(today)
            if fault := ANSWERS[answer]:
                simulator.faults.set(fault[0], **fault[1], after=after, times=times)
            # An answer that makes no sense after one that was saved is asked for once more.
            ask(what, extra=int(answer == "no answer" or answer.startswith("unreadable")))
            simulator.faults.clear()
        set_today(TODAY)
        for what in ("refresh", "gaps"):
            assert ask(what).failed_tracks == 0
        audience = TrackAudience.objects.get()
        assert audience.fetched_from <= FIRST
        assert known(track) == published(simulator, track, audience.fetched_from)

    check()
