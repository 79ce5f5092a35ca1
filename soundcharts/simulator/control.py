"""Steer a running simulator by HTTP, under /_simulator/: free of credentials, quota, rate and latency."""

from __future__ import annotations

import json
import time
from datetime import date
from typing import Any
from uuid import UUID

from soundcharts.simulator.answers import Answer, encode
from soundcharts.simulator.catalogue import Catalogue
from soundcharts.simulator.endpoints import Request
from soundcharts.simulator.faults import Faults
from soundcharts.simulator.state import State

PREFIX = "/_simulator/"
_MOST_UUIDS = 10_000


class Control:
    """Answer the requests of testers and operators."""

    def __init__(self, catalogue: Catalogue, state: State, faults: Faults) -> None:
        self._catalogue = catalogue
        self._state = state
        self._faults = faults

    def reset(self) -> None:
        """Clear the faults and go back to the counters and settings of the start."""
        self._faults.clear()
        self._state.reset()

    def answer(self, request: Request, *, with_keys: bool) -> Answer:
        """Answer a request; mistakes are 400 or 404 with a plain sentence under "error"."""
        try:
            return self._answer(request, with_keys=with_keys)
        except LookupError as error:
            return Answer(404, encode({"error": str(error.args[0])}))
        except (ValueError, TypeError) as error:
            return Answer(400, encode({"error": str(error)}))

    def _answer(self, request: Request, *, with_keys: bool) -> Answer:
        parts = request.path.removeprefix(PREFIX).strip("/").split("/")
        match request.method, parts:
            case "GET", ["state"]:
                value: Any = self._state.as_json()
            case "GET", ["starts"]:
                value = {"now": time.monotonic(), "starts": self._state.starts}
            case "GET", ["faults"]:
                value = self._faults.as_json()
            case "PUT", ["faults"]:
                self._faults.set_all(_object(request))
                value = self._faults.as_json()
            case "DELETE", ["faults"]:
                self._faults.clear()
                value = {}
            case "DELETE", ["faults", name]:
                self._faults.clear(name)
                value = self._faults.as_json()
            case "GET", ["settings"]:
                value = self._settings()
            case "PUT", ["settings"]:
                value = self._change_settings(_object(request))
            case "GET", ["songs"]:
                value = self._uuids(request)
            case "GET", ["songs", song]:
                value = self._song(song)
            case "POST", ["songs", song, "revise"]:
                index = self._index(song)
                value = {"uuid": str(self._catalogue.song_uuid(index)), "revision": self._state.revise(index)}
            case "POST", ["expire_tokens"]:
                self._state.expire_tokens()
                value = {}
            case "POST", ["reset"]:
                self.reset()
                value = {}
            case _, ["elsewhere", *_]:
                self._state.record_elsewhere(with_keys=with_keys)
                value = {"elsewhere": True}
            case _:
                raise LookupError(f"There is no {request.method} {request.path} here.")
        return Answer(200, encode(value))

    def _settings(self) -> dict[str, Any]:
        return {
            "latency": self._state.latency,
            "quota": self._state.quota,
            "quota_used": self._state.quota_used,
            "calls_per_minute": self._state.calls_per_minute,
            "today": self._state.today.isoformat(),
        }

    def _change_settings(self, changes: dict[str, Any]) -> dict[str, Any]:
        for name, value in changes.items():
            if name not in self._settings():
                raise ValueError(f"There is no setting {name!r}. There are: {', '.join(self._settings())}.")
            if name == "today":
                changes[name] = date.fromisoformat(value) if value is not None else None
                continue
            kinds = (int, float) if name == "latency" else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
                raise ValueError(f"{name} must be a number, 0 or more.")
        for name, value in changes.items():
            setattr(self._state, name, value)
        return self._settings()

    def _uuids(self, request: Request) -> dict[str, Any]:
        offset = int(request.query.get("offset", "0"))
        limit = int(request.query.get("limit", "100"))
        if offset < 0 or not 0 < limit <= _MOST_UUIDS:
            raise ValueError(f"limit must be from 1 to {_MOST_UUIDS}, and offset 0 or more.")
        indexes = range(offset, min(offset + limit, self._catalogue.songs))
        return {"total": self._catalogue.songs, "uuids": [str(self._catalogue.song_uuid(i)) for i in indexes]}

    def _song(self, song: str) -> dict[str, Any]:
        index = self._index(song)
        return {
            "index": index,
            "uuid": str(self._catalogue.song_uuid(index)),
            "artist_uuid": str(self._catalogue.artist_uuid(self._catalogue.artist_of(index))),
            "isrc": self._catalogue.isrc(index),
            "name": self._catalogue.name(index, revision=self._state.revision(index)),
            "revision": self._state.revision(index),
            "asked": self._state.asked(index),
            "answered": self._state.answered(index),
        }

    def _index(self, song: str) -> int:
        index = int(song) if song.isascii() and song.isdigit() else self._catalogue.song_index(UUID(song))
        if index is None or index >= self._catalogue.songs:
            raise LookupError(f"There is no song {song}.")
        return index


def _object(request: Request) -> dict[str, Any]:
    try:
        value = json.loads(request.body)
    except RecursionError:
        raise ValueError("The body is nested too deep.") from None
    if not isinstance(value, dict):
        raise ValueError("The body must be a JSON object.")
    return value
