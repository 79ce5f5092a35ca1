"""What is alive and what is not: facts, and troubles as sentences that say what to do."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from catalog import schedule
from catalog.explanations import explain
from catalog.models import ApiAccount, Heartbeat
from catalog.timing import next_run_at
from catalog.words import length_of_time

Kind = Heartbeat.Kind

# A worker notes every 10 seconds that it is alive, and half a minute after a note that failed.
WORKER_SILENCE = timedelta(seconds=90)
# Beat sends a message for each sweep.
BEAT_PATIENCE = timedelta(minutes=1)
# What a sweep waits for at most while workers are busy with slices of other work.
SWEEP_PATIENCE = timedelta(minutes=5)
# Errors that jobs or the quota tell of by themselves, or that pass without anybody doing anything.
TOLD_ELSEWHERE = ("forbidden", "quota_exhausted", "quota_reserved", "rate_limited")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be, in a sentence, and what to do, perhaps with a command."""

    sentence: str
    what_to_do: str = ""
    command: str = ""


@dataclass(slots=True)
class Health:
    """What was seen when. `is_broker_answering` is None where nobody has asked yet."""

    workers: int = 0
    worker_seen_at: datetime | None = None
    beat_seen_at: datetime | None = None
    swept_at: datetime | None = None
    is_broker_answering: bool | None = None
    database: str = ""
    answered_at: datetime | None = None
    error: str = ""
    error_title: str = ""
    error_message: str = ""
    error_at: datetime | None = None
    next_refresh_at: datetime | None = None
    troubles: list[Trouble] = field(default_factory=list)


def health(account: ApiAccount | None, *, is_broker_answering: bool | None = None) -> Health:
    """Return what is known from rows, and of the broker what the caller has found out."""
    now = timezone.now()
    seen = list(Heartbeat.objects.order_by("-seen_at"))
    workers = [heartbeat.seen_at for heartbeat in seen if heartbeat.kind == Kind.WORKER]
    found = Health(
        workers=sum(now - seen_at < WORKER_SILENCE for seen_at in workers),
        worker_seen_at=workers[0] if workers else None,
        beat_seen_at=next((one.seen_at for one in seen if one.kind == Kind.BEAT), None),
        swept_at=next((one.seen_at for one in seen if one.kind == Kind.SWEEP), None),
        is_broker_answering=is_broker_answering,
        # That these rows could be read is the check.
        database=connection.display_name,
        next_refresh_at=next_refresh(),
    )
    if account is not None:
        found.answered_at = account.answered_at
        found.error, found.error_at = account.last_error, account.last_error_at
        found.error_message = account.last_error_message
        found.error_title = explain(account.last_error).title if account.last_error else ""
    found.troubles = [trouble for trouble in _troubles(found, now) if trouble is not None]
    return found


def next_refresh() -> datetime | None:
    """Return when beat will fetch what is stale the next time, None where it never does."""
    names = [refresh.beat_name for refresh in schedule.REFRESHES]
    rows = PeriodicTask.objects.filter(name__in=names, enabled=True).select_related("crontab", "interval")
    return min((due for row in rows if (due := next_run_at(row))), default=None)


def _troubles(found: Health, now: datetime) -> list[Trouble | None]:
    if found.is_broker_answering is False:
        # Without it nobody can be seen, so that nothing is known of workers and beat.
        broker = Trouble(
            "The message broker (Redis) does not answer, so no worker hears of new work. Nothing is lost.",
            "Start Redis, or check REDIS_URL. Tasks go on by themselves within a minute of its return.",
        )
        return [broker, _api_trouble(found)]
    return [_worker_trouble(found, now), _beat_trouble(found, now), _api_trouble(found)]


def _worker_trouble(found: Health, now: datetime) -> Trouble | None:
    if found.workers:
        return None
    return Trouble(
        f"No worker has been seen {_for(found.worker_seen_at, now)}, so no task moves.",
        "Start one, or see docs/operations.md:",
        "celery -A config worker",
    )


def _beat_trouble(found: Health, now: datetime) -> Trouble | None:
    interval = timedelta(seconds=settings.SWEEP_SECONDS)
    if found.beat_seen_at is None or now - found.beat_seen_at > 2 * interval + BEAT_PATIENCE:
        return Trouble(
            f"Beat, the scheduler, has not been seen {_for(found.beat_seen_at, now)}: nothing stale is "
            "fetched by itself, and what has lost its worker waits.",
            "Start exactly one, or see docs/operations.md:",
            "celery -A config beat",
        )
    # Where there never was one, the first is still to come.
    is_swept = found.swept_at is None or now - found.swept_at <= 2 * interval + SWEEP_PATIENCE
    if found.workers and not is_swept:
        return Trouble(
            f"Workers are alive, but none has carried out beat's housekeeping {_for(found.swept_at, now)}.",
            "They may be stuck or too few: look into their logs, or start more:",
            "celery -A config worker",
        )
    return None


def _api_trouble(found: Health) -> Trouble | None:
    if found.error_at is None or found.error in TOLD_ELSEWHERE:
        return None
    if found.answered_at is not None and found.answered_at >= found.error_at:
        return None
    words = explain(found.error)
    return Trouble(f"The last call to Soundcharts did not work: {words.meaning}", words.what_to_do)


def _for(seen_at: datetime | None, now: datetime) -> str:
    return f"for {length_of_time((now - seen_at).total_seconds())}" if seen_at else "yet"
