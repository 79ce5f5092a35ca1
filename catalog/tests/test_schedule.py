"""The schedule: its first values, what staff change, and what a run makes of it."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from catalog import schedule
from catalog.models import MetadataFetchTask, RefreshPolicy, Track
from catalog.tests.tracks import add_tracks
from catalog.timing import Frequency, Timing, next_run_at, timing_of, timing_words

METADATA = schedule.BY_KIND["metadata"]
AT_FOUR = Timing(Frequency.DAY, time(4, 0))


def row() -> PeriodicTask:
    return PeriodicTask.objects.get(name=METADATA.beat_name)


def policy() -> RefreshPolicy:
    return RefreshPolicy.objects.get(pk="metadata")


def change(**values: object) -> list[str]:
    """Save the form with these values, and all others as they are."""
    saved = policy()
    asked = {
        "is_on": row().enabled,
        "timing": timing_of(row()),
        "max_age_days": saved.max_age_days or 30,
        "tracks_per_run": saved.tracks_per_run,
    }
    return schedule.change(METADATA, **(asked | values))


# --- the first values


@pytest.mark.django_db
def test_migrate_has_made_what_the_settings_say():
    assert (row().enabled, timing_words(row())) == (True, "every day at 03:15 UTC")
    assert (policy().max_age_days, policy().tracks_per_run) == (None, None)


@pytest.mark.django_db
def test_migrating_again_changes_nothing():
    before = PeriodicTask.objects.values().get(name=METADATA.beat_name)
    call_command("migrate", verbosity=0)
    assert PeriodicTask.objects.values().get(name=METADATA.beat_name) == before
    assert CrontabSchedule.objects.count() == RefreshPolicy.objects.count() == len(schedule.REFRESHES)


@pytest.mark.django_db
def test_a_deployment_without_rows_gets_them_and_does_not_run_at_once():
    PeriodicTask.objects.all().delete()
    RefreshPolicy.objects.all().delete()
    schedule.ensure_entries()
    assert next_run_at(row()) > timezone.now()
    assert policy().last_run_at is None


@pytest.mark.django_db
def test_a_time_that_staff_have_not_set_follows_the_setting(settings):
    settings.METADATA_REFRESH_AT = time(5, 30)
    schedule.ensure_entries()
    assert timing_words(row()) == "every day at 05:30 UTC"


@pytest.mark.django_db
def test_what_staff_have_set_stays_whatever_the_settings_say(settings):
    change(is_on=False, timing=AT_FOUR, max_age_days=7, tracks_per_run=100)
    settings.METADATA_REFRESH_AT = time(5, 30)
    settings.METADATA_REFRESH_DAYS = 90
    schedule.ensure_entries()
    call_command("migrate", verbosity=0)
    assert (row().enabled, timing_of(row())) == (False, AT_FOUR)
    assert (policy().max_age_days, policy().tracks_per_run) == (7, 100)


@pytest.mark.django_db
def test_what_staff_left_as_it_was_goes_on_following_the_settings(settings):
    change(tracks_per_run=100)
    settings.METADATA_REFRESH_AT = time(5, 30)
    schedule.ensure_entries()
    assert timing_words(row()) == "every day at 05:30 UTC"
    assert policy().max_age_days is None


# --- changing it


@pytest.mark.django_db
def test_a_time_that_is_past_today_does_not_run_at_once():
    past = timezone.now() - timedelta(hours=2)
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(days=1))
    change(timing=Timing(Frequency.DAY, past.time().replace(second=0, microsecond=0)))
    assert next_run_at(row()) > timezone.now()


@pytest.mark.django_db
def test_what_is_overdue_stays_so_when_only_an_amount_is_changed():
    long_ago = timezone.now() - timedelta(days=3)
    PeriodicTask.objects.update(last_run_at=long_ago)
    assert change(tracks_per_run=5) == ["at most 5 tracks a run"]
    assert row().last_run_at == long_ago


@pytest.mark.django_db
def test_turning_it_on_again_does_not_make_up_for_the_time_that_it_was_off():
    change(is_on=False)
    assert next_run_at(row()) is None
    change(is_on=True)
    assert next_run_at(row()) > timezone.now()


@pytest.mark.django_db
def test_saving_without_a_difference_changes_nothing():
    before = PeriodicTask.objects.values().get(name=METADATA.beat_name)
    assert change() == []
    assert PeriodicTask.objects.values().get(name=METADATA.beat_name) == before


@pytest.mark.django_db
def test_every_change_is_named():
    changes = change(is_on=False, timing=AT_FOUR, max_age_days=1, tracks_per_run=1000)
    assert changes == ["off", "every day at 04:00 UTC", "stale after 1 day", "at most 1,000 tracks a run"]
    assert change(tracks_per_run=None) == ["no limit a run"]


# --- when


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("timing", "words", "next_run"),
    [
        (AT_FOUR, "every day at 04:00 UTC", datetime(2026, 5, 7, 4, 0, tzinfo=UTC)),
        (
            Timing(Frequency.WEEK, time(4, 5), weekday=0),
            "every Sunday at 04:05 UTC",
            datetime(2026, 5, 10, 4, 5, tzinfo=UTC),
        ),
        (
            Timing(Frequency.HOURS, time(3, 15), hours=6),
            "every 6 hours: 03:15, 09:15, 15:15 and 21:15 UTC",
            datetime(2026, 5, 6, 15, 15, tzinfo=UTC),
        ),
        (
            Timing(Frequency.HOURS, time(1, 30), hours=2),
            "every 2 hours, from 01:30 to 23:30 UTC",
            datetime(2026, 5, 6, 13, 30, tzinfo=UTC),
        ),
        (
            Timing(Frequency.HOURS, time(0, 59), hours=1),
            "every hour, from 00:59 to 23:59 UTC",
            datetime(2026, 5, 6, 12, 59, tzinfo=UTC),
        ),
    ],
)
def test_a_timing_is_kept_said_and_computed(timing, words, next_run):
    change(timing=timing)
    # A Wednesday.
    PeriodicTask.objects.update(last_run_at=datetime(2026, 5, 6, 12, 0, tzinfo=UTC))
    assert timing_of(row()) == timing
    assert timing_words(row()) == words
    assert next_run_at(row()) == next_run


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"day_of_month": "1"},
        {"hour": "3,4"},
        {"hour": "*/5"},
        {"day_of_week": "1,2"},
        {"timezone": "Asia/Tokyo"},
    ],
)
def test_a_crontab_that_the_page_does_not_offer_is_said_as_it_is(fields):
    crontab = CrontabSchedule.objects.create(**({"minute": "0", "hour": "3"} | fields))
    PeriodicTask.objects.update(crontab=crontab)
    assert timing_of(row()) is None
    assert timing_words(row()) == crontab.human_readable
    assert next_run_at(row()) > timezone.now()


@pytest.mark.django_db
def test_an_interval_that_somebody_set_by_hand_can_be_replaced_on_the_page():
    interval = IntervalSchedule.objects.create(every=5, period="days")
    PeriodicTask.objects.update(crontab=None, interval=interval)
    assert timing_words(row()) == "every 5 days"
    change(timing=AT_FOUR)
    assert (row().interval, timing_of(row())) == (None, AT_FOUR)


# --- running it


@pytest.mark.django_db(transaction=True)
def test_a_run_makes_a_job_and_notes_it(simulator, broker, staff):
    add_tracks(simulator, 3)
    requested = schedule.run(METADATA, requested_by=staff)
    noted = policy()
    assert (noted.last_run_job, noted.last_run_outcome) == (requested.job, "made")
    assert noted.last_run_by == requested.job.requested_by == staff
    assert broker.llen("liner-notes") == 1


@pytest.mark.django_db(transaction=True)
def test_a_run_while_the_job_is_active_joins_it(simulator, broker):
    add_tracks(simulator, 3)
    first, second = schedule.run(METADATA), schedule.run(METADATA)
    assert second.is_joined
    assert (policy().last_run_job, policy().last_run_outcome) == (first.job, "joined")


@pytest.mark.django_db(transaction=True)
def test_a_run_without_anything_stale_makes_no_job(simulator, broker):
    add_tracks(simulator, 3, fetched_at=timezone.now())
    assert schedule.run(METADATA) is None
    assert not MetadataFetchTask.objects.exists()
    assert (policy().last_run_job, policy().last_run_outcome) == (None, "fresh")


@pytest.mark.django_db(transaction=True)
def test_a_run_keeps_to_its_limit(simulator, broker):
    add_tracks(simulator, 30)
    change(tracks_per_run=12)
    assert schedule.run(METADATA).job.request == {"what": "stale", "limit": 12}


@pytest.mark.django_db(transaction=True)
def test_a_run_counts_as_stale_what_staff_have_just_said(simulator, broker):
    add_tracks(simulator, 3, fetched_at=timezone.now() - timedelta(days=5))
    assert schedule.run(METADATA) is None
    RefreshPolicy.objects.update(max_age_days=4)
    assert schedule.run(METADATA) is not None


@pytest.mark.django_db(transaction=True)
def test_a_run_that_fails_leaves_nothing_behind(simulator, broker, monkeypatch):
    add_tracks(simulator, 3)
    monkeypatch.setattr(schedule, "Outcome", None)
    with pytest.raises(AttributeError):
        schedule.run(METADATA)
    assert not MetadataFetchTask.objects.exists()
    assert policy().last_run_at is None


@pytest.mark.django_db(transaction=True)
def test_deleting_the_job_of_the_last_run_keeps_the_note(simulator, broker):
    add_tracks(simulator, 3)
    schedule.run(METADATA).job.delete()
    assert (policy().last_run_job, policy().last_run_outcome) == (None, "made")


# --- what it costs


@pytest.mark.django_db
def test_the_cost_is_of_what_is_due_within_the_limit(simulator, make_track):
    now = timezone.now()
    for number in range(25):
        make_track(number, metadata_fetched_at=now - timedelta(days=10))
    make_track(30, metadata_retry_at=now + timedelta(days=1))
    cost = schedule.cost_of_a_run
    assert cost(METADATA, limit=None).tracks == 0
    assert (cost(METADATA, limit=None, days=9).tracks, cost(METADATA, limit=None, days=9).price.calls) == (
        25,
        3,
    )
    limited = cost(METADATA, limit=12, days=9)
    assert (limited.tracks, limited.is_limited, limited.price.calls) == (12, True, 2)
    assert Track.objects.count() == 26
