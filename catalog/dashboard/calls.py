"""The quota: calls used per day, calls remaining, and how long they last."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db.models import F, Sum
from django.utils import timezone

from catalog.fetching import count_import_calls, count_songs_to_follow
from catalog.models import ApiAccount, ApiUsage, MetadataFetchTask
from catalog.prices import estimate_all_job_calls, estimate_calls
from catalog.words import plural
from soundcharts.renewal import Renewal

SHOWN_DAYS = 30
# Whole days by whose spending the forecast goes.
PACE_DAYS = 7
# The longest known term of a plan.
LONGEST_TERM_DAYS = 366


@dataclass(frozen=True, slots=True)
class Day:
    """The calls of one day (UTC)."""

    day: date
    calls: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast of the calls remaining at the current pace.

    `per_day` is the mean of `days` whole days; `needed` are the calls that active jobs still need. `left` are
    the calls remaining at the renewal on `renews_on`: negative if the quota does not suffice, None if the
    renewal is unknown. `lasts_days` is how long bulk work has calls, None without any use so far. `pauses_on`
    is the day on which only the reserve remains, if it is before the renewal.
    """

    per_day: float
    days: int
    needed: int
    left: int | None
    renews_on: date | None
    lasts_days: float | None
    pauses_on: date | None

    @property
    def shortfall(self) -> int:
        return max(0, -(self.left or 0))

    @property
    def lasts(self) -> str:
        """How long the calls last, in words."""
        if self.lasts_days is None:
            return ""
        return "less than a day" if self.lasts_days < 1 else plural(int(self.lasts_days), "day")


@dataclass(frozen=True, slots=True)
class Calls:
    """What is known of the calls; `remaining` and `forecast` are None while Soundcharts has not told."""

    days: list[Day]
    remaining: int | None
    observed_at: datetime | None
    reserve: int
    forecast: Forecast | None

    @property
    def today(self) -> int:
        return self.days[-1].calls

    @property
    def total(self) -> int:
        return sum(day.calls for day in self.days)


def calls(account: ApiAccount | None) -> Calls:
    """Return what was spent in the last days, of all accounts, and what is left of this one."""
    now = timezone.now().astimezone(UTC)
    days = _days(now.date())
    remaining = account.quota_remaining if account else None
    return Calls(
        days,
        remaining,
        account.observed_at if account else None,
        settings.SOUNDCHARTS_QUOTA_RESERVE,
        None
        if remaining is None
        else forecast(days, remaining, _calls_needed(), now, renews_on=_renews_on(account, now.date())),
    )


def _renews_on(account: ApiAccount | None, today: date) -> date | None:
    """Return the next renewal day, from the setting or from observed renewals."""
    renewal = Renewal.parse(settings.SOUNDCHARTS_QUOTA_RENEWS)
    if renewal is None and account is not None:
        seen = (account.renewed_before_at, account.renewed_at)
        renewal = Renewal.between(*(at.astimezone(UTC).date() if at else None for at in seen))
    return renewal.next_after(today) if renewal else None


def forecast(
    days: list[Day], remaining: int, needed: int, now: datetime, *, renews_on: date | None = None
) -> Forecast:
    """Forecast from the pace of the last whole days, plus the calls that active jobs need.

    The quota renews at the start of `renews_on`, in UTC; None if unknown.
    """
    before_today = days[:-1]
    # Days before the first that was counted are not days on which nothing was spent.
    first = next((number for number, day in enumerate(before_today) if day.calls), len(before_today))
    counted = before_today[first:][-PACE_DAYS:]
    per_day = sum(day.calls for day in counted) / len(counted) if counted else 0.0
    spendable = remaining - needed - settings.SOUNDCHARTS_QUOTA_RESERVE
    lasts_days = max(0, spendable) / per_day if per_day else None
    days_to_go: float = LONGEST_TERM_DAYS
    left = None
    if renews_on is not None:
        renews_at = datetime(renews_on.year, renews_on.month, renews_on.day, tzinfo=UTC)
        days_to_go = (renews_at - now) / timedelta(days=1)
        left = remaining - needed - round(per_day * days_to_go)
    pauses_on = None
    if spendable < 0:
        pauses_on = now.date()
    elif lasts_days is not None and lasts_days < days_to_go:
        pauses_on = (now + timedelta(days=lasts_days)).date()
    return Forecast(per_day, len(counted), needed, left, renews_on, lasts_days, pauses_on)


def _days(today: date) -> list[Day]:
    first = today - timedelta(days=SHOWN_DAYS - 1)
    spent = dict(
        ApiUsage.objects.filter(day__gte=first)
        .order_by()
        .values("day")
        .annotate(total=Sum("calls"))
        .values_list("day", "total")
    )
    # By the database's clock a day may have begun that has not yet by ours.
    last = max([today, *spent])
    return [
        Day(day, spent.get(day, 0))
        for day in (last - timedelta(days=back) for back in reversed(range(SHOWN_DAYS)))
    ]


def _calls_needed() -> int:
    """Return what active jobs still need, as far as they are planned; of an import also the metadata."""
    active = MetadataFetchTask.objects.filter(status__in=MetadataFetchTask.ACTIVE)
    audiences = active.filter(task_type__in=MetadataFetchTask.AUDIENCE)
    needed = estimate_all_job_calls((job.request, job.remaining_tracks) for job in audiences)
    fetched = active.exclude(task_type__in=(*MetadataFetchTask.AUDIENCE, MetadataFetchTask.Type.IMPORT))
    left_of_each = F("total_tracks") - F("processed_tracks")
    to_fetch = max(0, fetched.aggregate(left=Sum(left_of_each, default=0))["left"])
    for job in active.filter(task_type=MetadataFetchTask.Type.IMPORT):
        needed += count_import_calls(job, job.remaining_tracks)
        to_fetch += count_songs_to_follow(job)
    return needed + estimate_calls(to_fetch)
