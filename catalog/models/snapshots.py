"""What was counted of the catalogue, for where counting takes too long to be done for every look."""

from django.db import models


class CatalogueSnapshot(models.Model):
    """How many tracks are how fresh, and what failed lately: one row, of `catalog.snapshots` only."""

    taken_at = models.DateTimeField()
    seconds = models.FloatField(help_text="What counting took.")
    never_fetched = models.PositiveBigIntegerField()
    aged = models.PositiveBigIntegerField(help_text="Fetched once, but longer ago than the refresh interval.")
    fresh = models.PositiveBigIntegerField()
    failing = models.PositiveBigIntegerField(help_text="Of all these, those of which the last fetch failed.")
    failures = models.JSONField(help_text="The recent failures of jobs: how many of each code.")

    class Meta:
        default_permissions = ()  # Nobody edits it.

    def __str__(self) -> str:
        return f"{self.total} tracks at {self.taken_at}"

    @property
    def total(self) -> int:
        return self.never_fetched + self.aged + self.fresh

    @property
    def failure_count(self) -> int:
        return sum(self.failures.values())
