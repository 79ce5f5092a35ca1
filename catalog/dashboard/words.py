"""Lengths of time as people say them."""

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


def length_of_time(seconds: float) -> str:
    """Return so many seconds in the largest unit that leaves two or more: "90 minutes", "3 days"."""
    for name, size in _UNITS:
        if seconds >= 2 * size:
            return f"{round(seconds / size):,} {name}s"
    count = max(0, round(seconds))
    return f"{count} second" if count == 1 else f"{count} seconds"
