"""Fetching audience: from the API, over real HTTP, to committed days."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.fetching.audience import REVISED_DAYS
from catalog.models import AudienceDay, FetchChunk, MetadataFetchTask, Track, TrackAudience
from catalog.prices import count_due_audiences, estimate_audience_calls
from catalog.tests.audiences import add_audience, days_from, series_of, totals_of
from catalog.tests.outcomes import keys_of, run
from catalog.tests.tracks import add_tracks
from soundcharts.service import SoundchartsService, get_service
from soundcharts.simulator.audience import AudienceSeries

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()


def ask(tracks: list[Track], **options) -> MetadataFetchTask:
    return jobs.request_audience(keys_of(tracks), **options).job


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, date, date]]:
    """The periods that were asked for, as (platform, first day, last day)."""
    periods = []
    get = SoundchartsService.get_audience_series

    def note(self, uuid, platform, *, start_date, end_date):
        periods.append((platform, start_date, end_date))
        return get(self, uuid, platform, start_date=start_date, end_date=end_date)

    monkeypatch.setattr(SoundchartsService, "get_audience_series", note)
    return periods


def add_stale(track: Track, *, until: int, platform: str = "spotify", days: int = 90) -> TrackAudience:
    """Add an audience that was fetched so many days ago, up to that day."""
    last = TODAY - timedelta(days=until)
    first = last - timedelta(days=days - 1)
    fetched_at = timezone.now() - timedelta(days=until)
    Track.objects.filter(pk=track.pk).update(audience_fetched_at=fetched_at)
    return add_audience(track, days_from(first, list(range(days))), platform=platform, fetched_at=fetched_at)


# --- What is fetched ------------------------------------------------------------------------------


def test_the_first_fetch_brings_the_last_90_days_with_one_call_a_track(simulator, broker, asked):
    tracks = add_tracks(simulator, 12)
    job = run(ask(tracks))
    assert (job.status, job.task_type, job.updated_tracks, job.api_calls) == (
        *("completed", "bulk_audience"),
        *(12, 12),
    )
    assert set(asked) == {("spotify", TODAY - timedelta(days=89), TODAY)}
    assert simulator.state.calls["audience"] == 12
    for track in Track.objects.all():
        assert track.audience_fetched_at >= job.created_at
        assert track.metadata_fetched_at is None


def test_the_days_are_those_of_the_song_and_exceed_32_bits(simulator, broker):
    index = next(
        i
        for i in range(300)
        if (AudienceSeries(simulator.catalogue).total(i, "spotify", TODAY) or 0) > 2**33
        and len(simulator.catalogue.identifiers(i, "spotify")) == 1
    )
    (track,) = add_tracks(simulator, 1, first=index)
    run(ask([track]))
    ((identifier, days),) = series_of(track).items()
    assert identifier == simulator.catalogue.identifiers(index, "spotify")[0]
    assert min(days.values()) > 2**32
    series = AudienceSeries(simulator.catalogue)
    settled = [day for day in days if day < TODAY - timedelta(days=4)]
    assert {day: days[day] for day in settled} == {
        day: series.total(index, "spotify", day) for day in settled
    }


def test_missing_days_are_missing_and_not_zero(simulator, broker):
    tracks = add_tracks(simulator, 10)
    run(ask(tracks))
    with_gaps = TrackAudience.objects.filter(missing_days__gt=0)
    assert with_gaps
    for audience in with_gaps:
        days = totals_of(audience.track)
        assert 0 not in days.values()
        span = (audience.last_day - audience.fetched_from).days + 1
        assert span - audience.missing_days == audience.days_known < span


def test_several_identifiers_are_kept_and_summed(simulator, broker):
    index = next(i for i in range(300) if len(simulator.catalogue.identifiers(i, "youtube")) == 2)
    (track,) = add_tracks(simulator, 1, first=index)
    run(ask([track], platforms=["youtube"]))
    series = series_of(track, "youtube")
    audience = TrackAudience.objects.get()
    assert set(series) == set(simulator.catalogue.identifiers(index, "youtube"))
    assert audience.latest_value == sum(days[audience.latest_day] for days in series.values())


def test_the_summary_is_what_the_days_say(simulator, broker):
    tracks = add_tracks(simulator, 5)
    run(ask(tracks))
    for audience in TrackAudience.objects.select_related("track"):
        days = totals_of(audience.track)
        assert (audience.latest_day, audience.latest_value) == max(days.items())
        assert audience.first_day == min(days)
        assert audience.gain == audience.track.audience_gain > 0
        assert audience.track.audience_total == audience.latest_value
        assert len(audience.trend) == 28
        last = audience.latest_day
        assert audience.trend[-1] == (
            days[last] - days[last - timedelta(days=1)] if last - timedelta(days=1) in days else None
        )


# --- What is asked for again ----------------------------------------------------------------------


def test_a_daily_refresh_is_one_call_a_track_and_asks_for_late_days_again(simulator, broker, asked):
    tracks = add_tracks(simulator, 8)
    simulator.state.today = TODAY - timedelta(days=1)
    run(ask(tracks))
    # As if the oldest day that was asked for had a figure everywhere.
    TrackAudience.objects.update(fetched_from=F("first_day"), fetched_until=TODAY - timedelta(days=1))
    simulator.state.today = TODAY
    asked.clear()
    before = AudienceDay.objects.count()
    job = run(ask(tracks))
    assert (job.api_calls, job.updated_tracks + job.unchanged_tracks) == (8, 8)
    # Today, and as many days before it as figures are revised.
    assert set(asked) == {("spotify", TODAY - timedelta(days=REVISED_DAYS), TODAY)}
    assert 0 < AudienceDay.objects.count() - before <= 8 * 2 * (REVISED_DAYS + 1)


def test_a_revised_figure_is_kept_as_revised_and_never_duplicated(simulator, broker):
    tracks = add_tracks(simulator, 20)
    simulator.state.today = TODAY - timedelta(days=5)
    run(ask(tracks))
    first = {day.pk: day.value for day in AudienceDay.objects.all()}
    simulator.state.today = TODAY
    run(ask(tracks))
    second = {day.pk: day.value for day in AudienceDay.objects.all()}
    revised = [pk for pk in first if second[pk] != first[pk]]
    assert revised
    assert all(second[pk] > first[pk] for pk in revised)
    series = AudienceSeries(simulator.catalogue)
    track = AudienceDay.objects.get(pk=revised[0]).recording.audience.track
    index = simulator.catalogue.song_index(track.uuid)
    identifiers = simulator.catalogue.identifiers(index, "spotify")
    recording = AudienceDay.objects.get(pk=revised[0]).recording
    assert second[revised[0]] == series.total(
        index, "spotify", revised[0][1], place=identifiers.index(recording.identifier)
    )


def test_fetching_twice_changes_nothing_the_second_time(simulator, broker):
    tracks = add_tracks(simulator, 6)
    run(ask(tracks))
    before = list(AudienceDay.objects.order_by("pk").values_list())
    summaries = list(TrackAudience.objects.order_by("pk").values("trend", "latest_value", "days_known"))
    job = run(ask(tracks))
    assert (job.unchanged_tracks, job.updated_tracks, job.api_calls) == (6, 0, 6)
    assert list(AudienceDay.objects.order_by("pk").values_list()) == before
    assert list(TrackAudience.objects.order_by("pk").values("trend", "latest_value", "days_known")) == (
        summaries
    )


def test_after_a_long_absence_all_the_days_between_are_asked_for_and_no_more(simulator, broker, asked):
    (track,) = add_tracks(simulator, 1)
    add_stale(track, until=100)
    job = run(ask([track]))
    assert job.api_calls == 2
    again = TODAY - timedelta(days=99 + REVISED_DAYS)
    assert asked == [
        ("spotify", again, again + timedelta(days=89)),
        ("spotify", again + timedelta(days=90), TODAY),
    ]


def test_days_of_the_past_are_asked_for_only_where_they_are_not_known(simulator, broker, asked):
    (track,) = add_tracks(simulator, 1)
    run(ask([track]))
    asked.clear()
    job = run(ask([track], days=365, only_stale=True))
    assert job.api_calls == 4
    first = min(start for _, start, _ in asked)
    assert first == TODAY - timedelta(days=364)
    assert max(end for _, _, end in asked) == TODAY - timedelta(days=90)
    assert TrackAudience.objects.get().fetched_from == first
    asked.clear()
    assert run(ask([track], days=365, only_stale=True)).skipped_tracks == 1
    assert asked == []


def test_fresh_audiences_are_skipped_without_a_call(simulator, broker):
    tracks = add_tracks(simulator, 6)
    run(ask(tracks[:2]))
    job = run(ask(tracks, only_stale=True))
    assert (job.skipped_tracks, job.updated_tracks, job.api_calls) == (2, 4, 4)


def test_pruned_days_are_not_fetched_again(simulator, broker, asked):
    (track,) = add_tracks(simulator, 1)
    add_stale(track, until=1)
    TrackAudience.objects.update(fetched_from=TODAY - timedelta(days=5))
    run(ask([track]))
    assert asked == [("spotify", TODAY - timedelta(days=5), TODAY)]


def test_gaps_are_filled_on_request_and_nothing_else_is_asked_for(simulator, broker, asked):
    tracks = add_tracks(simulator, 3)
    run(ask(tracks))
    asked.clear()
    middle = TODAY - timedelta(days=40)
    gone = [middle + timedelta(days=number) for number in range(3)]
    AudienceDay.objects.filter(recording__audience__track=tracks[0], day__in=gone).delete()
    TrackAudience.objects.exclude(track=tracks[0]).update(missing_days=0)
    audience = TrackAudience.objects.get(track=tracks[0])
    known = len({day for days in series_of(tracks[0]).values() for day in days})
    audience.count_days(first=audience.first_day, last=audience.last_day, known=known)
    audience.save()
    job = run(jobs.request_stale_audience(fill_gaps=True).job)
    assert (job.status, job.total_tracks, job.updated_tracks, job.api_calls) == ("completed", 1, 1, 1)
    assert min(start for _, start, _ in asked) > TODAY - timedelta(days=90)
    days = {day for days in series_of(tracks[0]).values() for day in days}
    audience.refresh_from_db()
    assert audience.days_known == len(days) > known


# --- Platforms ------------------------------------------------------------------------------------


def test_several_platforms_cost_a_call_each(simulator, broker):
    tracks = add_tracks(simulator, 4)
    job = run(ask(tracks, platforms=["spotify", "shazam"]))
    assert (job.updated_tracks, job.api_calls) == (4, 8)
    assert simulator.state.answered(0, platform="shazam") == 1
    assert TrackAudience.objects.filter(platform="shazam").exclude(fetched_at=None).count() == 4


def test_a_platform_that_the_plan_lacks_is_named_once_and_the_others_go_on(simulator, broker, caplog):
    tracks = add_tracks(simulator, 10)
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    job = run(ask(tracks, platforms=["spotify", "tiktok"]))
    assert (job.status, job.updated_tracks, job.failed_tracks) == ("completed", 10, 0)
    assert job.api_calls == simulator.state.calls["audience"] == 11
    assert "TikTok" in job.refused_sentence
    assert caplog.text.count("does not include TikTok") == 1
    assert not TrackAudience.objects.filter(platform="tiktok").exists()


def test_a_refused_platform_is_remembered_by_the_next_job_which_says_so_too(simulator, broker):
    tracks = add_tracks(simulator, 3)
    simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
    run(ask(tracks[:1], platforms=["spotify", "tiktok"]))
    job = run(ask(tracks[1:], platforms=["spotify", "tiktok"]))
    assert (job.api_calls, job.updated_tracks) == (2, 2)
    assert "TikTok" in job.refused_sentence
    assert estimate_audience_calls(10, platforms=["spotify", "tiktok"]) == 10


def test_a_job_without_any_platform_left_fails_with_the_reason_after_one_call(simulator, broker):
    tracks = add_tracks(simulator, 10)
    simulator.faults.set("forbidden_platforms", platforms=["melon"])
    job = run(ask(tracks, platforms=["melon"]))
    assert (job.status, job.error_code, job.api_calls) == ("failed", "forbidden", 1)
    assert "Melon" in job.error_message
    assert Track.objects.filter(audience_fetched_at=None).count() == 10


def test_whoever_waits_for_one_track_is_told_that_the_plan_lacks_the_platform(simulator, broker):
    tracks = add_tracks(simulator, 2)
    simulator.faults.set("forbidden_platforms", platforms=["melon"])
    for track, calls in zip(tracks, (1, 0), strict=True):
        job, report = fetch_audience_now(track, platforms=["melon"])
        assert (report.outcome, report.code, job.api_calls) == ("failed", "forbidden", calls)
        assert "Melon" in report.message


# --- Failures -------------------------------------------------------------------------------------


def test_an_unknown_track_fails_alone_and_waits_longer_each_time(simulator, broker):
    tracks = add_tracks(simulator, 5)
    simulator.faults.set("unknown_uuids", uuids=[str(tracks[2].uuid)])
    job = run(ask(tracks, platforms=["spotify", "youtube"]))
    assert (job.updated_tracks, job.failed_tracks, job.api_calls) == (4, 1, 9)
    failure = job.failures.get()
    assert (failure.track_id, failure.code) == (tracks[2].pk, "not_found")
    waits = []
    for _ in range(2):
        audience = TrackAudience.objects.get(track=tracks[2], platform="spotify")
        waits.append((audience.retry_at - timezone.now()).days)
        run(ask(tracks[2:3]))
    assert waits == [0, 1]
    tracks[2].refresh_from_db()
    assert (tracks[2].audience_fetched_at, tracks[2].metadata_error) == (None, "")


def test_what_came_before_an_error_is_saved_and_only_the_rest_is_asked_again(
    simulator, broker, one_call_at_a_time
):
    tracks = add_tracks(simulator, 2)
    job = ask(tracks, platforms=["spotify", "youtube"])
    # The first call is for Spotify and is answered; the second, for YouTube, is not.
    with simulator.faults.during("quota_exhausted", after=1, times=1):
        run(job)
    assert (job.status, job.error_code) == ("paused", "quota_exhausted")
    assert simulator.state.answered(0, platform="spotify") == 1
    assert TrackAudience.objects.get(track=tracks[0]).days_known > 80
    jobs.resume_job(job)
    run(job)
    assert (job.status, job.updated_tracks, job.processed_tracks) == ("completed", 2, 2)
    assert simulator.state.answered(0, platform="spotify") == 1
    assert simulator.state.answered(0, platform="youtube") == 1


def test_calls_kept_for_people_are_not_spent(simulator, broker, settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    simulator.state.quota = 30
    tracks = add_tracks(simulator, 20)
    job = run(ask(tracks))
    assert (job.status, job.error_code) == ("paused", "quota_reserved")
    assert simulator.state.quota_remaining == 25
    assert job.processed_tracks == job.api_calls == 5


def test_figures_that_were_not_asked_for_are_left_out(simulator, broker, monkeypatch):
    (track,) = add_tracks(simulator, 1)
    service = get_service(interactive=True)
    get = service.get_audience_series

    def with_strangers(*args, **options):
        page = get(*args, **options)
        point = page.items[0]
        far = type(point)(date=date(9999, 12, 31), identifier=point.identifier, value=1)
        long = type(point)(date=point.date, identifier="x" * 101, value=1)
        return type(page)((*page.items, far, long))

    monkeypatch.setattr(service, "get_audience_series", with_strangers)
    _, report = fetch_audience_now(track)
    assert report.outcome == "updated"
    assert len(report.warnings) == 2
    assert TrackAudience.objects.get().last_day <= TODAY
    assert max(map(len, series_of(track))) <= 100


def test_sums_beyond_64_bits_do_not_stop_the_job(simulator, broker, monkeypatch):
    tracks = add_tracks(simulator, 2)
    get = SoundchartsService.get_audience_series

    def with_giants(self, *args, **options):
        page = get(self, *args, **options)
        day = page.items[0].date
        return type(page)(
            tuple(type(page.items[0])(date=day, identifier=name, value=2**63 - 1) for name in "ab")
        )

    monkeypatch.setattr(SoundchartsService, "get_audience_series", with_giants)
    assert run(ask(tracks)).updated_tracks == 2
    assert set(TrackAudience.objects.values_list("latest_value", flat=True)) == {2**63 - 1}


def test_a_track_deleted_in_between_is_skipped(simulator, broker):
    tracks = add_tracks(simulator, 3)
    job = ask(tracks)
    tracks[0].delete()
    run(job)
    assert (job.status, job.skipped_tracks, job.updated_tracks) == ("completed", 1, 2)


# --- The same engine ------------------------------------------------------------------------------


def test_metadata_and_audience_of_the_same_tracks_do_not_wait_for_each_other(simulator, broker):
    tracks = add_tracks(simulator, 20)
    metadata = jobs.request_metadata(keys_of(tracks)).job
    jobs.claim_chunk(metadata.pk, owner="somebody")
    assert run(ask(tracks)).updated_tracks == 20


def test_two_audience_jobs_pay_once_for_a_track(simulator, broker):
    tracks = add_tracks(simulator, 20)
    first = ask(tracks[:10])
    second = ask(tracks, only_stale=True)
    jobs.claim_chunk(first.pk, owner="somebody")
    run(second)
    assert (second.updated_tracks, second.processed_tracks) == (10, 10)
    FetchChunk.objects.filter(job=first).update(lease_expires_at=None)
    run(first)
    FetchChunk.objects.update(not_before=None)
    run(second)
    assert (second.status, second.skipped_tracks) == ("completed", 10)
    assert simulator.state.calls["audience"] == 20


def test_no_network_call_happens_inside_a_transaction(simulator, broker, monkeypatch):
    inside = []
    get = SoundchartsService.get_audience_series

    def note(self, *args, **options):
        inside.append(connection.in_atomic_block)
        return get(self, *args, **options)

    monkeypatch.setattr(SoundchartsService, "get_audience_series", note)
    run(ask(add_tracks(simulator, 5)))
    assert inside == [False] * 5


def test_the_first_call_is_alone_until_it_is_known_whether_the_plan_has_the_platform(simulator, broker):
    tracks = add_tracks(simulator, 40)
    simulator.faults.set("forbidden_platforms", platforms=["spotify"])
    simulator.faults.set("slow", seconds=0.05)
    assert run(ask(tracks)).api_calls == 1


def test_pause_and_resume_go_on_where_it_stopped(simulator, broker, monkeypatch, one_call_at_a_time):
    tracks = add_tracks(simulator, 12)
    job = ask(tracks)
    get = SoundchartsService.get_audience_series

    def pause_at_fifth(self, *args, **options):
        if simulator.state.calls["audience"] == 4:
            jobs.pause_job(MetadataFetchTask.objects.get(pk=job.pk))
        return get(self, *args, **options)

    monkeypatch.setattr(SoundchartsService, "get_audience_series", pause_at_fifth)
    run(job)
    assert (job.status, job.processed_tracks) == ("paused", 5)
    monkeypatch.undo()
    jobs.resume_job(job)
    run(job)
    assert (job.status, job.updated_tracks, job.api_calls) == ("completed", 12, 12)


def test_failures_are_retried_as_audience(simulator, broker):
    tracks = add_tracks(simulator, 3)
    simulator.faults.set("unknown_uuids", uuids=[str(tracks[0].uuid)])
    failed = run(ask(tracks, platforms=["shazam"]))
    simulator.faults.clear()
    job = run(jobs.request_retry(failed).job)
    assert (job.task_type, job.updated_tracks, job.parent_id) == ("audience", 1, failed.pk)
    assert job.request["platforms"] == ["shazam"]


# --- Everything that is stale ---------------------------------------------------------------------


def planned(job: MetadataFetchTask) -> list[int]:
    jobs.plan_job(job.pk, budget=10)
    return [pk for chunk in FetchChunk.objects.filter(job=job).order_by("pk") for pk in chunk.track_ids]


def test_never_fetched_comes_first_and_then_the_oldest(simulator, broker):
    tracks = add_tracks(simulator, 6)
    for track, days in ((tracks[0], 2), (tracks[1], 9), (tracks[2], 5)):
        add_stale(track, until=days)
    run(ask(tracks[3:4]))
    job = jobs.request_stale_audience().job
    assert planned(job) == keys_of([tracks[4], tracks[5], tracks[1], tracks[2], tracks[0]])


def test_everything_is_planned_once_whatever_the_steps(simulator, broker, settings):
    settings.CHUNK_SIZE = 2
    tracks = add_tracks(simulator, 90)
    for number, track in enumerate(tracks[:60]):
        add_stale(track, until=1 + number % 7, days=2)
    for track in tracks[:30]:
        add_stale(track, until=3, platform="youtube", days=2)
    job = jobs.request_stale_audience(platforms=["spotify", "youtube"]).job
    assert sorted(planned(job)) == keys_of(tracks)


def test_another_platform_is_due_where_the_first_is_fresh(simulator, broker):
    tracks = add_tracks(simulator, 3)
    run(ask(tracks))
    add_stale(tracks[0], until=2, platform="youtube")
    run(ask(tracks[1:2], platforms=["youtube"]))
    run(ask(tracks))
    job = jobs.request_stale_audience(platforms=["spotify", "youtube"]).job
    assert sorted(planned(job)) == keys_of([tracks[0], tracks[2]])
    assert run(job).api_calls == 2


def test_what_waits_after_a_404_is_neither_planned_nor_priced(simulator, broker):
    tracks = add_tracks(simulator, 4)
    simulator.faults.set("unknown_uuids", uuids=[str(tracks[0].uuid)])
    run(ask(tracks[:1]))
    assert count_due_audiences() == {"spotify": 3}
    job = jobs.request_stale_audience().job
    assert planned(job) == keys_of(tracks[1:])


def test_the_price_of_everything_stale_is_what_is_spent(simulator, broker):
    tracks = add_tracks(simulator, 10)
    run(ask(tracks[:4]))
    add_stale(tracks[4], until=3)
    assert count_due_audiences(platforms=["spotify", "shazam"]) == {"spotify": 6, "shazam": 10}
    job = run(jobs.request_stale_audience(platforms=["spotify", "shazam"]).job)
    assert (job.status, job.total_tracks, job.api_calls) == ("completed", 10, 16)
    assert count_due_audiences(platforms=["spotify", "shazam"]) == {"spotify": 0, "shazam": 0}


def test_a_limit_is_kept(simulator, broker):
    add_tracks(simulator, 10)
    job = run(jobs.request_stale_audience(limit=3).job)
    assert (job.total_tracks, job.api_calls) == (3, 3)


def test_a_second_request_joins_the_first_and_another_platform_does_not(simulator, broker):
    tracks = add_tracks(simulator, 2)
    first = jobs.request_audience(keys_of(tracks))
    assert jobs.request_audience(keys_of(tracks), platforms=["spotify"]).job.pk == first.job.pk
    assert not jobs.request_audience(keys_of(tracks), platforms=["shazam"]).is_joined
    assert not jobs.request_metadata(keys_of(tracks)).is_joined
    assert jobs.request_stale_audience().job.pk == jobs.request_stale_audience().job.pk
