"""Signs of life: which processes were seen, and when."""

from django.db import models


class Heartbeat(models.Model):
    """A process or a regular deed, and when it was last seen, written by `catalog.heartbeats` only."""

    class Kind(models.TextChoices):
        WORKER = "worker", "Worker"  # a Celery worker: its main process, whose loop is running
        BEAT = "beat", "Beat"  # the scheduler: it has sent a message
        SWEEP = "sweep", "Sweep"  # a worker has carried out beat's message

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(
        max_length=200, help_text="A worker's node name; empty for the others.", blank=True
    )
    seen_at = models.DateTimeField()
    failed_at = models.DateTimeField(
        null=True, blank=True, help_text="When it met an unexpected error; empty once it works again."
    )
    reference = models.CharField(
        max_length=20, blank=True, default="", db_default="", help_text="Of that error, in the logs."
    )

    class Meta:
        default_permissions = ()  # Nobody edits it.
        constraints = (models.UniqueConstraint(fields=("kind", "name"), name="one_heartbeat_each"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.name} seen at {self.seen_at}"
