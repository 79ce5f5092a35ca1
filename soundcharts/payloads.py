"""Typed values of what the Soundcharts API answers; JSON is understood here and nowhere else.

Every parse_* function takes parsed JSON of any shape and either returns a value or raises
InvalidResponse, never anything else. Inside a known envelope they are forgiving: a field that is absent,
null, empty or malformed is None, and a malformed one also leaves a warning in words.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from uuid import UUID

from soundcharts.envelopes import Page as Page
from soundcharts.envelopes import errors_beside, parse_items
from soundcharts.envelopes import parse_error_message as parse_error_message
from soundcharts.envelopes import parse_page as parse_page
from soundcharts.errors import IncompleteResponse, InvalidResponse, Moved, SoundchartsError
from soundcharts.fields import (
    MAX_SECONDS,
    MAX_WARNINGS,
    FieldReader,
    as_count,
    as_fields,
    parse_date,
    shown,
)
from soundcharts.usage import Usage as Usage
from soundcharts.usage import parse_usage as parse_usage

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_DEFAULT_TOKEN_LIFE = 300


@dataclass(frozen=True, slots=True)
class Song:
    """A song's metadata. Duration is in seconds; None means that Soundcharts did not say.

    `label` and `genre` are the first of `labels` and `genres`, whose order may change from answer to answer.
    """

    uuid: UUID
    name: str | None = None
    slug: str | None = None
    credit_name: str | None = None
    image_url: str | None = None
    isrc: str | None = None
    label: str | None = None
    genre: str | None = None
    release_date: date | None = None
    duration: int | None = None
    labels: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SongSummary:
    """What lists and searches say about a song."""

    uuid: UUID
    name: str | None = None
    credit_name: str | None = None
    image_url: str | None = None
    release_date: date | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArtistSummary:
    """What the search says about an artist."""

    uuid: UUID
    name: str | None = None
    image_url: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AudiencePoint:
    """A day's count on one platform. `identifier` is the platform's own id of the recording."""

    date: date
    identifier: str | None
    value: int


@dataclass(frozen=True, slots=True)
class AudiencePage(Page[AudiencePoint]):
    """A page of a series, or several of a period put together.

    `day_count` counts its days before they were flattened into `items`; with `repeats_days`, some of them
    stood there more than once, for one identifier each. `unreadable` names the day of each figure that could
    not be read; it is in `warnings`, too. `error` says why pages are missing: then the period is answered
    from `answered_from` on, as the newest days come first (None: no day of it is for certain).
    """

    day_count: int = 0
    repeats_days: bool = False
    unreadable: tuple[str, ...] = ()
    error: SoundchartsError | None = None
    answered_from: date | None = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An OAuth token and the seconds for which it is valid. repr() does not show the token."""

    value: str = field(repr=False)
    expires_in: int


def parse_song(item: object) -> Song:
    """Return the song that a song object describes, in any of the shapes the API has used.

    `item` is what stands in "object", in a batch answer's "items" and in the data feed's "json" column.
    Raises InvalidResponse unless it is an object with a valid uuid.
    """
    reader = FieldReader(as_fields(item, what="a song"))
    labels = reader.texts("labels", inside=("name",))
    if not labels and (label := reader.text("label", inside=("name",))):
        labels = (label,)
    genres = reader.texts("genres", inside=("name", "root"))
    return Song(
        uuid=reader.uuid(),
        name=reader.text("name"),
        slug=reader.text("slug"),
        credit_name=reader.text("creditName"),
        image_url=reader.url("imageUrl"),
        isrc=reader.isrc("isrc"),
        label=labels[0] if labels else None,
        genre=genres[0] if genres else None,
        release_date=reader.day("releaseDate"),
        duration=reader.seconds("duration"),
        labels=labels,
        genres=genres,
        warnings=reader.warnings(),
    )


def parse_song_summary(item: object) -> SongSummary:
    """Return the song of one item of a list. Raises InvalidResponse unless it has a valid uuid."""
    reader = FieldReader(as_fields(item, what="a song"))
    return SongSummary(
        uuid=reader.uuid(),
        name=reader.text("name"),
        credit_name=reader.text("creditName"),
        image_url=reader.url("imageUrl"),
        release_date=reader.day("releaseDate"),
        warnings=reader.warnings(),
    )


def parse_artist_summary(item: object) -> ArtistSummary:
    """Return the artist of one item of a search. Raises InvalidResponse unless it has a valid uuid."""
    reader = FieldReader(as_fields(item, what="an artist"))
    return ArtistSummary(
        uuid=reader.uuid(what="an artist"),
        name=reader.text("name"),
        image_url=reader.url("imageUrl"),
        warnings=reader.warnings(),
    )


def parse_ranked_song(item: object) -> SongSummary:
    """Return the song of one item of top songs, which wraps it: {"song": {...}, "audience": [...]}."""
    return parse_song_summary(as_fields(item, what="a ranked song").get("song"))


def parse_song_envelope(payload: object, *, asked: UUID | None = None) -> Song:
    """Return the song of a single answer: {"type": "song", "object": {...}, "errors": []}.

    Errors beside a song become one of its warnings. Raises IncompleteResponse if errors stand in its place,
    and Moved if it is another song than the one that was `asked` for.
    """
    fields = as_fields(payload, what="the answer")
    trouble = errors_beside(fields)
    try:
        song = parse_song(fields.get("object"))
    except InvalidResponse:
        if trouble is None:
            raise
        raise IncompleteResponse(f"{trouble} instead of the song.", status=200) from None
    if asked is not None and song.uuid != asked:
        if trouble is not None:
            raise IncompleteResponse(f"{trouble} beside another song.", status=200)
        if fields.get("type") not in (None, "song"):
            raise InvalidResponse(f"Soundcharts sent {shown(fields.get('type'))} where a song was expected.")
        raise Moved(new_uuid=song.uuid, song=song, status=200)
    return song if trouble is None else replace(song, warnings=(*song.warnings, f"{trouble} beside the song"))


def parse_song_collection(payload: object) -> Page[Song]:
    """Return the songs of a batch answer, in the server's order; unreadable items become warnings."""
    return parse_page(payload, parse_song)


def parse_audience(payload: object, *, offset: int | None = None, limit: int | None = None) -> AudiencePage:
    """Return an audience series, flattened to one point per day and identifier, in the server's order.

    Items are {"date": ..., "plots": [{"identifier": ..., "value": ...}]}; values exceed 32 bits. A day
    without any plot has no figure. `offset` and `limit` were asked for.
    """
    unreadable: list[str] = []
    days: list[date | None] = []

    def parse_day(item: object, warnings: list[str]) -> Iterator[AudiencePoint]:
        days.append(parse_date(item.get("date")) if isinstance(item, dict) else None)
        return _parse_day(item, days[-1], warnings, unreadable)

    page = parse_items(payload, parse_day, offset=offset, limit=limit, keeps_more=True)
    values = {each.name: getattr(page, each.name) for each in dataclasses.fields(page)}
    values["warnings"] = (*unreadable[:MAX_WARNINGS], *page.warnings)
    return AudiencePage(
        **values,
        day_count=len(days),
        repeats_days=len(set(days)) < len(days),
        unreadable=tuple(unreadable),
    )


def parse_token(payload: object) -> AccessToken:
    """Return the token of an OAuth answer; its life is taken for five minutes if it is not given."""
    fields = as_fields(payload, what="a token")
    value = fields.get("access_token")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise InvalidResponse("Soundcharts sent an answer without a usable access token.")
    expires_in = as_count(fields.get("expires_in"))
    return AccessToken(value, _DEFAULT_TOKEN_LIFE if expires_in is None else min(expires_in, MAX_SECONDS))


def _parse_day(
    item: object, day: date | None, warnings: list[str], unreadable: list[str]
) -> Iterator[AudiencePoint]:
    if day is None or not isinstance(item, dict):
        what = item.get("date") if isinstance(item, dict) else item
        unreadable.append(f"{shown(what)} where the date of a figure was expected")
        return
    plots = item.get("plots")
    if not isinstance(plots, list):
        unreadable.append(f"{day}: {shown(plots)} where plots were expected")
        return
    for plot in plots:
        value = plot.get("value") if isinstance(plot, dict) else None
        # 12.0 is how some writers of JSON write 12.
        count = as_count(int(value) if isinstance(value, float) and value.is_integer() else value)
        if count is None:
            unreadable.append(f"{day}: {shown(value if isinstance(plot, dict) else plot)} is not a count")
            continue
        # Some platforms number their recordings: a number is text like any other.
        number = as_count(plot.get("identifier"))
        reader = FieldReader(plot if number is None else plot | {"identifier": str(number)})
        yield AudiencePoint(date=day, identifier=reader.text("identifier"), value=count)
        warnings += [f"plots of {day}: {warning}" for warning in reader.warnings()]
