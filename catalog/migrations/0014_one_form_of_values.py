"""Store ISRCs as ISO 3901 does (USUM71900764), and text in one Unicode form (NFC).

An ISRC that is none stays as it is; where Soundcharts sent it, the track says so in a warning. Walks the tracks once
by their key. Not reversible in the values, which meant the same before.
"""

import re
import unicodedata

from django.db import migrations

from catalog.migrating import LongMigration

STEP = 2000
TEXTS = ("name", "credit_name", "slug", "label", "genre")
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}", re.ASCII)
WORD = re.compile(r"\(?ISRC(?:CODE)?\)?[:#.=]*")


def in_one_form(text):
    """Return an ISRC in its one form, None for what is none."""
    kept = (
        letter
        for letter in text
        if not (letter in "-\u2212" or letter.isspace() or unicodedata.category(letter) in ("Pd", "Cf"))
    )
    compact = "".join(kept).upper() if text else ""
    for candidate in (compact, WORD.sub("", compact, count=1)):
        if ISRC.fullmatch(candidate):
            return candidate
    return None


def store_one_form(apps, schema_editor):
    tracks = apps.get_model("catalog", "Track").objects.order_by("pk")
    fields = ("isrc", *TEXTS)
    last = 0
    while page := list(tracks.filter(pk__gt=last).values_list("pk", *fields)[:STEP]):
        last = page[-1][0]
        odd = [pk for pk, *values in page if not all(map(_is_in_one_form, fields, values))]
        if odd:
            _correct(tracks.filter(pk__in=odd).only("pk", *fields, "metadata_warnings", "edited_fields"))


def _is_in_one_form(field, value):
    if field == "isrc":
        return not value or ISRC.fullmatch(value)
    return value.isascii() or unicodedata.is_normalized("NFC", value)


def _correct(tracks):
    # By what changes of them: mostly the ISRC alone, which one short statement writes for many.
    changed = {}
    for track in tracks:
        before = {name: getattr(track, name) for name in ("isrc", *TEXTS, "metadata_warnings")}
        for name in TEXTS:
            text = unicodedata.normalize("NFC", getattr(track, name))
            # Some letters of old scripts are longer in NFC.
            if len(text) <= track._meta.get_field(name).max_length:
                setattr(track, name, text)
        if isrc := in_one_form(track.isrc):
            track.isrc = isrc
        elif track.isrc and "isrc" not in track.edited_fields:
            warning = f"isrc: {track.isrc!r} is not an ISRC"
            if warning not in track.metadata_warnings:
                track.metadata_warnings = [*track.metadata_warnings, warning]
        names = tuple(name for name, value in before.items() if getattr(track, name) != value)
        if names:
            changed.setdefault(names, []).append(track)
    for names, alike in changed.items():
        type(alike[0]).objects.bulk_update(alike, names, batch_size=500)


class Migration(LongMigration):
    dependencies = [("catalog", "0013_import_row_track")]

    operations = [migrations.RunPython(store_one_form, migrations.RunPython.noop)]
