"""Form fields that accept several spellings: texts, lengths and dates."""

import re
from datetime import date
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from catalog.words import countdown
from soundcharts.fields import parse_date
from soundcharts.values import (
    FIRST_YEAR,
    LONGEST_SONG,
    MOST_YEARS_AHEAD,
    is_release_date,
    one_line,
    visible_text,
)

_CLOCK = re.compile(r"(?:([0-9]{1,6}):)?([0-9]{1,4}):([0-9]{2})")
_SECONDS = re.compile(r"[0-9]{1,6}")


class TextField(forms.CharField):
    """Text, stored as one line in one Unicode form."""

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        # Right-to-left text starts on the right while it is typed.
        return super().widget_attrs(widget) | {"dir": "auto"}

    def to_python(self, value: Any) -> str:
        return one_line(super().to_python(value) or "")


class LengthField(forms.CharField):
    """A length in seconds, shown as 3:45 or 1:02:03. Also accepts plain seconds."""

    default_error_messages = {
        "invalid": "Use minutes and seconds, for example 3:45.",
        "too_long": "Use at most 24 hours.",
    }
    widget = UnfoldAdminTextInputWidget

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("help_text", "Minutes and seconds, such as 3:45.")
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        return countdown(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, int):
            return value
        text = visible_text(str(value)).replace(" ", "")
        if not text:
            return None
        if _SECONDS.fullmatch(text):
            seconds = int(text)
        elif (clock := _CLOCK.fullmatch(text)) and _is_time(*clock.groups()):
            hours, minutes, rest = clock.groups()
            seconds = int(hours or 0) * 3600 + int(minutes) * 60 + int(rest)
        else:
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return seconds

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value is not None and value > LONGEST_SONG:
            raise ValidationError(self.error_messages["too_long"], code="too_long")

    def run_validators(self, value: Any) -> None:
        """Not those of text."""


def _is_time(hours: str | None, minutes: str, seconds: str) -> bool:
    return int(seconds) < 60 and (hours is None or (len(minutes) == 2 and int(minutes) < 60))


class ReleaseDateField(forms.DateField):
    """A plausible release date, in a format that does not confuse month and day."""

    default_error_messages = {
        "invalid": "Use YYYY-MM-DD, for example 2019-03-29.",
        "implausible": f"Use a date from {FIRST_YEAR} to {MOST_YEARS_AHEAD} years ahead.",
    }
    input_formats = (
        *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y"),
        *("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y"),
    )

    def to_python(self, value: Any) -> date | None:
        if isinstance(value, str):
            value = parse_date(text := visible_text(value)) or text
        return super().to_python(value)

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value is not None and not is_release_date(value):
            raise ValidationError(self.error_messages["implausible"], code="implausible")
