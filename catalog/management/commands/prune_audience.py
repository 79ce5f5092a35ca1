"""manage.py prune_audience: delete the days of audience that are older than anyone looks at."""

import argparse
from datetime import date, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.db.models import Count, Max, Min, QuerySet
from django.utils import timezone

from catalog.models import AudienceDay, AudienceRecording, Track, TrackAudience

# Series a step: one transaction each, some hundred thousand days at most.
SERIES_PER_STEP = 500


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:6]) <= 36_500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of days from 1 to 36500")
    return int(text)


class Command(BaseCommand):
    help = "Delete the days of audience that are older than so many days. The latest figures stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=_days, required=True, metavar="DAYS", help="keep so many days"
        )
        parser.add_argument("--dry-run", action="store_true", help="count them; delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        before = timezone.now().date() - timedelta(days=options["older_than"])
        count, after = 0, 0
        while True:
            series = list(
                TrackAudience.objects.filter(pk__gt=after, first_day__lt=before)
                .order_by("pk")
                .values_list("pk", "track_id")[:SERIES_PER_STEP]
            )
            if not series:
                break
            after = series[-1][0]
            if options["dry_run"]:
                count += _days_of([pk for pk, _ in series], before).count()
            else:
                count += _prune([pk for pk, _ in series], [track_id for _, track_id in series], before)
        days = f"{count:,} day{'' if count == 1 else 's'} of audience before {before}"
        if options["dry_run"]:
            self.stdout.write(f"Would delete {days}. Nothing was changed.")
        else:
            self.stdout.write(self.style.SUCCESS(f"Deleted {days}."))


def _days_of(audience_ids: list[int], before: date) -> QuerySet[AudienceDay]:
    # By recording and day, as the key is: no other index is needed.
    recordings = AudienceRecording.objects.filter(audience__in=audience_ids).values_list("pk", flat=True)
    return AudienceDay.objects.filter(recording__in=list(recordings), day__lt=before)


@transaction.atomic
def _prune(audience_ids: list[int], track_ids: list[int], before: date) -> int:
    """Delete the old days of some series, and let their summaries say so."""
    # Whoever saves days locks the tracks, in key order, before anything else.
    tracks = Track.objects.select_for_update(no_key=True).filter(pk__in=track_ids).order_by("pk")
    released = dict(tracks.values_list("pk", "release_date"))
    count, _ = _days_of(audience_ids, before).delete()
    left = {
        audience_id: (first, last, known)
        for audience_id, first, last, known in AudienceDay.objects.filter(
            recording__audience__in=audience_ids
        )
        .values_list("recording__audience")
        .annotate(Min("day"), Max("day"), Count("day", distinct=True))
    }
    audiences = list(TrackAudience.objects.filter(pk__in=audience_ids))
    for audience in audiences:
        first, last, known = left.get(audience.pk, (None, None, 0))
        if audience.fetched_from is not None:
            audience.fetched_from = max(audience.fetched_from, before)
        audience.count_days(first=first, last=last, known=known, released=released.get(audience.track_id))
    TrackAudience.objects.bulk_update(
        audiences, ("first_day", "last_day", "days_known", "missing_days", "fetched_from"), batch_size=100
    )
    return count
