"""What is known of the Soundcharts account, and what was spent of it."""

from django.db import models


class ApiAccount(models.Model):
    """What is known of the quota and the health of a Soundcharts account, written by `catalog.quota` only."""

    fingerprint = models.CharField(max_length=64, unique=True, help_text="A hash; never a key.")
    quota_remaining = models.BigIntegerField(
        null=True, blank=True, help_text="Calls left of the plan when Soundcharts last said so."
    )
    observed_at = models.DateTimeField(null=True, blank=True)
    quota_peak = models.BigIntegerField(
        null=True, blank=True, help_text="The most calls that were left since the last renewal."
    )
    renewed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the quota was last seen to be renewed."
    )
    renewed_before_at = models.DateTimeField(null=True, blank=True, help_text="The renewal before that one.")
    checked_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was last asked whether a used-up quota is back."
    )
    answered_at = models.DateTimeField(
        null=True, blank=True, help_text="When Soundcharts last gave an answer that was of use."
    )
    last_error = models.CharField(
        max_length=50, blank=True, db_default="", help_text="The code of the last error that ended a batch."
    )
    last_error_message = models.TextField(blank=True, db_default="")
    last_error_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.fingerprint}: {self.quota_remaining} calls left"


class ApiUsage(models.Model):
    """The calls of the quota that were spent on one day (UTC), written by `catalog.spending` only."""

    fingerprint = models.CharField(max_length=64, help_text="The account; a hash, never a key.")
    day = models.DateField(help_text="In UTC.")
    calls = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()  # Nobody edits it.
        constraints = (models.UniqueConstraint(fields=("day", "fingerprint"), name="one_usage_a_day"),)

    def __str__(self) -> str:
        return f"{self.day}: {self.calls} calls"
