"""Read the quota from `/api/v2/team/usage`, whose schema is not published.

Each number is read by its own name and that of the object it belongs to: "remaining" of a rate limit is not
what is left of the quota. What cannot be told apart stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from soundcharts.fields import MAX_COUNT, Fields, as_fields

_QUOTA, _RATE, _OTHER, _NEUTRAL = "quota", "rate", "other", ""
_DEEPEST = 5

_NUMBER = re.compile(r"-?[0-9]{1,19}")
# What makes a name one of a rate limit, and of the quota, where it is not: "callsPerMinute", "apiCalls".
_OF_RATES = re.compile(r"^rate|ratelimit|throttl|minute|^limits$")
_OF_OTHERS = re.compile(r"burst|concurren|second|hour|day|daily|today|week")
_OF_QUOTAS = re.compile(r"quotas?|credits?|(api)?(calls?|requests?)|(per)?(month(ly)?|year(ly)?|annual(ly)?)")
# Objects that only wrap: what is in them belongs to what they are in.
_WRAPPERS = frozenset(
    (
        *("object", "data", "result", "response", "body", "attributes", "details", "info", "api", "current"),
        *("usage", "team", "account", "customer", "organization", "subscription", "plan", "period", "term"),
    )
)
_REMAINING = frozenset({"remaining", "remain", "left", "available", "balance", "remainder"})
_USED = frozenset({"used", "usage", "consumed", "consumption", "spent"})
_TOTAL = frozenset({"total", "limit", "max", "maximum", "allowed", "allowance", "included", "granted"})
_PER_MINUTE = frozenset({"ratelimit", "rate", "callsperminute", "requestsperminute", "ratelimitperminute"})


@dataclass(frozen=True, slots=True)
class Usage:
    """The account's remaining quota. None is unknown; negative means that the quota was exceeded."""

    quota_remaining: int | None = None
    quota_total: int | None = None
    calls_per_minute: int | None = None


def parse_usage(payload: object) -> Usage:
    """Return what the answer says, as far as it can be recognised.

    Raises InvalidResponse only if the payload is not an object.
    """
    fields = as_fields(payload, what="the answer")
    numbers: dict[tuple[str, str], int] = {}
    # Of two of a kind, the one that is less deep.
    for _, kind, measure, number in sorted(
        _numbers(fields, kind=_NEUTRAL, depth=0), key=lambda found: found[0]
    ):
        numbers.setdefault((kind, measure), number)
    of_quota = {measure: number for (kind, measure), number in numbers.items() if kind == _QUOTA}
    bare = {measure: number for (kind, measure), number in numbers.items() if kind == _NEUTRAL}
    total = of_quota.get("total", bare.get("total"))
    return Usage(
        quota_remaining=_remaining(of_quota, bare, total),
        quota_total=total,
        calls_per_minute=numbers.get((_RATE, "total")),
    )


def _remaining(of_quota: dict[str, int], bare: dict[str, int], total: int | None) -> int | None:
    if "remaining" in of_quota:
        return of_quota["remaining"]
    if "total" in of_quota and "used" in of_quota:
        return of_quota["total"] - of_quota["used"]
    remaining = bare.get("remaining")
    # More than the quota is not what is left of it.
    if remaining is not None and (total is None or remaining <= total):
        return remaining
    used = of_quota.get("used", bare.get("used"))
    return None if total is None or used is None else total - used


def _numbers(fields: Fields, *, kind: str, depth: int) -> Iterator[tuple[int, str, str, int]]:
    """Yield each number as (depth, kind, measure, number), of objects that are known to be of a kind."""
    for key, value in fields.items():
        name = re.sub(r"[^a-z]", "", key.lower())
        own_kind = _kind_of(name)
        if isinstance(value, dict):
            if depth < _DEEPEST and (own_kind or name in _WRAPPERS):
                yield from _numbers(value, kind=own_kind or kind, depth=depth + 1)
            continue
        number = _as_number(value)
        if number is None:
            continue
        measure = _measure_of(name, kind=own_kind or kind, is_named=bool(own_kind))
        # Less than nothing is left of a quota that was exceeded; every other number below 0 stands for none.
        if measure and (number >= 0 or measure == "remaining"):
            yield depth, own_kind or kind, measure, number


def _kind_of(name: str) -> str:
    if _OF_OTHERS.search(name):
        return _OTHER
    if _OF_RATES.search(name):
        return _RATE
    return _QUOTA if _OF_QUOTAS.search(name) else _NEUTRAL


def _measure_of(name: str, *, kind: str, is_named: bool) -> str:
    """Return which number a name means of what it belongs to, empty for none that is known."""
    if kind == _RATE:
        # Only how many calls a minute allows: what is left of a minute is of no use.
        is_limit = name in _PER_MINUTE or (not is_named and name in _TOTAL) or name == "perminute"
        return "total" if is_limit else ""
    if kind == _OTHER:
        return ""
    rest = _OF_QUOTAS.sub("", name) if is_named else name
    if rest in _REMAINING:
        return "remaining"
    if rest in _USED:
        return "used"
    if not rest:
        # "calls" may be those that were made, and "year" this year.
        return "total" if "quota" in name or "per" in name else ""
    # A bare limit may be one of anything.
    is_total = rest in _TOTAL if kind == _QUOTA else rest == "total"
    return "total" if is_total else ""


def _as_number(value: object) -> int | None:
    """Return a whole number, also from a string of digits or a float, negative ones included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = int(value.strip())
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and abs(value) <= MAX_COUNT else None
