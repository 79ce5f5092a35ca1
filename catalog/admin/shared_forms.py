"""Forms that several people may edit together: no change is overwritten without notice."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from django import forms
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db import connection
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from catalog.admin.keys import key_in

MINE, THEIRS = "mine", "theirs"
# Most characters of a value shown in a sentence.
_LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that someone else changed after this form was opened."""

    name: str
    label: str
    mine: str
    theirs: str
    # Hidden inputs with the other person's value, as it was shown.
    seen: SafeString
    who: str


class _HiddenValues(forms.MultipleHiddenInput):
    """Hidden inputs for several values. An empty input stands for none, as opposed to not shown."""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        return super().get_context(name, value or [""], attrs)

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        return [value for value in super().value_from_datadict(data, files, name) or () if value]


class SharedForm(forms.Form):
    """Compares each field with the value that the form showed.

    A field that was not touched keeps its current value. One that was, and that somebody else has changed
    meanwhile, is an error until the person chooses between both values (`conflicts`). `initial` must hold the
    current values, read in the transaction that saves, with the row locked. Works where the fields have
    `show_hidden_initial`; a request without those hidden values has shown nothing, and is not compared.
    """

    # Fields whose differences are merged by the form itself.
    merged_fields: tuple[str, ...] = ()
    # The id of the form's element, for inputs outside it.
    element_id = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._conflicting: list[str] = []
        self._giving_way: list[str] = []
        for field in self.fields.values():
            if issubclass(field.hidden_widget, forms.MultipleHiddenInput):
                field.hidden_widget = _HiddenValues

    def current(self, name: str) -> Any:
        """Return the current value of a field, in the form of `cleaned_data`."""
        field = self.fields[name]
        return field.clean(field.prepare_value(self.get_initial_for_field(field, name)))

    def changed_by(self, name: str) -> str:
        """Return who changed a field last, in words; empty if unknown."""
        return ""

    def gives_way(self, name: str) -> bool:
        """Return whether the new value replaces a field's changed value without a question."""
        return False

    @property
    def is_on_saved_values(self) -> bool:
        return True

    @property
    def replaced(self) -> list[tuple[str, str]]:
        """Return label and value of each field whose current value was replaced."""
        return [(str(self[name].label), self._words(name, self._now(name))) for name in self._giving_way]

    @cached_property
    def changed_data(self) -> list[str]:
        return [name for name in self.fields if self._is_touched(name)]

    @property
    def conflicts(self) -> list[Conflict]:
        """The conflicts that the person must resolve, for the page."""
        return [self._conflict(name) for name in self._conflicting]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.is_on_saved_values or not self._has_shown:
            return cleaned
        for name in [name for name in self.fields if self._is_compared(name)]:
            if name not in self.changed_data:
                self._keep_current(name)
            elif self._was_changed_by_others(name):
                self._settle(name)
        return self.cleaned_data

    def _settle(self, name: str) -> None:
        """Apply the person's choice if they saw the current value; otherwise ask."""
        choice = self.data.get(f"keep-{name}")
        if choice in (MINE, THEIRS) and not self._differs(name, self._seen(name)):
            if choice == THEIRS:
                self.changed_data.remove(name)
                self._keep_current(name)
            return
        if self.gives_way(name):
            self._giving_way.append(name)
            return
        self._conflicting.append(name)
        theirs = Truncator(self._words(name, self._now(name))).chars(_LONGEST_SHOWN)
        words = f"Someone else changed this to “{theirs}”."
        self.add_error(name, f"{words} Choose which value to keep.")

    def _keep_current(self, name: str) -> None:
        # What cannot be read again was refused when it was stored otherwise; it stays as it was sent.
        try:
            self.cleaned_data[name] = self.current(name)
        except ValidationError:
            return
        self.errors.pop(name, None)

    @cached_property
    def _has_shown(self) -> bool:
        prefix = self.add_initial_prefix("")
        return any(key.startswith(prefix) for key in self.data)

    def _is_compared(self, name: str) -> bool:
        field = self.fields[name]
        return field.show_hidden_initial and not field.disabled and name not in self.merged_fields

    def _is_touched(self, name: str) -> bool:
        bound = self[name]
        if self._is_compared(name) and not self._has_shown:
            return bool(bound.field.has_changed(bound.initial, bound.data))
        return bool(bound._has_changed())  # type: ignore[attr-defined]

    def _was_changed_by_others(self, name: str) -> bool:
        """Return whether the value differs from both the shown and the submitted one."""
        return self._differs(name, self._shown(name)) and self._differs(name, self[name].data)

    def _differs(self, name: str, sent: Any) -> bool:
        field, now = self.fields[name], self._now(name)
        return bool(field.has_changed(field.to_python(now) if isinstance(now, str) else now, sent))

    def _now(self, name: str) -> Any:
        return self.get_initial_for_field(self.fields[name], name)

    def _shown(self, name: str) -> Any:
        widget = self.fields[name].hidden_widget()
        return widget.value_from_datadict(self.data, self.files, self.add_initial_prefix(name))

    def _seen(self, name: str) -> Any:
        widget = self.fields[name].hidden_widget()
        return widget.value_from_datadict(self.data, self.files, f"seen-{name}")

    def _conflict(self, name: str) -> Conflict:
        field = self.fields[name]
        now = field.prepare_value(self._now(name))
        return Conflict(
            name,
            str(self[name].label),
            mine=self._words(name, self[name].data),
            theirs=self._words(name, self._now(name)),
            seen=field.hidden_widget().render(f"seen-{name}", now, attrs={"form": self.element_id}),
            who=self.changed_by(name),
        )

    def _words(self, name: str, value: Any) -> str:
        """Return a value as people read it."""
        field = self.fields[name]
        value = field.prepare_value(value)
        if isinstance(field, forms.BooleanField):
            return "on" if field.to_python(value) else "off"
        if isinstance(field, forms.ChoiceField | forms.ModelChoiceField):
            chosen = {str(one) for one in (value if isinstance(value, list | tuple) else [value])}
            choices = cast(Iterable[tuple[Any, Any]], field.choices)
            words = [str(label) for key, label in choices if str(key) in chosen and str(key)]
            return ", ".join(words) or "nothing"
        if isinstance(value, list | tuple):
            return " ".join(map(str, value)).strip() or "nothing"
        return str(field.widget.format_value(value) or "") or "nothing"


class SharedModelForm(SharedForm, forms.ModelForm):  # type: ignore[type-arg]
    """The same for a database row. A new row has no conflicts."""

    @property
    def is_on_saved_values(self) -> bool:
        return not self.instance._state.adding

    def current(self, name: str) -> Any:
        if name in {field.name for field in self.instance._meta.fields}:
            return getattr(self.instance, name)
        return self.initial.get(name)

    @property
    def element_id(self) -> str:  # type: ignore[override]
        return f"{self.instance._meta.model_name}_form"


class SharedPage:
    """A ModelAdmin mixin for rows that several people may edit together."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["show_hidden_initial"] = True
        return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row, locked while a form is saved, so the second person sees the first one's change."""
        if request.method == "POST" and connection.in_atomic_block:
            rows = self.model._base_manager.select_for_update(no_key=True)  # type: ignore[attr-defined]
            list(rows.filter(pk=key_in(unquote(object_id)) or 0).values_list("pk"))
        return super().get_object(request, object_id, from_field)  # type: ignore[misc]
