"""What a fetch task's page shows: how far it is, how fast, what it costs, what failed, what happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count
from django.db.models.functions import Now
from django.urls import reverse

from catalog import jobs
from catalog.explanations import Explanation, explain
from catalog.fetching import count_import_calls, count_songs_to_follow
from catalog.jobs.events import MOST_EVENTS
from catalog.jobs.states import TRANSITIONS
from catalog.models import MetadataFetchTask
from catalog.prices import Price, estimate_calls, estimate_job_calls
from catalog.quota import current_account, remaining_calls
from catalog.status import ShownStatus, reason_of, shown_status
from catalog.words import duration, length_of_time, plural

Status = MetadataFetchTask.Status
SHOWN_FAILURES = 20
# From these no more work is handed out, but what workers have in hand is still saved.
STOPPED = (Status.PAUSED, Status.FAILED, Status.CANCELLED)
# Per cent between two announcements to screen readers.
ANNOUNCED_STEP = 25


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The failures of a job that have the same code; `retryable` of them have a track that is still there."""

    code: str
    words: Explanation
    count: int
    retryable: int
    price: str


def running_time(job: MetadataFetchTask, *, now: datetime) -> str:
    """Return how long a job took, or has been taking, from its first start on; pauses are part of it."""
    if job.started_at is None:
        return "–"
    return duration(((job.completed_at or now) - job.started_at).total_seconds())


def count_calls(job: MetadataFetchTask, tracks: int) -> int:
    """Return the calls that so many tracks of a job spend; an import only finds them."""
    if job.is_audience:
        return estimate_job_calls(job.request, tracks)
    return count_import_calls(job, tracks) if job.is_import else estimate_calls(tracks)


def find_job(job_id: int) -> MetadataFetchTask | None:
    """Return a job with the database's present moment on it (`database_now`)."""
    found = MetadataFetchTask.objects.select_related("requested_by", "parent").annotate(database_now=Now())
    return found.filter(pk=job_id).first()


def page_context(job: MetadataFetchTask, *, may_control: bool, may_see_failures: bool) -> dict[str, Any]:
    """Return what the page shows of a job that `find_job` found."""
    now: datetime = job.database_now  # type: ignore[attr-defined]
    account = current_account()
    quota_left = account.quota_remaining if account else None
    groups = failure_groups(job, quota_left=quota_left)
    shown = job.failures.select_related("track")
    is_saving = job.status in STOPPED and job.remaining_tracks > 0 and jobs.is_under_way(job.pk)
    status = shown_status(job)
    return {
        "job": job,
        "status": status,
        # Until the last lease is given back, or expires where a worker has died.
        "is_live": job.is_active or is_saving,
        "is_saving": is_saving,
        "may_control": may_control,
        "may_see_failures": may_see_failures,
        "can_pause": Status.PAUSED in TRANSITIONS[job.status],
        "can_resume": job.status == Status.PAUSED,
        "can_cancel": Status.CANCELLED in TRANSITIONS[job.status],
        "can_retry": can_retry(job, groups),
        "is_retry_of_use": _is_retry_of_use(job, groups),
        "is_import_again": is_import_again(job, groups),
        "retry_price": _price(_retry_calls(job, groups), quota_left) if can_retry(job, groups) else "",
        "running_time": running_time(job, now=now),
        **_pace_context(job, now=now),
        "reason": reason_of(job, status),
        "for_operators": explain(job.error_code, is_of_paused=True).for_operators,
        "remaining_price": _remaining_price(job, quota_left) if job.is_active else "",
        "account": account,
        "announcement": _announcement(job, status, is_saving=is_saving),
        "failure_groups": groups if may_see_failures else [],
        "failures": list(shown[:SHOWN_FAILURES]) if groups and may_see_failures else [],
        "failures_address": reverse("admin:catalog_fetchfailure_changelist") + f"?job__id__exact={job.pk}",
        "events": list(job.events.select_related("person").order_by("-last_at", "-pk")[:MOST_EVENTS]),
        "follow_ups": list(job.follow_ups.all()[:20]),
    }


def confirmation(job: MetadataFetchTask, verb: str, *, code: str = "") -> dict[str, Any]:
    """Return what is asked before a button does its work: a question, what it means, what it costs.

    The question is empty where there is nothing to do.
    """
    quota_left = remaining_calls()
    done, remaining = f"{job.processed_tracks:,}", job.remaining_tracks
    question, sentences, button, nothing = "", [], "", f"This task is {job.status_label.lower()}."
    match verb:
        case "resume" if job.status == Status.PAUSED:
            question, button = f"Resume task #{job.pk}?", "Resume"
            sentences = [
                f"It goes on where it stopped: {done} of {job.total_tracks:,} are done"
                + (", and more may be found." if job.planned_at is None else "."),
                f"The rest will spend {_remaining_price(job, quota_left)}.",
            ]
            if job.error_message and job.error_code != "by_hand":
                sentences.append(f"It was paused because: {job.error_message}")
        case "cancel" if Status.CANCELLED in TRANSITIONS[job.status]:
            question, button = f"Cancel task #{job.pk} for good?", "Cancel task"
            sentences = [
                f"What is done is kept: {done} of {job.total_tracks:,}, for {job.api_calls:,} API calls. "
                + _what_becomes_of_the_rest(job, remaining),
                "A cancelled task cannot be resumed. To stop it for a while, pause it instead.",
            ]
        case "retry":
            groups = failure_groups(job, quota_left=quota_left)
            chosen = [group for group in groups if code in ("", group.code)]
            count = sum(group.retryable for group in chosen)
            button = "Retry"
            if job.is_active:
                nothing = "This task is not over yet: what failed can be tried again when it is."
            elif count:
                tracks = plural(count, "failed track")
                kind = f" with “{explain(code).title}”" if code else ""
                question = f"Try the {tracks}{kind} again?"
                price = _price(_calls_for_failures(job, count), quota_left)
                sentences = [
                    f"That is a new task. It will spend {price}.",
                    "Tracks that were fetched since this task ended are skipped and cost nothing.",
                ]
                if code:
                    what_to_do = explain(code, is_of_import=job.is_import).what_to_do
                    sentences.append(f"What to do about these: {what_to_do}")
            elif is_import_again(job, groups) and not code:
                question = "List the songs again?"
                price = _price(count_calls(job, job.request["limit"]), quota_left)
                sentences = [
                    f"A new import will spend {price}, and then those for the metadata of what is new."
                ]
            else:
                nothing = "There is no failed track that could be tried again."
    return {
        "job": job,
        "verb": verb,
        "code": code,
        "question": question,
        "sentences": sentences,
        "button": button,
        "nothing": nothing,
        "address": reverse(f"admin:catalog_metadatafetchtask_{verb}", args=(job.pk,)),
    }


def _what_becomes_of_the_rest(job: MetadataFetchTask, remaining: int) -> str:
    if job.is_audience:
        # A track counts when all its platforms have answered.
        return f"Of the other {remaining:,}, what has come or is under way is kept too."
    return f"The other {remaining:,} stay as they are, but for what is under way."


def failure_groups(job: MetadataFetchTask, *, quota_left: int | None) -> list[FailureGroup]:
    """Return a job's failures by code, the most first, without counting them one by one."""
    if not job.failed_tracks:
        return []
    counts = job.failure_counts.values_list("code", "count")
    # Of a list, what failed is tried again as it was given: it has no track yet.
    gone = (
        {}
        if job.is_list_import
        else dict(job.failures.filter(track=None).order_by().values_list("code").annotate(count=Count("pk")))
    )
    return [
        FailureGroup(
            code,
            explain(code, is_of_import=job.is_import),
            count,
            retryable := max(0, count - gone.get(code, 0)),
            _price(_calls_for_failures(job, retryable), quota_left),
        )
        for code, count in counts
    ]


def can_retry(job: MetadataFetchTask, groups: Sequence[FailureGroup]) -> bool:
    """Return whether anything of an ended job can be tried again."""
    return not job.is_active and (any(group.retryable for group in groups) or is_import_again(job, groups))


def _is_retry_of_use(job: MetadataFetchTask, groups: Sequence[FailureGroup]) -> bool:
    """Return whether a retry is what the page recommends: something failed that is not best left alone."""
    return is_import_again(job, groups) or any(
        group.retryable and not group.words.is_best_left for group in groups
    )


def is_import_again(job: MetadataFetchTask, groups: Sequence[FailureGroup]) -> bool:
    """Return whether trying again means to repeat a whole import."""
    return job.is_import and job.status == Status.FAILED and not any(group.retryable for group in groups)


def _retry_calls(job: MetadataFetchTask, groups: Sequence[FailureGroup]) -> int:
    if is_import_again(job, groups):
        return count_calls(job, job.request["limit"])
    return _calls_for_failures(job, sum(group.retryable for group in groups))


def _calls_for_failures(job: MetadataFetchTask, count: int) -> int:
    is_listing = job.is_import and not job.is_list_import
    return estimate_calls(count) if is_listing else count_calls(job, count)


def _remaining_price(job: MetadataFetchTask, quota_left: int | None) -> str:
    """Return what an active job still spends, in words; of an import also what it leads to."""
    calls = count_calls(job, job.remaining_tracks)
    if not job.is_import or not (metadata := estimate_calls(_tracks_that_follow(job))):
        return _price(calls, quota_left)
    left = Price(calls + metadata, quota_left).what_is_left
    return f"about {plural(calls, 'API call')} for the list, then at most {metadata:,} for metadata{left}"


def _tracks_that_follow(job: MetadataFetchTask) -> int:
    """Return of how many tracks at most the metadata job of an import still asks for the metadata."""
    follow_up = job.follow_ups.filter(dedupe_key=f"imported:{job.pk}").first()
    if follow_up is not None and not follow_up.is_active:
        return 0  # It takes no more tracks.
    queued = follow_up.remaining_tracks if follow_up is not None else 0
    return count_songs_to_follow(job) + queued


def _price(calls: int, quota_left: int | None) -> str:
    return Price(calls, quota_left).sentence


def _pace_context(job: MetadataFetchTask, *, now: datetime) -> dict[str, Any]:
    pace = jobs.tracks_per_second(job, now=now)
    if pace is None:
        return {"pace": "", "time_left": ""}
    if not pace:
        return {"pace": "none in the last minute", "time_left": ""}
    words = f"{pace:,.0f} a second" if pace >= 10 else f"{pace:.1f} a second"
    if pace < 1:
        words = f"{pace * 60:.1f} a minute"
    more = "at least " if job.planned_at is None else "about "
    return {"pace": words, "time_left": more + length_of_time(job.remaining_tracks / pace)}


def _announcement(job: MetadataFetchTask, status: ShownStatus, *, is_saving: bool) -> str:
    """Return what a screen reader is told: only steps and changes of state, not every number."""
    words = f"Task {job.pk} {status.head[0].lower()}{status.head[1:]}"
    if is_saving:
        return f"{words}; answers in progress are still saved."
    if not job.is_active:
        return f"{words}: {job.outcome_sentence}."
    step = job.progress_percent // ANNOUNCED_STEP * ANNOUNCED_STEP
    return f"{words}, {step} per cent done."
