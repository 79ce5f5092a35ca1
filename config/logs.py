"""Add the Celery task to each log line, in all threads that work for the task."""

import logging
from contextvars import ContextVar
from typing import Any

from celery import signals

# "catalog.tasks.fetch_bulk_track_metadata[id]" while a task runs. Threads get it with a copy of the context.
_task: ContextVar[str] = ContextVar("liner_notes_task", default="-")


class WithTask(logging.Filter):
    """Give each record the attribute `task`; "-" outside of tasks."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.task = _task.get()
        return True


@signals.task_prerun.connect
def _begin(task_id: str = "", task: Any = None, **kwargs: Any) -> None:
    _task.set(f"{getattr(task, 'name', '')}[{task_id}]")


@signals.task_postrun.connect
def _end(**kwargs: Any) -> None:
    _task.set("-")
