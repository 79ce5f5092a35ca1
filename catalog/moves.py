"""Adopt the new uuid of a merged song."""

from dataclasses import dataclass, field

from django.db import IntegrityError, transaction

from catalog.mapping import FieldChange, adopt_move
from catalog.models import Track, note_aliases


@dataclass(frozen=True, slots=True)
class Adoption:
    """The result of an adoption.

    `track` is its current state. If `other` already has the new uuid, nothing was changed. `is_adopted` is
    also False if the track has not moved, or no longer counts as moved.
    """

    track: Track
    is_adopted: bool = False
    other: Track | None = None
    changes: list[FieldChange] = field(default_factory=list)


def adopt(track_id: int) -> Adoption:
    """Give a moved track its new uuid and the data that came with it; no call is made.

    The old uuid becomes an alias, so that an import of it finds the track. Raises Track.DoesNotExist.
    """
    with transaction.atomic():
        track = Track.objects.select_for_update().get(pk=track_id)
        if track.moved_to is None:
            return Adoption(track)
        new_uuid, old_uuid = track.moved_to, track.uuid
        if (other := Track.objects.filter(uuid=new_uuid).first()) is not None:
            return Adoption(track, other=other)
        changes = adopt_move(track)
        try:
            with transaction.atomic():
                track.save()
        except IntegrityError:  # An import has added the song in the meantime.
            track.refresh_from_db()
            return Adoption(track, other=Track.objects.get(uuid=new_uuid))
        note_aliases({str(old_uuid): track.pk})
    return Adoption(track, is_adopted=True, changes=changes)
