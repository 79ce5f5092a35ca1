"""Which parts are online, when each was last seen, and which problems there are."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from catalog import quota, schedule
from catalog.dashboard.troubles import Trouble, parts_in_trouble, work_in_trouble
from catalog.explanations import explain
from catalog.models import ApiAccount, Heartbeat
from catalog.timing import next_run_at

Kind = Heartbeat.Kind

# Labels of the recurring work.
NAMES: dict[str, str] = {Kind.BEAT: "Scheduler", Kind.SWEEP: "Housekeeping"}

# A worker notes every 10 seconds that it is alive, and half a minute after a note that failed.
WORKER_SILENCE = timedelta(seconds=90)
# A refresh counts as missed after this time; beat normally starts it within seconds.
REFRESH_PATIENCE = timedelta(minutes=10)


@dataclass(slots=True)
class Health:
    """What was seen when. `is_broker_answering` is None where nobody has asked yet."""

    workers: int = 0
    worker_seen_at: datetime | None = None
    beat_seen_at: datetime | None = None
    swept_at: datetime | None = None
    is_broker_answering: bool | None = None
    database: str = ""
    unusable_settings: str = ""
    quota_remaining: int | None = None
    answered_at: datetime | None = None
    error: str = ""
    error_title: str = ""
    error_message: str = ""
    error_at: datetime | None = None
    next_refresh_at: datetime | None = None
    # Missed refreshes: label, and when each was due.
    missed_refreshes: list[tuple[str, datetime]] = field(default_factory=list)
    # Recurring work that fails every time: label, since when, and the reference in the logs.
    failing: list[tuple[str, datetime, str]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


def health(account: ApiAccount | None, *, is_broker_answering: bool | None = None) -> Health:
    """Return health from the database, and the broker's state as the caller found it.

    Uses a constant number of queries.
    """
    now = timezone.now()
    seen = list(Heartbeat.objects.order_by("-seen_at"))
    workers = [heartbeat.seen_at for heartbeat in seen if heartbeat.kind == Kind.WORKER]
    refreshes = _refreshes()
    found = Health(
        workers=sum(now - seen_at < WORKER_SILENCE for seen_at in workers),
        worker_seen_at=workers[0] if workers else None,
        beat_seen_at=next((one.seen_at for one in seen if one.kind == Kind.BEAT), None),
        swept_at=next((one.seen_at for one in seen if one.kind == Kind.SWEEP), None),
        is_broker_answering=is_broker_answering,
        # That these rows could be read is the check.
        database=connection.display_name,
        unusable_settings=quota.why_unusable(),
        next_refresh_at=min((due for _, due in refreshes), default=None),
        failing=[
            (NAMES[one.kind], one.failed_at, one.reference)
            for one in seen
            if one.failed_at is not None and one.kind in NAMES
        ],
        missed_refreshes=[(title, due) for title, due in refreshes if now - due > REFRESH_PATIENCE],
    )
    if account is not None:
        found.quota_remaining = account.quota_remaining
        found.answered_at = account.answered_at
        found.error, found.error_at = account.last_error, account.last_error_at
        found.error_message = account.last_error_message
        found.error_title = explain(account.last_error).title if account.last_error else ""
    work = work_in_trouble(
        _live_error(found),
        quota_remaining=found.quota_remaining,
        is_worked_on=found.workers > 0 and is_broker_answering is not False,
        now=now,
    )
    troubles = [*parts_in_trouble(found, now=now, waiting=work.unfinished), *work.troubles]
    # The worst first; a stable sort keeps the order of the checks within a level.
    found.troubles = sorted(troubles, key=lambda trouble: trouble.level)
    return found


def _refreshes() -> list[tuple[str, datetime]]:
    """Return the label and due time of each refresh that is turned on."""
    titles = {refresh.beat_name: refresh.title for refresh in schedule.REFRESHES}
    rows = PeriodicTask.objects.filter(name__in=titles, enabled=True).select_related("crontab", "interval")
    return [(titles[row.name], due) for row in rows if (due := next_run_at(row)) is not None]


def _live_error(found: Health) -> str:
    """Return the code of the last Soundcharts error, empty if Soundcharts has answered since."""
    if found.error_at is None:
        return ""
    has_answered = found.answered_at is not None and found.answered_at >= found.error_at
    return "" if has_answered else found.error
