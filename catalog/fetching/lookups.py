"""Look up identifiers of a list, several calls at a time."""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from catalog import jobs
from catalog.fetching.ahead import Look, count_spent, submit, wait_for
from catalog.song_lists import is_uuid
from soundcharts.calling_off import called_off_by
from soundcharts.errors import CalledOff, InvalidResponse, Moved, RateLimited, SoundchartsError
from soundcharts.payloads import Song
from soundcharts.service import SoundchartsService


@dataclass(slots=True)
class Lookups:
    """Answers by identifier; `error` is the one that left some identifiers without an answer.

    `failed` has those that were asked for in vain, and why.
    """

    found: dict[str, Song | SoundchartsError]
    failed: dict[str, SoundchartsError] = field(default_factory=dict)
    calls: int = 0
    error: SoundchartsError | None = None


def look_up(batches: list[list[str]], *, service: SoundchartsService, look: Look, job_id: int) -> Lookups:
    """Return the answers of all batches. Each is one concurrent call: several uuids, or one ISRC.

    `look` is called about every second meanwhile. Calls whose answers nobody takes are recorded on the job.
    """
    called_off = threading.Event()
    calls: list[Future[Lookups]] = [submit(_call, service, batch, called_off) for batch in batches]
    answers = Lookups({})
    try:
        for call in calls:
            answer = wait_for(call, partial(look, called_off.set))
            answers.found |= answer.found
            answers.failed |= answer.failed
            answers.calls += answer.calls
            answers.error = min((answers.error, answer.error), key=_rank)
    except BaseException:
        called_off.set()
        started = [call for call in calls if not call.cancel()]
        jobs.record_calls(job_id, count_spent(started))
        raise
    return answers


def _rank(error: SoundchartsError | None) -> int:
    """Return the rank of an error by how much work it affects; of several errors, the first is reported."""
    if error is None:
        return 6
    if error.stops_all:
        return 0
    if isinstance(error, CalledOff):
        return 5
    kinds = (jobs.InternalError, RateLimited, InvalidResponse)
    return next((rank for rank, kind in enumerate(kinds, start=1) if isinstance(error, kind)), 4)


def _call(service: SoundchartsService, batch: list[str], called_off: threading.Event) -> Lookups:
    answers = Lookups({})
    with called_off_by(called_off), service.count_calls() as meter:
        try:
            answers.found, answers.error = _look_up(service, batch)
        except SoundchartsError as error:
            answers.error = error
        except Exception as unexpected:  # The calls are counted, and the other rows are saved.
            answers.error = jobs.internal_error(unexpected, during="looking up rows of a list")
        answers.calls = meter.spent
    reason = answers.error
    if reason is not None and reason.stops_all:
        called_off.set()  # The calls still waiting for their turn would also be refused.
    if reason is not None and reason.is_temporary and not isinstance(reason, RateLimited | CalledOff):
        answers.failed = {value: reason for value in batch if value not in answers.found}
    return answers


def _look_up(
    service: SoundchartsService, batch: list[str]
) -> tuple[dict[str, Song | SoundchartsError], SoundchartsError | None]:
    """Return the answers for identifiers, and the error that left some without one."""
    if is_uuid(batch[0]):
        answer = service.get_songs([UUID(value) for value in batch])
        songs = {str(uuid): song for uuid, song in answer.songs.items()}
        # A merged song comes in as the song that it was merged into; the row names both uuids.
        errors = {
            str(uuid): (isinstance(error, Moved) and error.song) or error
            for uuid, error in answer.errors.items()
        }
        return songs | errors, answer.interrupted_by
    try:
        return {batch[0]: service.get_song_by_isrc(batch[0])}, None
    except SoundchartsError as error:
        if error.is_temporary or error.stops_all:
            raise
        return {batch[0]: error}, None
