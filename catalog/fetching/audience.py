"""Audience: how each track is doing on the platforms of a job, only the days that are not known yet."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from uuid import UUID

from django.db.models.functions import Now

from catalog import jobs
from catalog.fetching.figures import save_figures
from catalog.fetching.results import Ask, AudienceAnswer, PlatformAnswer, Result
from catalog.mapping import TrackReport
from catalog.models import FIRST_DAYS, AudienceDay, FetchChunk, MetadataFetchTask, Track, TrackAudience
from catalog.series import DAY, missing, periods
from soundcharts.audience import (
    EndlessPages,
    PlatformForbidden,
    UnreadableFigures,
    divided,
    refusal_of,
)
from soundcharts.errors import SoundchartsError
from soundcharts.payloads import AudiencePage
from soundcharts.service import SoundchartsService

# The newest days are asked for again for as long as figures are revised, where that costs no further call.
REVISED_DAYS = 14

Period = tuple[date, date]


class Audience:
    """Fetch the figures of tracks one by one: one call per platform, more for many days."""

    task_types: tuple[str, ...] = MetadataFetchTask.AUDIENCE

    def batch_size(self, service: SoundchartsService) -> int:
        return 1

    def is_proven(self, job: MetadataFetchTask, service: SoundchartsService) -> bool:
        return all(service.has_audience(platform) is not None for platform in job.request["platforms"])

    def find(
        self, job: MetadataFetchTask, service: SoundchartsService, track_ids: Sequence[int]
    ) -> dict[int, Result]:
        wanted = job.request["platforms"]
        platforms = [platform for platform in wanted if service.has_audience(platform) is not False]
        if refused := [platform for platform in wanted if platform not in platforms]:
            jobs.note_refused_platforms(job, refused)
        if not platforms and not service.is_interactive:
            raise refusal_of(refused[0])
        rows = {
            (row.track_id, row.platform): row
            for row in TrackAudience.objects.filter(track__in=track_ids, platform__in=platforms).defer(
                "trend"
            )
        }
        known = _days_of(list(rows.values())) if job.request.get("fill_gaps") else {}
        find_unknown = _Unknown(job, service)
        found = {}
        tracks = Track.objects.filter(pk__in=track_ids).annotate(database_now=Now())
        if job.request["only_due"]:
            tracks = tracks.awaited(now=Now())
        for pk, uuid, released, now in tracks.values_list("pk", "uuid", "release_date", "database_now"):
            if not platforms:
                found[pk] = Result(pk, str(uuid), refusal_of(refused[0]))
                continue
            asks = []
            for platform in platforms:
                row = rows.get((pk, platform))
                if job.request.get("fill_gaps"):
                    days = known.get(row.pk, set()) if row else set()
                    wanted_periods = find_unknown.gaps(row, days, released) if row else []
                else:
                    wanted_periods = find_unknown.periods(row, now)
                if wanted_periods:
                    asks.append(Ask(platform, tuple(wanted_periods)))
            if asks:
                found[pk] = Result(pk, str(uuid), asks=tuple(asks))
        return found

    def fetch(
        self, service: SoundchartsService, wanted: Sequence[Result]
    ) -> tuple[dict[int, Result], SoundchartsError | None]:
        found: dict[int, Result] = {}
        for result in wanted:
            found[result.track_id], error = _ask(service, result)
            if error is not None:
                return found, error
        return found, None

    def save(self, chunk: FetchChunk, results: Sequence[Result]) -> dict[int, TrackReport]:
        return save_figures(chunk, results)


class _Unknown:
    """The days of a series that a job must fetch, so that none stays unknown."""

    def __init__(self, job: MetadataFetchTask, service: SoundchartsService) -> None:
        self._job = job
        self._days_a_call = service.audience_days_a_call
        self._period_days = service.audience_period_days

    def periods(self, row: TrackAudience | None, now: datetime) -> list[Period]:
        """Return the new days, requested days that never came and, with `days`, older ones."""
        job = self._job
        if row is not None and row.retry_at is not None and row.retry_at > now and job.request["only_due"]:
            return []  # It waits after a 404 or 403, and was not requested individually.
        today = now.date()
        days = job.request.get("days")
        first = today - ((days or FIRST_DAYS) - 1) * DAY
        whole = divided(first, today, longest=self._period_days)
        if row is None or row.fetched_from is None or row.fetched_until is None:
            return whole
        found: list[Period] = []
        if days is not None and first < row.fetched_from:
            # Backwards from the oldest known day.
            found += divided(first, row.fetched_from - DAY, longest=self._period_days)
        is_asked = row.job_id == job.pk and row.asked_until is not None and row.asked_until >= today
        if not is_asked and (row.fetched_at is None or row.fetched_at < job.fresh_after):
            if days is not None and row.last_day is None:
                return whole  # Nothing came when it was asked for.
            found += self._new(row, today)
        # Fetching both ends can cost more calls than the whole span, and more than the price said.
        is_whole_cheaper = self._calls(found) > self._calls(whole) and whole[-1][0] <= row.fetched_until + DAY
        return whole if is_whole_cheaper else found

    def gaps(self, row: TrackAudience, known: set[date], released: date | None) -> list[Period]:
        """Return the periods with a series' missing days, except those that this job has requested.

        Those may have stayed empty: without this a partial answer would be bought again and again.
        """
        span = row.wanted_span(released) if row.missing_days else None
        if span is None:
            return []
        first, last = span
        if row.asked_until is not None and row.job_id in (self._job.pk, self._job.parent_id):
            first = max(first, row.asked_until + DAY)
        return periods(missing(known, first=first, last=last), longest=self._days_a_call)

    def _new(self, row: TrackAudience, today: date) -> list[Period]:
        """Return the periods from the newest known day until today, extended backwards at no extra call."""
        since, until = row.fetched_from or today, row.fetched_until or today
        new_days = max(0, (today - until).days)
        free_days = max(1, -(-new_days // self._days_a_call)) * self._days_a_call - new_days
        reach = max(since, min(until, today) + DAY - free_days * DAY)
        if row.first_day is None or row.last_day is None or row.first_day > reach or row.error:
            # Requested days that did not come may be there now.
            first = reach
        else:
            # What is late comes after the newest figure, however long ago that was.
            again = max(REVISED_DAYS, (until - row.last_day).days)
            first = max(reach, min(until, today) + DAY - again * DAY)
        # Oldest first, so that what came before an error is next to what is known.
        return periods(missing((), first=first, last=today), longest=self._days_a_call)

    def _calls(self, wanted: list[Period]) -> int:
        return sum(-(-((end - start).days + 1) // self._days_a_call) for start, end in wanted)


def _days_of(rows: list[TrackAudience]) -> dict[int, set[date]]:
    """Return the known days of each series with missing days, by the key of its row."""
    days: dict[int, set[date]] = {}
    with_gaps = [row.pk for row in rows if row.missing_days]
    known = AudienceDay.objects.filter(recording__audience__in=with_gaps)
    for audience_id, day in known.values_list("recording__audience_id", "day"):
        days.setdefault(audience_id, set()).add(day)
    return days


def _ask(service: SoundchartsService, result: Result) -> tuple[Result, SoundchartsError | None]:
    """Return a track with its answer; or with the part of it that came before an error, and the error.

    For somebody who waits, every error is final.
    """
    answers: list[PlatformAnswer] = []
    for number, ask in enumerate(result.asks):
        answer = PlatformAnswer(replace(ask, periods=()))
        try:
            if service.has_audience(ask.platform) is False:
                raise refusal_of(ask.platform)
            for start, end in ask.periods:
                series = service.get_audience_series(
                    UUID(result.item), ask.platform, start_date=start, end_date=end
                )
                answer = _with_series(answer, series, start, end)
                if series.error is not None:
                    raise series.error
        except SoundchartsError as error:
            is_final = isinstance(error, PlatformForbidden) or not (error.is_temporary or error.stops_all)
            if is_final:
                answers.append(replace(answer, error=error))
                if not answer.is_answered and error.code in {"not_found", "moved"}:
                    break  # It is about the track, so the other platforms know it no better.
                continue
            if service.is_interactive:
                rest = [PlatformAnswer(replace(left, periods=())) for left in result.asks[number + 1 :]]
                answers += [replace(failed, error=error) for failed in (answer, *rest)]
                return replace(result, answer=AudienceAnswer(tuple(answers))), error
            if answer.is_answered:
                answers.append(replace(answer, is_part=True))
            part = AudienceAnswer(tuple(answers)) if answers else None
            return replace(result, part=part), error
        answers.append(answer)
    if refusal := _refusal_of_all(answers):
        return replace(result, answer=refusal), None
    return replace(result, answer=AudienceAnswer(tuple(answers))), None


def _with_series(answer: PlatformAnswer, series: AudiencePage, start: date, end: date) -> PlatformAnswer:
    """Return the answer for a period without figures of days outside it."""
    # Fetching endless pages again would bring nothing new.
    is_whole = series.error is None or isinstance(series.error, EndlessPages)
    answered_from = start if is_whole else series.answered_from
    periods = answer.ask.periods if answered_from is None else (*answer.ask.periods, (answered_from, end))
    strangers = [point.date for point in series.items if not start <= point.date <= end]
    more = f" (and {len(strangers) - 1:,} more)" if len(strangers) > 1 else ""
    notes = (f"a figure of {strangers[0]}{more}, which was not asked for",) if strangers else ()
    return replace(
        answer,
        ask=replace(answer.ask, periods=periods),
        points=answer.points + tuple(point for point in series.items if start <= point.date <= end),
        warnings=answer.warnings + series.warnings + notes,
        error=UnreadableFigures.of(series.unreadable) if series.unreadable else answer.error,
    )


def _refusal_of_all(answers: Sequence[PlatformAnswer]) -> PlatformForbidden | None:
    refusals = [
        answer.error
        for answer in answers
        if isinstance(answer.error, PlatformForbidden) and not answer.is_answered
    ]
    return refusals[0] if refusals and len(refusals) == len(answers) else None
