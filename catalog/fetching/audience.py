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
from catalog.models import AudienceDay, FetchChunk, MetadataFetchTask, Track, TrackAudience
from catalog.prices import FIRST_DAYS, PERIOD_DAYS
from catalog.series import DAY, gaps, periods
from soundcharts.audience import PlatformForbidden, refusal_of
from soundcharts.errors import SoundchartsError
from soundcharts.service import SoundchartsService

# The newest days are asked for again for as long as figures are revised, where that costs no further call.
REVISED_DAYS = 14

Period = tuple[date, date]


class Audience:
    """Ask for the figures of tracks, a track at a time: a call a platform, more for more than 90 days."""

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
        gaps_of = _gaps_of(list(rows.values())) if job.request.get("fill_gaps") else {}
        found = {}
        tracks = Track.objects.filter(pk__in=track_ids).annotate(database_now=Now())
        for pk, uuid, now in tracks.values_list("pk", "uuid", "database_now"):
            if not platforms:
                found[pk] = Result(pk, str(uuid), refusal_of(refused[0]))
                continue
            asks = []
            for platform in platforms:
                row = rows.get((pk, platform))
                if job.request.get("fill_gaps"):
                    wanted_periods = _open_gaps(row, gaps_of.get(row.pk, []), job) if row else []
                else:
                    wanted_periods = _unknown_periods(row, job, now)
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


def _unknown_periods(row: TrackAudience | None, job: MetadataFetchTask, now: datetime) -> list[Period]:
    """Return what is to be asked of a track on a platform, so that an answer in part leaves no hole."""
    if row is not None and row.retry_at is not None and row.retry_at > now and job.request["only_due"]:
        return []  # It was not known there lately, and nobody asks for it in particular.
    today = now.date()
    days = job.request.get("days")
    first = today - ((days or FIRST_DAYS) - 1) * DAY
    if row is None or row.fetched_from is None or row.fetched_until is None:
        return _divided(first, today)
    found: list[Period] = []
    if days is not None and first < row.fetched_from:
        # From what is known towards the past.
        found += _divided_backwards(first, row.fetched_from - DAY)
    if row.fetched_at is None or row.fetched_at < job.fresh_after:
        new_days = max(0, (today - row.fetched_until).days)
        calls = max(1, -(-new_days // PERIOD_DAYS))
        # What is late comes after the newest figure, however long ago that was.
        late_days = (row.fetched_until - row.last_day).days if row.last_day else 0
        again = min(max(REVISED_DAYS, late_days), calls * PERIOD_DAYS - new_days)
        found += _divided(max(row.fetched_from, min(row.fetched_until, today) + DAY - again * DAY), today)
    whole = _divided_backwards(first, today)
    # Both ends of what is known can cost a call more than all of it, which the price has not told of.
    is_whole_cheaper = len(found) > len(whole) and whole[0][0] <= row.fetched_until + DAY
    return whole if is_whole_cheaper else found


def _divided(first: date, last: date) -> list[Period]:
    """Return a span as periods that one call can ask for, oldest first."""
    starts = range(0, (last - first).days + 1, PERIOD_DAYS)
    return [(first + n * DAY, min(last, first + (n + PERIOD_DAYS - 1) * DAY)) for n in starts]


def _divided_backwards(first: date, last: date) -> list[Period]:
    """Return the same newest first, the oldest being the shortest."""
    ends = range(0, (last - first).days + 1, PERIOD_DAYS)
    return [(max(first, last - (n + PERIOD_DAYS - 1) * DAY), last - n * DAY) for n in ends]


def _open_gaps(row: TrackAudience, days: list[date], job: MetadataFetchTask) -> list[Period]:
    """Return the periods that hold a series' missing days, but for those that the job has asked for.

    They may have stayed empty: without this an answer in part would be paid for again and again.
    """
    if row.asked_until is not None and row.job_id in (job.pk, job.parent_id):
        days = [day for day in days if day > row.asked_until]
    return periods(days, longest=PERIOD_DAYS)


def _gaps_of(rows: list[TrackAudience]) -> dict[int, list[date]]:
    """Return the missing days of each series that has some, by the key of its row."""
    days: dict[int, set[date]] = {}
    with_gaps = [row.pk for row in rows if row.missing_days]
    known = AudienceDay.objects.filter(recording__audience__in=with_gaps)
    for audience_id, day in known.values_list("recording__audience_id", "day"):
        days.setdefault(audience_id, set()).add(day)
    return {audience_id: gaps(known_days) for audience_id, known_days in days.items()}


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
                page = service.get_audience_series(
                    UUID(result.item), ask.platform, start_date=start, end_date=end
                )
                answer = replace(
                    answer,
                    ask=replace(ask, periods=(*answer.ask.periods, (start, end))),
                    points=answer.points + page.items,
                    warnings=answer.warnings + page.warnings,
                )
        except SoundchartsError as error:
            is_final = isinstance(error, PlatformForbidden) or not (error.is_temporary or error.stops_all)
            if is_final:
                answers.append(replace(answer, error=error))
                if error.code in {"not_found", "ambiguous_isrc"}:
                    break  # It is about the track, so the other platforms know it no better.
                continue
            if service.is_interactive:
                rest = [PlatformAnswer(replace(left, periods=())) for left in result.asks[number + 1 :]]
                answers += [replace(failed, error=error) for failed in (answer, *rest)]
                return replace(result, answer=AudienceAnswer(tuple(answers))), error
            if answer.ask.periods:
                answers.append(replace(answer, is_part=True))
            part = AudienceAnswer(tuple(answers)) if answers else None
            return replace(result, part=part), error
        answers.append(answer)
    if refusal := _refusal_of_all(answers):
        return replace(result, answer=refusal), None
    return replace(result, answer=AudienceAnswer(tuple(answers))), None


def _refusal_of_all(answers: Sequence[PlatformAnswer]) -> PlatformForbidden | None:
    refusals = [
        answer.error
        for answer in answers
        if isinstance(answer.error, PlatformForbidden) and not answer.ask.periods
    ]
    return refusals[0] if refusals and len(refusals) == len(answers) else None
