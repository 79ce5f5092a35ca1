"""The kinds of fetching: what differs between metadata and audience. Everything else is the same for both."""

from collections.abc import Sequence
from typing import Protocol

from catalog.fetching.audience import Audience
from catalog.fetching.metadata import Metadata
from catalog.fetching.results import Result
from catalog.mapping import TrackReport
from catalog.models import FetchChunk, MetadataFetchTask
from soundcharts.errors import SoundchartsError
from soundcharts.service import SoundchartsService


class Kind(Protocol):
    """What a job fetches about its tracks.

    `find` and `save` talk to the database and are called by the worker's main thread, `save` inside the
    transaction that moves the chunk on. `fetch` is called by many threads, and talks to Soundcharts only.
    """

    task_types: tuple[str, ...]

    def batch_size(self, service: SoundchartsService) -> int:
        """Return how many tracks one call, or one row of calls, brings."""

    def is_proven(self, job: MetadataFetchTask, service: SoundchartsService) -> bool:
        """Return whether it is known how the account answers, so that many calls may be made at once."""

    def find(
        self, job: MetadataFetchTask, service: SoundchartsService, track_ids: Sequence[int]
    ) -> dict[int, Result]:
        """Return those of these tracks that are to be asked for, each with what to ask.

        Raises a SoundchartsError where nothing may be asked for at all.
        """

    def fetch(
        self, service: SoundchartsService, wanted: Sequence[Result]
    ) -> tuple[dict[int, Result], SoundchartsError | None]:
        """Return the answers by track, and the error that left some tracks without one."""

    def save(self, chunk: FetchChunk, results: Sequence[Result]) -> dict[int, TrackReport]:
        """Write what came, and return what that did to each track that is here and has an answer."""


KINDS: tuple[Kind, ...] = (Metadata(), Audience())


def kind_of(job: MetadataFetchTask) -> Kind:
    """Return what a job fetches about its tracks."""
    return next(kind for kind in KINDS if job.task_type in kind.task_types)
