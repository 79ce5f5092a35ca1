"""What is known of the Soundcharts account."""

from django.db import models


class ApiAccount(models.Model):
    """What is known of the quota of a Soundcharts account, written by `catalog.quota` only."""

    fingerprint = models.CharField(max_length=64, unique=True, help_text="A hash; never a key.")
    quota_remaining = models.BigIntegerField(
        null=True, blank=True, help_text="Calls left of the plan when Soundcharts last said so."
    )
    observed_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was last asked whether a used-up quota is back."
    )

    def __str__(self) -> str:
        return f"{self.fingerprint}: {self.quota_remaining} calls left"
