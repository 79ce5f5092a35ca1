"""Searching tracks: what a search finds, who keeps its index up to date, and that it is used."""

import pytest
from django.db import connection, transaction
from django.db.models import F

from catalog.fetching import work_on_job
from catalog.jobs import request_metadata
from catalog.models import Track
from catalog.search import HasWords
from catalog.tests.conftest import SONGS
from catalog.tests.tracks import add_tracks


def find(term: str) -> set[str]:
    return set(Track.objects.filter(HasWords(term)).values_list("name", flat=True))


@pytest.fixture
def songs(make_track) -> None:
    names = (
        ("Harbour Echo 4711", "The Lanterns", "AUBM09000001"),
        ("Crazy in Love", "Beyoncé feat. Jay-Z", "USSM10301830"),
        ("Don't Stop", "AC/DC", "GBAAA0000003"),
        ("U Can't Touch This", "MC Hammer", "USCA29000123"),
        ("Ночь", "Кино", "RUA1D8800001"),
        ("はじまり★Star", "佐々木", "JPB600000001"),
        ("", "", ""),
    )
    for number, (name, credit, isrc) in enumerate(names):
        make_track(number, name=name, credit_name=credit, isrc=isrc)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("harbour", {"Harbour Echo 4711"}),
        ("HARB", {"Harbour Echo 4711"}),
        ("echo", {"Harbour Echo 4711"}),
        ("471 ech", {"Harbour Echo 4711"}),
        ("lantern harbour", {"Harbour Echo 4711"}),
        ("arbour", set()),
        ("beyonce", {"Crazy in Love"}),
        ("BEYONCÉ", {"Crazy in Love"}),
        ("beyonce\u0301", {"Crazy in Love"}),
        ("jay-z", {"Crazy in Love"}),
        ("don't", {"Don't Stop"}),
        ("ac/dc", {"Don't Stop"}),
        ("dc", {"Don't Stop"}),
        ("ночь", {"Ночь"}),
        ("кино", {"Ночь"}),
        ("はじ", {"はじまり★Star"}),
        ("star", {"はじまり★Star"}),
        ("佐々木", {"はじまり★Star"}),
        ("ussm1", {"Crazy in Love"}),
        ("US-SM1-03-01830", {"Crazy in Love"}),
        ("US-SM1-03-01831", set()),
        ("", set()),
        ("%", set()),
        ("★", set()),
        ("echo*", {"Harbour Echo 4711"}),
        ("echo AND", set()),
        ("echo OR love", set()),
        ("name:echo", set()),
        ('" OR 1=1 --', set()),
        ("\\' :* & | !", set()),
        ("x" * 3000, set()),
        ("ꞮꞮ", set()),
        ("harbour\u3000echo", {"Harbour Echo 4711"}),
        ("harbour\u00a0echo", {"Harbour Echo 4711"}),
        ("\tharbour\techo\n", {"Harbour Echo 4711"}),
        ("\ufeffharbour\u200b", {"Harbour Echo 4711"}),
        ("\u200eharbour\u202c echo\u200f", {"Harbour Echo 4711"}),
        ("har\u200bbour ec\u00adho", {"Harbour Echo 4711"}),
        ("harbour\u200cecho", {"Harbour Echo 4711"}),
        ("佐々木\u3000はじ", {"はじまり★Star"}),
        ("ISRC US\u2011SM1\u201103\u201101830", {"Crazy in Love"}),
        ("\u200b", set()),
    ],
)
def test_every_word_begins_a_word_of_name_credit_or_isrc(songs, term, found):
    assert find(term) == found


@pytest.mark.django_db
@pytest.mark.parametrize("joiner", ["\u200b", "\u200c", "\u200d"])
def test_a_name_is_found_as_it_is_copied_with_the_joiners_in_it(make_track, joiner):
    name = f"می{joiner}خواهم"
    make_track(0, name=name)

    assert find(name) == {name}
    assert find("Other") == set()


@pytest.mark.django_db
def test_a_single_letter_is_a_word_and_not_the_beginning_of_one(songs):
    assert find("u") == {"U Can't Touch This"}


@pytest.mark.django_db
def test_words_that_no_index_could_hold_can_be_saved_and_found(make_track):
    long = "ﷺ" * 500  # Each becomes eighteen letters.
    make_track(0, name=long)
    make_track(1, name="y" * 500)

    assert find("y" * 500) == {"y" * 500}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "write",
    [
        lambda track: Track.objects.filter(pk=track.pk).update(name="Afterwards"),
        lambda track: Track.objects.bulk_update([Track(pk=track.pk, name="Afterwards")], ["name"]),
        lambda track: Track(
            pk=track.pk, uuid=track.uuid, name="Afterwards", created_at=track.created_at
        ).save(),
    ],
    ids=["update", "bulk_update", "save"],
)
def test_every_write_is_found_and_what_was_before_is_not(make_track, write):
    track = make_track(name="Before", credit_name="Somebody")

    write(track)

    assert (find("before"), find("after")) == (set(), {"Afterwards"})


@pytest.mark.django_db
def test_a_track_that_was_deleted_is_not_found(make_track):
    make_track(name="Before").delete()
    make_track(name="Another")

    assert (find("before"), find("another")) == (set(), {"Another"})


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_is_not_found(make_track):
    track = make_track(name="Before")
    with transaction.atomic():
        Track.objects.filter(pk=track.pk).update(name="Afterwards")
        transaction.set_rollback(True)

    assert (find("before"), find("afterwards")) == ({"Before"}, set())


@pytest.mark.django_db(transaction=True)
def test_fetched_tracks_are_found_by_their_new_names(simulator, broker):
    tracks = add_tracks(simulator, 12, name="Working title")

    work_on_job(request_metadata([track.pk for track in tracks]).job.pk)

    assert find("working") == set()
    for track in Track.objects.all():
        assert track.name in find(track.name)


@pytest.mark.django_db
def test_the_index_for_words_holds_together(songs):
    Track.objects.update(name=F("credit_name"))
    Track.objects.filter(name="Кино").delete()

    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # Raises where the index is not that of the table.
            cursor.execute("INSERT INTO catalog_track_words (catalog_track_words) VALUES ('integrity-check')")
    assert find("hammer") == {"MC Hammer"}


@pytest.mark.django_db
def test_a_search_uses_the_index():
    Track.objects.bulk_create(
        Track(uuid=SONGS.song_uuid(number), name=f"Song {number}") for number in range(3000)
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE catalog_track")

    plan = Track.objects.filter(HasWords("2999")).explain()

    if connection.vendor == "postgresql":
        assert "track_words" in plan
    else:
        assert "VIRTUAL TABLE INDEX" in plan
        assert "SEARCH catalog_track USING INTEGER PRIMARY KEY" in plan
