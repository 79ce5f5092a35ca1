from __future__ import annotations

import contextlib
import logging
import time
import traceback
from email.utils import formatdate
from types import FrameType
from typing import Any

import pytest
import requests
import responses

from soundcharts import client as client_module
from soundcharts.client import MAX_RATE_PAUSES, MAX_RETRY_WAIT, _should_retry, _wait_before
from soundcharts.errors import (
    AmbiguousIsrc,
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    InvalidResponse,
    NotFound,
    QuotaExhausted,
    RateLimited,
    SoundchartsError,
    TruncatedResponse,
    UpstreamUnavailable,
)
from soundcharts.metering import count_calls
from soundcharts.tests.doubles import API_KEY, KEYS, Clock, FakeLimiter, make_client

URL = "https://api.example/x"
RATE_MESSAGE = {"errors": [{"key": "rate", "code": 0, "message": "You reached the Maximum Request Count."}]}


@pytest.fixture
def api() -> Any:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_RETRY_WAIT", 0.0)


def answers(api: responses.RequestsMock, *statuses: int, **kwargs: Any) -> None:
    for status in statuses:
        api.get(URL, json={"ok": True} if status == 200 else {"errors": []}, status=status, **kwargs)


# --- The request ----------------------------------------------------------------------------------


def test_get_returns_the_object_and_sends_both_keys(api: responses.RequestsMock) -> None:
    api.get(URL, json={"object": {"a": 1}})

    assert make_client().get("/x", params={"offset": 5}) == {"object": {"a": 1}}

    request = api.calls[0].request
    assert request.headers["x-app-id"] == "the-app"
    assert request.headers["x-api-key"] == API_KEY
    assert request.headers["Accept"] == "application/json"
    assert request.url == URL + "?offset=5"


def test_post_sends_json(api: responses.RequestsMock) -> None:
    api.post(URL, json={"items": []}, match=[responses.matchers.json_params_matcher({"sort": "x"})])

    assert make_client().post("/x", json={"sort": "x"}) == {"items": []}


def test_base_url_may_end_in_a_slash(api: responses.RequestsMock) -> None:
    answers(api, 200)

    assert make_client("https://api.example/").get("/x") == {"ok": True}


@pytest.mark.parametrize("url", ["api.example", "ftp://api.example", "https://key:secret@api.example", ""])
def test_base_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="API URL"):
        make_client(url)


# --- Status to error ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, AuthenticationFailed),
        (402, InvalidRequest),
        (403, Forbidden),
        (404, NotFound),
        (410, AmbiguousIsrc),
        (418, InvalidRequest),
        (500, UpstreamUnavailable),
        (502, UpstreamUnavailable),
        (599, UpstreamUnavailable),
        (300, InvalidResponse),
        (304, InvalidResponse),
        (307, InvalidResponse),
    ],
)
def test_status_decides_the_error(
    api: responses.RequestsMock, status: int, kind: type[SoundchartsError]
) -> None:
    answers(api, status)

    with pytest.raises(SoundchartsError) as raised:
        make_client().get("/x")

    assert (type(raised.value), raised.value.status, raised.value.path) == (kind, status, "/x")


def test_error_quotes_what_soundcharts_said(api: responses.RequestsMock) -> None:
    api.get(URL, json={"errors": [{"message": "Invalid\x00\nuuid " + "x" * 500}]}, status=400)

    with pytest.raises(InvalidRequest) as raised:
        make_client().get("/x")

    assert "Soundcharts says: Invalid  uuid xxx" in str(raised.value)
    assert len(str(raised.value)) < 400


# --- Retries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ConnectionFailed, DeadlineExceeded, UpstreamUnavailable, TruncatedResponse])
def test_what_may_pass_within_seconds_is_retried(kind: type[SoundchartsError]) -> None:
    assert _should_retry(kind())


@pytest.mark.parametrize(
    "kind",
    [
        *(InvalidRequest, AuthenticationFailed, Forbidden, NotFound, AmbiguousIsrc),
        *(QuotaExhausted, RateLimited, InvalidResponse),
    ],
)
def test_what_would_only_happen_again_is_not_retried(kind: type[SoundchartsError]) -> None:
    assert not _should_retry(kind())


def test_server_that_asks_for_more_than_seconds_is_not_retried() -> None:
    assert _should_retry(UpstreamUnavailable(retry_after=MAX_RETRY_WAIT))
    assert not _should_retry(UpstreamUnavailable(retry_after=MAX_RETRY_WAIT + 1))


def test_wait_grows_is_jittered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_RETRY_WAIT", 0.5)
    waits = {retry: [_wait_before(retry, ConnectionFailed()) for _ in range(300)] for retry in (1, 2, 3, 40)}

    assert 0.4 < max(waits[1]) <= 0.5 < max(waits[2]) <= 1.0 < max(waits[3]) <= 2.0
    assert max(waits[40]) <= MAX_RETRY_WAIT
    assert min(waits[40]) < 1.0


def test_wait_is_at_least_what_the_server_asks_for() -> None:
    assert _wait_before(1, UpstreamUnavailable(retry_after=3.0)) == 3.0


def test_retry_after_header_reaches_the_error(api: responses.RequestsMock) -> None:
    answers(api, 503, headers={"Retry-After": "120"})

    with pytest.raises(UpstreamUnavailable) as raised:
        make_client(max_retries=3).get("/x")

    assert (raised.value.retry_after, len(api.calls)) == (120, 1)


def test_retry_after_may_be_a_date(api: responses.RequestsMock) -> None:
    answers(api, 503, headers={"Retry-After": formatdate(time.time() + 3600, usegmt=True)})

    with pytest.raises(UpstreamUnavailable) as raised:
        make_client(max_retries=3).get("/x")

    assert (raised.value.retry_after or 0) > MAX_RETRY_WAIT
    assert len(api.calls) == 1


def test_success_after_failures_is_a_success(api: responses.RequestsMock) -> None:
    answers(api, 500, 503, 200)
    limiter = FakeLimiter()

    assert make_client(limiter=limiter, max_retries=3).get("/x") == {"ok": True}
    assert len(limiter.acquired) == 3


def test_truncated_answer_is_retried(api: responses.RequestsMock) -> None:
    api.get(URL, body='{"ok": tr')
    answers(api, 200)

    assert make_client(max_retries=3).get("/x") == {"ok": True}


def test_bulk_call_is_tried_four_times(api: responses.RequestsMock) -> None:
    answers(api, 500)

    with pytest.raises(UpstreamUnavailable):
        make_client(max_retries=None).get("/x")

    assert len(api.calls) == 4


def test_interactive_call_is_tried_twice(api: responses.RequestsMock) -> None:
    answers(api, 500)

    with pytest.raises(UpstreamUnavailable):
        make_client(interactive=True, max_retries=None).get("/x")

    assert len(api.calls) == 2


def test_interactive_call_ends_within_its_total_time(
    api: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "INTERACTIVE", client_module.Patience(9, max_wait=0.0, total=0.5))
    answers(api, 503, headers={"Retry-After": "1"})

    with pytest.raises(UpstreamUnavailable):
        make_client(interactive=True, max_retries=None, deadline=0.5).get("/x")

    assert len(api.calls) == 1


@pytest.mark.parametrize("interactive", [True, False])
@pytest.mark.parametrize("deadline", [1.0, 10.0, 13.0, 30.0, 60.0])
def test_a_try_gets_its_whole_deadline_after_the_longest_wait_for_a_turn(
    monkeypatch: pytest.MonkeyPatch, interactive: bool, deadline: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(client_module, "time", clock)

    class SlowLimiter(FakeLimiter):
        def acquire(self, *, interactive: bool, max_wait: float) -> None:
            clock.now += max_wait

    granted: list[float] = []

    def note(*args: object, seconds: float, **kwargs: object) -> None:
        granted.append(seconds)
        raise requests.ReadTimeout

    client = make_client(limiter=SlowLimiter(), interactive=interactive, deadline=deadline)
    monkeypatch.setattr(client._transport, "send", note)

    with pytest.raises(DeadlineExceeded):
        client.get("/x")

    assert granted == [deadline]
    # The lease of a chunk, within which no call is made again, is 120 s.
    assert clock.now - 1000.0 + deadline <= 100.0


def test_connection_failure_is_retried(api: responses.RequestsMock) -> None:
    api.get(URL, body=requests.ConnectionError(f"x-api-key: {API_KEY}"))
    answers(api, 200)

    assert make_client(max_retries=1).get("/x") == {"ok": True}


# --- Refused credentials --------------------------------------------------------------------------


def test_first_401_after_calls_that_worked_is_repeated_once(api: responses.RequestsMock) -> None:
    answers(api, 200, 401, 200, 401, 401, 401)
    client = make_client()
    client.get("/x")

    assert client.get("/x") == {"ok": True}
    with pytest.raises(AuthenticationFailed):
        client.get("/x")
    assert len(api.calls) == 5

    # They do not work any more, so the next refusal counts at once.
    with pytest.raises(AuthenticationFailed):
        client.get("/x")
    assert len(api.calls) == 6


def test_answer_that_is_final_for_a_song_shows_that_the_credentials_work(api: responses.RequestsMock) -> None:
    answers(api, 404, 401, 200)
    client = make_client()
    with pytest.raises(NotFound):
        client.get("/x")

    assert client.get("/x") == {"ok": True}


def test_401_before_any_call_has_worked_counts_at_once(api: responses.RequestsMock) -> None:
    answers(api, 401)

    with pytest.raises(AuthenticationFailed):
        make_client(max_retries=3).get("/x")

    assert len(api.calls) == 1


def test_401_of_a_proxy_is_about_the_credentials_all_the_same(api: responses.RequestsMock) -> None:
    api.get(URL, body="<html>Log in</html>", status=401)

    with pytest.raises(AuthenticationFailed):
        make_client().get("/x")


# --- The rate limit -------------------------------------------------------------------------------


@pytest.mark.parametrize(("interactive", "max_wait"), [(False, 90.0), (True, 5.0)])
def test_every_try_waits_its_turn(api: responses.RequestsMock, interactive: bool, max_wait: float) -> None:
    answers(api, 500, 200)
    limiter = FakeLimiter()

    make_client(limiter=limiter, interactive=interactive, max_retries=1).get("/x")

    assert limiter.acquired == [(interactive, max_wait)] * 2


def test_no_call_is_made_when_the_limiter_refuses(api: responses.RequestsMock) -> None:
    with pytest.raises(RateLimited) as raised:
        make_client(limiter=FakeLimiter(refuses_after=0), max_retries=3).get("/x")

    assert (raised.value.retry_after, raised.value.path, len(api.calls)) == (42.0, "/x", 0)


def test_429_pauses_everybody_and_uses_up_no_retry(api: responses.RequestsMock) -> None:
    api.get(URL, json=RATE_MESSAGE, status=429, headers={"x-ratelimit-reset": "7"})
    answers(api, 200)
    limiter = FakeLimiter()

    assert make_client(limiter=limiter, max_retries=0).get("/x") == {"ok": True}
    assert limiter.pauses == [7]


@pytest.mark.parametrize(
    ("header", "pause"),
    [("0", 1), ("3600", 120), ("soon", 60), ("-5", 60), (None, 60), ("2.5", 2.5), ("nan", 60), ("1e3", 60)],
)
def test_pause_is_what_the_server_says_within_reason(
    api: responses.RequestsMock, header: str | None, pause: float
) -> None:
    api.get(URL, json=RATE_MESSAGE, status=429, headers={"x-ratelimit-reset": header} if header else {})
    answers(api, 200)
    limiter = FakeLimiter()

    make_client(limiter=limiter).get("/x")

    assert limiter.pauses == [pause]


def test_429_again_and_again_is_given_up(api: responses.RequestsMock) -> None:
    api.get(URL, json=RATE_MESSAGE, status=429)

    with pytest.raises(RateLimited):
        make_client().get("/x")

    assert len(api.calls) == MAX_RATE_PAUSES + 1


def test_429_leaves_the_advice_when_the_pause_is_longer_than_the_patience(
    api: responses.RequestsMock,
) -> None:
    api.get(URL, json=RATE_MESSAGE, status=429)

    with pytest.raises(RateLimited) as raised:
        make_client(limiter=FakeLimiter(refuses_after=1)).get("/x")

    assert (raised.value.retry_after, len(api.calls)) == (42.0, 1)


# --- Quota ----------------------------------------------------------------------------------------


def test_quota_is_what_the_last_answer_said(api: responses.RequestsMock) -> None:
    client = make_client()
    assert client.quota_remaining is None

    answers(api, 200, headers={"x-quota-remaining": "900"})
    answers(api, 404, headers={"x-quota-remaining": "-1"})
    answers(api, 200, headers={"x-quota-remaining": "plenty"})
    client.get("/x")
    assert client.quota_remaining == 900
    with pytest.raises(NotFound):
        client.get("/x")
    client.get("/x")

    assert client.quota_remaining == -1


@pytest.mark.parametrize(
    ("status", "spent"),
    [(200, 1), (302, 1), (400, 1), (401, 1), (404, 1), (410, 1), (429, 0), (500, 0), (503, 0)],
)
def test_answers_are_charged_but_for_429_and_5xx(
    api: responses.RequestsMock, status: int, spent: int
) -> None:
    answers(api, status)

    with count_calls() as meter, contextlib.suppress(SoundchartsError):
        make_client().get("/x")

    assert meter.spent == spent


def test_answer_that_makes_no_sense_is_charged(api: responses.RequestsMock) -> None:
    api.get(URL, body="<html>")

    with count_calls() as meter, pytest.raises(InvalidResponse):
        make_client().get("/x")

    assert meter.spent == 1


def test_every_try_is_charged_by_itself(api: responses.RequestsMock) -> None:
    api.get(URL, body='{"ok": tr')
    answers(api, 500, 200)

    with count_calls() as meter:
        make_client(max_retries=3).get("/x")

    assert meter.spent == 2


def test_unanswered_and_free_calls_are_not_charged(api: responses.RequestsMock) -> None:
    api.get(URL, body=requests.ConnectionError())
    answers(api, 200)
    client = make_client()

    with client.count_calls() as meter:
        with pytest.raises(ConnectionFailed):
            client.get("/x")
        client.get("/x", is_free=True)

    assert meter.spent == 0


# --- Secrets and logs -----------------------------------------------------------------------------


def test_call_is_logged_with_status_and_time(
    api: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    answers(api, 200)
    caplog.set_level(logging.INFO, logger="soundcharts")

    make_client().get("/x", params={"q": "private"})

    (message,) = caplog.messages
    assert message.startswith("GET /x 200 ")
    assert message.endswith(" ms")


def test_batch_is_logged_by_its_first_uuid_and_the_number_of_others(
    api: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    uuids = [f"{n}1111111-2222-3333-4444-555555555555" for n in range(3)]
    api.get(f"https://api.example/song/{','.join(uuids)}", json={"errors": []}, status=400)
    caplog.set_level(logging.INFO, logger="soundcharts")

    with pytest.raises(InvalidRequest) as raised:
        make_client().get(f"/song/{','.join(uuids)}")

    assert raised.value.path == f"/song/{uuids[0]},+2"
    assert f"GET /song/{uuids[0]},+2 400 invalid_request" in caplog.text


def frames_of(error: BaseException | None) -> list[FrameType]:
    """Return the frames that an error report shows, of the error and of all that it says it comes from."""
    frames: list[FrameType] = []
    while error is not None:
        frames += [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [frame for frame in frames if "/soundcharts/tests/" not in frame.f_code.co_filename]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, None])
def test_key_is_nowhere_to_be_seen_after_a_failure(
    api: responses.RequestsMock, caplog: pytest.LogCaptureFixture, status: int | None
) -> None:
    if status is None:
        api.get(URL, body=requests.ConnectionError(f"x-api-key: {API_KEY}"))
    else:
        api.get(URL, json={"errors": [{"message": f"Bad key {API_KEY}!"}]}, status=status)
    caplog.set_level(logging.DEBUG)

    with pytest.raises(SoundchartsError) as raised:
        make_client(max_retries=1).get("/x")

    error = raised.value
    variables = [repr(value) for frame in frames_of(error) for value in frame.f_locals.values()]
    shown = [str(error), repr(error), caplog.text, *traceback.format_exception(error), *variables]
    assert not [text for text in shown if API_KEY in text]


def test_client_and_its_parts_do_not_show_the_key() -> None:
    client = make_client()

    assert API_KEY not in repr(client) + repr(vars(client)) + repr(KEYS)
