"""Where things are in the admin."""

import re

from django.db import models
from django.http import HttpResponse
from django.urls import reverse


def page_of(thing: models.Model) -> str:
    """Return the address of a thing's own page."""
    options = thing._meta
    return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=(thing.pk,))


def words_of(response: HttpResponse) -> str:
    """Return what a page says, without its tags."""
    return re.sub(
        r"\s+([.,:])", r"\1", re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))
    )
