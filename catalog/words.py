"""Counts and lengths of time as people say them."""

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 call", "1,240 tracks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def length_of_time(seconds: float) -> str:
    """Return so many seconds in the largest unit that leaves two or more: "90 minutes", "3 days".

    For what is measured in passing or estimated.
    """
    for name, size in _UNITS:
        if seconds >= 2 * size:
            return plural(round(seconds / size), name)
    return plural(max(0, round(seconds)), "second")


def duration(seconds: float) -> str:
    """Return how long something took: "45 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def countdown(seconds: float) -> str:
    """Return the remaining time as "0:43", "12:05" or "1:02:05"."""
    minutes, left = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
