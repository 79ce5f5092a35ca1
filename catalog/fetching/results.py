"""What comes of fetching: a track's part in a batch, and the answers of batches."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from soundcharts.errors import CalledOff, SoundchartsError
from soundcharts.payloads import AudiencePoint


@dataclass(frozen=True, slots=True)
class Ask:
    """The periods to ask for on a platform, first and last day each; one call a period."""

    platform: str
    periods: tuple[tuple[date, date], ...]


@dataclass(frozen=True, slots=True)
class PlatformAnswer:
    """What Soundcharts said about a track on a platform: figures, or an error that is final for it.

    `ask` has the periods that were answered, `points` also those of a period that was answered in part.
    With `is_part` that is not all that was wanted.
    """

    ask: Ask
    points: tuple[AudiencePoint, ...] = ()
    warnings: tuple[str, ...] = ()
    error: SoundchartsError | None = None
    is_part: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether Soundcharts answered, even with no figures."""
        return bool(self.ask.periods or self.points)


@dataclass(frozen=True, slots=True)
class AudienceAnswer:
    """What Soundcharts said about a track on the platforms that were asked for."""

    platforms: tuple[PlatformAnswer, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A track's part in a batch.

    `item` is the uuid of a track that is to be fetched, empty for one that is fresh or gone. `answer` is
    what came or an error, None for one that is not to be fetched or has no answer yet. `is_elsewhere` says
    that a worker of another job has the track under way: here it waits until that has an end. `asks` are
    the calls to make, where that is more than one of a batch; `part` is what came before an error cut an
    answer of several calls short: it is saved, and the track still has no outcome.
    """

    track_id: int
    item: str = ""
    # A Song, an AudienceAnswer or a SoundchartsError; who saves it knows which.
    answer: Any = None
    is_elsewhere: bool = False
    asks: tuple[Ask, ...] = ()
    part: AudienceAnswer | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether some figures arrived but no period is complete, so that it will be fetched again."""
        return self.part is not None and not any(answer.ask.periods for answer in self.part.platforms)

    @property
    def is_unanswered(self) -> bool:
        return bool(self.item) and self.answer is None

    @property
    def is_to_be_asked(self) -> bool:
        return bool(self.item) and self.answer is None and not self.is_elsewhere


@dataclass(slots=True)
class Answers:
    """What came of one or several batches, in the chunk's order.

    `calls` of the quota were spent. `error` is what left some of the tracks without an answer.
    """

    results: list[Result] = field(default_factory=list)
    calls: int = 0
    error: SoundchartsError | None = None

    def add(self, other: "Answers") -> None:
        """Put the answers of the next batch behind these.

        The first error is the one that is told, and before any that only says that a call never began.
        """
        self.results += other.results
        self.calls += other.calls
        if self.error is None or (isinstance(self.error, CalledOff) and other.error is not None):
            self.error = other.error
