"""Hold what is to go wrong, and decide call by call which fault strikes.

Two families, all switched on and off while the simulator runs:

- faults of a call (`CALL_FAULTS`) strike some calls and are gone for the next; which calls is chosen by
  `kinds` (kinds of call; every kind but "token" by default), `uuids` (only calls that ask for one of
  them), `after` (let so many matching calls pass first), `every` (then each k-th) and `times` (then at
  most so many);
- faults of the data (`DATA_FAULTS`) stay true until cleared: a uuid nobody knows stays unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

# The kinds of call that are counted and that `kinds` may name.
KINDS = (
    "song",
    "songs",
    "song_by_isrc",
    "song_by_platform",
    "search",
    "artist_search",
    "artist_songs",
    "top_songs",
    "audience",
    "usage",
    "unknown",
    "token",
)

# The value that, as an override of a field in `payloads`, takes the field out of the song.
ABSENT = "$absent"

# The options of each fault of a call, with their defaults. Times are in seconds.
CALL_FAULTS: dict[str, dict[str, Any]] = {
    # A documented error in JSON (502 and 504 in HTML, as gateways answer).
    "error": {"status": 500, "message": None},
    # An HTML page from a gateway: it costs nothing, and names the calls that are left only `with_quota`.
    "gateway_page": {"status": 404, "with_quota": False, "retry_after": None},
    # 429 for the per-minute rate, with x-ratelimit-reset; a reset of None leaves the header out.
    "rate_limited": {"reset": 60},
    # 429 for the plan's quota.
    "quota_exhausted": {},
    # 400, 403 or 404 on requests for several uuids, as from an account without batch calls.
    "batch_refused": {"status": 400},
    # A batch answer with songs nobody asked for.
    "extra_items": {"count": 1},
    # 200 that lacks items which its total promises, from the place `at` on (of an object: all of it), and
    # names an error with that code beside the rest, with null none.
    "incomplete": {"leave_out": 1, "at": 0, "code": 500},
    # 200 with an HTML page, and with nothing at all.
    "html_200": {},
    "empty_200": {},
    # The answer stops after a share of its bytes; Content-Length tells the full length, or that of the part.
    "truncated_json": {"share": 0.5, "full_length": True},
    # 302 to another host; by default to this simulator under another name, which notes whether keys arrive.
    "redirect": {"status": 302, "location": None},
    # One byte at a time: of the body, or from the status line on.
    "drip": {"interval": 0.8},
    "drip_headers": {"interval": 0.8},
    # A body of so many MiB, and one that inflates to so many.
    "huge": {"mib": 64, "declare_length": True},
    "gzip_bomb": {"mib": 1024},
    # JSON that breaks parsers.
    "deep_json": {"depth": 100_000},
    "giant_int": {"digits": 100_000},
    # Any JSON value instead of the whole answer ("body") or of its object or items ("object").
    "wrong_shape": {"value": None, "where": "body"},
    # Audience without any day; and with any JSON value for the figures ("value"), plots or date of some days.
    "no_figures": {},
    "unreadable_figures": {"value": None, "where": "value", "days": None},
    # The connection is reset, after so many bytes of the answer.
    "reset": {"after_bytes": 0},
    # The connection is closed in the orderly way without an answer.
    "closed": {},
    # No answer for so long; then the connection is closed.
    "hang": {"seconds": 3600.0},
    # So much more latency; other faults may strike the same call.
    "slow": {"seconds": 1.0},
}
DATA_FAULTS: dict[str, dict[str, Any]] = {
    # 404 for the single call, missing from batch answers.
    "unknown_uuids": {"uuids": ()},
    # 400 for the single call, and for every batch that holds one.
    "poisoned_uuids": {"uuids": ()},
    # 410: several recordings share the ISRC.
    "ambiguous_isrcs": {"isrcs": ()},
    # Songs by uuid that were merged into another one: its object comes instead, or where `redirect` is a
    # status, a single call is redirected to it.
    "merged_songs": {"songs": {}, "redirect": None},
    # 403 for the audience of these platforms, as where the plan lacks them.
    "forbidden_platforms": {"platforms": ()},
    # Audience of which every page names a next one, and brings the same days again ("again"), days before the
    # period ("older"), or the same days of other identifiers ("identifiers").
    "endless_audience": {"how": "again"},
    # Songs by uuid: an object is merged into the true one (ABSENT removes a field), other values replace it.
    "payloads": {"songs": {}},
}
_SELECTION: dict[str, Any] = {"kinds": None, "uuids": None, "after": 0, "every": 1, "times": None}
_BATCH_FAULTS = frozenset({"batch_refused", "extra_items"})
_AUDIENCE_FAULTS = frozenset({"no_figures", "unreadable_figures"})
_DEFAULT_KINDS = frozenset(KINDS) - {"token"}


def _is_whole(value: Any, *, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_line(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.isprintable())


def _is_list(value: Any) -> bool:
    is_collection = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    return value is None or (is_collection and all(isinstance(each, str | UUID) for each in value))


def _are_kinds(value: Any) -> bool:
    return _is_list(value) and (value is None or set(value) <= set(KINDS))


# What the options of all faults may be, by their names, and how to say so.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "status": (lambda value: _is_whole(value, least=300) and value < 600, "an HTTP status from 300 to 599"),
    "redirect": (lambda value: value in (None, 301, 302, 303, 307, 308), "the status of a redirect, or null"),
    "code": (lambda value: value is None or _is_whole(value), "a whole number, or null"),
    "retry_after": (_is_line, "one line of text, or null"),
    "with_quota": (lambda value: isinstance(value, bool), "true or false"),
    "message": (_is_line, "one line of text, or null"),
    "location": (_is_line, "a URL, or null"),
    "reset": (lambda value: value is None or _is_number(value), "a number of seconds, or null"),
    "where": (
        lambda value: value in ("body", "object", "value", "plots", "date"),
        "body, object, value, plots or date",
    ),
    "how": (lambda value: value in ("again", "older", "identifiers"), "again, older or identifiers"),
    "days": (_is_list, "a list of dates"),
    "full_length": (lambda value: isinstance(value, bool), "true or false"),
    "declare_length": (lambda value: isinstance(value, bool), "true or false"),
    "songs": (lambda value: isinstance(value, Mapping), "an object of songs by uuid"),
    "uuids": (_is_list, "a list of uuids"),
    "isrcs": (_is_list, "a list of ISRCs"),
    "platforms": (_is_list, "a list of platforms"),
    "kinds": (_are_kinds, f"a list out of {', '.join(KINDS)}"),
    "every": (lambda value: _is_whole(value, least=1), "a whole number, 1 or more"),
    "times": (lambda value: value is None or _is_whole(value), "a whole number, 0 or more, or null"),
}
_RULES |= dict.fromkeys(
    ("after", "at", "count", "depth", "digits", "after_bytes", "leave_out"),
    (_is_whole, "a whole number, 0 or more"),
)
_RULES |= dict.fromkeys(("interval", "seconds", "mib", "share"), (_is_number, "a number, 0 or more"))


@dataclass(slots=True)
class Fault:
    """One fault of a call that is switched on; `struck` says how many calls it met so far."""

    name: str
    options: dict[str, Any]
    kinds: frozenset[str]
    uuids: frozenset[str] | None
    after: int
    every: int
    times: int | None
    seen: int = 0
    struck: int = 0

    def strikes(self, kind: str, uuids: Iterable[str]) -> bool:
        """Count a call if it matches, and say whether it is hit."""
        if kind not in self.kinds or (self.uuids is not None and self.uuids.isdisjoint(uuids)):
            return False
        if self.times is not None and self.struck >= self.times:
            return False
        self.seen += 1
        turn = self.seen - self.after
        if turn < 1 or turn % self.every:
            return False
        self.struck += 1
        return True


@dataclass(slots=True)
class Strike:
    """What befalls one call: seconds of extra latency, and at most one other fault."""

    delay: float = 0.0
    fault: Fault | None = None


@dataclass(slots=True)
class _Data:
    unknown: frozenset[str] = frozenset()
    poisoned: frozenset[str] = frozenset()
    ambiguous: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    endless: str = ""
    payloads: dict[str, Any] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    merged_redirect: int | None = None


class Faults:
    """The faults that are switched on; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, Fault] = {}
        self._standing: dict[str, dict[str, Any]] = {}
        self._data = _Data()

    def set(self, name: str, **options: Any) -> None:
        """Switch a fault on, in the place of an earlier one of the same name; its counts start at 0.

        `set("error", status=503, times=2, kinds=["songs"])`. `error_503` is short for an error of that
        status, and errors of different statuses can be on together. Raises ValueError for an unknown
        name, option or kind.
        """
        if name in DATA_FAULTS:
            standing = self._checked(name, options, DATA_FAULTS[name])
            with self._lock:
                self._standing[name] = standing
                self._read_data()
            return
        fault = self._build(name, options)
        with self._lock:
            self._calls[name] = fault

    def set_all(self, faults: Mapping[str, Any]) -> None:
        """Switch several on, all or none: `{"drip": {"interval": 0.1}, "html_200": true, "reset": null}`.

        True stands for an object without options; null and false switch the fault off. Raises ValueError.
        """
        for name, options in faults.items():
            if not (options is None or isinstance(options, bool | Mapping)):
                raise ValueError(f"{name}: expected an object with options, true or null.")
            options = options if isinstance(options, Mapping) else {}
            if name in DATA_FAULTS:
                self._checked(name, options, DATA_FAULTS[name])
            else:
                self._build(name, options)
        for name, options in faults.items():
            if options is None or options is False:
                self.clear(name)
            else:
                self.set(name, **(options if isinstance(options, Mapping) else {}))

    def clear(self, name: str | None = None) -> None:
        """Switch one fault off, or all."""
        with self._lock:
            if name is None:
                self._calls.clear()
                self._standing.clear()
            else:
                self._calls.pop(name, None)
                self._standing.pop(name, None)
            self._read_data()

    @contextmanager
    def during(self, name: str, **options: Any) -> Iterator[None]:
        """Switch a fault on for the length of a with block."""
        self.set(name, **options)
        try:
            yield
        finally:
            self.clear(name)

    def struck(self, name: str) -> int:
        """Return how many calls a fault has hit since it was switched on, 0 when it is off."""
        with self._lock:
            fault = self._calls.get(name)
            return 0 if fault is None else fault.struck

    def as_json(self) -> dict[str, Any]:
        """Return every fault that is on, with its options and counts."""
        with self._lock:
            calls = {
                name: fault.options
                | {
                    "kinds": None if fault.kinds == _DEFAULT_KINDS else sorted(fault.kinds),
                    "uuids": None if fault.uuids is None else sorted(fault.uuids),
                    "after": fault.after,
                    "every": fault.every,
                    "times": fault.times,
                    "struck": fault.struck,
                }
                for name, fault in self._calls.items()
            }
            return calls | self._standing

    # What the endpoints ask -----------------------------------------------------------------------

    def next_strike(self, kind: str, uuids: Iterable[str]) -> Strike:
        """Decide what befalls a call; of several faults, the one that was switched on first wins."""
        strike = Strike()
        if not self._calls:
            return strike
        with self._lock:
            for fault in self._calls.values():
                if fault.name == "slow":
                    if fault.strikes(kind, uuids):
                        strike.delay += fault.options["seconds"]
                elif strike.fault is None and fault.strikes(kind, uuids):
                    strike.fault = fault
        return strike

    def is_unknown(self, uuid: str) -> bool:
        """Say whether a uuid is made to be unknown."""
        return uuid in self._data.unknown

    def is_poisoned(self, uuid: str) -> bool:
        """Say whether a uuid is made to spoil its call."""
        return uuid in self._data.poisoned

    def is_ambiguous(self, isrc: str) -> bool:
        """Say whether an ISRC is made to be ambiguous."""
        return isrc.upper() in self._data.ambiguous

    @property
    def endless_audience(self) -> str:
        """Return in what way the pages of an audience have no end, empty where they have one."""
        return self._data.endless

    def is_forbidden(self, platform: str) -> bool:
        """Say whether a platform is made to be missing from the plan."""
        return platform in self._data.forbidden

    def merged_into(self, uuid: str) -> str | None:
        """Return the song into which one is made to be merged, if it is."""
        return self._data.merged.get(uuid)

    @property
    def redirects_merged(self) -> int | None:
        """The status of the redirect that a merged song is answered with, None where its heir comes."""
        return self._data.merged_redirect

    def payload(self, uuid: str, song: dict[str, Any]) -> Any:
        """Return what is to be answered for a song in the place of its true object."""
        override = self._data.payloads.get(uuid, {})
        if not isinstance(override, Mapping):
            return override
        merged = song | dict(override)
        return {name: value for name, value in merged.items() if value != ABSENT}

    # ----------------------------------------------------------------------------------------------

    def _build(self, name: str, options: Mapping[str, Any]) -> Fault:
        base, _, status = name.partition("_")
        if base == "error" and status.isdigit():
            options = {"status": int(status), **options}
        else:
            base = name
        if base not in CALL_FAULTS:
            known = ", ".join(sorted(CALL_FAULTS | DATA_FAULTS))
            raise ValueError(f"There is no fault {name!r}. There are: {known}.")
        values = self._checked(name, options, CALL_FAULTS[base] | _SELECTION)
        selection = {option: values.pop(option) for option in _SELECTION}
        kinds, uuids = selection["kinds"], selection["uuids"]
        if kinds is None:
            kinds = ["songs"] if base in _BATCH_FAULTS else _DEFAULT_KINDS
            kinds = ["audience"] if base in _AUDIENCE_FAULTS else kinds
        return Fault(
            name=base,
            options=values,
            kinds=frozenset(kinds),
            uuids=None if uuids is None else frozenset(uuid.lower() for uuid in uuids),
            after=selection["after"],
            every=selection["every"],
            times=selection["times"],
        )

    @staticmethod
    def _checked(name: str, options: Mapping[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(options) - set(defaults))
        if unknown:
            raise ValueError(f"{name}: no option {', '.join(unknown)}. There are: {', '.join(defaults)}.")
        values = defaults | dict(options)
        for option, value in values.items():
            if option in _RULES and not _RULES[option][0](value):
                raise ValueError(f"{name}: {option} must be {_RULES[option][1]}.")
            if option in ("uuids", "isrcs", "platforms", "kinds") and value is not None:
                values[option] = sorted(str(each) for each in value)
            elif option == "songs":
                values[option] = {str(uuid): song for uuid, song in value.items()}
        return values

    def _read_data(self) -> None:
        on = {name: self._standing.get(name, defaults) for name, defaults in DATA_FAULTS.items()}
        # Replaced in one assignment: readers take no lock.
        self._data = _Data(
            unknown=frozenset(uuid.lower() for uuid in on["unknown_uuids"]["uuids"] or ()),
            poisoned=frozenset(uuid.lower() for uuid in on["poisoned_uuids"]["uuids"] or ()),
            ambiguous=frozenset(isrc.upper() for isrc in on["ambiguous_isrcs"]["isrcs"] or ()),
            forbidden=frozenset(on["forbidden_platforms"]["platforms"] or ()),
            endless=self._standing.get("endless_audience", {}).get("how", ""),
            payloads={str(uuid).lower(): value for uuid, value in on["payloads"]["songs"].items()},
            merged={
                str(uuid).lower(): str(heir).lower() for uuid, heir in on["merged_songs"]["songs"].items()
            },
            merged_redirect=on["merged_songs"]["redirect"],
        )
