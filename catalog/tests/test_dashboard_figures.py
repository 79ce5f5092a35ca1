"""Figures of the dashboard that are worked out: pace, time left, forecast."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone

from catalog import jobs, quota
from catalog.dashboard.calls import Day, calls, forecast
from catalog.dashboard.running import active_jobs, read_marks
from catalog.fetching import work_on_job
from catalog.models import ApiAccount, MetadataFetchTask
from catalog.song_lists import Entry
from catalog.tests.tracks import add_tracks
from soundcharts import errors
from soundcharts.service import get_service

# --- pace


def milliseconds(seconds_ago: float) -> int:
    return int((timezone.now().timestamp() - seconds_ago) * 1000)


@pytest.fixture
def running(db, monkeypatch) -> MetadataFetchTask:
    """A job that has done 500 of 1,500 tracks, in 100 seconds. The clock stands still from then on."""
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    return MetadataFetchTask.objects.create(
        task_type="bulk_metadata",
        status="running",
        title="A job",
        fresh_after=now,
        started_at=now - timedelta(seconds=100),
        planned_at=now,
        total_tracks=1500,
        processed_tracks=500,
        successful_tracks=500,
        updated_tracks=500,
    )


def look(marks: str = ""):
    """Return the job as it is shown, and the marks to come back with."""
    active = active_jobs(marks)
    (one,) = active.shown
    return one, active.marks


def test_at_first_sight_the_pace_is_that_since_the_start(running):
    one, _ = look()
    assert one.pace.rate == pytest.approx(5, rel=0.05)
    assert one.pace.measured == "on average since it started"
    assert one.left == "3 minutes"


def test_then_the_pace_is_that_of_the_last_seconds(running):
    one, marks = look(f"{running.pk}:300:{milliseconds(20)}:400:{milliseconds(10.5)}")
    assert one.pace.rate == pytest.approx(10, rel=0.05)
    assert one.pace.measured == "in the last 20 seconds"
    assert one.left == "100 seconds"
    older, newer = read_marks(marks)[running.pk]
    assert (older.done, newer.done) == (400, 500)


def test_marks_stay_until_they_have_been_measured_over_for_long_enough(running):
    before = f"{running.pk}:300:{milliseconds(9)}:400:{milliseconds(3)}"
    assert look(before)[1] == before


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ((300, 400), (400, 395)),
        ((300, -50), (400, -60)),
        ((900, 20), (950, 10)),
        ((400, 10), (300, 5)),
        ((300, 5), (400, 10)),
    ],
    ids=["long ago", "to come", "more than is done", "backwards", "in the wrong order"],
)
def test_marks_that_make_no_sense_begin_anew(running, older, newer):
    one, marks = look(f"{running.pk}:{older[0]}:{milliseconds(older[1])}:{newer[0]}:{milliseconds(newer[1])}")
    assert one.pace.measured == "on average since it started"
    assert {mark.done for mark in read_marks(marks)[running.pk]} == {500}


def test_a_job_that_stands_still_has_no_time_left(running):
    one, _ = look(f"{running.pk}:500:{milliseconds(20)}:500:{milliseconds(10)}")
    assert (one.pace.shown, one.left) == ("0.0", "")


def test_while_a_job_is_planned_nobody_says_how_long_it_takes(running):
    MetadataFetchTask.objects.update(planned_at=None)
    one, _ = look()
    assert one.pace is not None
    assert one.left == ""


def test_a_job_that_has_just_begun_has_no_pace(running):
    MetadataFetchTask.objects.update(started_at=timezone.now())
    assert look()[0].pace is None


def test_a_job_that_has_done_nothing_yet_has_no_pace(running):
    MetadataFetchTask.objects.update(processed_tracks=0, successful_tracks=0, updated_tracks=0)
    assert look()[0].pace is None


def test_a_few_seconds_without_a_track_are_no_standstill(running):
    one, _ = look(f"{running.pk}:500:{milliseconds(4)}:500:{milliseconds(4)}")
    assert one.pace.measured == "on average since it started"


def test_a_job_that_waits_has_no_pace(running):
    MetadataFetchTask.objects.update(status="paused", error_code="by_hand")
    one, _ = look()
    assert (one.pace, one.left, one.status.text) == (None, "", "Paused by hand")


# --- forecast


def days(*spent: int, today: date) -> list[Day]:
    """Return 30 days that end with today, the last of them with these calls."""
    all_days = [0] * (30 - len(spent)) + list(spent)
    return [Day(today - timedelta(days=29 - number), count) for number, count in enumerate(all_days)]


# Ten days before the end of November, at noon.
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_the_forecast_goes_on_as_in_the_last_7_whole_days(settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    spent = days(9999, *[100] * 7, 5000, today=NOON.date())
    found = forecast(spent, 10_000, 300, NOON, renews_on=date(2026, 12, 1))
    assert (found.per_day, found.days, found.needed) == (100, 7, 300)
    # Half of today and ten whole days.
    assert found.left == 10_000 - 300 - 1050
    assert found.pauses_on is None


def test_without_a_known_renewal_only_the_pace_and_how_long_the_calls_last_are_said(settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    found = forecast(days(*[100] * 7, 0, today=NOON.date()), 10_000, 0, NOON)
    assert (found.per_day, found.left, found.renews_on, found.shortfall) == (100, None, None, 0)
    assert (found.lasts_days, found.lasts) == (99.75, "99 days")
    assert found.pauses_on == date(2027, 2, 28)
    assert forecast(days(0, today=NOON.date()), 10_000, 0, NOON).lasts == ""
    assert forecast(days(1, 0, today=NOON.date()), 10**12, 0, NOON).pauses_on is None


def test_days_before_the_first_call_do_not_lower_the_pace():
    found = forecast(days(90, 110, 0, today=NOON.date()), 10_000, 0, NOON)
    assert (found.per_day, found.days) == (100, 2)


def test_days_without_a_call_between_others_do():
    assert forecast(days(100, 0, 0, 0, 0, today=NOON.date()), 10_000, 0, NOON).per_day == 25


def test_on_the_first_day_only_what_is_needed_is_forecast():
    found = forecast(days(500, today=NOON.date()), 1000, 10, NOON, renews_on=date(2026, 12, 1))
    assert (found.per_day, found.days, found.left) == (0, 0, 990)


def test_a_quota_that_does_not_suffice_names_the_day_on_which_bulk_work_pauses(settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    spent = days(*[100] * 7, 0, today=NOON.date())
    found = forecast(spent, 345, 20, NOON, renews_on=date(2026, 12, 1))
    # 300 that may be spent, at 100 a day.
    assert found.pauses_on == date(2026, 11, 23)
    assert found.shortfall == 1050 + 20 - 345


def test_active_jobs_that_need_more_than_there_is_pause_today(settings):
    settings.SOUNDCHARTS_QUOTA_RESERVE = 25
    assert forecast(days(0, today=NOON.date()), 100, 90, NOON).pauses_on == NOON.date()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("setting", "now", "renews_on"),
    [
        ("1", datetime(2026, 12, 31, 18, tzinfo=UTC), date(2027, 1, 1)),
        ("31", datetime(2028, 2, 1, tzinfo=UTC), date(2028, 2, 29)),
        ("15", datetime(2026, 11, 15, tzinfo=UTC), date(2026, 12, 15)),
        ("2024-03-01", datetime(2026, 11, 20, tzinfo=UTC), date(2027, 3, 1)),
        ("", datetime(2026, 11, 20, tzinfo=UTC), None),
    ],
)
def test_the_forecast_goes_to_the_renewal_that_the_settings_name(
    settings, monkeypatch, setting, now, renews_on
):
    settings.SOUNDCHARTS_QUOTA_RENEWS = setting
    monkeypatch.setattr(timezone, "now", lambda: now)
    account = ApiAccount.objects.create(fingerprint="f", quota_remaining=1000)
    assert calls(account).forecast.renews_on == renews_on


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("before", "last", "renews_on"),
    [
        (datetime(2026, 9, 12, 3, tzinfo=UTC), datetime(2026, 10, 12, 5, tzinfo=UTC), date(2026, 12, 12)),
        (datetime(2025, 5, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC), date(2027, 5, 1)),
        # Neither a month nor a year apart; and a first renewal, which may be either.
        (datetime(2026, 9, 30, tzinfo=UTC), datetime(2026, 10, 12, tzinfo=UTC), None),
        (None, datetime(2026, 10, 12, tzinfo=UTC), None),
    ],
)
def test_a_renewal_is_learned_from_the_last_two(monkeypatch, before, last, renews_on):
    monkeypatch.setattr(timezone, "now", lambda: NOON)
    account = ApiAccount.objects.create(
        fingerprint="f", quota_remaining=1000, renewed_before_at=before, renewed_at=last
    )
    assert calls(account).forecast.renews_on == renews_on


@pytest.mark.django_db
def test_what_active_jobs_need_counts_lists_and_metadata(simulator, broker):
    jobs.request_metadata([track.pk for track in add_tracks(simulator, 25)])
    jobs.request_import(limit=150)
    cancelled = jobs.request_metadata([track.pk for track in add_tracks(simulator, 100, first=100)]).job
    jobs.cancel_job(cancelled)
    account = ApiAccount.objects.create(fingerprint=get_service().account, quota_remaining=1000)
    batch = get_service().effective_batch_size
    # Two pages of the list, then the metadata of 150 songs and of 25 tracks.
    assert calls(account).forecast.needed == 2 + -(-175 // batch)
    isrcs = [f"USAAA25{number:05}" for number in range(30)]
    jobs.request_list_import([Entry(line, isrc, isrc) for line, isrc in enumerate(isrcs, start=1)])
    # An ISRC takes a call of its own, which brings its metadata too.
    assert calls(account).forecast.needed == 2 + -(-175 // batch) + 30


# --- the health of the API, as the account's row has it


@pytest.mark.django_db(transaction=True)
def test_an_answer_is_noted(simulator, broker, account_of_its_own):
    work_on_job(jobs.request_metadata([add_tracks(simulator, 1)[0].pk]).job.pk)
    account = ApiAccount.objects.get()
    assert timezone.now() - account.answered_at < timedelta(seconds=30)
    assert (account.last_error, account.last_error_at) == ("", None)


@pytest.mark.django_db(transaction=True)
def test_an_error_that_ends_a_batch_is_noted_with_its_words(simulator, broker, account_of_its_own):
    simulator.faults.set("error", status=401)
    work_on_job(jobs.request_metadata([add_tracks(simulator, 1)[0].pk]).job.pk)
    account = ApiAccount.objects.get()
    assert account.last_error == "authentication_failed"
    assert "does not accept our credentials" in account.last_error_message
    assert account.last_error_at is not None
    assert account.answered_at is None


@pytest.mark.django_db(transaction=True)
def test_a_song_that_soundcharts_lacks_is_an_answer_and_no_error(simulator, broker, account_of_its_own):
    track = add_tracks(simulator, 1)[0]
    simulator.faults.set("unknown_uuids", uuids=[str(track.uuid)])
    work_on_job(jobs.request_metadata([track.pk]).job.pk)
    account = ApiAccount.objects.get()
    assert account.last_error == ""
    assert account.answered_at is not None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "error", [errors.QuotaReserved(), errors.RateLimited(), errors.NotFound(), errors.InvalidRequest()]
)
def test_what_says_nothing_of_the_api_is_not_noted(error):
    quota.note_error(get_service(), error)
    assert not ApiAccount.objects.exists()


@pytest.mark.django_db
def test_an_endless_message_is_cut():
    quota.note_error(get_service(), errors.UpstreamUnavailable("x" * 5000))
    assert len(ApiAccount.objects.get().last_error_message) == 1000
