"""Beat's scheduler: django-celery-beat's, and exact about what makes jobs.

A refresh is no message that could be lost or sent twice. Beat makes its job itself, in the transaction
that writes down that it ran, under the lock of its row: with two beats, a kill at any moment or a Redis
that is away, each run happens once. The sweep is a message: the next one makes up for a lost one.
"""

import logging
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from celery.beat import SchedulingError
from celery.schedules import schedstate
from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from catalog import checks, heartbeats, jobs, schedule

logger = logging.getLogger(__name__)

# Seconds before the database is asked again after it gave an error.
RETRY_SECONDS = 5.0
# ... and before the next try after an unexpected error.
RETRY_AFTER_ERROR = 60.0
# A run that was so far in the future was written down by a clock that was wrong.
CLOCK_TOLERANCE = timedelta(hours=1)
# Touched at every turn: the health check looks at its age.
SIGN_OF_LIFE = Path(settings.VAR_DIR) / "beat-alive"


class Row(ModelEntry):
    """A row of beat as the scheduler holds it."""

    def save(self) -> None:
        """Write down the last run and nothing else: the rest may have been edited since it was read."""
        PeriodicTask.objects.filter(pk=self.model.pk).update(
            last_run_at=self.model.last_run_at, total_run_count=self.model.total_run_count
        )


class Scheduler(DatabaseScheduler):
    """Runs what `catalog.schedule` lists, and sends the messages of all other rows."""

    Entry = Row

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._failed: set[str] = set()
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        checks.exit_unless_in_utf8()
        heartbeats.note_outcome(heartbeats.Kind.BEAT)
        schedule.ensure_entries()
        super().setup_schedule()

    @cached_property
    def producer(self) -> Any:
        """What sends the messages. It connects when it sends: the original waits here until it can, and
        with Redis away nothing else would run meanwhile.
        """
        return self.Producer(self.connection, auto_declare=False)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Do what is due; a database that is away is waited for, as nothing else restarts beat everywhere."""
        try:
            wait: float = super().tick(*args, **kwargs)
        except AnyDatabaseError as error:
            logger.warning("beat waits for the database: %s", str(error).strip())
            wait = self._begin_anew()
        except Exception as unexpected:
            # One failing row must not stop beat and with it all other rows.
            self._note_failed("beat", unexpected)
            wait = self._begin_anew()
        else:
            self._note_well("beat")
        SIGN_OF_LIFE.touch()
        return wait

    def _note_failed(self, name: str, unexpected: Exception) -> None:
        """Note an unexpected error for Health, with its reference in the log."""
        error = jobs.internal_error(unexpected, during=name)
        self._failed.add(name)
        try:
            heartbeats.note_outcome(heartbeats.Kind.BEAT, reference=error.reference)
        except AnyDatabaseError:
            logger.warning("%s: not noted for Health, reference %s", name, error.reference)

    def _note_well(self, name: str) -> None:
        """Note that beat works again, after the failed step has succeeded."""
        if name in self._failed:
            self._failed.discard(name)
            if not self._failed:
                heartbeats.note_outcome(heartbeats.Kind.BEAT)

    def _begin_anew(self) -> float:
        """Read again, from the beginning, whatever was being read; return the wait until then."""
        self._initial_read, self._heap = True, None
        return RETRY_SECONDS

    def apply_entry(self, entry: Row, producer: Any = None) -> None:
        """Send a row's message, and say in one line if the broker does not take it."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            logger.warning("%s: not sent, and sent again at its next time: %s", entry.name, error)

    def enabled_models_qs(self) -> QuerySet[PeriodicTask]:
        """Return all rows that are on.

        The original leaves out what is not due within two hours, so that a run that was missed while
        beat was down would be made up for at some odd hour of the next night.
        """
        now = timezone.now()
        if ahead := PeriodicTask.objects.filter(last_run_at__gt=now + CLOCK_TOLERANCE).update(
            last_run_at=now
        ):
            logger.warning(
                "%s rows had last run in the future: the clock was wrong. Counting from now", ahead
            )
        rows: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(enabled=True)
        return rows.select_related("interval", "crontab", "solar", "clocked")

    def schedule_changed(self) -> bool:
        """Return whether rows were edited, also by a machine whose clock is behind another's."""
        before = self._last_timestamp
        return bool(super().schedule_changed()) or (before is not None and before != self._last_timestamp)

    def is_due(self, entry: Row) -> schedstate:
        """Return whether a message is to be sent now, and the seconds until the next look.

        For a refresh the answer is always no: when it is due, this runs it.
        """
        state: schedstate = super().is_due(entry)
        refresh = schedule.BY_BEAT_NAME.get(entry.name)
        if refresh is None or not state.is_due:
            return state
        try:
            wait = self._run_if_due(refresh)
            self._note_well(entry.name)
            return schedstate(False, wait)
        except AnyDatabaseError as error:
            logger.warning("%s: tried again soon: %s", entry.name, str(error).strip())
            return schedstate(False, RETRY_SECONDS)
        except Exception as unexpected:
            # The other rows still run.
            self._note_failed(entry.name, unexpected)
            return schedstate(False, RETRY_AFTER_ERROR)

    def _run_if_due(self, refresh: schedule.Refresh) -> float:
        """Run a refresh if its row, which nobody else can change meanwhile, says so; return the wait."""
        with transaction.atomic():
            row = PeriodicTask.objects.select_for_update().filter(name=refresh.beat_name).first()
            if row is None:
                return RETRY_SECONDS
            state = self.Entry(row, app=self.app).is_due()
            if state.is_due:
                PeriodicTask.objects.filter(pk=row.pk).update(
                    last_run_at=timezone.now(), total_run_count=F("total_run_count") + 1
                )
                schedule.run(refresh)
        return float(state.next)
