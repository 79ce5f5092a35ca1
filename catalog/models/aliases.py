"""Other identifiers that lead to a track at Soundcharts."""

from collections.abc import Collection, Mapping

from django.db import models
from django.db.models.functions import Now

from catalog.models.tracks import Track


class TrackAlias(models.Model):
    """A normalized ISRC or uuid that leads to a track with another one."""

    identifier = models.CharField(max_length=36, unique=True)
    track = models.ForeignKey(Track, on_delete=models.CASCADE, related_name="aliases")
    noted_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.identifier


def tracks_by_identifier(identifiers: Collection[str]) -> dict[str, int]:
    """Return the keys of existing tracks by identifier: their own identifier first, then an alias."""
    wanted = set(identifiers)
    aliases = TrackAlias.objects.filter(identifier__in=wanted)
    found = dict(aliases.values_list("identifier", "track_id"))
    # The oldest track wins if several share an ISRC.
    own = Track.objects.identified_by(wanted).order_by("-pk")
    for key, uuid, isrc in own.values_list("pk", "uuid", "isrc"):
        found |= {value: key for value in (str(uuid), isrc) if value in wanted}
    return found


def note_aliases(tracks: Mapping[str, int]) -> None:
    """Store the tracks that identifiers led to, except the tracks' own identifiers."""
    keys = set(tracks.values())
    own = {
        (value, key)
        for key, uuid, isrc in Track.objects.filter(pk__in=keys).values_list("pk", "uuid", "isrc")
        for value in (str(uuid), isrc)
    }
    TrackAlias.objects.bulk_create(
        # A fixed order, so two imports of the same list cannot deadlock.
        [TrackAlias(identifier=value, track_id=key) for value, key in sorted(tracks.items() - own)],
        update_conflicts=True,
        unique_fields=["identifier"],
        update_fields=["track"],
    )
