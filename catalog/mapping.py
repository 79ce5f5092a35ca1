"""The only place where what Soundcharts says becomes what a track says."""

from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from catalog.models import METADATA_FIELDS, Track
from catalog.words import countdown
from soundcharts.errors import Moved, SoundchartsError
from soundcharts.payloads import Song, SongSummary
from soundcharts.values import is_same_picture, is_same_text, parse_isrc

MAX_LENGTHS: dict[str, int] = {
    name: length
    for name in METADATA_FIELDS
    if (length := getattr(Track._meta.get_field(name), "max_length", None)) is not None
}

# A song that Soundcharts does not know is asked for again after 1, 2, 4, ... days, at most these.
LONGEST_ABSENCE_DAYS = 32


def label_of(field: str) -> str:
    """Return the name of a track's field as the admin shows it."""
    name = str(getattr(Track._meta.get_field(field), "verbose_name", field))
    return name[:1].upper() + name[1:]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field's values before and after, or a hand-made value and what Soundcharts says instead."""

    field: str
    before: Any
    after: Any

    @property
    def label(self) -> str:
        """The field's name as the admin shows it."""
        return label_of(self.field)

    @property
    def shown_before(self) -> Any:
        return self._shown(self.before)

    @property
    def shown_after(self) -> Any:
        return self._shown(self.after)

    def _shown(self, value: Any) -> Any:
        """Return a value for display; seconds as 3:45."""
        return countdown(value) if self.field == "duration" and isinstance(value, int) else value


@dataclass(slots=True)
class TrackReport:
    """What a fetch did to one track.

    `changes` were made; `kept` are edits by hand that differ from what Soundcharts says; `notes` say in
    words what was fetched besides the track's own fields. `is_first` says that Soundcharts had never
    answered for the track before.
    """

    outcome: str
    changes: list[FieldChange] = field(default_factory=list)
    kept: list[FieldChange] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    code: str = ""
    message: str = ""
    is_first: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether Soundcharts knew the track before and now answers 404."""
        return self.outcome == "failed" and self.code == "not_found" and not self.is_first

    @property
    def history(self) -> dict[str, list[Any]]:
        """What is worth remembering, as {field: [before, after]}: nothing of a first fetch."""
        return (
            {} if self.is_first else {change.field: [change.before, change.after] for change in self.changes}
        )


def apply_song(track: Track, song: Song, *, fetched_at: datetime) -> tuple[TrackReport, bool]:
    """Put what Soundcharts says onto a track, unsaved; return the report and whether it must be written.

    A value that is absent upstream never replaces one that is known. A value changed by hand stays. A
    value too long for its column is a warning. One that only looks different (`_is_same`) is no change. When
    nothing but the stamp differs, the second value is False: stamping is enough.
    """
    report = TrackReport("unchanged", is_first=track.metadata_fetched_at is None)
    warnings = list(song.warnings)
    address_before = track.image_url
    report.changes, report.kept, too_long = _apply_fields(track, song)
    warnings += too_long
    report.warnings = warnings
    needs_write = bool(
        report.changes
        or track.image_url != address_before
        or warnings != track.metadata_warnings
        or track.metadata_error
        or track.metadata_absences
        or track.metadata_retry_at
        or track.moved_to
    )
    if report.changes:
        report.outcome = "updated"
    track.moved_to = track.moved_song = None
    track.metadata_fetched_at = fetched_at
    track.metadata_warnings = warnings
    track.metadata_error = ""
    track.metadata_absences = 0
    track.metadata_retry_at = None
    return report, needs_write


def new_track(song: SongSummary) -> Track:
    """Return an unsaved track from an entry of a list; it has never been fetched."""
    track = Track(uuid=song.uuid)
    _, _, too_long = _apply_fields(track, song)
    track.metadata_warnings = [*song.warnings, *too_long]
    return track


def apply_move(track: Track, moved: Moved, *, fetched_at: datetime) -> TrackReport:
    """Record on a track, unsaved, that Soundcharts answered with another uuid. Its metadata stay unchanged.

    The answer makes the track fresh. The other song's data are kept for `adopt_move`.
    """
    is_first = track.metadata_fetched_at is None
    if moved.new_uuid == track.uuid:  # Somebody has adopted it while the call was in flight.
        if moved.song is not None:
            return apply_song(track, moved.song, fetched_at=fetched_at)[0]
        return TrackReport("unchanged", is_first=is_first)
    track.moved_to = moved.new_uuid
    track.moved_song = None if moved.song is None else song_as_json(moved.song)
    track.metadata_fetched_at = fetched_at
    track.metadata_error = ""
    track.metadata_absences = 0
    track.metadata_retry_at = None
    return TrackReport("moved", code=moved.code, message=str(moved), is_first=is_first)


def adopt_move(track: Track) -> list[FieldChange]:
    """Give a moved track, unsaved, its new uuid and the data received with it; return the changes."""
    song = None if track.moved_song is None else song_from_json(track.moved_song)
    track.uuid, track.moved_to, track.moved_song = track.moved_to or track.uuid, None, None
    if song is None or track.metadata_fetched_at is None:
        return []
    return apply_song(track, song, fetched_at=track.metadata_fetched_at)[0].changes


def song_as_json(song: Song) -> dict[str, Any]:
    """Return a song as JSON for a column."""
    kept = asdict(song)
    kept["uuid"] = str(song.uuid)
    kept["release_date"] = song.release_date.isoformat() if song.release_date else None
    return kept


def song_from_json(kept: dict[str, Any]) -> Song:
    """Return the song stored in a JSON column, without values that this version does not know."""
    known = {name: value for name, value in kept.items() if name in Song.__dataclass_fields__}
    day = known.get("release_date")
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    return Song(
        **known
        | lists
        | {"uuid": UUID(known["uuid"]), "release_date": date.fromisoformat(day) if day else None}
    )


def apply_error(track: Track, error: SoundchartsError, *, failed_at: datetime) -> TrackReport:
    """Record on a track, unsaved, why it could not be fetched. Its metadata stay as they are."""
    track.metadata_error = error.code
    if error.code == "not_found":
        days = min(2**track.metadata_absences, LONGEST_ABSENCE_DAYS)
        track.metadata_absences = min(track.metadata_absences + 1, 1000)
        track.metadata_retry_at = failed_at + timedelta(days=days)
    is_first = track.metadata_fetched_at is None
    return TrackReport("failed", code=error.code, message=str(error), is_first=is_first)


def _apply_fields(
    track: Track, song: Song | SongSummary
) -> tuple[list[FieldChange], list[FieldChange], list[str]]:
    changes, kept, warnings = [], [], []
    for name in METADATA_FIELDS:
        value = getattr(song, name, None)
        known = getattr(track, name)
        if value is None or value == known:
            continue
        if name in MAX_LENGTHS and len(value) > MAX_LENGTHS[name]:
            warnings.append(
                f"{name}: {len(value):,} characters are more than the {MAX_LENGTHS[name]:,} that fit"
            )
            continue
        if known and _is_same(name, known, value, song):
            # A cover with an expired signature would not load.
            if name == "image_url" and name not in track.edited_fields:
                track.image_url = value
            continue
        change = FieldChange(name, known, value)
        if name in track.edited_fields:
            kept.append(change)
            continue
        setattr(track, name, value)
        changes.append(change)
    return changes, kept, warnings


def _is_same(name: str, known: Any, value: Any, song: Song | SongSummary) -> bool:
    """Return whether two differently written values mean the same.

    Another Unicode form, another spelling of an ISRC, labels or genres in another order, a new signature of
    the same picture's address.
    """
    match name:
        case "isrc":
            return parse_isrc(known) == parse_isrc(value) is not None
        case "image_url":
            return is_same_picture(known, value)
        case "label":
            return any(is_same_text(known, label) for label in (value, *getattr(song, "labels", ())))
        case "genre":
            return any(is_same_text(known, genre) for genre in (value, *getattr(song, "genres", ())))
        case _:
            return isinstance(known, str) and is_same_text(known, value)
