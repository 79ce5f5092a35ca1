"""Hold the words from which the simulated titles, artists and labels are made. All of them are invented."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words(
    """
    Amber Anywhere Broken Burning Careful Concrete Crooked Daylight Distant Electric Empty Endless
    Faded Fearless Folded Frozen Gentle Golden Hollow Honest Indigo Lonely Lucky Magnetic Midnight
    Neon Northern Ordinary Paper Patient Quiet Restless Scarlet Second Silver Sleepless Slow Solid
    Strange Summer Tender Tidal Velvet Violet Wandering Weightless Wild Winter
    """
)
NOUNS = _words(
    """
    Anthem Arcade Avenue Balcony Bicycle Borders Bridges Cathedral Comet Compass Coastline Daughter
    Diamonds Echo Engine Fever Garden Ghost Gravity Harbour Heart Horizon Island Kingdom Lantern
    Letters Machine Mirror Monday Mountain Ocean Orchard Passenger Pavement Piano Planet Radio River
    Satellite Shadow Signal Sparrow Station Stranger Thunder Tower Wildfire Window
    """
)
TITLE_PATTERNS = (
    "{adjective} {noun}",
    "{noun}",
    "{adjective} {noun}",
    "The {noun}",
    "My {adjective} {noun}",
    "{noun} & {other}",
    "{adjective}",
    "Call It {noun}",
    "{noun} (Interlude)",
    "Don't Say {adjective}",
    "{noun} of the {other}",
    "{adjective} {noun}, Pt. 2",
    "¿{noun}?",
    "Été {adjective}",
    "夜の{noun}",
    "{noun} - Live",
)
FIRST_NAMES = _words(
    """
    Ada Amara Björn Camille Dário Elif Emre Freya Hana Ines Ivo Jonas Kaito Leila Łukasz Maëlle Mina
    Noor Óscar Petra Rafael Søren Thảo Zoë
    """
)
LAST_NAMES = _words(
    """
    Abara Ahlström Bellweather Castellano Dvořák-Lind Eastgate Fontaine Grønvold Hartwell Ibáñez
    Juneau Kowalczyk Lindqvist Marlowe Nguyễn Okonkwo Petrov Quill Ravenscroft Sato Tavares Ünal
    Vance Whitlock
    """
)
OTHER_SCRIPTS = (
    "佐藤ミナ",
    "Сергей Волнов",
    "Ελένη Νησί",
    "나래",
    "ليلى نور",
    "林夜",
    "DJ ピクセル",
    "Nový Měsíc",
)
LABELS = (
    ("Lanternlight Records", "Independent"),
    ("Harbour & Sons", "Independent"),
    ("Meridian Music", "Universal"),
    ("Northbound", "Sony"),
    ("Paper Crane", "Independent"),
    ("Redwood Sound", "Warner"),
    ("Tidewater", "Universal"),
    ("Atelier Nuit", "Believe"),
    ("Glasshouse", "Warner"),
    ("Blå Time", "Independent"),
    ("Sunday Press", "Sony"),
    ("Third Rail", "Independent"),
)
GENRES = (
    ("alternative", ("alternative", "indie")),
    ("electronic", ("house", "techno", "ambient")),
    ("pop", ("pop", "synthpop")),
    ("rock", ("rock", "garage rock")),
    ("hip-hop & rap", ("rap", "trap")),
    ("r&b, funk & soul", ("r&b", "neo soul")),
    ("jazz", ("jazz", "vocal jazz")),
    ("classical", ("piano", "film music")),
    ("latin", ("reggaeton", "bolero")),
    ("country", ("country", "americana")),
    ("african", ("afrobeats", "amapiano")),
    ("asian", ("j-pop", "k-pop")),
)
COUNTRIES = (
    ("US", "United States"),
    ("GB", "United Kingdom"),
    ("SE", "Sweden"),
    ("FR", "France"),
    ("DE", "Germany"),
    ("JP", "Japan"),
    ("BR", "Brazil"),
    ("NG", "Nigeria"),
    ("CA", "Canada"),
    ("KR", "South Korea"),
)
LANGUAGES = (
    "en",
    "en",
    "en",
    "es",
    "fr",
    "sv",
    "ja",
    "",
)
