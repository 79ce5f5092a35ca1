"""Forms of the page Schedule: when something refreshes and how much it may take, and running it now."""

from typing import Any

from django import forms
from django.http import Http404, HttpRequest
from django.utils import timezone
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from catalog.admin.shared_forms import SharedForm
from catalog.schedule import BY_KIND, cost_of_a_run, limit_of
from catalog.timing import HOURS, WEEKDAYS, Frequency, Timing

OLDEST_DAYS = 3650
MOST_TRACKS = 100_000_000


class AmountForm(forms.Form):
    """How old metadata may get and how much a run may take: what a run costs follows from it."""

    max_age_days = forms.IntegerField(
        label="Stale after (days)",
        min_value=1,
        max_value=OLDEST_DAYS,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="What was fetched longer ago than this is fetched again. It counts everywhere, for the "
        "buttons and the command too.",
    )
    tracks_per_run = forms.IntegerField(
        label="At most so many tracks a run",
        required=False,
        min_value=1,
        max_value=MOST_TRACKS,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Empty: no limit. With a limit, a run takes the neediest: never fetched first, then the "
        "oldest.",
    )


class ScheduleForm(SharedForm, AmountForm):
    """Whether, when and how much."""

    element_id = "refreshpolicy_form"

    is_on = forms.BooleanField(
        label="Runs by itself",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Off: nothing is fetched unless somebody asks for it. A task that is under way goes on.",
    )
    frequency = forms.ChoiceField(
        label="How often",
        choices=Frequency.choices,
        widget=UnfoldAdminSelectWidget(attrs={"x-model.fill": "frequency"}),
    )
    weekday = forms.TypedChoiceField(
        label="Day of the week",
        coerce=int,
        # The week as people read it; Sunday is 0 to a crontab.
        choices=[(number, WEEKDAYS[number]) for number in (1, 2, 3, 4, 5, 6, 0)],
        widget=UnfoldAdminSelectWidget(),
    )
    hours = forms.TypedChoiceField(
        label="Hours between two runs",
        coerce=int,
        choices=[(hours, str(hours)) for hours in HOURS],
        widget=UnfoldAdminSelectWidget(),
        help_text="Counted from the time below.",
    )
    at = forms.TimeField(
        label="Time of day",
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time", "step": "60"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zone = timezone.get_default_timezone_name()
        for field in self.fields.values():
            field.show_hidden_initial = True
        self.fields["at"].help_text = f"In {zone}, where it is now {timezone.localtime():%H:%M}."

    @property
    def timing(self) -> Timing:
        values = self.cleaned_data
        return Timing(values["frequency"], values["at"], weekday=values["weekday"], hours=values["hours"])


class RunNowForm(BaseDialogForm):
    """Nothing to fill in: the dialog states what a run would spend."""

    form_before_template = "catalog/run_now.html"

    def get_before_template_context(
        self, request: HttpRequest, object_id: int | str | None = None
    ) -> dict[str, Any]:
        refresh = BY_KIND.get(str(object_id))
        if refresh is None:
            raise Http404
        return {"refresh": refresh, "cost": cost_of_a_run(refresh, limit=limit_of(refresh))}
