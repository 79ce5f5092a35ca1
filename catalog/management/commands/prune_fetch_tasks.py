"""manage.py prune_fetch_tasks: forget tasks that ended long ago, so that the tables do not grow for ever."""

import argparse
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from catalog import jobs
from catalog.words import plural

# Half a year: longer than anybody has asked back for.
DEFAULT_DAYS = 180


def _days(text: str) -> int:
    # Up to a century, which both databases can still reckon with.
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 36_500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of days from 1 to 36500")
    return int(text)


class Command(BaseCommand):
    help = (
        "Delete fetch tasks that ended long ago, with their failures, their history and the reports "
        "of imports. Tracks, and tasks that have not ended, are never touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=_days,
            default=DEFAULT_DAYS,
            metavar="DAYS",
            help=f"those that ended more than so many days ago (default {DEFAULT_DAYS})",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be deleted; change nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["older_than"]
        try:
            pruned = jobs.prune_ended_jobs(older_than=timedelta(days=days), dry_run=options["dry_run"])
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {error}") from error
        verb = "Would delete" if options["dry_run"] else "Deleted"
        self.stdout.write(
            f"{verb} {plural(pruned.jobs, 'task')} that ended more than {days:,} days ago, with "
            f"{plural(pruned.failures, 'failure')}, {plural(pruned.chunks, 'chunk')}, "
            f"{plural(pruned.events, 'event')} and {plural(pruned.rows, 'row')} of imports."
        )
