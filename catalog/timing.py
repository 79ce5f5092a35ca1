"""When something happens again and again: as people say it, and as a crontab holds it."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from django.db import models
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

# The hours that divide a day evenly, so that each day is like the next.
HOURS = (1, 2, 3, 4, 6, 8, 12)
# As a crontab counts them.
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
# More times of a day are not listed one by one.
LISTED_TIMES = 4


class Frequency(models.TextChoices):
    DAY = "day", "Every day"
    WEEK = "week", "Every week"
    HOURS = "hours", "Every few hours"


@dataclass(frozen=True, slots=True)
class Timing:
    """Every day at a time, every week on a weekday at a time, or every few hours counted from a time."""

    frequency: str
    at: time
    weekday: int = 1
    hours: int = 6

    @property
    def words(self) -> str:
        """The timing as people say it: "every day at 03:15 UTC"."""
        zone = timezone.get_default_timezone_name()
        at = f"{self.at:%H:%M} {zone}"
        match self.frequency:
            case Frequency.DAY:
                return f"every day at {at}"
            case Frequency.WEEK:
                return f"every {WEEKDAYS[self.weekday]} at {at}"
        times = [f"{hour:02}:{self.at.minute:02}" for hour in self._hours_of_day]
        every = "every hour" if self.hours == 1 else f"every {self.hours} hours"
        if len(times) > LISTED_TIMES:
            return f"{every}, from {times[0]} to {times[-1]} {zone}"
        return f"{every}: {', '.join(times[:-1])} and {times[-1]} {zone}"

    @property
    def _hours_of_day(self) -> list[int]:
        return list(range(self.at.hour % self.hours, 24, self.hours))

    def crontab(self) -> CrontabSchedule:
        """Return the row that says so, making it if there is none."""
        fields = {
            "minute": str(self.at.minute),
            "hour": str(self.at.hour),
            "day_of_week": "*",
            "day_of_month": "*",
            "month_of_year": "*",
            "timezone": timezone.get_default_timezone_name(),
        }
        if self.frequency == Frequency.WEEK:
            fields["day_of_week"] = str(self.weekday)
        elif self.frequency == Frequency.HOURS:
            fields["hour"] = ",".join(map(str, self._hours_of_day))
        # Nothing keeps two processes from making the same row: then either will do.
        return CrontabSchedule.objects.filter(**fields).first() or CrontabSchedule.objects.create(**fields)


def timing_of(task: PeriodicTask) -> Timing | None:
    """Return the timing of a row of beat, or None where it is of a kind that the page does not offer."""
    crontab = task.crontab
    if crontab is None or (crontab.day_of_month, crontab.month_of_year) != ("*", "*"):
        return None
    if str(crontab.timezone) != timezone.get_default_timezone_name():
        return None
    hours, day = crontab.hour.split(","), crontab.day_of_week
    if not all(text.isdecimal() for text in (crontab.minute, *hours)):
        return None
    at = time(int(hours[0]), int(crontab.minute))
    if len(hours) == 1 and day == "*":
        return Timing(Frequency.DAY, at)
    if len(hours) == 1 and day in map(str, range(7)):
        return Timing(Frequency.WEEK, at, weekday=int(day))
    every = Timing(Frequency.HOURS, at, hours=24 // len(hours))
    is_even = every.hours in HOURS and ",".join(map(str, every._hours_of_day)) == crontab.hour
    return every if is_even and day == "*" else None


def timing_words(task: PeriodicTask) -> str:
    """Return when a row of beat runs, as people say it."""
    timing = timing_of(task)
    if timing is not None:
        return timing.words
    return str(task.crontab.human_readable if task.crontab else task.scheduler)


def next_run_at(task: PeriodicTask) -> datetime | None:
    """Return when a row of beat runs next, which is in the past when it is overdue; None when it is off."""
    if not task.enabled or task.scheduler is None:
        return None
    last: datetime = task.last_run_at or task.date_changed
    schedule = task.schedule
    if task.crontab is not None:
        start, delta, _ = schedule.remaining_delta(last)
        moment: datetime = start + delta
        return moment
    remaining: timedelta = schedule.remaining_estimate(last)
    return timezone.now() + remaining
