"""Reading lists that people bring: what is an identifier, where it stands, and what is none."""

import time

import pytest

from catalog.song_lists import UnreadableList, identifier_in, read_list

UUID_TEXT = "7d534228-5165-11e9-9375-549f35161576"
ISRC = "USUM71900764"


def values_of(text: str, **options: object) -> list[str]:
    return [entry.value for entry in read_list(text, **options).entries]


@pytest.mark.parametrize(
    "text",
    [
        UUID_TEXT,
        UUID_TEXT.upper(),
        UUID_TEXT.replace("-", ""),
        f"  “{UUID_TEXT}” ",
        f"{{{UUID_TEXT}}}",
        f"urn:uuid:{UUID_TEXT}",
        f"https://app.soundcharts.com/app/song/{UUID_TEXT}/overview",
        f"\ufeff{UUID_TEXT}\u00a0",
        f"\u200e{UUID_TEXT}\u200b\u3000",
        UUID_TEXT.replace("-", "-\u200c", 1),
    ],
)
def test_a_uuid_is_known_in_every_spelling(text):
    assert identifier_in(text) == UUID_TEXT


@pytest.mark.parametrize(
    "text",
    [
        ISRC,
        "usum71900764",
        "US-UM7-19-00764",
        "US UM7 19 00764",
        f"'{ISRC}'",
        f"ISRC {ISRC}",
        "isrc: US\u2011UM7\u201119\u201100764",
    ],
)
def test_an_isrc_is_known_in_every_spelling(text):
    assert identifier_in(text) == ISRC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        UUID_TEXT[:-1],
        UUID_TEXT + "0",
        f"x{UUID_TEXT}",
        f"{UUID_TEXT} and more",
        "USUM7190076",
        "USUM719007641",
        "1SUM71900764",
        "USUM7190076X",
        "ＵＳＵＭ７１９００７６４",
        "a" * 1_000_000,
        f"https://a.example/{UUID_TEXT}/{UUID_TEXT}",
    ],
)
def test_what_is_not_quite_an_identifier_is_none(text):
    assert identifier_in(text) == ""


@pytest.mark.parametrize(
    "separator", [",", ";", "\t", "|", " ", "\n", "\r\n", "\r", " ; ", ", \n", "\u00a0", "\u2028"]
)
def test_any_separator_will_do(separator):
    assert values_of(separator.join([UUID_TEXT, ISRC, "GBAYE0601498"])) == [UUID_TEXT, ISRC, "GBAYE0601498"]


def test_a_line_of_what_nobody_sees_is_no_entry():
    assert values_of(f"\u200b\n{ISRC}\n\u200f \ufeff\n") == [ISRC]


def test_everything_that_is_no_identifier_is_named_with_its_line():
    entries = read_list(f"title, {ISRC}\n\nhello world\n{UUID_TEXT} {UUID_TEXT[:-1]}\n").entries
    assert [(entry.line, entry.given, bool(entry.value)) for entry in entries] == [
        (1, "title", False),
        (1, ISRC, True),
        (3, "hello world", False),
        (4, UUID_TEXT, True),
        (4, UUID_TEXT[:-1], False),
    ]


def test_the_same_in_another_spelling_is_a_duplicate_of_the_first():
    entries = read_list(f"{ISRC}\n{UUID_TEXT}\nUS-UM7-19-00764\n{UUID_TEXT.upper()}").entries
    assert [entry.same_as for entry in entries] == [None, None, 1, 2]


def test_ten_thousand_entries_fit_and_one_more_does_not():
    isrcs = [f"USUM7{number:07}" for number in range(10_001)]
    assert len(read_list("\n".join(isrcs[:-1])).entries) == 10_000
    with pytest.raises(UnreadableList, match=r"more than 10,000 entries.*line 10,001"):
        read_list("\n".join(isrcs))


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "f" * 1_000_000, "a " * 500_000, "-" * 1_000_000, '"' * 1_000_000]
)
@pytest.mark.parametrize("is_file", [True, False])
def test_a_giant_line_is_read_at_once(text, is_file):
    started = time.monotonic()
    entries = read_list(f"{ISRC}\n{text}", is_file=is_file).entries
    assert entries[0].value == ISRC
    assert time.monotonic() - started < 5


def test_a_list_with_commas_in_a_file_is_not_taken_for_a_table():
    assert values_of(f"{UUID_TEXT},11e81bcc-9c1c-ce38-b96b-a0369fe50396\n", is_file=True) == [
        UUID_TEXT,
        "11e81bcc-9c1c-ce38-b96b-a0369fe50396",
    ]


def test_the_heading_of_a_single_column_is_no_entry_but_is_told():
    songs = read_list(f"ISRC\n{ISRC}\n", is_file=True)
    assert (songs.header, [entry.line for entry in songs.entries]) == ("ISRC", [2])


def test_a_first_row_that_is_no_heading_counts():
    songs = read_list(f"Song;{ISRC}\nOther;GBAYE0601498\n", is_file=True)
    assert (songs.header, len(songs.wanted), songs.columns) == ("", 2, ("Column 1", "Column 2"))


def test_lines_are_counted_through_cells_with_line_breaks():
    songs = read_list(f'title;isrc\n"two\nlines";{ISRC}\nx;GBAYE0601498\n', is_file=True)
    assert [entry.line for entry in songs.entries] == [2, 4]


def test_rows_that_an_open_quotation_mark_swallows_are_not_lost_silently():
    text = f'title;isrc\n"open;{ISRC}\nb;GBAYE0601498\nc";GBAYE0601499\nd;GBAYE0601500\n'
    entries = read_list(text, is_file=True).entries
    assert "quotation mark" in entries[0].problem
    assert (entries[0].line, entries[0].value, entries[1].value) == (2, "", "GBAYE0601500")


def test_a_row_shorter_than_the_column_says_that_nothing_is_there():
    entries = read_list(f"title;note;isrc\na;b;{ISRC}\nc\n", is_file=True).entries
    assert (entries[1].line, entries[1].problem) == (3, "Nothing in the column “isrc”.")


@pytest.mark.parametrize("text", ["\n\n", " , ; \n", '""\n""'])
def test_a_list_of_nothing_is_refused(text):
    with pytest.raises(UnreadableList, match="empty"):
        read_list(text)
