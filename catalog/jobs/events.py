"""What happened to a job, noted in the transaction in which it happens."""

from datetime import timedelta

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F
from django.db.models.functions import Now

from catalog.models import JobEvent

User = AbstractBaseUser | AnonymousUser | None
Kind = JobEvent.Kind

# What a job's page can show. Beyond it, what happens again is counted with the last of its kind.
MOST_EVENTS = 100


def note(
    job_id: int,
    kind: str,
    *,
    code: str = "",
    text: str = "",
    by: User = None,
    wait_seconds: float | None = None,
) -> None:
    """Note what happens to a job, in the caller's transaction and after its write of the job's row.

    The row's lock, held until the end of that transaction, is what keeps two workers from noting the
    same thing twice. Waiting for the same reason is one event, however often, until something else happens;
    and a job that has as many events as its page can show gets few more.
    """
    latest = {
        "text": text,
        "person_id": by.pk if by is not None else None,
        "until": Now() + timedelta(seconds=wait_seconds) if wait_seconds is not None else None,
    }
    repeated = _repeated(job_id, kind, code)
    if repeated is not None:
        JobEvent.objects.filter(pk=repeated).update(count=F("count") + 1, last_at=Now(), **latest)
    else:
        JobEvent.objects.create(job_id=job_id, kind=kind, code=code, **latest)


def _repeated(job_id: int, kind: str, code: str) -> int | None:
    """Return the event that this is a repetition of."""
    events = JobEvent.objects.filter(job_id=job_id).order_by("-pk")
    same = events.filter(kind=kind, code=code)
    if kind == Kind.WAITING:
        last_other = events.exclude(kind=Kind.WAITING).values_list("pk", flat=True).first()
        found = same.filter(pk__gt=last_other or 0).values_list("pk", flat=True).first()
        if found is not None:
            return found
    if events.count() < MOST_EVENTS:
        return None
    return same.values_list("pk", flat=True).first()
