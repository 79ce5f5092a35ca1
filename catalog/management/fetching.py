"""What the commands that fetch have in common: one track here and now, or many through the workers."""

import argparse
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from catalog import jobs
from catalog.following import NoWorker, check_workers, follow
from catalog.mapping import TrackReport
from catalog.models import MetadataFetchTask, Track
from catalog.prices import Price, price_of
from catalog.quota import remaining_calls, why_unusable
from catalog.words import plural


@dataclass(frozen=True, slots=True)
class Due:
    """What a command would fetch: so many tracks, for about so many calls."""

    tracks: int
    calls: int


def uuid_argument(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID") from None


def count_argument(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


class FetchCommand(BaseCommand):
    """Fetch one track, what was never fetched, or everything stale; subclasses say what of it."""

    bulk_help: str
    all_help: str

    # The task that was made or joined.
    _followed: MetadataFetchTask | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--track-uuid", type=uuid_argument, metavar="UUID", help="this track, here and now")
        what.add_argument("--bulk", action="store_true", help=self.bulk_help)
        what.add_argument("--all", action="store_true", help=self.all_help)
        parser.add_argument(
            "--limit",
            type=count_argument,
            metavar="N",
            help="at most N tracks, neediest first; not with --track-uuid",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be done and what it costs; change nothing"
        )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="follow the job until it ends or is paused; exit code 1 unless all of it worked",
        )

    @abstractmethod
    def price_of_one(self, track: Track, options: dict[str, Any]) -> int:
        """Return how many calls a track will spend."""

    @abstractmethod
    def fetch_one(self, track: Track, options: dict[str, Any]) -> tuple[MetadataFetchTask, TrackReport]:
        """Fetch a track here and now."""

    @abstractmethod
    def count_due(self, options: dict[str, Any]) -> Due:
        """Return what `--bulk` or `--all` would fetch."""

    @abstractmethod
    def request(self, options: dict[str, Any]) -> jobs.Requested:
        """Ask for it."""

    def handle(self, *args: Any, **options: Any) -> None:
        if problem := why_unusable():
            raise CommandError(problem)
        newest = 0
        try:
            newest = MetadataFetchTask.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
            if options["track_uuid"]:
                if options["limit"]:
                    raise CommandError("--limit goes with --bulk or --all: --track-uuid is one track.")
                self._fetch_one(options)
            else:
                self._fetch_many(options)
        except DatabaseError as error:
            raise CommandError(
                f"The database cannot be used: {str(error).strip()}. "
                "Check DATABASE_URL, and run `manage.py migrate` once per release."
            ) from None
        except KeyboardInterrupt:
            raise CommandError(self._what_was_stopped(newest), returncode=130) from None

    def _what_was_stopped(self, newest: int) -> str:
        """Describe the task's state; `newest` is the key of the last task before the command started."""
        # Read from the database: the task is saved before the workers are notified, which can take seconds.
        job = self._followed or (
            MetadataFetchTask.objects.filter(pk__gt=newest, requested_by=None).order_by("pk").first()
        )
        if job is None:
            return "Stopped. No task was created, and no call was used."
        job.refresh_from_db()
        if not job.is_active or job.status == job.Status.PAUSED:
            return f"Stopped. Task #{job.pk} is {job.status_label.lower()}."
        return f"Stopped following. Task #{job.pk} continues in the workers."

    def _fetch_one(self, options: dict[str, Any]) -> None:
        uuid = options["track_uuid"]
        track = Track.objects.filter(uuid=uuid).first()
        if track is None:
            raise CommandError(f"No track has the UUID {uuid}. Import it, or add it in the admin, first.")
        price = Price(self.price_of_one(track, options), remaining_calls(), is_bulk=False).sentence
        if options["dry_run"]:
            self.stdout.write(f"Would fetch 1 track ({track}), {price}. Nothing was changed.")
            return
        self.stdout.write(f"1 track ({track}), {price}.")
        job, report = self.fetch_one(track, options)
        for change in report.changes:
            self.stdout.write(f"  {change.label}: {change.shown_before or 'empty'} -> {change.shown_after}")
        for kept in report.kept:
            mine, theirs = repr(kept.shown_before), repr(kept.shown_after)
            self.stdout.write(f"  {kept.label}: kept by hand as {mine}; Soundcharts says {theirs}")
        for note in report.notes:
            self.stdout.write(f"  {note}")
        for warning in report.warnings:
            self.stdout.write(f"  Not understood: {warning}")
        if report.outcome in {"failed", "busy"}:
            raise CommandError(f"{track}: {report.message} (task #{job.pk}, {report.code or report.outcome})")
        self.stdout.write(
            self.style.SUCCESS(f"{track}: {report.outcome} (task #{job.pk}, API calls: {job.api_calls})")
        )

    def _fetch_many(self, options: dict[str, Any]) -> None:
        due = self.count_due(options)
        price = f"{plural(due.tracks, 'track')}, {price_of(due.calls).sentence}"
        if options["dry_run"]:
            self.stdout.write(f"Would fetch {price}. Nothing was changed.")
            return
        if not due.tracks:
            self.stdout.write("Nothing to fetch: no track is due. No call was spent.")
            return
        requested = self.request(options)
        job = self._followed = requested.job
        self.stdout.write(f"{price}. {requested.sentence}")
        try:
            check_workers()
            if not options["wait"]:
                return
            follow(job)
        except NoWorker as error:
            raise CommandError(f"{error} Task #{job.pk} is saved and starts by itself then.") from None
        self._report(job)

    def _report(self, job: MetadataFetchTask) -> None:
        if job.refused_sentence:
            self.stderr.write(job.refused_sentence)
        summary = (
            f"Task #{job.pk} {job.status_label.lower()}: {job.outcome_sentence}; "
            f"API calls: {job.api_calls:,}."
        )
        if job.status == job.Status.COMPLETED and not job.failed_tracks:
            self.stdout.write(self.style.SUCCESS(summary))
            return
        for failure in job.failures.all()[:10]:
            self.stderr.write(f"  {failure.item}: {failure.code}: {failure.message}")
        raise CommandError(f"{summary} {job.error_message}".strip())
