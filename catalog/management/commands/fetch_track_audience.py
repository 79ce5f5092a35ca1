"""manage.py fetch_track_audience: the audience of one track, what was never fetched, or what is stale."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from catalog import jobs
from catalog.fetching import fetch_audience_now
from catalog.management.fetching import Due, FetchCommand, count_argument
from catalog.mapping import TrackReport
from catalog.models import MetadataFetchTask, Track
from catalog.prices import (
    LONGEST_DAYS,
    count_audience_gaps,
    count_due_audiences,
    estimate_due_calls,
    estimate_job_calls,
)
from soundcharts.platforms import AUDIENCE_PLATFORMS


def _days(text: str) -> int:
    return min(count_argument(text), LONGEST_DAYS)


class Command(FetchCommand):
    help = "Fetch the audience of tracks from Soundcharts: one track at once, or many through the workers."
    bulk_help = "every audience that was never fetched, as one job"
    all_help = "every stale audience, as one job: never fetched, or longer ago than the schedule says"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--platform",
            action="append",
            choices=list(AUDIENCE_PLATFORMS),
            metavar="P",
            help="instead of SOUNDCHARTS_AUDIENCE_PLATFORMS; may be repeated: "
            + ", ".join(AUDIENCE_PLATFORMS),
        )
        parser.add_argument(
            "--days",
            type=_days,
            metavar="N",
            help=f"N days back (at most {LONGEST_DAYS:,}), where they are not known yet; else 90 at first, "
            "then only what is new",
        )
        parser.add_argument(
            "--fill-gaps",
            action="store_true",
            help="fetch only days that were fetched before and never came; with --all or --track-uuid, "
            "without --days",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["fill_gaps"] and (options["bulk"] or options["days"]):
            raise CommandError(
                "--fill-gaps goes with --all or --track-uuid, without --days: gaps are where days are known."
            )
        super().handle(*args, **options)

    def price_of_one(self, track: Track, options: dict[str, Any]) -> int:
        return estimate_job_calls(self._what(options), 1, [track.pk])

    def fetch_one(self, track: Track, options: dict[str, Any]) -> tuple[MetadataFetchTask, TrackReport]:
        return fetch_audience_now(track, **self._what(options))

    def count_due(self, options: dict[str, Any]) -> Due:
        platforms, days, limit = options["platform"], options["days"], options["limit"]
        if options["fill_gaps"]:
            counts = count_audience_gaps(platforms=platforms)
        else:
            counts = count_due_audiences(platforms=platforms, days=days, never_fetched_only=options["bulk"])
        calls = estimate_due_calls(self._what(options), counts, limit=limit)
        tracks = max(counts.values())
        return Due(tracks if limit is None else min(tracks, limit), calls)

    def request(self, options: dict[str, Any]) -> jobs.Requested:
        return jobs.request_stale_audience(
            **self._what(options), limit=options["limit"], never_fetched_only=options["bulk"]
        )

    def _what(self, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "platforms": options["platform"],
            "days": options["days"],
            "fill_gaps": options["fill_gaps"],
        }
