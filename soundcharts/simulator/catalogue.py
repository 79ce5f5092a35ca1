"""Compute a believable catalogue of any size: every field of song i follows from i, so nothing is held."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from math import gcd
from typing import Any, Literal
from uuid import UUID

from soundcharts.simulator import covers, vocabulary
from soundcharts.simulator.numbering import (
    BASE10,
    BASE36,
    BASE62,
    SCRAMBLED_BITS,
    from_base,
    in_base,
    mix,
    scramble,
    unscramble,
)

Shape = Literal["v2.25", "v2", "mixed"]
JsonObject = dict[str, Any]

# How the numbers of each audience platform compare with Spotify's.
_SCALES = {
    "spotify": 1.0,
    "youtube": 0.45,
    "shazam": 0.01,
    "soundcloud": 0.04,
    "tiktok": 0.002,
    "instagram": 0.001,
    "youtube-shorts": 0.001,
    "audiomack": 0.02,
    "jiosaavn": 0.03,
    "anghami": 0.03,
    "last-fm": 0.02,
    "genius": 0.003,
    "gaana": 0.002,
    "melon": 0.001,
    "line-music": 0.01,
}
OTHER_PLATFORMS = frozenset({"apple-music", "deezer", "tidal", "amazon", "musicbrainz"})

# Blocks of 256 songs are shared out among 8 artists, so "whose is song i" and "which songs has artist a" are
# arithmetic; the last one has more songs than fit on one page of 100.
_ARTIST_SIZES = (3, 5, 8, 12, 18, 30, 60, 120)
_BLOCK = sum(_ARTIST_SIZES)
_ARTIST_STARTS = tuple(sum(_ARTIST_SIZES[:n]) for n in range(len(_ARTIST_SIZES)))

_SECOND_IDENTIFIER = 1 << 40
_SONG_TAIL = 0x11E9_9C41_5B9D1E7A4C21
_ARTIST_TAIL = 0x11E8_B96B_A17C3D52E06F
_ISRC_DESIGNATIONS = 100_000
_ISRC_STEP = 61_803

_FIRST_RELEASE = date(1962, 1, 1).toordinal()
_RELEASE_DAYS = date(2025, 6, 30).toordinal() - _FIRST_RELEASE
UNDATED_RELEASE = date(2010, 1, 1)
_SEARCHED_SONGS = 50_000


def _slug(name: str, fallback: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "-".join("".join(c if c.isalnum() else " " for c in plain).split()) or fallback


class Catalogue:
    """Answer what is known about songs 0 to songs - 1 and their artists.

    `shape` chooses among the shapes that the API has given song objects: "v2.25" is what
    the API answers today, "v2" the older one (slug, text ISRC, one label, named genres), "mixed"
    alternates song by song. About one song in 60 lacks an ISRC, a date, a duration, an image or genres,
    as in real life. Pictures are at the origin `pictures_at`.
    """

    def __init__(
        self, songs: int, *, shape: Shape = "v2.25", pictures_at: str = "https://assets.soundcharts.com"
    ) -> None:
        if not 0 < songs < _SECOND_IDENTIFIER:
            raise ValueError(f"The number of songs must be positive and below 2**40, not {songs}.")
        self.songs = songs
        self.shape = shape
        self._pictures_at = pictures_at
        step = max(1, int(songs * 0.618)) | 1
        while gcd(step, songs) != 1:
            step += 2
        self._rank_step = step % songs or 1
        self._rank_inverse = pow(self._rank_step, -1, songs) if songs > 1 else 0
        self._search = lru_cache(maxsize=32)(self._search_uncached)
        # Neighbouring songs share their artist; a few thousand cover what is being asked for at one time.
        self._artist = lru_cache(maxsize=4096)(self._artist_uncached)

    # Names of things ------------------------------------------------------------------------------

    def song_uuid(self, index: int) -> UUID:
        """Return the uuid of a song; an index past the end gives one that nobody knows (404)."""
        return UUID(int=(scramble(index) << 80) | _SONG_TAIL)

    def artist_uuid(self, artist: int) -> UUID:
        """Return the uuid of an artist; see `song_uuid`."""
        return UUID(int=(scramble(artist) << 80) | _ARTIST_TAIL)

    def song_index(self, uuid: UUID) -> int | None:
        """Return which song a uuid names, None when it is not in the catalogue."""
        index = unscramble(uuid.int >> 80)
        return index if uuid.int & ((1 << 80) - 1) == _SONG_TAIL and index < self.songs else None

    def artist_index(self, uuid: UUID) -> int | None:
        """Return which artist a uuid names, None when it is not in the catalogue."""
        artist = unscramble(uuid.int >> 80)
        known = uuid.int & ((1 << 80) - 1) == _ARTIST_TAIL and self._artist_range(artist).start < self.songs
        return artist if known else None

    def isrc(self, index: int) -> str | None:
        """Return the ISRC of a song, None for the few that have none."""
        if mix(index, 20) % 60 == 0:
            return None
        batch, position = divmod(index, _ISRC_DESIGNATIONS)
        country, _ = self._country(index)
        year = (self.release_date(index) or UNDATED_RELEASE).year % 100
        designation = position * _ISRC_STEP % _ISRC_DESIGNATIONS
        return f"{country}{in_base(0x2A51 + batch, BASE36, 3)}{year:02}{designation:05}"

    def index_of_isrc(self, isrc: str) -> int | None:
        """Return which song has an ISRC, None when no song has it."""
        isrc = isrc.upper().replace("-", "")
        if len(isrc) != 12 or not (isrc.isascii() and isrc[5:].isdigit()):
            return None
        registrant = from_base(isrc[2:5], BASE36)
        if registrant is None or registrant < 0x2A51:
            return None
        position = int(isrc[7:]) * pow(_ISRC_STEP, -1, _ISRC_DESIGNATIONS) % _ISRC_DESIGNATIONS
        index = (registrant - 0x2A51) * _ISRC_DESIGNATIONS + position
        return index if index < self.songs and self.isrc(index) == isrc else None

    def identifiers(self, index: int, platform: str) -> list[str]:
        """Return the identifiers of a song on a platform: one, or two for every fifth song."""
        keys = [index, index | _SECOND_IDENTIFIER] if mix(index, 21) % 5 == 0 else [index]
        return [self._identifier(key, platform) for key in keys]

    def index_of_identifier(self, platform: str, identifier: str) -> int | None:
        """Return which song has an identifier on a platform, None when no song has it."""
        number = from_base(identifier, BASE62 if platform in ("spotify", "youtube") else BASE10)
        if not identifier or number is None:
            return None
        index = unscramble(number) & (_SECOND_IDENTIFIER - 1)
        return index if index < self.songs and identifier in self.identifiers(index, platform) else None

    def _identifier(self, key: int, platform: str) -> str:
        scrambled = scramble(key)
        if platform == "spotify":
            return in_base(((mix(key, 22) << 18) << SCRAMBLED_BITS) | scrambled, BASE62, 22)
        if platform == "youtube":
            return in_base(((mix(key, 23) & 0xFFFF) << SCRAMBLED_BITS) | scrambled, BASE62, 11)
        return str(scrambled)

    # Artists --------------------------------------------------------------------------------------

    @property
    def artists(self) -> int:
        """Return how many artists have at least one song."""
        return self.artist_of(self.songs - 1) + 1

    def artist_of(self, index: int) -> int:
        """Return the main artist of a song."""
        block, position = divmod(index, _BLOCK)
        return block * len(_ARTIST_SIZES) + bisect_right(_ARTIST_STARTS, position) - 1

    def featured_artist_of(self, index: int) -> int | None:
        """Return the guest on a song, always an artist of the same block; None for nine songs in ten."""
        draw = mix(index, 24)
        if draw % 10:
            return None
        places = len(_ARTIST_SIZES)
        guest = index // _BLOCK * places + draw // 10 % places
        return (
            None if guest == self.artist_of(index) or self._artist_range(guest).start >= self.songs else guest
        )

    def songs_of_artist(self, artist: int, *, main_only: bool = False) -> list[int]:
        """Return the songs of an artist, with those on which the artist is a guest unless `main_only`."""
        own = [index for index in self._artist_range(artist) if index < self.songs]
        if main_only:
            return own
        start = artist // len(_ARTIST_SIZES) * _BLOCK
        block = range(start, min(start + _BLOCK, self.songs))
        return own + [index for index in block if self.featured_artist_of(index) == artist]

    def artist_name(self, artist: int) -> str:
        """Return the name of an artist."""
        draw = mix(artist, 25)
        style, draw = draw % 16, draw >> 4
        if style == 0:
            return vocabulary.OTHER_SCRIPTS[draw % len(vocabulary.OTHER_SCRIPTS)]
        if style < 9:
            first = vocabulary.FIRST_NAMES[draw % len(vocabulary.FIRST_NAMES)]
            return f"{first} {vocabulary.LAST_NAMES[(draw >> 12) % len(vocabulary.LAST_NAMES)]}"
        adjective = vocabulary.ADJECTIVES[draw % len(vocabulary.ADJECTIVES)]
        noun = vocabulary.NOUNS[(draw >> 12) % len(vocabulary.NOUNS)]
        return f"The {adjective} {noun}" if style < 13 else f"{adjective} {noun}"

    def move_pictures(self, origin: str) -> None:
        """Let pictures be at another origin (https://host:port) from now on."""
        self._pictures_at = origin
        self._artist.cache_clear()

    def artist(self, artist: int) -> JsonObject:
        """Return an artist as the API shows it inside songs and as `related`."""
        return self._artist(artist).copy()

    def _artist_uncached(self, artist: int) -> JsonObject:
        name, uuid = self.artist_name(artist), str(self.artist_uuid(artist))
        slug = _slug(name, f"artist-{artist}")
        return {
            "uuid": uuid,
            "slug": slug,
            "name": name,
            "appUrl": f"https://app.soundcharts.com/app/artist/{slug}/overview",
            "imageUrl": covers.address_of("artist", self.artist_uuid(artist), origin=self._pictures_at),
        }

    def _artist_range(self, artist: int) -> range:
        block, place = divmod(artist, len(_ARTIST_SIZES))
        start = block * _BLOCK + _ARTIST_STARTS[place]
        return range(start, start + _ARTIST_SIZES[place])

    # Songs ----------------------------------------------------------------------------------------

    def name(self, index: int, *, revision: int = 0) -> str:
        """Return the title of a song."""
        draw = mix(index, 26)
        title = vocabulary.TITLE_PATTERNS[draw & 15].format(
            adjective=vocabulary.ADJECTIVES[(draw >> 8) % len(vocabulary.ADJECTIVES)],
            noun=vocabulary.NOUNS[(draw >> 20) % len(vocabulary.NOUNS)],
            other=vocabulary.NOUNS[(draw >> 32) % len(vocabulary.NOUNS)],
        )
        return f"{title} (Remaster {revision})" if revision else title

    def credit_name(self, index: int) -> str:
        """Return the artists of a song in one line."""
        guest = self.featured_artist_of(index)
        main: str = self._artist(self.artist_of(index))["name"]
        return main if guest is None else f"{main} feat. {self._artist(guest)['name']}"

    def release_date(self, index: int) -> date | None:
        """Return when a song came out (recent years are likelier), None for a few."""
        draw = mix(index, 27)
        if draw % 60 == 0:
            return None
        days = max((draw >> 8) % _RELEASE_DAYS, (draw >> 32) % _RELEASE_DAYS)
        return date.fromordinal(_FIRST_RELEASE + days)

    def image_url(self, index: int, *, revision: int = 0) -> str | None:
        """Return the address of the cover, None for a few; each revision has another."""
        if mix(index, 28) % 60 == 0:
            return None
        suffix = f"?v={revision}" if revision else ""
        return covers.address_of("song", self.song_uuid(index), origin=self._pictures_at) + suffix

    def summary(self, index: int, *, revision: int = 0) -> JsonObject:
        """Return a song as the lists show it."""
        return {
            "uuid": str(self.song_uuid(index)),
            "name": self.name(index, revision=revision),
            "creditName": self.credit_name(index),
            "imageUrl": self.image_url(index, revision=revision),
            "releaseDate": self._iso(self.release_date(index)),
        }

    def song(self, index: int, *, revision: int = 0) -> JsonObject:
        """Return a song as the metadata endpoints show it; a revision changes title, cover and length."""
        draw = mix(index, 29)
        summary = self.summary(index, revision=revision)
        released = self.release_date(index)
        label, owner = vocabulary.LABELS[draw % len(vocabulary.LABELS)]
        main = self.artist(self.artist_of(index))
        guest = self.featured_artist_of(index)
        isrc = self.isrc(index)
        country, country_name = self._country(index)
        writer = f"{vocabulary.FIRST_NAMES[(draw >> 8) % 24]} {vocabulary.LAST_NAMES[(draw >> 16) % 24]}"
        song = {
            "uuid": summary["uuid"],
            "name": summary["name"],
            "isrc": {"value": isrc, "countryCode": country, "countryName": country_name} if isrc else None,
            "creditName": summary["creditName"],
            "artists": [main] if guest is None else [main, self.artist(guest)],
            "mainArtists": [main],
            "releaseDate": summary["releaseDate"],
            "copyright": f"℗ {(released or UNDATED_RELEASE).year} {label}",
            "appUrl": f"https://app.soundcharts.com/app/song/{summary['uuid']}/overview",
            "imageUrl": summary["imageUrl"],
            "duration": None if mix(index, 30) % 60 == 0 else 95 + (draw >> 24) % 260 + revision,
            "explicit": draw % 7 == 0,
            "genres": self._genres(index),
            "composers": [writer, main["name"]],
            "producers": [writer],
            "labels": [{"name": label, "type": owner}],
            "audio": self._audio(index),
            "languageCode": vocabulary.LANGUAGES[(draw >> 40) % len(vocabulary.LANGUAGES)],
            "distributor": owner,
            "iswcs": [],
            "previewUrl": None,
        }
        if self.shape == "v2" or (self.shape == "mixed" and index % 2):
            return self._in_the_older_shape(song, released)
        return song

    def _in_the_older_shape(self, song: JsonObject, released: date | None) -> JsonObject:
        labels, genres, isrc = song.pop("labels"), song["genres"], song["isrc"]
        return song | {
            "slug": _slug(song["name"], "song"),
            "isrc": isrc["value"] if isrc else None,
            "label": {"name": labels[0]["name"]},
            "genres": [{"name": genre["root"]} for genre in genres],
            "releaseDate": released.isoformat() if released else "",
            "duration": None if song["duration"] is None else str(song["duration"]),
        }

    def _country(self, index: int) -> tuple[str, str]:
        return vocabulary.COUNTRIES[mix(self.artist_of(index), 31) % len(vocabulary.COUNTRIES)]

    def _genres(self, index: int) -> list[JsonObject]:
        draw = mix(index, 32)
        if draw % 60 == 0:
            return []
        first = mix(self.artist_of(index), 33) % len(vocabulary.GENRES)
        second = (draw >> 8) % len(vocabulary.GENRES)
        places = [first] if second == first or draw & 1 else [first, second]
        genres = [vocabulary.GENRES[place] for place in places]
        return [{"root": root, "sub": [subs[(draw >> 16) % len(subs)]]} for root, subs in genres]

    def _audio(self, index: int) -> JsonObject:
        draw = mix(index, 34)
        shares = [round(((draw >> shift) & 0x7F) / 127, 2) for shift in (0, 7, 14, 21, 28, 35, 42)]
        return {
            "acousticness": shares[0],
            "danceability": shares[1],
            "energy": shares[2],
            "instrumentalness": shares[3],
            "key": draw % 12,
            "liveness": shares[4],
            "loudness": round(-3 - ((draw >> 49) & 0x7F) / 8, 2),
            "mode": draw & 1,
            "speechiness": shares[5],
            "tempo": round(60 + (draw >> 50) % 1200 / 10, 2),
            "timeSignature": 3 if draw % 9 == 0 else 4,
            "valence": shares[6],
        }

    @staticmethod
    def _iso(day: date | None) -> str | None:
        return None if day is None else f"{day.isoformat()}T00:00:00+00:00"

    # Search, ranks ---------------------------------------------------------------------------------

    def search(self, term: str) -> tuple[int, ...]:
        """Return the songs whose title or credit contains a term, among the first 50,000 songs."""
        return self._search(" ".join(term.casefold().split()))

    def search_artists(self, term: str) -> list[int]:
        """Return the artists whose name contains a term, among those of the first 50,000 songs."""
        wanted = " ".join(term.casefold().split())
        last = self.artist_of(min(self.songs, _SEARCHED_SONGS) - 1)
        names = ((artist, self.artist_name(artist).casefold()) for artist in range(last + 1))
        return [artist for artist, name in names if wanted and wanted in name]

    def _search_uncached(self, term: str) -> tuple[int, ...]:
        return tuple(self._matches(term)) if term else ()

    def _matches(self, term: str) -> Iterator[int]:
        for index in range(min(self.songs, _SEARCHED_SONGS)):
            if term in self.name(index).casefold() or term in self.credit_name(index).casefold():
                yield index

    def index_at_rank(self, rank: int) -> int:
        """Return the song at a rank of popularity; rank 0 is heard most."""
        return rank * self._rank_step % self.songs

    def rank(self, index: int) -> int:
        """Return the rank of popularity of a song; the inverse of `index_at_rank`."""
        return index * self._rank_inverse % self.songs

    def daily_audience(self, index: int, platform: str) -> int:
        """Return how much a song gains on a platform in a day, at least 1."""
        return max(1, int(2_400_000 * _SCALES[platform] / (self.rank(index) + 1) ** 0.55))
