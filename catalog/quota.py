"""The quota: what is left of it, and what is kept for people."""

import logging
import math
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import BigIntegerField, Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Greatest, Now

from catalog.models import ApiAccount
from soundcharts.audience import PlatformForbidden
from soundcharts.errors import (
    AuthenticationFailed,
    Forbidden,
    QuotaExhausted,
    QuotaReserved,
    RateLimited,
    SoundchartsError,
)
from soundcharts.fields import MAX_COUNT
from soundcharts.payloads import Usage
from soundcharts.service import SoundchartsService, get_service

logger = logging.getLogger(__name__)

# Seconds between two notes of the quota by one process while it works.
NOTE_EVERY = 2.0
# Seconds between two looks whether a used-up quota is back. Looking is free, and hammering is useless.
CHECK_EVERY = 900

_noted_at: dict[str, float] = {}


# Reasons for a pause that end automatically.
QUOTA_CODES = (QuotaExhausted.code, QuotaReserved.code)
# Reasons that end automatically if the free usage call was refused at the pause and works again.
CREDENTIAL_CODES = (AuthenticationFailed.code, Forbidden.code)


def usable_service() -> SoundchartsService | None:
    """Return the service for bulk work, None if its settings are invalid."""
    return None if why_unusable() else get_service()


def why_unusable() -> str:
    """Return a sentence about invalid settings, empty if they are valid."""
    try:
        get_service()
    except (SoundchartsError, ValueError) as error:
        return str(error)
    return ""


def current_account() -> ApiAccount | None:
    """Return what is known of the account that the settings name, None if nothing is yet."""
    service = usable_service()
    return ApiAccount.objects.filter(fingerprint=service.account).first() if service else None


def pause_left() -> float:
    """Return the seconds until the rate limit allows calls again, without a query."""
    service = usable_service()
    return service.pause_left() if service else 0.0


def remaining_calls() -> int | None:
    """Return what Soundcharts last said is left of the plan, None if it never has."""
    account = current_account()
    return account.quota_remaining if account else None


def note_quota(service: SoundchartsService, *, is_last: bool = False) -> None:
    """Write down what the latest answer said is left, and when it came.

    Done now and then, and when work ends (`is_last`).
    """
    now = time.monotonic()
    is_time = is_last or now - _noted_at.get(service.account, -math.inf) >= NOTE_EVERY
    if not is_time or (service.quota_remaining is None and service.seconds_since_answer is None):
        return
    _noted_at[service.account] = now
    _write(service)


def note_error(service: SoundchartsService, error: SoundchartsError) -> None:
    """Write down what ended a batch, if it tells something of the API's health or of our account's."""
    # Our own limit and our own reserve say nothing of Soundcharts, and neither does a song that it lacks, or
    # a platform that is not in the plan.
    is_ours = isinstance(error, QuotaReserved | PlatformForbidden) or (
        isinstance(error, RateLimited) and error.status is None
    )
    if is_ours or not (error.is_temporary or error.stops_all):
        return
    _set(service.account, last_error=error.code, last_error_message=str(error)[:1000], last_error_at=Now())


def ask_usage() -> Usage | None:
    """Return the calls remaining from the free usage call, at a limited rate.

    Returns None when it is too early to ask, or when Soundcharts refuses or does not answer.
    """
    if (service := usable_service()) is None:
        return None
    ApiAccount.objects.get_or_create(fingerprint=service.account)
    due = Q(checked_at=None) | Q(checked_at__lt=Now() - timedelta(seconds=CHECK_EVERY))
    if not ApiAccount.objects.filter(due, fingerprint=service.account).update(checked_at=Now()):
        return None
    try:
        usage = service.get_usage()
    except SoundchartsError as error:
        logger.warning("the quota could not be asked for: %s", error)
        note_error(service, error)
        return None
    if usage.quota_remaining is not None:
        _set(service.account, **_left(usage.quota_remaining), answered_at=Now())
    return usage


def allows_bulk_work(usage: Usage) -> bool:
    """Return whether calls for bulk work are available; False if Soundcharts does not say."""
    remaining = usage.quota_remaining
    return remaining is not None and remaining > settings.SOUNDCHARTS_QUOTA_RESERVE


def is_account_refused() -> bool:
    """Return whether Soundcharts refuses every call with our credentials, by the free usage call."""
    if (service := usable_service()) is None:
        return True
    try:
        service.get_usage()
    except (AuthenticationFailed, Forbidden):
        return True
    except SoundchartsError as error:
        logger.warning("it could not be asked whether the account is refused: %s", error)
    return False


def _write(service: SoundchartsService) -> None:
    values: dict[str, Any] = {}
    if service.quota_remaining is not None:
        values = _left(service.quota_remaining)
    if service.seconds_since_answer is not None:
        values["answered_at"] = Now() - timedelta(seconds=service.seconds_since_answer)
    _set(service.account, **values)


def _left(remaining: int) -> dict[str, Any]:
    """Return what to write when so many calls are left, with the renewal that a rise means.

    After a renewal about as many are left as there ever were; a raise of some calls is none. Worked out from
    the row as it was, in one statement, so of several processes that see a rise one notes it.
    """
    is_renewed = Q(
        quota_peak__gt=0,
        quota_peak__lte=min(remaining + max(0, remaining) // 9, MAX_COUNT),
        quota_remaining__lt=F("quota_peak") / 5 * 4,
    )
    now_left = Value(remaining, output_field=BigIntegerField())
    return {
        "quota_remaining": remaining,
        "observed_at": Now(),
        "quota_peak": Case(
            When(is_renewed, then=now_left),
            default=Greatest(Coalesce(F("quota_peak"), now_left), now_left),
        ),
        "renewed_at": Case(When(is_renewed, then=Now()), default=F("renewed_at")),
        "renewed_before_at": Case(When(is_renewed, then=F("renewed_at")), default=F("renewed_before_at")),
    }


def _set(account: str, **values: Any) -> None:
    accounts = ApiAccount.objects.filter(fingerprint=account)
    if not accounts.update(**values):
        ApiAccount.objects.get_or_create(fingerprint=account)
        accounts.update(**values)
