"""The Celery application: Django's settings under the prefix CELERY_, tasks found in the apps."""

import os
import sys
from importlib import import_module
from types import TracebackType

from celery import Celery
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# The import connects its handlers to the start and end of each task.
import_module("config.logs")

app = Celery("liner_notes")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _say_why_not(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one sentence about invalid settings of a worker or beat, as manage.py does."""
    if isinstance(error, ImproperlyConfigured):
        print(f"Liner Notes cannot start: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_why_not
