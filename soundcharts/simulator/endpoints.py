"""Answer the endpoints of the API that the project uses from the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode
from uuid import UUID

from soundcharts.platforms import AUDIENCE_PLATFORMS
from soundcharts.simulator.answers import Answer, Refused, ok, one
from soundcharts.simulator.audience import AudienceSeries
from soundcharts.simulator.catalogue import OTHER_PLATFORMS, Catalogue
from soundcharts.simulator.faults import Faults
from soundcharts.simulator.numbering import mix
from soundcharts.simulator.state import State

_VERSION = re.compile(r"v2(\.\d{1,3})?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SORTS = frozenset(
    {
        "name",
        "releaseDate",
        "spotifyStream",
        "shazamCount",
        "youtubeViews",
        "spotifyPopularity",
        "soundchartsScore",
    }
)
_DEFAULT_PERIOD = timedelta(days=30)
_LAST_OFFSET = 50_000


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked: `path` as sent, without its query."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was understood: its kind, the uuids it names as they were sent, and how to answer it.

    `answer` raises `Refused` for the errors that the API documents.
    """

    kind: str
    uuids: tuple[str, ...]
    answer: Callable[[], Answer]


def parse_query(query: str) -> dict[str, str]:
    """Return the parameters of a query string; the last of equal names counts."""
    return dict(parse_qsl(query, keep_blank_values=True))


class Endpoints:
    """Route requests and answer them; all that changes is held by the state and the faults."""

    def __init__(self, catalogue: Catalogue, state: State, faults: Faults, *, max_batch: int) -> None:
        self._catalogue = catalogue
        self._series = AudienceSeries(catalogue)
        self._state = state
        self._faults = faults
        self._max_batch = max_batch

    def route(self, request: Request) -> Call:
        """Return the call that a request means; unknown ones mean a 404 or 405."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if len(parts) < 3 or parts[0] != "api" or not _VERSION.fullmatch(parts[1]):
            return Call("unknown", (), lambda: _refuse(404, "There is no such endpoint."))
        match request.method, parts[2:]:
            case "GET", ["song", names] if "," in names:
                uuids = tuple(dict.fromkeys(name.strip().lower() for name in names.split(",")))
                return Call("songs", uuids, lambda: self._songs(uuids, request))
            case "GET", ["song", uuid]:
                return Call("song", (uuid.lower(),), lambda: self._song(uuid.lower()))
            case "GET", ["song", "by-isrc", isrc]:
                return Call("song_by_isrc", (), lambda: self._song_by_isrc(isrc))
            case "GET", ["song", "by-platform", platform, identifier]:
                return Call("song_by_platform", (), lambda: self._song_by_platform(platform, identifier))
            case "GET", ["song", "search", term]:
                return Call("search", (), lambda: self._search(term, request))
            case "GET", ["song", uuid, "audience", platform]:
                return Call(
                    "audience", (uuid.lower(),), lambda: self._audience(uuid.lower(), platform, request)
                )
            case "GET", ["artist", "search", term]:
                return Call("artist_search", (), lambda: self._artist_search(term, request))
            case "GET", ["artist", uuid, "songs"]:
                return Call(
                    "artist_songs", (uuid.lower(),), lambda: self._artist_songs(uuid.lower(), request)
                )
            case "POST", ["top", "songs"]:
                return Call("top_songs", (), lambda: self._top_songs(request))
            case "GET", ["team", "usage"]:
                return Call("usage", (), self._usage)
            case (
                _,
                ["song", *_]
                | ["artist", "search", _]
                | ["artist", _, "songs"]
                | ["top", "songs"]
                | ["team", "usage"],
            ):
                status = 404 if request.method == "GET" and parts[2] == "song" else 405
                return Call("unknown", (), lambda: _refuse(status))
        return Call("unknown", (), lambda: _refuse(404, "There is no such endpoint."))

    def record_asked(self, call: Call) -> None:
        """Count the songs whose metadata a call asks for by uuid, malformed ones among the strangers."""
        if call.kind in ("song", "songs"):
            known = [self._catalogue.song_index(UUID(u)) if _UUID.fullmatch(u) else None for u in call.uuids]
            self._state.record_asked(call.uuids, known)

    # Songs ----------------------------------------------------------------------------------------

    def _song(self, uuid: str) -> Answer:
        index = self._index(uuid)
        if self._faults.is_poisoned(uuid):
            raise Refused(400, "The request could not be processed.")
        if index is None:
            raise Refused(404, "The requested song does not exist.", key="uuid")
        heir, status = self._faults.merged_into(uuid), self._faults.redirects_merged
        if heir is not None and status is not None:
            return Answer(status, headers={"Location": f"/api/v2.25/song/{heir}"})
        return self._one_song(self._heir(index))

    def _songs(self, uuids: tuple[str, ...], request: Request) -> Answer:
        asked = tuple(uuid for uuid in uuids if uuid)
        if len(asked) > self._max_batch:
            raise Refused(400, f"At most {self._max_batch} uuids may be given.", key="uuid")
        indexes = [self._index(uuid) for uuid in asked]
        if any(self._faults.is_poisoned(uuid) for uuid in asked):
            raise Refused(400, "The request could not be processed.")
        # No order is promised, so none is kept.
        known = {self._heir(index) for index in indexes if index is not None}
        found = sorted(known, key=lambda index: mix(index, 50))
        items = [self._song_object(index) for index in found]
        page = {"offset": 0, "limit": self._max_batch, "total": len(items), "next": None, "previous": None}
        return ok({"items": items, "page": page, "errors": []}, songs=tuple(found))

    def _song_by_isrc(self, isrc: str) -> Answer:
        if self._faults.is_ambiguous(isrc):
            raise Refused(410)
        return self._looked_up(self._catalogue.index_of_isrc(isrc))

    def _song_by_platform(self, platform: str, identifier: str) -> Answer:
        if platform not in AUDIENCE_PLATFORMS and platform not in OTHER_PLATFORMS:
            raise Refused(400, "The platform is not known.", key="platform")
        return self._looked_up(self._catalogue.index_of_identifier(platform, identifier))

    def _looked_up(self, index: int | None) -> Answer:
        uuid = "" if index is None else str(self._catalogue.song_uuid(index))
        if index is None or self._faults.is_unknown(uuid):
            raise Refused(404, "The requested song does not exist.")
        return self._one_song(self._heir(index))

    def _heir(self, index: int) -> int:
        """Return the song that a song was merged into, or itself."""
        heir = self._faults.merged_into(str(self._catalogue.song_uuid(index)))
        merged = None if heir is None else self._catalogue.song_index(UUID(heir))
        return index if merged is None else merged

    def _one_song(self, index: int) -> Answer:
        return one("song", self._song_object(index), songs=(index,))

    def extra_items(self, sound: Answer, *, count: int) -> Answer:
        """Return a batch answer with songs that nobody asked for."""
        envelope = json.loads(sound.body)
        others = (index for index in range(self._catalogue.songs) if index not in sound.songs)
        envelope["items"] += [
            self._song_object(index) for index, _ in zip(others, range(count), strict=False)
        ]
        return ok(envelope, songs=sound.songs)

    def _song_object(self, index: int) -> Any:
        song = self._catalogue.song(index, revision=self._state.revision(index))
        return self._faults.payload(song["uuid"], song)

    # Lists ----------------------------------------------------------------------------------------

    def _search(self, term: str, request: Request) -> Answer:
        offset, limit = _window(request, most=20)
        found = self._catalogue.search(term)
        items = [self._summary(index) for index in found[offset : offset + limit]]
        return ok({"items": items, "page": _page(request, offset, limit, len(found)), "errors": []})

    def _artist_search(self, term: str, request: Request) -> Answer:
        offset, limit = _window(request, most=20)
        found = self._catalogue.search_artists(term)
        items = [self._catalogue.artist(artist) for artist in found[offset : offset + limit]]
        return ok({"items": items, "page": _page(request, offset, limit, len(found)), "errors": []})

    def _artist_songs(self, uuid: str, request: Request) -> Answer:
        offset, limit = _window(request)
        artist = self._catalogue.artist_index(_as_uuid(uuid))
        if artist is None:
            raise Refused(404, "The requested artist does not exist.", key="uuid")
        sort, order = request.query.get("sortBy", "name"), request.query.get("sortOrder", "asc")
        main_only = request.query.get("mainPerformer", "false").lower()
        if sort not in _SORTS:
            raise Refused(400, "sortBy is not valid.", key="sortBy")
        if order not in ("asc", "desc"):
            raise Refused(400, "sortOrder must be asc or desc.", key="sortOrder")
        if main_only not in ("true", "false", "1", "0", ""):
            raise Refused(400, "mainPerformer must be true or false.", key="mainPerformer")
        songs = self._catalogue.songs_of_artist(artist, main_only=main_only in ("true", "1"))
        if sort == "name":
            songs.sort(key=lambda index: (self._catalogue.name(index).casefold(), index))
        elif sort == "releaseDate":
            songs.sort(key=lambda index: (self._catalogue.release_date(index) or date.min, index))
        else:
            songs.sort(key=self._catalogue.rank, reverse=True)
        if order == "desc":
            songs.reverse()
        items = [self._summary(index) for index in songs[offset : offset + limit]]
        page = _page(request, offset, limit, len(songs))
        return ok({"related": self._catalogue.artist(artist), "items": items, "page": page, "errors": []})

    def _top_songs(self, request: Request) -> Answer:
        offset, limit = _window(request)
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            raise Refused(400, "The body is not JSON.") from None
        sort = body.get("sort") if isinstance(body, dict) else None
        if not isinstance(sort, dict) or not isinstance(body.get("filters", []), list):
            raise Refused(400, "The body must hold sort and filters.", key="sort")
        platform = sort.get("platform")
        if not isinstance(platform, str) or platform not in AUDIENCE_PLATFORMS or not sort.get("metricType"):
            raise Refused(400, "sort must hold a known platform and a metricType.", key="sort")
        if sort.get("order", "desc") not in ("asc", "desc"):
            raise Refused(400, "order must be asc or desc.", key="order")
        if offset > _LAST_OFFSET and request.query.get("cursor") != _cursor(offset):
            raise Refused(
                400, f"Past offset {_LAST_OFFSET} the cursor of the last page is needed.", key="cursor"
            )
        total = self._catalogue.songs
        ranks = range(offset, min(offset + limit, total))
        if sort.get("order") == "asc":
            ranks = range(total - 1 - ranks.start, total - 1 - ranks.stop, -1)
        items = []
        for rank in ranks:
            index = self._catalogue.index_at_rank(rank)
            month = self._catalogue.daily_audience(index, platform) * 30
            metric = {
                "platform": platform,
                "metricType": sort["metricType"],
                "period": "month",
                "value": month,
            }
            items.append({"song": self._summary(index), "audience": [metric], "popularity": []})
        page = _page(request, offset, limit, total)
        if page["next"] and offset + limit > _LAST_OFFSET:
            page["cursor"] = _cursor(offset + limit)
            page["next"] += f"&cursor={page['cursor']}"
        return ok({"items": items, "page": page, "errors": []})

    def _summary(self, index: int) -> dict[str, Any]:
        return self._catalogue.summary(index, revision=self._state.revision(index))

    # Audience and usage ---------------------------------------------------------------------------

    def _audience(self, uuid: str, platform: str, request: Request) -> Answer:
        offset, limit = _window(request)
        if platform not in AUDIENCE_PLATFORMS:
            raise Refused(400, "The platform has no audience.", key="platform")
        if self._faults.is_forbidden(platform):
            raise Refused(403, "This platform is not included in your plan.", key="platform")
        today = self._state.today
        end = _day(request, "endDate", today)
        start = _day(request, "startDate", end - min(_DEFAULT_PERIOD, end - date.min))
        longest = self._state.longest_period
        if start > end or (longest is not None and (end - start).days > longest):
            raise Refused(400, f"The period must be positive and of at most {longest} days.", key="startDate")
        if self._faults.is_poisoned(uuid):
            raise Refused(400, "The request could not be processed.")
        index = self._index(uuid)
        if index is None:
            raise Refused(404, "The requested song does not exist.", key="uuid")
        days = self._series.published_days(index, platform, start, end, today=today)
        only = request.query.get("identifier")
        if only and only not in self._catalogue.identifiers(index, platform):
            days = []
        how = self._faults.endless_audience
        if how == "older":
            back = timedelta(days=offset)
            days = self._series.published_days(index, platform, start - back, end - back, today=today)
        items: list[dict[str, Any]] = [
            {
                "date": f"{day.isoformat()}T00:00:00+00:00",
                "plots": [
                    plot
                    for plot in self._series.plots(index, platform, day, today=today)
                    if not only or plot["identifier"] == only
                ],
            }
            for day in (days if how else days[offset : offset + limit])
        ]
        if how == "identifiers":
            items = [
                item | {"plots": [plot | {"identifier": f"{plot['identifier']}-{offset}-{number}"}]}
                for item in items
                for plot in item["plots"]
                for number in range(2)
            ]
        related = {name: value for name, value in self._summary(index).items() if name != "releaseDate"}
        page = _page(request, offset, limit, len(days))
        if how:
            page = _page(request, offset, len(items), offset + 2 * len(items)) | {"total": None}
        return ok(
            {"related": related, "items": items, "page": page, "errors": []},
            songs=(index,),
            platform=platform,
        )

    def _usage(self) -> Answer:
        # The true schema is not published: clients must not depend on this one.
        quota = {
            "total": self._state.quota,
            "used": self._state.quota_used,
            "remaining": self._state.quota_remaining,
        }
        rate = {"callsPerMinute": self._state.calls_per_minute}
        return one("usage", {"quota": quota, "rateLimit": rate})

    def _index(self, uuid: str) -> int | None:
        parsed = _as_uuid(uuid)
        return None if self._faults.is_unknown(uuid) else self._catalogue.song_index(parsed)


def _refuse(status: int, message: str | None = None) -> Answer:
    raise Refused(status, message)


def _as_uuid(text: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise Refused(400, "This is not a valid uuid.", key="uuid")
    return UUID(text)


def _window(request: Request, *, most: int = 100) -> tuple[int, int]:
    values = []
    for name, default, least, largest in (("offset", 0, 0, 1 << 48), ("limit", most, 1, most)):
        text = request.query.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= largest):
            raise Refused(400, f"{name} must be a whole number from {least} to {largest}.", key=name)
        values.append(int(text))
    return values[0], values[1]


def _page(request: Request, offset: int, limit: int, total: int) -> dict[str, Any]:
    def link(to: int) -> str:
        kept = {
            name: value for name, value in request.query.items() if name not in ("offset", "limit", "cursor")
        }
        return f"{request.path}?{urlencode(kept | {'offset': to, 'limit': limit})}"

    return {
        "offset": offset,
        "limit": limit,
        "next": link(offset + limit) if offset + limit < total else None,
        "previous": link(max(0, offset - limit)) if offset else None,
        "total": total,
    }


def _cursor(offset: int) -> str:
    return f"{mix(offset, 60):016x}"


def _day(request: Request, name: str, default: date) -> date:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Refused(400, f"{name} must be a date as YYYY-MM-DD.", key=name)
