"""One call for one question, however many people ask it together.

Uses the database instead of Redis: answers are kept there anyway, and people also ask while Redis is down.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models import SharedAnswer
from soundcharts.errors import DeadlineExceeded, SoundchartsError

POLL_SECONDS = 0.1
# Beyond the time of a call: by then the asking process has died.
PATIENCE_SECONDS = 60


class AskedInVain(SoundchartsError):
    """The shared call failed; the message is the same for everyone who waited for it."""


def answer_once(key: str, ask: Callable[[], Any], *, kept_minutes: int) -> SharedAnswer:
    """Return the result of `ask`, called once per key within `kept_minutes`; others wait for that result.

    Raises the error of `ask`. Those who waited get AskedInVain with the same message, without a call.
    """
    SharedAnswer.objects.bulk_create([SharedAnswer(key=key)], ignore_conflicts=True)
    row = SharedAnswer.objects.filter(key=key)
    patience = PATIENCE_SECONDS + settings.SOUNDCHARTS_TIMEOUT
    give_up_at = time.monotonic() + patience
    is_fresh = Q(answered_at__gte=Now() - timedelta(minutes=kept_minutes))
    is_free = Q(asked_at=None) | Q(asked_at__lt=Now() - timedelta(seconds=patience))
    failures = row.values_list("failures", flat=True).first() or 0
    while True:
        if (known := row.filter(is_fresh).first()) is not None:
            return known
        if row.filter(~is_fresh | Q(answered_at=None), is_free, failures=failures).update(asked_at=Now()):
            break
        now = row.first()
        if now is not None and now.failures != failures:
            raise AskedInVain(now.error)
        if now is None or time.monotonic() > give_up_at:
            raise DeadlineExceeded
        time.sleep(POLL_SECONDS)
    try:
        answer = ask()
    except BaseException as error:
        reason = str(error) if isinstance(error, SoundchartsError) else DeadlineExceeded.default_message
        row.update(asked_at=None, failures=failures + 1, error=reason)
        raise
    row.update(asked_at=None, answer=answer, answered_at=Now(), error="")
    return row.get()
