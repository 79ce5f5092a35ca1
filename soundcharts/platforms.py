"""The platforms whose audience Soundcharts counts, and what it counts there (the API's reference)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AudiencePlatform:
    """A platform as people write it, and the noun of what is counted: "Spotify", "streams"."""

    name: str
    noun: str


# By the code that stands in the address of a call.
AUDIENCE_PLATFORMS = {
    "spotify": AudiencePlatform("Spotify", "streams"),
    "youtube": AudiencePlatform("YouTube", "views"),
    "shazam": AudiencePlatform("Shazam", "Shazams"),
    "soundcloud": AudiencePlatform("SoundCloud", "plays"),
    "tiktok": AudiencePlatform("TikTok", "videos"),
    "instagram": AudiencePlatform("Instagram", "reels"),
    "youtube-shorts": AudiencePlatform("YouTube Shorts", "shorts"),
    "audiomack": AudiencePlatform("Audiomack", "plays"),
    "jiosaavn": AudiencePlatform("JioSaavn", "plays"),
    "anghami": AudiencePlatform("Anghami", "plays"),
    "last-fm": AudiencePlatform("Last.fm", "plays"),
    "genius": AudiencePlatform("Genius", "page views"),
    "gaana": AudiencePlatform("Gaana", "favorites"),
    "melon": AudiencePlatform("Melon", "likes"),
    "line-music": AudiencePlatform("LINE MUSIC", "streams"),
}
