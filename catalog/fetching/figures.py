"""Saving audiences: days, summaries and the tracks' stamps, in the transaction that moves the chunk on."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import chain, islice

from django.conf import settings

from catalog import jobs
from catalog.fetching.results import AudienceAnswer, PlatformAnswer, Result
from catalog.fetching.saving import database_now, update_each
from catalog.mapping import LONGEST_ABSENCE_DAYS, TrackReport
from catalog.models import TREND_DAYS, AudienceDay, AudienceRecording, FetchChunk, Track, TrackAudience
from catalog.series import DAY, LATE_DAYS, summarize
from soundcharts.audience import PlatformForbidden
from soundcharts.errors import SoundchartsError
from soundcharts.fields import MAX_COUNT

logger = logging.getLogger(__name__)

LONGEST_IDENTIFIER: int = AudienceRecording._meta.get_field("identifier").max_length or 0
SUMMARY_FIELDS = frozenset(
    field.name
    for field in TrackAudience._meta.concrete_fields
    if field.name not in ("id", "track", "platform")
)
# What asking again tomorrow would not change.
REFUSED = frozenset({"not_found", "moved", "song_forbidden", "endless_pages"})
DAYS_A_STATEMENT = 10_000
TRACK_FIELDS = ("audience_fetched_at", "audience_total", "audience_gain")


@dataclass(slots=True)
class _Pair:
    """A track on a platform: its row, what Soundcharts said, and what that changes."""

    row: TrackAudience
    answer: PlatformAnswer
    # What was said, by identifier and day, and what is kept, by recording and day.
    said: dict[str, dict[date, int]] = field(default_factory=dict)
    kept: dict[int, dict[date, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    added: int = 0
    revised: int = 0

    @property
    def note(self) -> str:
        """What came of it, in words."""
        name = self.row.platform_name
        if self.answer.error is not None:
            return f"{name}: {self.answer.error}"
        news = f"{self.added:,} new figure{'' if self.added == 1 else 's'}, {self.revised:,} revised"
        if self.row.latest_value is None:
            return f"{name}: Soundcharts has no figures"
        return f"{name}: {news}; {self.row.latest_value:,} {self.row.noun} on {self.row.latest_day}"


def save_figures(chunk: FetchChunk, results: Sequence[Result]) -> dict[int, TrackReport]:
    """Write the figures and errors that came for the platforms of tracks.

    Also what came of a track before an error cut its answer short: it has no outcome yet, and is not
    reported. Returns what that did to each track that is here and has an answer.
    """
    answered = {result.track_id: result for result in results if result.answer or result.part}
    # In key order and before anything else, as all who write tracks: nobody waits for others in a ring.
    locked = Track.objects.select_for_update(no_key=True).filter(pk__in=answered).order_by("pk")
    tracks = {track.pk: track for track in locked.only("pk", "release_date", *TRACK_FIELDS)}
    now = database_now(chunk)
    pairs = _pairs([result for pk, result in answered.items() if pk in tracks])
    _write_days(list(pairs.values()))
    for pair in pairs.values():
        _note_answer(pair, chunk.job_id, now)
        pair.row.count_missing(tracks[pair.row.track_id].release_date)
        if pair.warnings:
            logger.warning(
                "job %s: track %s: %s", chunk.job_id, pair.row.track_id, "; ".join(pair.warnings[:5])
            )
    if pairs:
        update_each([pair.row for pair in pairs.values()], SUMMARY_FIELDS)
    _stamp(tracks, pairs.values(), now)
    is_in_part = False
    if refused := _refused_platforms(answered.values()):
        is_in_part = jobs.note_refused_platforms(chunk.job, refused)
    return {
        pk: _report(answered[pk], pairs, is_in_part=is_in_part)
        for pk in tracks
        if answered[pk].answer is not None
    }


def _refused_platforms(results: Iterable[Result]) -> list[str]:
    return sorted(
        {
            answer.ask.platform
            for result in results
            for answer in _platform_answers(result)
            if isinstance(answer.error, PlatformForbidden)
        }
    )


def _platform_answers(result: Result) -> Sequence[PlatformAnswer]:
    """Return what was said about a track, a platform at a time: an error is said about each."""
    if isinstance(result.answer, SoundchartsError):
        return [PlatformAnswer(replace(ask, periods=()), error=result.answer) for ask in result.asks]
    answer: AudienceAnswer | None = result.answer or result.part
    return answer.platforms if answer else ()


def _pairs(results: Iterable[Result]) -> dict[tuple[int, str], _Pair]:
    """Return what was said about each track and platform, with its row, made where there was none."""
    # What the plan lacks says nothing about the track, but for what was answered before it was lacking.
    answers = {
        (result.track_id, answer.ask.platform): answer
        for result in results
        for answer in _platform_answers(result)
        if answer.is_answered or not isinstance(answer.error, PlatformForbidden)
    }
    if not answers:
        return {}
    rows = {
        (row.track_id, row.platform): row
        for row in TrackAudience.objects.filter(
            track__in={track_id for track_id, _ in answers}, platform__in={name for _, name in answers}
        )
    }
    new = [TrackAudience(track_id=pk, platform=name) for pk, name in answers if (pk, name) not in rows]
    rows |= {(row.track_id, row.platform): row for row in TrackAudience.objects.bulk_create(new)}
    return {key: _Pair(rows[key], answer) for key, answer in answers.items()}


def _write_days(pairs: list[_Pair]) -> None:
    """Add the days that are new and revise those that differ; a day that is not mentioned stays."""
    for pair in pairs:
        _read_points(pair)
    with_days = {pair.row.pk: pair for pair in pairs if pair.said or pair.row.latest_day}
    if not with_days:
        return
    recordings = {
        (recording.audience_id, recording.identifier): recording.pk
        for recording in AudienceRecording.objects.filter(audience__in=with_days)
    }
    for (audience_id, _), recording_id in recordings.items():
        with_days[audience_id].kept[recording_id] = {}
    if recordings:
        by_recording = {pk: with_days[audience_id] for (audience_id, _), pk in recordings.items()}
        # As far back as was asked, to see what differs, and as the summary looks.
        since = min(map(_first_needed, by_recording.values()))
        known = AudienceDay.objects.filter(recording__in=by_recording, day__gte=since)
        for recording_id, day, value in known.values_list("recording_id", "day", "value"):
            by_recording[recording_id].kept[recording_id][day] = value
    new = [
        AudienceRecording(audience_id=audience_id, identifier=identifier)
        for audience_id, pair in with_days.items()
        for identifier in pair.said
        if (audience_id, identifier) not in recordings
    ]
    for recording in AudienceRecording.objects.bulk_create(new):
        recordings[recording.audience_id, recording.identifier] = recording.pk
    changed = chain.from_iterable(
        _merge(pair, audience_id, recordings) for audience_id, pair in with_days.items()
    )
    # Ten years of a hundred tracks are a third of a million rows: never all of them as objects and as text.
    while days := list(islice(changed, DAYS_A_STATEMENT)):
        AudienceDay.objects.bulk_create(
            days, update_conflicts=True, update_fields=["value"], unique_fields=["recording", "day"]
        )


def _read_points(pair: _Pair) -> None:
    """Sort the figures by identifier and day, without those that cannot be stored."""
    pair.warnings += pair.answer.warnings
    for point in pair.answer.points:
        if len(identifier := point.identifier or "") > LONGEST_IDENTIFIER:
            pair.warnings.append(f"an identifier of {len(identifier):,} characters")
        else:
            kept = pair.said.setdefault(identifier, {}).setdefault(point.date, point.value)
            if kept != point.value:
                whose = repr(identifier) if identifier else "no identifier"
                pair.warnings.append(f"two figures of {point.date} for {whose}: {point.value} beside {kept}")


def _first_needed(pair: _Pair) -> date:
    days = [start for start, _ in pair.answer.ask.periods] + [point.date for point in pair.answer.points]
    if pair.row.latest_day is not None:
        # And as much before them as tells a recording that is new from one that is late.
        days.append(pair.row.latest_day - (TREND_DAYS + LATE_DAYS + 1) * DAY)
    return min(days)


def _merge(pair: _Pair, audience_id: int, recordings: dict[tuple[int, str], int]) -> Iterable[AudienceDay]:
    """Yield the days to write, and bring the pair and its row's counts up to them."""
    row = pair.row
    known_before = {day for values in pair.kept.values() for day in values}
    said_days: set[date] = set()
    for identifier, values in pair.said.items():
        recording_id = recordings[audience_id, identifier]
        kept = pair.kept.setdefault(recording_id, {})
        said_days |= values.keys()
        for day, value in values.items():
            if day not in kept:
                pair.added += 1
            elif kept[day] != value:
                pair.revised += 1
            else:
                continue
            kept[day] = value
            yield AudienceDay(recording_id=recording_id, day=day, value=value)
    row.first_day = min((day for day in (row.first_day, *said_days) if day is not None), default=None)
    row.last_day = max((day for day in (row.last_day, *said_days) if day is not None), default=None)
    row.days_known += len(said_days - known_before)
    summary = summarize(pair.kept)
    if summary.latest_day is not None and (row.latest_day is None or summary.latest_day >= row.latest_day):
        row.latest_day, row.latest_value = summary.latest_day, _storable(summary.latest_value)
        row.gain, row.trend = _storable(summary.gain), summary.trend


def _storable(count: int | None) -> int | None:
    """Return a sum as a column can hold it: each figure fits, but nothing is known of several together."""
    return None if count is None else max(-MAX_COUNT, min(count, MAX_COUNT))


def _note_answer(pair: _Pair, job_id: int, now: datetime) -> None:
    """Bring a row's notes of its fetches up to date, unsaved."""
    row, answer = pair.row, pair.answer
    if row.job_id != job_id:
        row.job_id, row.asked_until = job_id, None
    is_up_to_date = False
    if answer.ask.periods:
        row.fetched_from, row.fetched_until = _answered_span(row, answer.ask.periods)
        ends = [end for _, end in answer.ask.periods]
        row.asked_until = max(ends) if row.asked_until is None else max(row.asked_until, *ends)
        # What was asked for in between says nothing of the newest days.
        is_up_to_date = row.asked_until >= min(row.fetched_until, now.date())
    if answer.error is None:
        row.error, row.absences, row.retry_at = "", 0, None
        if is_up_to_date and not answer.is_part:
            row.fetched_at = now
        return
    row.error = answer.error.code
    if answer.error.code in REFUSED:
        row.retry_at = now + timedelta(days=min(2**row.absences, LONGEST_ABSENCE_DAYS))
        row.absences = min(row.absences + 1, 1000)


def _answered_span(row: TrackAudience, periods: Sequence[tuple[date, date]]) -> tuple[date, date]:
    """Return from when until when a row is answered, with these periods, and no unanswered day between.

    A period that is apart from the others does not count: it is asked for again with the days between.
    """
    known: list[tuple[date, date]] = []
    # Where all days were pruned, the oldest wanted is after the last that was asked for.
    if row.fetched_from and row.fetched_until and row.fetched_from <= row.fetched_until:
        known = [(row.fetched_from, row.fetched_until)]
    spans: list[tuple[date, date]] = []
    for start, end in sorted([*known, *periods]):
        if spans and start <= spans[-1][1] + DAY:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans[-1] if not known else next(span for span in spans if span[0] <= known[0][0] <= span[1])


def _stamp(tracks: dict[int, Track], pairs: Iterable[_Pair], now: datetime) -> None:
    """Note on the tracks that Soundcharts answered, and the figures that the list is sorted by."""
    shown = settings.SOUNDCHARTS_AUDIENCE_PLATFORMS[0]
    answered: dict[int, Track] = {}
    for pair in pairs:
        if not pair.answer.is_answered:
            continue
        track = answered.setdefault(pair.row.track_id, tracks[pair.row.track_id])
        track.audience_fetched_at = now
        if pair.row.platform == shown:
            track.audience_total, track.audience_gain = pair.row.latest_value or 0, pair.row.gain or 0
    if answered:
        update_each([answered[pk] for pk in sorted(answered)], TRACK_FIELDS)


def _report(result: Result, pairs: dict[tuple[int, str], _Pair], *, is_in_part: bool) -> TrackReport:
    """Return what came of a track; `is_in_part` says that the job goes on without what the plan lacks."""
    if isinstance(result.answer, PlatformForbidden) and is_in_part:
        # As for the tracks after it, of which that platform is not asked any more.
        return TrackReport("skipped", notes=[str(result.answer)])
    if isinstance(result.answer, SoundchartsError):
        return TrackReport("failed", code=result.answer.code, message=str(result.answer))
    report = TrackReport("unchanged", is_first=True)
    for said in _platform_answers(result):
        pair = pairs.get((result.track_id, said.ask.platform))
        if pair is None:
            report.notes.append(str(said.error))
            continue
        # An error leaves the stamp of the last answer as it was.
        report.is_first &= pair.row.fetched_at is None
        report.notes.append(pair.note)
        report.warnings += pair.warnings
        if said.error is not None:
            report.outcome, report.code, report.message = "failed", said.error.code, pair.note
        elif report.outcome == "unchanged" and (pair.added or pair.revised):
            report.outcome = "updated"
    return report
