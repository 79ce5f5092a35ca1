"""What was stored in other forms gets the one form, and what cannot is left as it is and named."""

import pytest
from django.core.management import call_command

from catalog.models import Track
from catalog.search import HasWords

pytestmark = pytest.mark.django_db(transaction=True)

# What was stored, and what is kept of it.
ISRCS = {
    "US-UM7-19-00764": "USUM71900764",
    "usum71900765": "USUM71900765",
    "ISRC USUM71900766": "USUM71900766",
    "US UM7 19 00767": "USUM71900767",
    "USUM71900768": "USUM71900768",
    "": "",
    "sent so": "sent so",
}


def migrate(*target: str) -> None:
    call_command("migrate", "catalog", *target, verbosity=0)


@pytest.fixture
def migrated(make_track):
    """A function that stores tracks as the schema before had them, and brings it up to date."""

    def do(*tracks: dict[str, object]) -> list[Track]:
        # On the way back the values stay as they are.
        made = [make_track(number, **values) for number, values in enumerate(tracks)]
        try:
            migrate("0013")
        finally:
            migrate()
        for track in made:
            track.refresh_from_db()
        return made

    return do


def test_stored_isrcs_get_their_one_form_and_are_found_by_it(migrated):
    tracks = migrated(*({"isrc": isrc, "name": "Song"} for isrc in ISRCS))
    assert [track.isrc for track in tracks] == list(ISRCS.values())
    assert [track.metadata_warnings for track in tracks[:-1]] == [[]] * (len(tracks) - 1)
    assert tracks[-1].metadata_warnings == ["isrc: 'sent so' is not an ISRC"]
    assert Track.objects.filter(HasWords("US-UM7-19-00764")).get() == tracks[0]


def test_an_isrc_by_hand_gets_the_form_too_and_one_that_is_none_is_left_to_its_author(migrated):
    known, odd = migrated(
        {"isrc": "us-um7-19-00764", "edited_fields": ["isrc"]}, {"isrc": "mine", "edited_fields": ["isrc"]}
    )
    assert (known.isrc, known.edited_fields) == ("USUM71900764", ["isrc"])
    assert (odd.isrc, odd.metadata_warnings) == ("mine", [])


def test_stored_text_gets_one_unicode_form_unless_it_would_not_fit(migrated):
    # One letter of Devanagari that NFC writes as two.
    longest = "\u0958" * 255
    track, long = migrated({"name": "Beyonce\u0301", "label": "Le\u0301o"}, {"label": longest})
    assert (track.name, track.label) == ("Beyonc\u00e9", "L\u00e9o")
    assert long.label == longest
