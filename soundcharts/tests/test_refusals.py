"""What answers mean that are no success: whose word they are, and what about."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
import responses

from soundcharts import client as client_module
from soundcharts.client import MAX_RATE_PAUSES
from soundcharts.errors import (
    InvalidRequest,
    InvalidResponse,
    Moved,
    QuotaExhausted,
    RateLimited,
    SoundchartsError,
    TruncatedResponse,
    UpstreamUnavailable,
)
from soundcharts.metering import count_calls
from soundcharts.refusals import DEFAULT_RATE_PAUSE, MAX_RATE_PAUSE
from soundcharts.tests.doubles import FakeLimiter, make_client
from soundcharts.tests.raw_server import RawServer, http, sends

URL = "https://api.example/x"
RATE_MESSAGE = {"errors": [{"key": "rate", "code": 0, "message": "You reached the Maximum Request Count."}]}


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_RETRY_WAIT", 0.0)


# --- Whose word a refusal is ----------------------------------------------------------------------

GATEWAY_PAGES = [
    b"<html>Not here</html>",
    b"",
    b"{}",
    b"[]",
    b'"not found"',
    b'{"message": "no Route matched with those values"}',
    b'{"errors": "not found"}',
    b'{"errors": {"message": "not found"}}',
    b'{"errors": [{"key": "internal_error", "code": 500, "message": "It broke."}]}',
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("body", GATEWAY_PAGES)
@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 418, 422, 451])
def test_refusal_without_the_apis_own_words_is_an_outage(
    api: responses.RequestsMock, status: int, body: bytes
) -> None:
    api.get(URL, body=body, status=status)

    with count_calls() as meter, pytest.raises(UpstreamUnavailable, match="gateway or proxy") as raised:
        make_client().get("/x")

    assert (raised.value.status, meter.spent) == (status, 0)


def test_page_of_a_gateway_is_retried_like_a_5xx(api: responses.RequestsMock) -> None:
    api.get(URL, body="<html>404</html>", status=404)
    api.get(URL, body="<html>403</html>", status=403)
    api.get(URL, json={"ok": True})

    assert make_client(max_retries=3).get("/x") == {"ok": True}


def test_page_of_a_gateway_is_charged_where_it_has_the_header_of_the_api(api: responses.RequestsMock) -> None:
    api.get(URL, body="<html>404</html>", status=404, headers={"x-quota-remaining": "480000"})

    with count_calls() as meter, pytest.raises(UpstreamUnavailable):
        make_client().get("/x")

    assert meter.spent == 1


def test_refusal_whose_body_breaks_off_is_no_refusal() -> None:
    cut = http(b'{"errors": [{"code": 404', status="404 Not Found", length=500)
    with RawServer(sends(cut, closes=True)) as server, pytest.raises(TruncatedResponse):
        make_client(server.url).get("/x")


@pytest.mark.parametrize("status", [408, 425])
def test_request_that_the_server_did_not_take_is_retried_for_nothing(
    api: responses.RequestsMock, status: int
) -> None:
    api.get(URL, json={"errors": []}, status=status)
    api.get(URL, json={"ok": True})

    with count_calls() as meter:
        assert make_client(max_retries=1).get("/x") == {"ok": True}

    assert (len(api.calls), meter.spent) == (2, 1)


@pytest.mark.parametrize("status", [413, 414, 431])
def test_request_that_is_too_large_is_refused_by_whoever_says_so(
    api: responses.RequestsMock, status: int
) -> None:
    api.get(URL, body="<html>Too large</html>", status=status)

    with pytest.raises(InvalidRequest):
        make_client().get("/x")


# --- Redirects ------------------------------------------------------------------------------------

OLD, NEW = "7d534228-5165-11e9-9375-549f35161576", "11e81bcc-9c1c-ce38-b96b-a0369fe50396"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        f"/api/v2.25/song/{NEW}",
        f"https://api.example/api/v2.25/song/{NEW.upper()}/",
        f"https://API.example:443/api/v2.30/song/{NEW}?x=1",
        NEW,
    ],
)
def test_redirect_to_another_song_is_a_move_and_not_followed(
    api: responses.RequestsMock, status: int, location: str
) -> None:
    api.get(
        f"https://api.example/api/v2.25/song/{OLD}", body="", status=status, headers={"Location": location}
    )

    with pytest.raises(Moved) as raised:
        make_client().get(f"/api/v2.25/song/{OLD}")

    assert (str(raised.value.new_uuid), raised.value.song, len(api.calls)) == (NEW, None, 1)


@pytest.mark.parametrize(
    "location",
    [
        *("", "/", "https://[", f"/api/v2.25/song/{OLD}", f"/api/v2.25/song/{OLD.upper()}/"),
        *(f"http://api.example/api/v2.25/song/{NEW}", f"https://api.example:8443/api/v2.25/song/{NEW}"),
        *(f"https://other.example/api/v2.25/song/{NEW}", f"//other.example/api/v2.25/song/{NEW}"),
        *(f"https://key@api.example/api/v2.25/song/{NEW}", f"/login?next=/api/v2.25/song/{NEW}"),
        *(f"/api/v2.25/song/{NEW}/audience/spotify", f"/api/v2.25/artist/{NEW}", "/api/v2.25/song/7"),
    ],
)
def test_any_other_redirect_is_an_invalid_response(api: responses.RequestsMock, location: str) -> None:
    api.get(f"https://api.example/api/v2.25/song/{OLD}", body="", status=302, headers={"Location": location})

    with pytest.raises(InvalidResponse):
        make_client().get(f"/api/v2.25/song/{OLD}")

    assert len(api.calls) == 1


@pytest.mark.parametrize("path", ["/api/v2.25/song/by-isrc/USUM71900764", f"/api/v2.25/song/{OLD},{NEW}"])
def test_redirect_of_a_call_that_names_no_single_song_is_no_move(
    api: responses.RequestsMock, path: str
) -> None:
    location = {"Location": f"/api/v2.25/song/{NEW}"}
    api.get(f"https://api.example{path}", body="", status=301, headers=location)

    with pytest.raises(InvalidResponse):
        make_client().get(path)


def test_mirror_below_a_path_redirects_below_it(api: responses.RequestsMock) -> None:
    base = "https://api.example/mirror"
    location = {"Location": f"/mirror/api/v2.25/song/{NEW}"}
    api.get(f"{base}/api/v2.25/song/{OLD}", body="", status=301, headers=location)

    with pytest.raises(Moved):
        make_client(base).get(f"/api/v2.25/song/{OLD}")


# --- 429 ------------------------------------------------------------------------------------------

QUOTA_MESSAGE = {"errors": [{"key": "quota", "code": 429, "message": "Your API quota is used up."}]}
LEFT, NONE_LEFT = {"x-quota-remaining": "480000"}, {"x-quota-remaining": "0"}


def meaning_of_429(
    api: responses.RequestsMock, body: object, headers: dict[str, str]
) -> tuple[type[SoundchartsError], float | None]:
    text = body if isinstance(body, str) else json.dumps(body)
    api.get(URL, body=text, status=429, headers=headers)
    with pytest.raises(SoundchartsError) as raised:
        make_client(limiter=FakeLimiter()).get("/x")
    return type(raised.value), raised.value.retry_after


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (QUOTA_MESSAGE, {}),
        (QUOTA_MESSAGE, NONE_LEFT),
        (QUOTA_MESSAGE, {"x-quota-remaining": "-50"}),
        (QUOTA_MESSAGE, {"x-quota-remaining": "many"}),
        (QUOTA_MESSAGE, {"Retry-After": "soon"}),
        (QUOTA_MESSAGE, NONE_LEFT | {"Retry-After": "86400"}),
        ("", NONE_LEFT),
        ("<html>Too many requests</html>", NONE_LEFT),
    ],
)
def test_429_is_the_quota_if_the_api_says_so_and_nothing_speaks_against_it(
    api: responses.RequestsMock, body: object, headers: dict[str, str]
) -> None:
    assert meaning_of_429(api, body, headers) == (QuotaExhausted, None)
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        *((body, {}) for body in ("", "<html>Quota exceeded</html>", "{}", '{"message": "quota"}', "[]")),
        ({"errors": [{"message": "Slow down."}]}, {}),
        ({"errors": []}, {}),
        (RATE_MESSAGE, NONE_LEFT),
        ({"errors": [{"message": "Quota of requests per minute exceeded."}]}, {}),
        (QUOTA_MESSAGE, LEFT),
        ("<html>Quota exceeded</html>", LEFT),
    ],
)
def test_any_other_429_is_the_rate_limit(
    api: responses.RequestsMock, body: object, headers: dict[str, str]
) -> None:
    assert meaning_of_429(api, body, headers) == (RateLimited, DEFAULT_RATE_PAUSE)
    assert len(api.calls) == MAX_RATE_PAUSES + 1


def moment(seconds: float) -> str:
    """Return the HTTP date that is so many seconds away."""
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "30", "x-ratelimit-reset": "45"}, 45),
        ({"x-ratelimit-reset": "7"}, 7),
        ({"Retry-After": "86400"}, MAX_RATE_PAUSE),
        ({"Retry-After": moment(86400)}, MAX_RATE_PAUSE),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RATE_PAUSE),
        ({"x-ratelimit-reset": str(int(time.time()) + 86400)}, MAX_RATE_PAUSE),
    ],
)
def test_advice_to_wait_is_the_rate_limit_whatever_the_words(
    api: responses.RequestsMock, headers: dict[str, str], pause: float
) -> None:
    assert meaning_of_429(api, QUOTA_MESSAGE, headers) == (RateLimited, pause)


@pytest.mark.parametrize("past", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "0"])
def test_advice_of_the_past_makes_each_wait_longer_than_the_one_before(
    api: responses.RequestsMock, past: str
) -> None:
    api.get(URL, body="", status=429, headers={"Retry-After": past})
    limiter = FakeLimiter()

    with pytest.raises(RateLimited):
        make_client(limiter=limiter).get("/x")

    assert limiter.pauses == [1, 2, 3, 4]


def test_date_to_wait_for_is_measured_by_the_servers_own_clock(api: responses.RequestsMock) -> None:
    headers = {"Date": moment(7200), "Retry-After": moment(7230)}

    kind, pause = meaning_of_429(api, "", headers)

    assert (kind, pause) == (RateLimited, 30)


def test_429_whose_body_breaks_off_is_the_rate_limit() -> None:
    cut = http(b'{"errors": [{"key": "quota"', status="429 Too Many Requests", length=500)
    with RawServer(sends(cut, closes=True)) as server, pytest.raises(RateLimited):
        make_client(server.url, limiter=FakeLimiter(refuses_after=1)).get("/x")
