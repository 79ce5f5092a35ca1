"""Where things are in the admin."""

from django.db import models
from django.urls import reverse


def page_of(thing: models.Model) -> str:
    """Return the address of a thing's own page."""
    options = thing._meta
    return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=(thing.pk,))
