"""The calls of the quota that were spent, by day: the only writer of ApiUsage."""

from datetime import UTC

from django.db import connection
from django.db.models import F
from django.db.models.functions import Now, TruncDate

from catalog.models import ApiUsage
from soundcharts.service import get_service


def add_spending(calls: int) -> None:
    """Add calls that were spent to today's, by the database's clock, in UTC.

    The last statement of the transaction in which the calls of their job or draft grow: all workers of all
    jobs share the row, so its lock is held shortest, and nobody who holds it waits for another row.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("Calls are added to a day in the transaction that adds them to their job.")
    if calls <= 0:
        return
    account = get_service().account
    today = TruncDate(Now(), tzinfo=UTC)
    # The first of a day makes the row. Again and again, for midnight may come between any two statements.
    while not ApiUsage.objects.filter(day=today, fingerprint=account).update(calls=F("calls") + calls):
        ApiUsage.objects.bulk_create([ApiUsage(day=today, fingerprint=account)], ignore_conflicts=True)
