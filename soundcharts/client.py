"""Calls of the Soundcharts API: one at a time, authorized, paced, bounded, retried and counted.

The client knows HTTP and nothing of songs: it takes paths and returns parsed JSON objects, or raises an
error of `soundcharts.errors`. What the answers mean is the business of `soundcharts.service`.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import requests

from soundcharts import calling_off
from soundcharts.authorization import authorize
from soundcharts.budget import CallBudget, OpenCall
from soundcharts.credentials import Credentials, check_service_url
from soundcharts.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidResponse,
    RateLimited,
    SoundchartsError,
    TruncatedResponse,
    UpstreamUnavailable,
)
from soundcharts.fields import decode_json
from soundcharts.limiter import Limiter
from soundcharts.metering import CallMeter, charge_call, count_calls
from soundcharts.payloads import Usage, parse_usage
from soundcharts.redaction import hide
from soundcharts.refusals import DEFAULT_RATE_PAUSE, is_charged, quota_remaining_in, refusal_in
from soundcharts.transport import CALL_ERRORS, HeaderAuth, Transport, translate

logger = logging.getLogger("soundcharts.client")

DEFAULT_BASE_URL = "https://customer.api.soundcharts.com"
USAGE_PATH = "/api/v2/team/usage"

# How often one call sits out a "too many calls a minute".
MAX_RATE_PAUSES = 3

# Seconds between two looks whether another call has found out if the credentials still work.
_VERDICT_POLL = 0.02

FIRST_RETRY_WAIT = 0.5
MAX_RETRY_WAIT = 8.0

_RETRIED = (ConnectionFailed, DeadlineExceeded, UpstreamUnavailable, TruncatedResponse)
_BATCH = re.compile(r"([0-9a-f-]{36})((?:,[0-9a-f-]{36})+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a caller is willing to wait. All times are in seconds.

    `max_retries` counts tries after the first; `max_wait` is for a free place under the rate limit;
    `total` bounds a whole call, from the first try to the end of the last.
    """

    max_retries: int
    max_wait: float
    total: float

    def allowing(self, deadline: float, *, at_most: float) -> Patience:
        """Return the same patience with room for the longest wait and one whole try of `deadline` seconds.

        The total grows up to `at_most`; beyond that the wait shrinks.
        """
        total = max(self.total, min(self.max_wait + deadline, at_most))
        return replace(self, total=total, max_wait=max(0.0, min(self.max_wait, total - deadline)))


# A bulk caller leases what it works on for two minutes: a call that takes longer would be made again by
# whoever gets the lease next.
BULK = Patience(max_retries=3, max_wait=90.0, total=100.0)
INTERACTIVE = Patience(max_retries=1, max_wait=5.0, total=12.0)
# Nobody's call takes longer than that lease allows.
MAX_TOTAL = BULK.total


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: object = None
    is_free: bool = False

    @property
    def shown_path(self) -> str:
        """The path for logs and errors, with all but the first uuid of a batch left out."""
        return _BATCH.sub(lambda match: f"{match[1]},+{match[2].count(',')}", self.path)


class SoundchartsClient:
    """Make calls of the API, from any number of threads.

    `interactive` is for calls that a person waits for: they overtake bulk work under the rate limit and
    fail sooner. `deadline` is the wall-clock time of one try in seconds, connection and whole answer
    included; `max_bytes` bounds the decompressed answer. `budget` keeps bulk work off the reserve; `proxy`
    and `ca_bundle` are Transport's. `quota_remaining` is what the last answer said of the plan's quota, None
    before the first; `answered_at` is when (`time.monotonic()`) the last answer came that was of use: what
    was requested, or a refusal that is final for this one song.
    """

    def __init__(
        self,
        *,
        base_url: str = DEFAULT_BASE_URL,
        credentials: Credentials,
        limiter: Limiter,
        budget: CallBudget | None = None,
        interactive: bool = False,
        deadline: float = 10.0,
        connect_timeout: float = 5.0,
        read_timeout: float | None = None,
        max_bytes: int = 8 * 1024 * 1024,
        max_retries: int | None = None,
        proxy: str = "",
        ca_bundle: str = "",
    ) -> None:
        check_service_url("The Soundcharts API URL", base_url)
        self.quota_remaining: int | None = None
        self.answered_at: float | None = None
        # The call that finds out whether credentials that have worked are refused for good.
        self._doubted_by: object | None = None
        # Whether the credentials were accepted by the last call that tells.
        self._has_worked = False
        self.limiter = limiter
        self._budget = budget
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self.is_interactive = interactive
        self._deadline = deadline
        self._patience = (INTERACTIVE if interactive else BULK).allowing(deadline, at_most=MAX_TOTAL)
        if max_retries is not None:
            self._patience = replace(self._patience, max_retries=max_retries)
        self._transport = Transport(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout or deadline,
            max_bytes=max_bytes,
            proxy=proxy,
            ca_bundle=ca_bundle,
            secrets=credentials.secrets,
        )
        self._authorization = authorize(credentials, transport=self._transport)

    @property
    def account(self) -> str:
        """The fingerprint of the credentials, which holds none of their secrets."""
        return self._credentials.fingerprint

    def get(
        self, path: str, *, params: Mapping[str, Any] | None = None, is_free: bool = False
    ) -> dict[str, object]:
        """Return the JSON object that a GET is answered with.

        `path` starts with a slash and is escaped already; `is_free` says that the call is not charged.
        Raises an error of `soundcharts.errors`, and nothing else.
        """
        return self._call(_Request("GET", path, params=params, is_free=is_free))

    def post(
        self, path: str, *, params: Mapping[str, Any] | None = None, json: object = None
    ) -> dict[str, object]:
        """Return the JSON object that a POST is answered with.

        Only for requests that change nothing, as all of this API's are: they are repeated like a GET.
        """
        return self._call(_Request("POST", path, params=params, json=json))

    @property
    def is_quota_told(self) -> bool:
        """Return whether this process has heard lately what is left, so that many calls may start at once."""
        return self._budget is None or self._budget.is_told

    def get_usage(self) -> Usage:
        """Return the account's remaining quota and share it with all processes. Free of charge."""
        mark = self._budget.mark() if self._budget is not None else None
        usage = parse_usage(self.get(USAGE_PATH, is_free=True))
        if usage.quota_remaining is not None:
            self.quota_remaining = usage.quota_remaining
            if self._budget is not None:
                self._budget.note(usage.quota_remaining, mark=mark)
        return usage

    def count_calls(self) -> AbstractContextManager[CallMeter]:
        """Return a context manager that yields a CallMeter, see `soundcharts.metering.count_calls`."""
        return count_calls()

    def close(self) -> None:
        """Close the connections of the calling thread."""
        self._transport.close()

    def _call(self, request: _Request) -> dict[str, object]:
        """Make the call, and repeat it for as long as that is of use.

        Three things lead to another try, each with a bound of its own: the rate limit (all processes
        wait together, no retry is used up), a first 401 (the token died, or calls have worked before), and
        what `_should_retry` names.
        """
        this_call = object()
        try:
            return self._try_until_answered(request, this_call)
        finally:
            if self._doubted_by is this_call:
                self._doubted_by = None

    def _try_until_answered(self, request: _Request, this_call: object) -> dict[str, object]:
        give_up_at = time.monotonic() + self._patience.total
        retries = pauses = 0
        has_repeated_401 = False
        while True:
            auth: HeaderAuth | None = None
            try:
                # Fetched before the turn, which that would delay; by then it may have aged.
                self._authorization.auth(seconds=self._seconds(give_up_at))
                with self._counted(request, give_up_at) as open_call:
                    self._wait_for_turn(request, give_up_at)
                    while self._wait_for_verdict(this_call):
                        self._wait_for_turn(request, give_up_at)
                    auth = self._authorization.auth(seconds=self._seconds(give_up_at))
                    return self._send(
                        request, auth=auth, seconds=self._seconds(give_up_at), open_call=open_call
                    )
            except RateLimited as error:
                # Without a status it comes from our own limiter, which has said how long it would take.
                if error.status is None:
                    raise
                # A server that says "now" each time is asked less and less often.
                pause = error.retry_after = max(error.retry_after or DEFAULT_RATE_PAUSE, pauses + 1.0)
                logger.warning("Soundcharts asks for fewer calls: nobody makes one for %.0f s", pause)
                self.limiter.pause(pause)
                if pauses == MAX_RATE_PAUSES:
                    raise
                pauses += 1
            except AuthenticationFailed as error:
                # Without headers it is the token itself that was refused.
                has_new_token = auth is not None and self._authorization.forget(auth)
                if has_repeated_401 or not (has_new_token or self._has_worked):
                    self._has_worked = False
                    raise
                has_repeated_401 = True
                if self._doubted_by is None:
                    self._doubted_by = this_call
                logger.warning("Soundcharts refuses credentials that have worked: trying once more")
                if not has_new_token:
                    calling_off.wait(_wait_before(1, error))
            except SoundchartsError as error:
                wait = _wait_before(retries + 1, error)
                is_last = retries == self._patience.max_retries or time.monotonic() + wait >= give_up_at
                if is_last or not _should_retry(error):
                    raise
                retries += 1
                logger.warning(
                    "%s %s: %s, retry %d of %d in %.1f s",
                    *(request.method, request.shown_path, error.code),
                    *(retries, self._patience.max_retries, wait),
                )
                calling_off.wait(wait)

    def _wait_for_verdict(self, this_call: object) -> bool:
        """Wait while another call repeats a first 401; return whether that took any time.

        Without this, all calls that wait for their turn would be refused before that one is repeated. Raises
        AuthenticationFailed when it is refused again.
        """
        has_waited = False
        while self._doubted_by not in (None, this_call):
            has_waited = True
            calling_off.wait(_VERDICT_POLL)
        if has_waited and not self._has_worked:
            raise AuthenticationFailed
        return has_waited

    def _counted(
        self, request: _Request, give_up_at: float
    ) -> AbstractContextManager[OpenCall] | AbstractContextManager[None]:
        """Return the context in which a call starts: the budget's, for what is charged to the quota."""
        if self._budget is None or request.is_free:
            return nullcontext()
        return self._budget.call(
            interactive=self.is_interactive,
            max_wait=max(0.0, give_up_at - time.monotonic()),
            ask=lambda: self._ask_what_is_left(give_up_at),
        )

    def _ask_what_is_left(self, give_up_at: float) -> int | None:
        """Make the free usage call once; return the calls remaining, None if it does not say."""
        request = _Request("GET", USAGE_PATH, is_free=True)
        try:
            self._wait_for_turn(request, give_up_at)
            auth = self._authorization.auth(seconds=self._seconds(give_up_at))
            usage = parse_usage(self._send(request, auth=auth, seconds=self._seconds(give_up_at)))
        except AuthenticationFailed:
            raise
        except SoundchartsError as error:
            logger.warning("The usage call did not report the calls remaining: %s", error.code)
            return None
        if usage.quota_remaining is not None:
            self.quota_remaining = usage.quota_remaining
        return usage.quota_remaining

    def _wait_for_turn(self, request: _Request, give_up_at: float) -> None:
        max_wait = min(self._patience.max_wait, give_up_at - time.monotonic())
        try:
            self.limiter.acquire(interactive=self.is_interactive, max_wait=max(0.0, max_wait))
        except RateLimited as error:
            error.path = request.shown_path
            raise

    def _seconds(self, give_up_at: float) -> float:
        """Return the time for one try: the deadline, or what is left of the whole call."""
        return min(self._deadline, give_up_at - time.monotonic())

    def _send(
        self, request: _Request, *, auth: HeaderAuth, seconds: float, open_call: OpenCall | None = None
    ) -> dict[str, object]:
        """Make one try. Every failure is an error of `soundcharts.errors` that knows the path."""
        started_at = time.monotonic()
        outcome = "-"
        if open_call is not None:
            open_call.has_started = True
        try:
            with self._transport.send(
                request.method,
                self._base_url + request.path,
                auth=auth,
                seconds=seconds,
                params=request.params,
                json=request.json,
            ) as response:
                outcome = str(response.status_code)
                error = self._refusal_in(response, request, auth, open_call)
                if error is not None:
                    raise error
                answer = decode_json(self._transport.read_body(response))
            self._note_answer()
            return answer
        except CALL_ERRORS as error:
            meaning = translate(error, path=request.shown_path)
            if isinstance(meaning, InvalidResponse):
                # It quotes what it could not read, which may be an echo of our headers.
                meaning.message = self._hide(meaning.message, auth)
                meaning.args = (meaning.message,)
            if not (meaning.is_temporary or meaning.stops_all):
                self._note_answer()
            outcome += f" {meaning.code}"
            raise meaning from None
        finally:
            milliseconds = (time.monotonic() - started_at) * 1000
            logger.info("%s %s %s %.0f ms", request.method, request.shown_path, outcome, milliseconds)

    def _note_answer(self) -> None:
        self.answered_at = time.monotonic()
        self._has_worked = True

    def _refusal_in(
        self, response: requests.Response, request: _Request, auth: HeaderAuth, open_call: OpenCall | None
    ) -> SoundchartsError | None:
        """Return the error of an answer, if any; record the quota that it reports, and its cost."""
        remaining = quota_remaining_in(response)
        if remaining is not None:
            self.quota_remaining = remaining
        error: SoundchartsError | None = None
        try:
            error = refusal_in(
                response,
                url=self._base_url + request.path,
                read=lambda: self._transport.read_body(response),
                hide=lambda text: self._hide(text, auth),
            )
        finally:
            costs = not request.is_free and is_charged(response, error)
            if costs:
                charge_call()
            if open_call is not None:
                open_call.answered(remaining, is_charged=costs)
        return error

    def _hide(self, text: str, auth: HeaderAuth) -> str:
        """Return a text without our secrets."""
        return hide((*self._credentials.secrets, *auth.secrets), text=text)


def _should_retry(error: SoundchartsError) -> bool:
    """Say whether the same call may succeed within seconds.

    Everything else is for the caller: refusals stay refusals, and an answer that is complete but makes
    no sense would cost another call of the quota to be read again.
    """
    return isinstance(error, _RETRIED) and (error.retry_after or 0) <= MAX_RETRY_WAIT


def _wait_before(retry: int, error: SoundchartsError) -> float:
    """Return the seconds to wait before the retry of that number, counted from 1.

    Exponential with full jitter, so that many workers do not come back at once; the server's own advice
    (Retry-After) is the least.
    """
    longest = min(FIRST_RETRY_WAIT * 2 ** (retry - 1), MAX_RETRY_WAIT)
    return max(random.uniform(0, longest), error.retry_after or 0)  # noqa: S311
