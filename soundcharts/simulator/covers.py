"""Covers, drawn from nothing but the uuid of a song or an artist: the same on every machine."""

from __future__ import annotations

import re
from uuid import UUID

from soundcharts.simulator.answers import Answer, error
from soundcharts.simulator.numbering import mix

PATH = "/covers/"
_ADDRESS = re.compile(r"/covers/(?:song|artist)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.svg")
_SIZE = 400


def address_of(kind: str, uuid: UUID, *, origin: str) -> str:
    """Return where the picture of a song or an artist is."""
    return f"{origin}{PATH}{kind}/{uuid}.svg"


def answer(path: str, *, revision: str = "") -> Answer:
    """Return the picture at an address: an SVG, of which each revision has other colours."""
    match = _ADDRESS.fullmatch(path)
    if match is None:
        return error(404)
    picture = draw(UUID(match[1]), revision=int(revision) if re.fullmatch("[0-9]{1,9}", revision) else 0)
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Answer(200, picture.encode(), headers=headers, content_type="image/svg+xml")


def draw(uuid: UUID, *, revision: int = 0) -> str:
    """Return a gradient with a few discs, rings or bars on it."""
    # The tail tells songs from artists.
    seed = (uuid.int >> 80) ^ (uuid.int & 0xFFFF_FFFF)
    hue = mix(seed, 60 + revision) % 360
    second = (hue + 40 + mix(seed, 50) % 120) % 360
    shapes = "".join(_shape(mix(seed, 51 + number), hue=second) for number in range(4))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIZE}" height="{_SIZE}" '
        f'viewBox="0 0 {_SIZE} {_SIZE}">'
        '<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1">'
        f'<stop offset="0" stop-color="hsl({hue},65%,42%)"/>'
        f'<stop offset="1" stop-color="hsl({second},60%,28%)"/></linearGradient></defs>'
        f'<rect width="{_SIZE}" height="{_SIZE}" fill="url(#g)"/>{shapes}</svg>'
    )


def _shape(draw: int, *, hue: int) -> str:
    x, y, size = draw % _SIZE, (draw >> 10) % _SIZE, 40 + (draw >> 20) % 120
    colour = f"hsl({hue + (draw >> 30) % 60},70%,{60 + (draw >> 36) % 25}%)"
    match (draw >> 42) % 3:
        case 0:
            return f'<circle cx="{x}" cy="{y}" r="{size}" fill="{colour}" fill-opacity=".55"/>'
        case 1:
            return (
                f'<circle cx="{x}" cy="{y}" r="{size}" fill="none" stroke="{colour}" stroke-width="18" '
                'stroke-opacity=".7"/>'
            )
    return f'<rect x="{x - 200}" y="{y}" width="{size * 4}" height="26" fill="{colour}" fill-opacity=".5"/>'
