"""The simulator over real HTTP: the documented protocol, the limits, every fault, its administration."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, timedelta
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
import requests

from soundcharts.simulator import ABSENT, Catalogue, Simulator, covers
from soundcharts.simulator import state as state_module
from soundcharts.simulator.audience import AudienceSeries
from soundcharts.simulator.faults import CALL_FAULTS, DATA_FAULTS
from soundcharts.tests.doubles import Clock

KEYS = {"x-app-id": "soundcharts", "x-api-key": "soundcharts"}
TOP_SORT = {"sort": {"platform": "spotify", "metricType": "streams", "order": "desc"}, "filters": []}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(songs=500) as running:
        yield running


class Caller:
    """Calls one simulator as a well-behaved client without retries would."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.headers.update(KEYS)
        self.session.trust_env = False

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        options = {"timeout": 30, "allow_redirects": False} | options
        return self.session.request(method, self.simulator.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def song(self, index: int = 0, **options: Any) -> requests.Response:
        return self.get(f"/api/v2.25/song/{self.simulator.song_uuid(index)}", **options)

    def songs(self, *indexes: int, **options: Any) -> requests.Response:
        names = ",".join(str(self.simulator.song_uuid(index)) for index in indexes)
        return self.get(f"/api/v2.25/song/{names}", **options)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(state_module, "time", clock)
    return clock


@pytest.fixture
def caller(simulator: Simulator) -> Iterator[Caller]:
    caller = Caller(simulator)
    yield caller
    caller.session.close()


def wait_until(condition: Any, *, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def read_to_the_end(client: socket.socket) -> None:
    while client.recv(65536):
        pass


class TestCatalogue:
    @pytest.mark.parametrize("index", [0, 1, 255, 256, 99_999, 100_000, 1_234_567, 2_999_999])
    def test_every_name_of_a_song_leads_back_to_it(self, index: int) -> None:
        catalogue = Catalogue(3_000_000)
        assert catalogue.song_index(catalogue.song_uuid(index)) == index
        assert catalogue.index_at_rank(catalogue.rank(index)) == index
        isrc = catalogue.isrc(index)
        assert isrc is None or catalogue.index_of_isrc(isrc) == index
        for platform in ("spotify", "youtube", "deezer"):
            for identifier in catalogue.identifiers(index, platform):
                assert catalogue.index_of_identifier(platform, identifier) == index

    def test_the_same_arguments_give_the_same_songs(self) -> None:
        assert Catalogue(500).song(77) == Catalogue(500).song(77)

    def test_a_song_past_the_end_is_not_in_the_catalogue(self) -> None:
        catalogue = Catalogue(500)
        assert catalogue.song_index(catalogue.song_uuid(500)) is None

    def test_uuids_are_all_different_and_in_no_order(self) -> None:
        uuids = [Catalogue(5000).song_uuid(index) for index in range(5000)]
        assert len(set(uuids)) == 5000
        assert uuids != sorted(uuids)

    def test_every_song_belongs_to_the_artist_that_lists_it(self) -> None:
        catalogue = Catalogue(700)
        listed = [i for a in range(catalogue.artists) for i in catalogue.songs_of_artist(a, main_only=True)]
        assert listed == list(range(700))

    def test_a_guest_lists_the_song_too(self) -> None:
        catalogue = Catalogue(700)
        index = next(i for i in range(700) if catalogue.featured_artist_of(i) is not None)
        guest = catalogue.featured_artist_of(index)
        assert guest is not None
        assert index in catalogue.songs_of_artist(guest)
        assert "feat." in catalogue.credit_name(index)

    def test_some_songs_lack_some_fields(self) -> None:
        songs = [Catalogue(1000).song(index) for index in range(1000)]
        for field in ("isrc", "releaseDate", "duration", "imageUrl", "genres"):
            assert 0 < sum(not song[field] for song in songs) < 50, field

    def test_some_names_are_not_ascii(self) -> None:
        assert any(not Catalogue(100).credit_name(index).isascii() for index in range(100))

    def test_the_older_shape_is_the_documented_one(self) -> None:
        song = Catalogue(500, shape="v2").song(1)
        assert isinstance(song["isrc"], str)
        assert set(song["label"]) == {"name"}
        assert set(song["genres"][0]) == {"name"}
        assert song["slug"]

    def test_a_million_songs_cost_no_memory_and_no_time(self) -> None:
        started = time.perf_counter()
        catalogue = Catalogue(1_000_000_000)
        assert catalogue.song_index(catalogue.song_uuid(999_999_999)) == 999_999_999
        assert time.perf_counter() - started < 10

    @pytest.mark.parametrize("songs", [1, 2, 3, 8, 9])
    def test_a_tiny_catalogue_ranks_every_song_once(self, songs: int) -> None:
        catalogue = Catalogue(songs)
        assert sorted(catalogue.index_at_rank(rank) for rank in range(songs)) == list(range(songs))

    def test_no_songs_at_all_is_refused(self) -> None:
        with pytest.raises(ValueError, match="positive"):
            Catalogue(0)


class TestSongs:
    def test_one_song_comes_in_the_envelope_of_objects(self, simulator: Simulator, caller: Caller) -> None:
        body = caller.song(3).json()
        assert (body["type"], body["errors"]) == ("song", [])
        assert body["object"] == simulator.catalogue.song(3)

    def test_names_are_sent_as_utf_8(self, simulator: Simulator, caller: Caller) -> None:
        index = next(i for i in range(500) if not simulator.catalogue.name(i).isascii())
        assert simulator.catalogue.name(index).encode() in caller.song(index).content

    def test_an_upper_case_uuid_is_the_same_song(self, simulator: Simulator, caller: Caller) -> None:
        assert caller.get(f"/api/v2.25/song/{str(simulator.song_uuid(3)).upper()}").status_code == 200

    def test_an_unknown_uuid_is_404_with_the_documented_error(self, caller: Caller) -> None:
        answer = caller.song(500)
        assert answer.status_code == 404
        assert set(answer.json()["errors"][0]) == {"key", "code", "message"}

    def test_a_malformed_uuid_is_400(self, caller: Caller) -> None:
        assert caller.get("/api/v2.25/song/not-a-uuid").status_code == 400

    def test_a_batch_answers_every_song_once_in_no_order(self, simulator: Simulator, caller: Caller) -> None:
        body = caller.songs(*range(10)).json()
        found = [item["uuid"] for item in body["items"]]
        asked = [str(simulator.song_uuid(index)) for index in range(10)]
        assert sorted(found) == sorted(asked)
        assert found != asked
        assert body["page"]["total"] == 10

    def test_unknown_uuids_are_missing_from_a_batch(self, simulator: Simulator, caller: Caller) -> None:
        items = caller.songs(0, 500, 1).json()["items"]
        assert {item["uuid"] for item in items} == {str(simulator.song_uuid(index)) for index in (0, 1)}

    def test_a_batch_of_eleven_is_400(self, caller: Caller) -> None:
        assert caller.songs(*range(11)).status_code == 400

    def test_a_malformed_uuid_in_a_batch_is_400(self, simulator: Simulator, caller: Caller) -> None:
        assert caller.get(f"/api/v2.25/song/{simulator.song_uuid(0)},nonsense").status_code == 400

    def test_a_song_is_found_by_isrc(self, simulator: Simulator, caller: Caller) -> None:
        answer = caller.get(f"/api/v2.25/song/by-isrc/{simulator.catalogue.isrc(4)}")
        assert answer.json()["object"]["uuid"] == str(simulator.song_uuid(4))

    @pytest.mark.parametrize("isrc", ["USXXX0000000", "nonsense", "US8CX99٣٣٣٣٣", "%00"])
    def test_an_isrc_nobody_has_is_404(self, caller: Caller, isrc: str) -> None:
        assert caller.get(f"/api/v2.25/song/by-isrc/{isrc}").status_code == 404

    def test_a_song_is_found_by_platform_identifier(self, simulator: Simulator, caller: Caller) -> None:
        identifier = simulator.catalogue.identifiers(4, "spotify")[0]
        answer = caller.get(f"/api/v2.25/song/by-platform/spotify/{identifier}")
        assert answer.json()["object"]["uuid"] == str(simulator.song_uuid(4))

    def test_an_unknown_platform_is_400(self, caller: Caller) -> None:
        assert caller.get("/api/v2.25/song/by-platform/napster/1").status_code == 400

    def test_a_revision_changes_what_is_answered(self, simulator: Simulator, caller: Caller) -> None:
        before = caller.song(5).json()["object"]
        simulator.state.revise(5)
        after = caller.song(5).json()["object"]
        assert {field for field in before if before[field] != after[field]} == {
            "name",
            "imageUrl",
            "duration",
        }

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", "/api/v3/song/x", 404),
            ("GET", "/api/v2/nothing", 404),
            ("GET", "/api/v2/top/songs", 405),
            ("POST", "/api/v2/team/usage", 405),
        ],
    )
    def test_what_is_not_documented_is_refused(
        self, caller: Caller, method: str, path: str, status: int
    ) -> None:
        assert caller.request(method, path).status_code == status


class TestLists:
    def test_search_finds_songs_by_a_word_of_the_title(self, simulator: Simulator, caller: Caller) -> None:
        word = simulator.catalogue.name(0).split()[-1]
        body = caller.get(f"/api/v2/song/search/{word.lower()}").json()
        assert str(simulator.song_uuid(0)) in {item["uuid"] for item in body["items"]}
        assert set(body["items"][0]) == {"uuid", "name", "creditName", "imageUrl", "releaseDate"}

    def test_search_allows_twenty_at_a_time(self, caller: Caller) -> None:
        assert caller.get("/api/v2/song/search/the?limit=21").status_code == 400

    def test_search_finds_artists_by_a_part_of_the_name(self, simulator: Simulator, caller: Caller) -> None:
        part = simulator.catalogue.artist_name(0).split()[-1]
        body = caller.get(f"/api/v2/artist/search/{part.upper()}").json()
        assert str(simulator.artist_uuid(0)) in {item["uuid"] for item in body["items"]}
        assert set(body["items"][0]) == {"uuid", "slug", "name", "appUrl", "imageUrl"}

    def test_an_artist_search_pages_like_every_list(self, simulator: Simulator, caller: Caller) -> None:
        everybody = caller.get("/api/v2/artist/search/e?limit=20").json()
        assert everybody["page"]["total"] == len(simulator.catalogue.search_artists("e"))
        second = caller.get("/api/v2/artist/search/e?limit=1&offset=1").json()["items"]
        assert second == everybody["items"][1:2]
        assert caller.get("/api/v2/artist/search/e?limit=21").status_code == 400
        assert caller.request("POST", "/api/v2/artist/search/e").status_code == 405

    def test_following_next_lists_every_song_of_an_artist(self, simulator: Simulator, caller: Caller) -> None:
        path: str | None = f"/api/v2.21/artist/{simulator.artist_uuid(7)}/songs?limit=50"
        found, pages = [], 0
        while path:
            body = caller.get(path).json()
            found += [item["uuid"] for item in body["items"]]
            path, pages = body["page"]["next"], pages + 1
        songs = simulator.catalogue.songs_of_artist(7)
        assert len(songs) > 100
        assert pages == 3
        assert sorted(found) == sorted(str(simulator.song_uuid(index)) for index in songs)

    def test_artist_songs_are_sorted_as_asked(self, simulator: Simulator, caller: Caller) -> None:
        path = f"/api/v2.21/artist/{simulator.artist_uuid(6)}/songs?sortBy=releaseDate&sortOrder=desc"
        dates = [item["releaseDate"] for item in caller.get(path).json()["items"] if item["releaseDate"]]
        assert dates == sorted(dates, reverse=True)

    @pytest.mark.parametrize("query", ["sortBy=luck", "sortOrder=up", "limit=101", "limit=0", "offset=-1"])
    def test_a_wrong_parameter_is_400(self, simulator: Simulator, caller: Caller, query: str) -> None:
        path = f"/api/v2.21/artist/{simulator.artist_uuid(6)}/songs?{query}"
        assert caller.get(path).status_code == 400

    def test_an_unknown_artist_is_404(self, simulator: Simulator, caller: Caller) -> None:
        assert caller.get(f"/api/v2.21/artist/{simulator.artist_uuid(9999)}/songs").status_code == 404

    def test_top_songs_list_every_song_once(self, caller: Caller) -> None:
        found = []
        for offset in range(0, 500, 100):
            body = caller.request("POST", f"/api/v2/top/songs?offset={offset}", json=TOP_SORT).json()
            found += [item["song"]["uuid"] for item in body["items"]]
        assert len(found) == len(set(found)) == 500
        assert body["page"]["next"] is None

    def test_top_songs_come_in_falling_order(self, caller: Caller) -> None:
        items = caller.request("POST", "/api/v2/top/songs", json=TOP_SORT).json()["items"]
        values = [item["audience"][0]["value"] for item in items]
        assert values == sorted(values, reverse=True)

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"{}", b'{"sort": {"platform": "spotify"}}', b"[" * 100_000]
    )
    def test_top_songs_refuse_a_wrong_body(self, caller: Caller, body: bytes) -> None:
        assert caller.request("POST", "/api/v2/top/songs", data=body).status_code == 400

    def test_past_offset_50000_the_cursor_is_needed(self) -> None:
        with Simulator(songs=60_000) as simulator:
            caller = Caller(simulator)
            page = caller.request("POST", "/api/v2/top/songs?offset=50000", json=TOP_SORT).json()["page"]
            assert caller.request("POST", page["next"], json=TOP_SORT).status_code == 200
            without = caller.request("POST", "/api/v2/top/songs?offset=50100", json=TOP_SORT)
            assert without.status_code == 400


class TestAudience:
    @pytest.fixture(autouse=True)
    def today(self, simulator: Simulator) -> date:
        simulator.state.today = date(2026, 3, 2)
        return simulator.state.today

    def plots(self, caller: Caller, index: int, platform: str = "spotify", **query: str) -> dict[date, Any]:
        """Return what is answered for the first 90 days of 2026, by day."""
        path = f"/api/v2/song/{caller.simulator.song_uuid(index)}/audience/{platform}"
        query = {"startDate": "2026-01-01", "endDate": "2026-03-31"} | query
        items = caller.get(path, params=query).json()["items"]
        return {date.fromisoformat(item["date"][:10]): item["plots"] for item in items}

    def test_counts_grow_and_come_newest_first(self, simulator: Simulator, caller: Caller) -> None:
        plots = self.plots(caller, simulator.catalogue.index_at_rank(3), endDate="2026-02-20")
        assert list(plots) == sorted(plots, reverse=True)
        assert min(plots) == date(2026, 1, 1)
        values = [day[0]["value"] for day in plots.values()]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == len(values)

    def test_the_newest_figure_is_of_yesterday(self, caller: Caller, today: date) -> None:
        newest = [max(self.plots(caller, index)) for index in range(20)]
        assert max(newest) == today - timedelta(days=1)

    def test_popular_songs_exceed_32_bits(self, simulator: Simulator) -> None:
        series = AudienceSeries(simulator.catalogue)
        totals = [series.total(index, "spotify", date(2026, 1, 1)) or 0 for index in range(500)]
        assert max(totals) > 2**32
        assert max(totals) < 10**11

    def test_the_weekend_brings_more_than_the_week(self, simulator: Simulator) -> None:
        series, index = AudienceSeries(simulator.catalogue), simulator.catalogue.index_at_rank(5)
        days = [date(2026, 1, 5) + timedelta(days=number) for number in range(70)]
        totals = [series.total(index, "spotify", day) or 0 for day in days]
        gains: dict[int, int] = {}
        for day, before, after in zip(days[1:], totals, totals[1:], strict=False):
            gains[day.weekday()] = gains.get(day.weekday(), 0) + after - before
        assert max(gains, key=lambda weekday: gains[weekday]) in (4, 5)

    def test_some_days_are_missing_for_good_and_some_come_late(
        self, simulator: Simulator, caller: Caller, today: date
    ) -> None:
        early = [set(self.plots(caller, index)) for index in range(60)]
        simulator.state.today = today + timedelta(days=10)
        late = [set(self.plots(caller, index, endDate="2026-03-01")) for index in range(60)]
        assert all(before <= after for before, after in zip(early, late, strict=True))
        came = set.union(*(after - before for before, after in zip(early, late, strict=True)))
        assert came
        assert min(came) > today - timedelta(days=5)
        assert any(len(days) < 60 for days in late)
        assert sum(map(len, late)) > 0.9 * 60 * 60

    def test_late_figures_are_revised_once(self, simulator: Simulator, caller: Caller, today: date) -> None:
        index = next(i for i in range(500) if len(simulator.catalogue.identifiers(i, "spotify")) == 1)
        seen: dict[date, list[int]] = {}
        for number in range(12):
            simulator.state.today = today + timedelta(days=number)
            for day, (plot,) in self.plots(caller, index, startDate="2026-02-01").items():
                values = seen.setdefault(day, [])
                if plot["value"] not in values:
                    values.append(plot["value"])
        assert {len(values) for values in seen.values()} == {1, 2}
        assert all(values == sorted(values) for values in seen.values())
        final = AudienceSeries(simulator.catalogue).total(index, "spotify", date(2026, 3, 1))
        assert seen[date(2026, 3, 1)][-1] == final

    def test_without_dates_the_last_thirty_days_are_answered(
        self, simulator: Simulator, caller: Caller, today: date
    ) -> None:
        body = caller.get(f"/api/v2/song/{simulator.song_uuid(2)}/audience/spotify").json()
        days = {date.fromisoformat(item["date"][:10]) for item in body["items"]}
        assert min(days) >= today - timedelta(days=30)
        assert 25 < body["page"]["total"] == len(days) <= 30
        assert body["related"]["uuid"] == str(simulator.song_uuid(2))

    def test_several_identifiers_a_day_are_possible(self, simulator: Simulator, caller: Caller) -> None:
        index = next(i for i in range(500) if len(simulator.catalogue.identifiers(i, "youtube")) == 2)
        day, both = next(
            (day, plots) for day, plots in self.plots(caller, index, "youtube").items() if len(plots) == 2
        )
        one = self.plots(caller, index, "youtube", identifier=both[1]["identifier"])
        assert both[0]["identifier"] != both[1]["identifier"]
        assert one[day] == both[1:]
        assert self.plots(caller, index, "youtube", identifier="another") == {}

    def test_a_platform_that_the_plan_lacks_is_403_and_the_others_go_on(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        simulator.faults.set("forbidden_platforms", platforms=["tiktok"])
        path = f"/api/v2/song/{simulator.song_uuid(0)}/audience/"
        assert caller.get(path + "tiktok").status_code == 403
        assert caller.get(path + "spotify").status_code == 200
        simulator.faults.clear("forbidden_platforms")
        assert caller.get(path + "tiktok").status_code == 200

    @pytest.mark.parametrize(
        "query",
        [
            "startDate=2026-01-01&endDate=2026-04-02",
            "startDate=2026-02-01&endDate=2026-01-01",
            "endDate=2026-02-30",
            "endDate=yesterday",
        ],
    )
    def test_a_wrong_period_is_400(self, simulator: Simulator, caller: Caller, query: str) -> None:
        path = f"/api/v2/song/{simulator.song_uuid(0)}/audience/spotify?{query}"
        assert caller.get(path).status_code == 400

    def test_there_is_nothing_before_the_release(self, simulator: Simulator, caller: Caller) -> None:
        path = f"/api/v2/song/{simulator.song_uuid(0)}/audience/spotify?endDate="
        for day in ("1950-01-01", "0001-01-05"):
            assert caller.get(path + day).json()["items"] == []

    def test_an_unknown_platform_is_400(self, simulator: Simulator, caller: Caller) -> None:
        assert caller.get(f"/api/v2/song/{simulator.song_uuid(0)}/audience/napster").status_code == 400


class TestCredentials:
    @pytest.mark.parametrize("headers", [{}, {"x-app-id": "soundcharts"}, KEYS | {"x-api-key": "wrong"}])
    def test_wrong_keys_are_401(self, simulator: Simulator, headers: dict[str, str]) -> None:
        url = f"{simulator.url}/api/v2.25/song/{simulator.song_uuid(0)}"
        assert requests.get(url, headers=headers, timeout=30).status_code == 401

    def test_a_token_opens_the_api(self, simulator: Simulator) -> None:
        answer = requests.post(
            simulator.auth_url,
            auth=("simulator", "simulator"),
            data={"grant_type": "client_credentials", "team_id": "42"},
            timeout=30,
        ).json()
        assert (answer["token_type"], answer["expires_in"]) == ("bearer", 3600)
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        url = f"{simulator.url}/api/v2.25/song/{simulator.song_uuid(0)}"
        assert requests.get(url, headers=headers, timeout=30).status_code == 200
        assert simulator.state.team_ids == ["42"]

    def test_a_revoked_token_is_401(self, simulator: Simulator) -> None:
        token = simulator.state.issue_token(None)
        simulator.state.expire_tokens()
        url = f"{simulator.url}/api/v2.25/song/{simulator.song_uuid(0)}"
        answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("auth", "form", "status"),
        [
            (("simulator", "wrong"), {"grant_type": "client_credentials"}, 401),
            (None, {"grant_type": "client_credentials"}, 401),
            (("simulator", "simulator"), {"grant_type": "password"}, 400),
            (("simulator", "simulator"), {}, 400),
        ],
    )
    def test_a_wrong_token_request_is_refused(
        self, simulator: Simulator, auth: tuple[str, str] | None, form: dict[str, str], status: int
    ) -> None:
        answer = requests.post(simulator.auth_url, auth=auth, data=form, timeout=30)
        assert answer.status_code == status

    def test_token_requests_cost_nothing(self, simulator: Simulator) -> None:
        form = {"grant_type": "client_credentials"}
        requests.post(simulator.auth_url, auth=("simulator", "simulator"), data=form, timeout=30)
        assert (simulator.state.quota_used, simulator.state.starts) == (0, [])
        assert simulator.state.calls == {"token": 1}


class TestLimits:
    def test_every_answer_tells_the_remaining_quota(self, caller: Caller) -> None:
        remaining = [caller.song(index).headers["x-quota-remaining"] for index in (0, 500, 1)]
        assert remaining == ["999999", "999998", "999997"]

    def test_the_used_up_quota_is_429_without_a_reset(self) -> None:
        with Simulator(quota=2) as simulator:
            caller = Caller(simulator)
            answers = [caller.song() for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert "x-ratelimit-reset" not in answers[2].headers
        assert "maximum request count" not in answers[2].text
        assert answers[2].headers["x-quota-remaining"] == "0"

    def test_a_tolerated_excess_is_let_through(self) -> None:
        with Simulator(quota=10, quota_tolerance=0.1) as simulator:
            caller = Caller(simulator)
            assert [caller.song().status_code for _ in range(12)] == [200] * 11 + [429]

    def test_usage_is_free_and_answers_without_quota(self) -> None:
        with Simulator(quota=0) as simulator:
            answer = Caller(simulator).get("/api/v2/team/usage")
            assert answer.status_code == 200
            assert answer.json()["object"]["quota"] == {"total": 0, "used": 0, "remaining": 0}

    def test_more_calls_than_the_rate_are_429_until_the_window_ends(self, clock: Clock) -> None:
        with Simulator(calls_per_minute=3, rate_window=0.5) as simulator:
            caller = Caller(simulator)
            answers = [caller.song() for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            assert answers[3].headers["x-ratelimit-reset"] == "1"
            assert "maximum request count" in answers[3].json()["errors"][0]["message"]
            assert simulator.state.quota_used == 3
            clock.now += 0.5
            assert caller.song().status_code == 200

    def test_neither_limit_is_exceeded_by_threads(self) -> None:
        with Simulator(quota=40, calls_per_minute=60) as simulator, ThreadPoolExecutor(16) as pool:
            callers = [Caller(simulator) for _ in range(16)]
            statuses = list(pool.map(lambda n: callers[n % 16].song(n).status_code, range(100)))
            assert statuses.count(200) == 40
            assert (simulator.state.quota_refusals, simulator.state.rate_refusals) == (20, 40)

    @pytest.mark.parametrize(
        ("fault", "charged"),
        [
            ("error_400", 1),
            ("error_404", 1),
            ("error_500", 0),
            ("error_503", 0),
            ("rate_limited", 0),
            ("quota_exhausted", 0),
            ("html_200", 1),
            ("reset", 0),
            ("hang", 0),
        ],
    )
    def test_only_answered_requests_are_charged(
        self, simulator: Simulator, caller: Caller, fault: str, charged: int
    ) -> None:
        simulator.faults.set(fault)
        with suppress(requests.RequestException):
            caller.song(timeout=0.3 if fault == "hang" else 30)
        assert wait_until(lambda: simulator.state.calls["song"] == 1)
        assert wait_until(lambda: simulator.state.quota_used == charged)


class TestCounters:
    def test_songs_answered_twice_are_named(self, simulator: Simulator, caller: Caller) -> None:
        caller.song(3)
        caller.songs(3, 4)
        assert simulator.state.answered_more_than_once() == {simulator.song_uuid(3): 2}
        assert simulator.state.answered(simulator.song_uuid(4)) == 1
        assert simulator.state.answered_songs() == 2

    def test_a_song_that_was_refused_was_asked_for_but_not_answered(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        with simulator.faults.during("error_503"):
            caller.song(3)
        assert (simulator.state.asked(3), simulator.state.answered(3)) == (1, 0)

    def test_unknown_uuids_are_counted_by_name(self, simulator: Simulator, caller: Caller) -> None:
        caller.songs(1, 500)
        assert simulator.state.asked(simulator.song_uuid(500)) == 1

    def test_audiences_are_counted_by_platform(self, simulator: Simulator, caller: Caller) -> None:
        caller.get(f"/api/v2/song/{simulator.song_uuid(3)}/audience/spotify")
        assert simulator.state.answered(3, platform="spotify") == 1
        assert simulator.state.answered(3, platform="youtube") == 0
        assert simulator.state.answered(3) == 0

    def test_calls_are_counted_by_kind_and_status(self, simulator: Simulator, caller: Caller) -> None:
        caller.song()
        caller.songs(1, 2)
        caller.song(500)
        assert simulator.state.calls == {"song": 2, "songs": 1}
        assert simulator.state.statuses == {200: 2, 404: 1}

    def test_starts_are_on_the_monotonic_clock(self, simulator: Simulator, caller: Caller) -> None:
        before = time.monotonic()
        caller.song()
        caller.song()
        first, second = simulator.state.starts
        assert before <= first <= second <= time.monotonic()

    def test_the_fullest_window_is_found(self, clock: Clock, simulator: Simulator, caller: Caller) -> None:
        for pause in (0, 0.1, 0.1, 0.3):
            clock.now += pause
            caller.song()
        assert simulator.state.max_calls_in(60) == 4
        assert simulator.state.max_calls_in(0.25) == 3

    def test_the_highest_concurrency_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Simulator() as simulator, ThreadPoolExecutor(8) as pool:
            callers = [Caller(simulator) for _ in range(8)]
            meet = threading.Barrier(8)
            decide = simulator.faults.next_strike

            def decide_together(*arguments: Any) -> Any:
                meet.wait(30)
                return decide(*arguments)

            monkeypatch.setattr(simulator.faults, "next_strike", decide_together)
            list(pool.map(lambda caller: caller.song(), callers))
            assert (simulator.state.max_concurrency, simulator.state.concurrency) == (8, 0)

    def test_a_client_that_hangs_up_is_counted_and_harms_nobody(self, simulator: Simulator) -> None:
        simulator.state.latency = 60.0
        with pytest.raises(requests.ReadTimeout):
            Caller(simulator).song(timeout=0.1)
        assert wait_until(lambda: simulator.state.hung_up == 1)
        simulator.state.latency = 0.0
        assert Caller(simulator).song().status_code == 200


class TestErrorFaults:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 503])
    def test_errors_have_the_documented_form(self, simulator: Simulator, caller: Caller, status: int) -> None:
        simulator.faults.set(f"error_{status}")
        answer = caller.song()
        assert answer.status_code == status
        assert answer.json()["errors"][0]["code"] == status

    @pytest.mark.parametrize("status", [502, 504])
    def test_gateway_errors_are_html(self, simulator: Simulator, caller: Caller, status: int) -> None:
        simulator.faults.set("error", status=status)
        answer = caller.song()
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")

    def test_the_two_429_are_told_apart_as_documented(self, simulator: Simulator, caller: Caller) -> None:
        with simulator.faults.during("rate_limited", reset=7):
            rate = caller.song()
        with simulator.faults.during("quota_exhausted"):
            quota = caller.song()
        assert (rate.status_code, quota.status_code) == (429, 429)
        assert rate.headers["x-ratelimit-reset"] == "7"
        assert "x-ratelimit-reset" not in quota.headers
        assert ("maximum request count" in rate.text, "maximum request count" in quota.text) == (True, False)

    def test_the_reset_of_a_429_can_be_left_out(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("rate_limited", reset=None)
        answer = caller.song()
        assert (answer.status_code, "x-ratelimit-reset" in answer.headers) == (429, False)

    @pytest.mark.parametrize("status", [400, 403, 404])
    def test_an_account_without_batch_refuses_only_batches(
        self, simulator: Simulator, caller: Caller, status: int
    ) -> None:
        simulator.faults.set("batch_refused", status=status)
        assert (caller.songs(1, 2).status_code, caller.song(1).status_code) == (status, 200)

    def test_html_can_come_with_200(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("html_200")
        answer = caller.song()
        assert (answer.status_code, answer.text[:9]) == (200, "<!DOCTYPE")

    def test_a_broken_answer_replaces_a_documented_error_too(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        simulator.faults.set("html_200")
        assert caller.song(500).status_code == 200

    def test_an_empty_answer_can_come_with_200(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("empty_200")
        assert (caller.song().status_code, caller.song().content) == (200, b"")

    def test_a_redirect_notices_keys_that_are_sent_on(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("redirect")
        answer = caller.song()
        assert (answer.status_code, answer.is_redirect) == (302, True)
        caller.song(allow_redirects=True)
        # requests drops only Authorization on its way to another host: what clients must not rely on.
        assert (simulator.state.elsewhere, simulator.state.keys_sent_elsewhere) == (1, 1)


class TestBrokenAnswers:
    def test_a_truncated_answer_ends_before_its_declared_length(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        simulator.faults.set("truncated_json")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            caller.song()
        assert simulator.state.answered(0) == 0

    def test_a_truncated_answer_can_declare_its_own_length(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        simulator.faults.set("truncated_json", full_length=False, share=0.3)
        with pytest.raises(requests.exceptions.JSONDecodeError):
            caller.song().json()

    @pytest.mark.parametrize(("fault", "interval"), [("drip", 0.016), ("drip_headers", 0.006)])
    def test_a_dripping_answer_defeats_the_read_timeout(
        self, simulator: Simulator, caller: Caller, fault: str, interval: float
    ) -> None:
        simulator.faults.set(fault, interval=interval)
        started = time.monotonic()
        assert caller.song(500, timeout=1).status_code == 404
        assert time.monotonic() - started > 1

    def test_a_dripped_answer_counts_only_when_complete(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("drip", interval=0.8)
        with caller.song(stream=True) as answer:
            assert next(answer.iter_content(1)) == b"{"
        caller.session.close()
        assert wait_until(lambda: simulator.state.hung_up == 1)
        assert simulator.state.answered(0) == 0

    @pytest.mark.parametrize("declared", [True, False])
    def test_a_huge_answer_is_valid_json(self, simulator: Simulator, caller: Caller, declared: bool) -> None:
        simulator.faults.set("huge", mib=3, declare_length=declared)
        answer = caller.song()
        assert ("content-length" in answer.headers) is declared
        assert len(answer.json()["object"]["name"]) == 3 * 1024 * 1024

    def test_a_gzip_bomb_inflates_to_valid_json(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("gzip_bomb", mib=20)
        raw = caller.song(stream=True).raw.read(decode_content=False)
        assert len(raw) < 100_000
        inflated = zlib.decompress(raw, 31)
        assert len(json.loads(inflated)["object"]["name"]) == 20 * 1024 * 1024

    def test_deep_json_exceeds_the_recursion_limit(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("deep_json")
        content = caller.song().content
        with pytest.raises(RecursionError):
            json.loads(content)

    def test_a_giant_integer_exceeds_what_python_reads(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("giant_int")
        content = caller.song().content
        with pytest.raises(ValueError, match="integer string conversion"):
            json.loads(content)

    @pytest.mark.parametrize("value", [None, [], "5", True, 5])
    def test_any_value_can_come_instead_of_the_answer(
        self, simulator: Simulator, caller: Caller, value: Any
    ) -> None:
        simulator.faults.set("wrong_shape", value=value)
        assert caller.song().json() == value

    def test_any_value_can_come_instead_of_the_object_or_items(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        simulator.faults.set("wrong_shape", value="5", where="object")
        assert caller.song().json()["object"] == "5"
        assert caller.songs(1, 2).json()["items"] == "5"

    @pytest.mark.parametrize("after_bytes", [0, 30, 400])
    def test_a_connection_can_be_reset(self, simulator: Simulator, after_bytes: int) -> None:
        simulator.faults.set("reset", after_bytes=after_bytes)
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=30) as client:
            keys = "".join(f"{name}: {value}\r\n" for name, value in KEYS.items())
            uuid = simulator.song_uuid(0)
            client.sendall(f"GET /api/v2.25/song/{uuid} HTTP/1.1\r\nHost: x\r\n{keys}\r\n".encode())
            with pytest.raises(ConnectionResetError):
                read_to_the_end(client)

    def test_a_connection_can_be_closed_without_an_answer(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("closed")
        with pytest.raises(requests.ConnectionError):
            caller.song()

    def test_a_hanging_call_ends_when_the_client_goes(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("hang")
        with pytest.raises(requests.ReadTimeout):
            caller.song(timeout=0.2)
        caller.session.close()
        assert wait_until(lambda: simulator.state.concurrency == 0)

    def test_a_slow_call_only_takes_longer(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("slow", seconds=0.3)
        started = time.monotonic()
        assert caller.song().status_code == 200
        assert time.monotonic() - started >= 0.3

    def test_the_connection_is_good_again_when_the_fault_is_over(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        for fault in sorted(set(CALL_FAULTS) - {"drip", "drip_headers", "hang", "gzip_bomb", "huge"}):
            with simulator.faults.during(fault), suppress(requests.RequestException):
                caller.song()
            assert caller.song().json()["type"] == "song", fault

    def test_a_gateway_answers_in_html_and_costs_nothing(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("gateway_page", status=410, retry_after="5")
        answer = caller.song()
        assert (answer.status_code, answer.headers["Retry-After"]) == (410, "5")
        assert answer.text.startswith("<!DOCTYPE html>")
        assert "x-quota-remaining" not in answer.headers
        simulator.faults.set("gateway_page", status=429, with_quota=True)
        assert caller.song().headers["x-quota-remaining"] == str(simulator.state.quota)
        assert simulator.state.quota_used == 0

    @pytest.mark.parametrize("status", [408, 425])
    def test_a_request_that_was_not_taken_costs_nothing(
        self, simulator: Simulator, caller: Caller, status: int
    ) -> None:
        simulator.faults.set("error", status=status)
        assert caller.song().status_code == status
        assert simulator.state.quota_used == 0

    def test_an_incomplete_answer_keeps_its_total(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("incomplete", leave_out=2, at=1, code=500)
        answer = caller.songs(0, 1, 2, 3).json()
        assert (len(answer["items"]), answer["page"]["total"]) == (2, 4)
        assert answer["errors"][0]["code"] == 500
        assert caller.song().json()["object"] is None
        simulator.faults.set("incomplete", leave_out=0, code=None)
        assert (len(caller.songs(0, 1).json()["items"]), caller.song().json()["errors"]) == (2, [])


class TestDataFaults:
    def test_an_unknown_uuid_is_404_alone_and_missing_in_a_batch(
        self, simulator: Simulator, caller: Caller
    ) -> None:
        simulator.faults.set("unknown_uuids", uuids=[simulator.song_uuid(1)])
        assert caller.song(1).status_code == 404
        assert len(caller.songs(0, 1, 2).json()["items"]) == 2

    def test_a_poisoned_uuid_spoils_its_whole_batch(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("poisoned_uuids", uuids=[simulator.song_uuid(1)])
        assert [caller.song(1).status_code, caller.songs(0, 1, 2).status_code] == [400, 400]
        assert [caller.song(0).status_code, caller.songs(0, 2).status_code] == [200, 200]

    def test_an_ambiguous_isrc_is_410(self, simulator: Simulator, caller: Caller) -> None:
        isrc = simulator.catalogue.isrc(4)
        simulator.faults.set("ambiguous_isrcs", isrcs=[isrc])
        assert caller.get(f"/api/v2.25/song/by-isrc/{isrc}").status_code == 410

    @pytest.mark.parametrize(
        "name", ["\x00", "\ud800", "x" * 10_000, 2**70, float("inf"), None, ["a"], "javascript:alert(1)"]
    )
    def test_one_song_can_carry_any_value(self, simulator: Simulator, caller: Caller, name: Any) -> None:
        simulator.faults.set("payloads", songs={simulator.song_uuid(1): {"name": name}})
        by_uuid = {item["uuid"]: item["name"] for item in json.loads(caller.songs(0, 1).content)["items"]}
        assert by_uuid[str(simulator.song_uuid(1))] == name
        assert by_uuid[str(simulator.song_uuid(0))] == simulator.catalogue.name(0)

    def test_a_nan_is_written_as_such(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("payloads", songs={str(simulator.song_uuid(1)): {"duration": float("nan")}})
        assert b'"duration":NaN' in caller.song(1).content

    def test_a_field_can_be_absent(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("payloads", songs={simulator.song_uuid(1): {"isrc": ABSENT, "uuid": ABSENT}})
        assert not {"isrc", "uuid"} & set(caller.song(1).json()["object"])

    def test_a_whole_song_can_be_replaced(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("payloads", songs={simulator.song_uuid(1): None})
        assert None in caller.songs(0, 1).json()["items"]

    def test_a_batch_can_hold_songs_nobody_asked_for(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("extra_items", count=2)
        assert len(caller.songs(0, 1).json()["items"]) == 4

    @pytest.mark.parametrize("redirect", [None, 301])
    def test_a_merged_song_leads_to_its_heir(
        self, simulator: Simulator, caller: Caller, redirect: int | None
    ) -> None:
        heir = str(simulator.song_uuid(9))
        simulator.faults.set("merged_songs", songs={simulator.song_uuid(1): heir}, redirect=redirect)
        answer = caller.song(1)
        if redirect is None:
            assert answer.json()["object"]["uuid"] == heir
        else:
            assert (answer.status_code, answer.headers["Location"]) == (301, f"/api/v2.25/song/{heir}")
        assert {song["uuid"] for song in caller.songs(0, 1).json()["items"]} == {
            *(str(simulator.song_uuid(0)), heir)
        }


class TestChoosingCalls:
    def test_times_limits_how_many_calls_are_hit(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("error_503", times=2)
        assert [caller.song().status_code for _ in range(4)] == [503, 503, 200, 200]
        assert simulator.faults.struck("error_503") == 2

    def test_every_hits_each_kth_call(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("error_500", every=3)
        assert [caller.song().status_code for _ in range(6)] == [200, 200, 500, 200, 200, 500]

    def test_after_lets_calls_pass_first(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("quota_exhausted", after=2)
        assert [caller.song().status_code for _ in range(4)] == [200, 200, 429, 429]

    def test_kinds_chooses_the_kind_of_call(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("error_403", kinds=["top_songs"])
        assert caller.request("POST", "/api/v2/top/songs", json=TOP_SORT).status_code == 403
        assert caller.song().status_code == 200

    def test_uuids_chooses_the_calls_that_name_one(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("error_500", uuids=[simulator.song_uuid(1)])
        assert [caller.song(0).status_code, caller.song(1).status_code] == [200, 500]
        assert caller.songs(1, 2).status_code == 500

    def test_token_requests_are_hit_only_by_name(self, simulator: Simulator) -> None:
        def ask() -> int:
            form = {"grant_type": "client_credentials"}
            auth = ("simulator", "simulator")
            return requests.post(simulator.auth_url, auth=auth, data=form, timeout=30).status_code

        simulator.faults.set("error_503")
        assert ask() == 200
        simulator.faults.set("error_503", kinds=["token"])
        assert ask() == 503

    def test_errors_of_two_statuses_can_be_on_together(self, simulator: Simulator, caller: Caller) -> None:
        simulator.faults.set("error_500", times=1)
        simulator.faults.set("error_404", times=1)
        assert [caller.song().status_code for _ in range(3)] == [500, 404, 200]

    def test_threads_share_one_count(self, simulator: Simulator) -> None:
        simulator.faults.set("error_500", times=7)
        callers = [Caller(simulator) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda n: callers[n % 8].song(n).status_code, range(80)))
        assert statuses.count(500) == 7

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("eror_500", {}),
            ("error_500", {"time": 1}),
            ("error_500", {"times": -1}),
            ("error_500", {"every": 0}),
            ("error_500", {"kinds": ["sogns"]}),
            ("error_500", {"kinds": "song"}),
            ("drip", {"interval": "fast"}),
            ("drip", {"interval": True}),
            ("error", {"status": 7}),
            ("error", {"message": "two\r\nlines"}),
            ("rate_limited", {"reset": "soon"}),
            ("wrong_shape", {"where": "here"}),
            ("hang", {"seconds": float("inf")}),
            ("gzip_bomb", {"mib": float("nan")}),
            ("truncated_json", {"full_length": 1}),
            ("unknown_uuids", {"uuids": "one"}),
            ("unknown_uuids", {"uuids": 5}),
            ("payloads", {"songs": []}),
            ("payloads", {"times": 1}),
        ],
    )
    def test_a_misspelled_fault_is_refused(
        self, simulator: Simulator, name: str, options: dict[str, Any]
    ) -> None:
        with pytest.raises(ValueError, match=r"\w"):
            simulator.faults.set(name, **options)
        assert simulator.faults.as_json() == {}


class TestAdministration:
    """Under /_simulator/, without credentials, and in no counter."""

    def admin(self, simulator: Simulator, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{simulator.url}/_simulator/{path}", timeout=30, **options)

    def test_faults_are_switched_on_and_off(self, simulator: Simulator, caller: Caller) -> None:
        shown = self.admin(simulator, "PUT", "faults", json={"error_503": {"times": 5}, "html_200": True})
        assert set(shown.json()) == {"error_503", "html_200"}
        assert caller.song().status_code == 503
        self.admin(simulator, "DELETE", "faults/error_503")
        assert caller.song().text.startswith("<!DOCTYPE")
        self.admin(simulator, "DELETE", "faults")
        assert caller.song().json()["type"] == "song"

    def test_null_switches_a_fault_off(self, simulator: Simulator) -> None:
        self.admin(simulator, "PUT", "faults", json={"html_200": True})
        assert self.admin(simulator, "PUT", "faults", json={"html_200": None}).json() == {}

    def test_one_wrong_fault_switches_none_on(self, simulator: Simulator) -> None:
        answer = self.admin(simulator, "PUT", "faults", json={"html_200": True, "nonsense": True})
        assert answer.status_code == 400
        assert "nonsense" in answer.json()["error"]
        assert simulator.faults.as_json() == {}

    @pytest.mark.parametrize("name", sorted(CALL_FAULTS | DATA_FAULTS))
    def test_every_fault_can_be_set_and_shown_by_http(self, simulator: Simulator, name: str) -> None:
        assert list(self.admin(simulator, "PUT", "faults", json={name: True}).json()) == [name]
        assert list(self.admin(simulator, "GET", "faults").json()) == [name]

    def test_what_is_shown_of_a_fault_of_the_data_is_what_was_set(self, simulator: Simulator) -> None:
        uuid = str(simulator.song_uuid(1))
        fault = {"payloads": {"songs": {uuid: {"name": "\x00"}}}, "unknown_uuids": {"uuids": [uuid]}}
        assert self.admin(simulator, "PUT", "faults", json=fault).json() == fault

    def test_faults_set_in_python_are_shown_by_http(self, simulator: Simulator) -> None:
        simulator.faults.set("unknown_uuids", uuids={simulator.song_uuid(1)})
        simulator.faults.set("payloads", songs={simulator.song_uuid(2): {"name": None}})
        assert self.admin(simulator, "GET", "faults").json() == {
            "unknown_uuids": {"uuids": [str(simulator.song_uuid(1))]},
            "payloads": {"songs": {str(simulator.song_uuid(2)): {"name": None}}},
        }

    def test_the_state_is_shown(self, simulator: Simulator, caller: Caller) -> None:
        caller.song()
        caller.song()
        state = self.admin(simulator, "GET", "state").json()
        assert (state["total_calls"], state["calls"], state["statuses"]) == (2, {"song": 2}, {"200": 2})
        assert state["songs"]["repeated"] == {str(simulator.song_uuid(0)): 2}

    def test_starts_are_shown_with_the_time(self, simulator: Simulator, caller: Caller) -> None:
        caller.song()
        shown = self.admin(simulator, "GET", "starts").json()
        assert shown["starts"] == simulator.state.starts
        assert shown["now"] > shown["starts"][0]

    def test_settings_are_changed_while_it_runs(self, simulator: Simulator, caller: Caller) -> None:
        self.admin(simulator, "PUT", "settings", json={"quota": 1, "latency": 0.01})
        assert [caller.song().status_code, caller.song().status_code] == [200, 429]
        self.admin(simulator, "PUT", "settings", json={"quota_used": 0})
        assert caller.song().status_code == 200

    def test_today_is_set_by_http(self, simulator: Simulator) -> None:
        assert (
            self.admin(simulator, "PUT", "settings", json={"today": "2026-03-02"}).json()["today"]
            == "2026-03-02"
        )
        assert simulator.state.today == date(2026, 3, 2)
        self.admin(simulator, "PUT", "settings", json={"today": None})
        assert simulator.state.today != date(2026, 3, 2)

    @pytest.mark.parametrize(
        "change", [{"quota": -1}, {"quota": "9"}, {"latncy": 1}, {"latency": None}, {"today": "soon"}]
    )
    def test_a_wrong_setting_changes_nothing(self, simulator: Simulator, change: dict[str, Any]) -> None:
        before = self.admin(simulator, "GET", "settings").json()
        assert self.admin(simulator, "PUT", "settings", json={"quota": 5} | change).status_code == 400
        assert self.admin(simulator, "GET", "settings").json() == before

    def test_uuids_are_listed_for_seeding(self, simulator: Simulator) -> None:
        shown = self.admin(simulator, "GET", "songs?offset=498&limit=10").json()
        assert shown == {"total": 500, "uuids": [str(simulator.song_uuid(index)) for index in (498, 499)]}

    def test_a_song_is_revised_by_index_or_uuid(self, simulator: Simulator) -> None:
        assert self.admin(simulator, "POST", "songs/3/revise").json()["revision"] == 1
        answer = self.admin(simulator, "POST", f"songs/{simulator.song_uuid(3)}/revise")
        assert answer.json()["revision"] == 2
        assert self.admin(simulator, "GET", "songs/3").json()["revision"] == 2

    @pytest.mark.parametrize("song", ["500", "nonsense", "-1"])
    def test_a_song_that_does_not_exist_is_a_plain_error(self, simulator: Simulator, song: str) -> None:
        answer = self.admin(simulator, "GET", f"songs/{song}")
        assert answer.status_code in (400, 404)
        assert answer.json()["error"]

    @pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff", b"[" * 100_000])
    def test_a_wrong_body_is_a_plain_error(self, simulator: Simulator, body: bytes) -> None:
        answer = self.admin(simulator, "PUT", "faults", data=body)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)

    def test_reset_goes_back_to_the_beginning(self, simulator: Simulator, caller: Caller) -> None:
        fresh = self.admin(simulator, "GET", "state").json()
        simulator.faults.set("error_500")
        simulator.state.revise(3)
        simulator.state.latency = 0.01
        caller.song()
        self.admin(simulator, "POST", "reset")
        assert self.admin(simulator, "GET", "state").json() == fresh
        assert caller.song().status_code == 200

    def test_tokens_are_revoked(self, simulator: Simulator) -> None:
        token = simulator.state.issue_token(None)
        self.admin(simulator, "POST", "expire_tokens")
        assert not simulator.state.knows_token(token)

    def test_administration_is_in_no_counter(self, simulator: Simulator) -> None:
        self.admin(simulator, "GET", "state")
        self.admin(simulator, "GET", "nothing")
        assert (simulator.state.quota_used, simulator.state.calls, simulator.state.starts) == (0, {}, [])


class TestRunning:
    def test_connections_are_kept_alive(self, simulator: Simulator) -> None:
        uuid, keys = simulator.song_uuid(0), "".join(f"{n}: {v}\r\n" for n, v in KEYS.items())
        request = f"GET /api/v2.25/song/{uuid} HTTP/1.1\r\nHost: x\r\n{keys}\r\n".encode()
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=30) as client:
            for _ in range(3):
                client.sendall(request)
                assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: nine\r\n\r\n",
            b"POST /api/v2/top/songs HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /api/v2/top/songs HTTP/1.1\r\nContent-Length: 50\r\n\r\nshort",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
            b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
            b"GET /api/v2.25/song/%ff%00, HTTP/1.1\r\n\r\n",
        ],
    )
    def test_garbage_harms_nobody(self, simulator: Simulator, caller: Caller, garbage: bytes) -> None:
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=30) as client:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                read_to_the_end(client)
        assert caller.song().status_code == 200

    def test_it_listens_on_this_machine_only(self, simulator: Simulator) -> None:
        assert simulator.url.startswith("http://127.0.0.1:")

    def test_leaving_the_block_cuts_hanging_calls_and_leaves_no_thread(self) -> None:
        before = threading.active_count()
        with Simulator() as simulator, ThreadPoolExecutor(4) as pool:
            simulator.faults.set("hang")
            port = simulator.port
            calls = [pool.submit(Caller(simulator).song, timeout=60) for _ in range(4)]
            assert wait_until(lambda: simulator.state.concurrency == 4)
            simulator.stop()
            assert all(isinstance(call.exception(), requests.ConnectionError) for call in calls)
        assert wait_until(lambda: threading.active_count() <= before)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)

    def test_it_can_be_started_again(self) -> None:
        simulator = Simulator()
        for _ in range(2):
            with simulator:
                assert Caller(simulator).song().status_code == 200
        with pytest.raises(RuntimeError, match="not running"):
            simulator.url  # noqa: B018

    def test_many_slow_calls_overlap(self) -> None:
        with Simulator(latency=0.2) as simulator, ThreadPoolExecutor(50) as pool:
            callers = [Caller(simulator) for _ in range(50)]
            started = time.monotonic()
            statuses = list(pool.map(lambda n: callers[n % 50].song(n).status_code, range(200)))
            assert statuses == [200] * 200
            # One after the other they would take 40 s.
            assert time.monotonic() - started < 20

    def test_neither_django_nor_requests_is_imported(self) -> None:
        code = (
            "import sys, soundcharts.simulator.__main__\n"
            "sys.exit(bool({'django', 'requests', 'urllib3', 'celery'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestCommand:
    def start(self, *flags: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "soundcharts.simulator", "--port", "0", *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_says_where_it_listens_and_ends_cleanly_on_a_signal(self, number: signal.Signals) -> None:
        process, line = self.start(
            "--songs", "30", "--latency", "0", "--faults", '{"error_503": {"times": 1}}'
        )
        assert line.startswith("Simulator listening on http://127.0.0.1:")
        url = line.split()[-1]
        uuid = Catalogue(30).song_uuid(29)
        session = requests.Session()
        statuses = [
            session.get(f"{url}/api/v2.25/song/{uuid}", headers=KEYS, timeout=30).status_code
            for _ in range(2)
        ]
        assert statuses == [503, 200]
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors) == (0, "", "")

    @pytest.mark.parametrize(
        "flags", [("--songs", "0"), ("--faults", '{"nonsense": true}'), ("--faults", "[1]")]
    )
    def test_a_wrong_flag_ends_with_a_plain_sentence(self, flags: tuple[str, str]) -> None:
        process, _ = self.start(*flags)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 2
        assert "Traceback" not in errors


# --- Covers ---------------------------------------------------------------------------------------


def test_every_cover_is_a_picture_at_the_simulator_itself() -> None:
    with Simulator(songs=60) as simulator:
        addresses = [simulator.catalogue.image_url(number) for number in range(60)]
        addresses.append(simulator.catalogue.artist(3)["imageUrl"])
        pictures = {}
        for address in filter(None, addresses):
            assert address.startswith(f"{simulator.url}/covers/")
            answer = requests.get(address, timeout=30)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
            assert ElementTree.fromstring(answer.text).tag == "{http://www.w3.org/2000/svg}svg"
            pictures[address] = answer.text

        # Each has its own, no call is counted, and no key is needed.
        assert len(set(pictures.values())) == len(pictures) > 50
        assert simulator.state.calls.total() == 0


def test_a_cover_is_the_same_on_every_machine_and_another_after_a_revision() -> None:
    uuid = Catalogue(10).song_uuid(1)

    assert covers.draw(uuid) == covers.draw(uuid)
    assert zlib.crc32(covers.draw(uuid).encode()) == 1496230722
    assert covers.draw(uuid, revision=1) != covers.draw(uuid)


@pytest.mark.parametrize(
    "path",
    ["/covers/", "/covers/song/x.svg", f"/covers/song/{UUID(int=1)}.jpg"],
)
def test_a_cover_that_there_is_not_is_not_found(path: str) -> None:
    assert covers.answer(path).status == 404
