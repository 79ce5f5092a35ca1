"""manage.py fetch_track_metadata: fetch one track, what was never fetched, or everything stale."""

import argparse
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from catalog import jobs
from catalog.fetching import fetch_track_now
from catalog.following import NoWorker, check_workers, follow
from catalog.models import MetadataFetchTask, Track
from catalog.quota import Price, estimate_calls, price_of, remaining_calls
from catalog.words import plural


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


class Command(BaseCommand):
    help = "Fetch track metadata from Soundcharts: one track at once, or many through the workers."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--track-uuid", type=_uuid, metavar="UUID", help="this track, here and now")
        what.add_argument(
            "--bulk", action="store_true", help="every track that was never fetched, as one job"
        )
        what.add_argument(
            "--all",
            action="store_true",
            help="every stale track, as one job: never fetched, or longer ago than the schedule says",
        )
        parser.add_argument("--limit", type=_count, metavar="N", help="at most N tracks, neediest first")
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be done and what it costs; change nothing"
        )
        parser.add_argument(
            "--wait", action="store_true", help="follow the job to its end; exit code 1 if anything failed"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["track_uuid"]:
                if options["limit"]:
                    raise CommandError("--limit goes with --bulk or --all: --track-uuid is one track.")
                self._fetch_one(options["track_uuid"], is_dry_run=options["dry_run"])
            else:
                self._fetch_many(**{name: options[name] for name in ("bulk", "limit", "dry_run", "wait")})
        except DatabaseError as error:
            raise CommandError(
                f"The database cannot be used: {str(error).strip()}. "
                "Check DATABASE_URL, and run `manage.py migrate` once per release."
            ) from None
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped following. The task goes on in the workers.", returncode=130
            ) from None

    def _fetch_one(self, uuid: UUID, *, is_dry_run: bool) -> None:
        track = Track.objects.filter(uuid=uuid).first()
        if track is None:
            raise CommandError(f"No track has the UUID {uuid}. Import it, or add it in the admin, first.")
        if is_dry_run:
            price = Price(1, remaining_calls(), is_bulk=False).sentence
            self.stdout.write(f"Would fetch 1 track ({track}), {price}. Nothing was changed.")
            return
        job, report = fetch_track_now(track)
        for change in report.changes:
            self.stdout.write(f"  {change.label}: {change.before or 'empty'} -> {change.after}")
        for kept in report.kept:
            self.stdout.write(
                f"  {kept.label}: kept by hand as {kept.before!r}; Soundcharts says {kept.after!r}"
            )
        for warning in report.warnings:
            self.stdout.write(f"  Not understood: {warning}")
        if report.outcome in {"failed", "busy"}:
            raise CommandError(f"{track}: {report.message} (task #{job.pk}, {report.code or report.outcome})")
        self.stdout.write(
            self.style.SUCCESS(f"{track}: {report.outcome} (task #{job.pk}, API calls: {job.api_calls})")
        )

    def _fetch_many(self, *, bulk: bool, limit: int | None, dry_run: bool, wait: bool) -> None:
        tracks = Track.objects.all()
        due = tracks.never_fetched().awaited().count() if bulk else tracks.count_due()
        count = due if limit is None else min(due, limit)
        price = f"{plural(count, 'track')}, {price_of(estimate_calls(count)).sentence}"
        if dry_run:
            self.stdout.write(f"Would fetch {price}. Nothing was changed.")
            return
        if not count:
            self.stdout.write("Nothing to fetch: no track is due. No call was spent.")
            return
        requested = jobs.request_stale_metadata(limit=limit, never_fetched_only=bulk)
        job = requested.job
        self.stdout.write(f"{price}. {requested.sentence}")
        try:
            check_workers()
            if not wait:
                return
            follow(job)
        except NoWorker as error:
            raise CommandError(f"{error} Task #{job.pk} is saved and starts by itself then.") from None
        self._report(job)

    def _report(self, job: MetadataFetchTask) -> None:
        summary = (
            f"Task #{job.pk} {job.get_status_display().lower()}: {job.outcome_sentence}; "
            f"API calls: {job.api_calls:,}."
        )
        if job.status == job.Status.COMPLETED and not job.failed_tracks:
            self.stdout.write(self.style.SUCCESS(summary))
            return
        for failure in job.failures.all()[:10]:
            self.stderr.write(f"  {failure.item}: {failure.code}: {failure.message}")
        raise CommandError(f"{summary} {job.error_message}".strip())
