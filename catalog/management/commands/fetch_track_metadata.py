"""manage.py fetch_track_metadata: fetch one track, what was never fetched, or everything stale."""

from typing import Any

from catalog import jobs
from catalog.fetching import fetch_track_now
from catalog.management.fetching import Due, FetchCommand
from catalog.mapping import TrackReport
from catalog.models import MetadataFetchTask, Track
from catalog.prices import estimate_calls


class Command(FetchCommand):
    help = "Fetch track metadata from Soundcharts: one track at once, or many through the workers."
    bulk_help = "every track that was never fetched, as one job"
    all_help = "every stale track, as one job: never fetched, or longer ago than the schedule says"

    def price_of_one(self, track: Track, options: dict[str, Any]) -> int:
        return 1

    def fetch_one(self, track: Track, options: dict[str, Any]) -> tuple[MetadataFetchTask, TrackReport]:
        return fetch_track_now(track)

    def count_due(self, options: dict[str, Any]) -> Due:
        tracks = Track.objects.all()
        due = tracks.never_fetched().awaited().count() if options["bulk"] else tracks.count_due()
        count = due if options["limit"] is None else min(due, options["limit"])
        return Due(count, estimate_calls(count))

    def request(self, options: dict[str, Any]) -> jobs.Requested:
        return jobs.request_stale_metadata(limit=options["limit"], never_fetched_only=options["bulk"])
