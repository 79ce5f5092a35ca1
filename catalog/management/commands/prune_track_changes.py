"""`manage.py prune_track_changes`: forget what fetches changed long ago."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from catalog.models import TrackChange

KEPT_DAYS = 365
# Rows a transaction: nobody who saves tracks meanwhile waits noticeably.
STEP = 2000


class Command(BaseCommand):
    help = "Delete track changes older than so many days, in steps; no track is touched."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than",
            type=int,
            default=KEPT_DAYS,
            metavar="DAYS",
            help=f"delete what was changed more than so many days ago (default: {KEPT_DAYS})",
        )
        parser.add_argument("--dry-run", action="store_true", help="say how many there are; delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["older_than"]
        if not 1 <= days <= 36_500:
            raise CommandError("--older-than must be from 1 to 36,500 days.")
        before = timezone.now() - timedelta(days=days)
        old = TrackChange.objects.before(before)
        if options["dry_run"]:
            self.stdout.write(
                f"{old.count():,} track changes are older than {days:,} days. Nothing was deleted."
            )
            return
        deleted = 0
        while keys := list(old.order_by("at", "pk").values_list("pk", flat=True)[:STEP]):
            with transaction.atomic():
                count, _ = TrackChange.objects.filter(pk__in=keys).delete()
            deleted += count
            self.stdout.write(f"{deleted:,} deleted ...")
        self.stdout.write(
            self.style.SUCCESS(f"{deleted:,} track changes older than {days:,} days were deleted.")
        )
