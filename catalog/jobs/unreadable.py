"""Answers that make no sense: when it is Soundcharts, or something on the way, rather than the tracks.

Such answers are paid for. So a job soon asks with one call at a time, waits as a whole, and pauses when
several batches in a row have failed without a single answer that could be read.
"""

from django.db.models import F

from catalog.models import MetadataFetchTask

UNREADABLE = "answers_unreadable"
# Batches in a row that are given up before the job pauses; the last of them stays untried.
UNREADABLE_BATCHES = 3

PAUSED = (
    "Several answers in a row were unreadable or incomplete. They came from Soundcharts or from a proxy. "
    "Complete answers are saved. Resume the task when the problem is solved."
)

# Codes of failures that are answers: Soundcharts said something that was understood.
READABLE_FAILURES = frozenset({"not_found", "ambiguous_isrc", "moved", "song_forbidden", "invalid_request"})


def note_unreadable(job: MetadataFetchTask) -> int:
    """Count a try that brought nothing to read; return how many these are in a row, over all workers.

    Of workers that tried at the same time one counts, so that a short trouble is not taken for a long one.
    """
    MetadataFetchTask.objects.filter(pk=job.pk, unreadable_tries=job.unreadable_tries).update(
        unreadable_tries=F("unreadable_tries") + 1
    )
    job.refresh_from_db(fields=["unreadable_tries"])
    return max(1, job.unreadable_tries)
