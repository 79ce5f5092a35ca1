"""The form of the import page: where to import from, and how much."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from catalog.fetching import LIST_PAGE
from catalog.jobs import LAST_OFFSET
from catalog.models import ImportDraft
from catalog.models.import_rows import SHOWN_LENGTH
from catalog.search import search_text
from catalog.song_lists import LARGEST_FILE, LARGEST_LIST, UnreadableList, decode_file, read_list
from soundcharts.values import visible_text

Source = ImportDraft.Source


class PastedUUIDField(forms.UUIDField):
    """A pasted UUID; invisible characters around it are ignored."""

    def to_python(self, value: Any) -> Any:
        return super().to_python(visible_text(value) if isinstance(value, str) else value)


class ImportForm(forms.Form):
    """What to import. Only the fields of the chosen source count.

    `kept` is the draft that is gone back to: its file need not be chosen again. With `is_search` an artist's
    name is what is needed, and nothing else.
    """

    source = forms.ChoiceField(choices=Source.choices, initial=Source.LIST, widget=forms.RadioSelect)
    text = forms.CharField(
        label="UUIDs or ISRCs",
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={
                "rows": 8,
                "spellcheck": "false",
                "placeholder": "7d534228-5165-11e9-9375-549f35161576\nUSUM71900764",
            }
        ),
        help_text="One a line, or with commas, semicolons, tabs or spaces between them; both kinds may be "
        f"mixed. Up to {LARGEST_LIST:,}.",
    )
    file = forms.FileField(
        label="Or a file",
        required=False,
        allow_empty_file=True,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.tsv,.txt,text/csv,text/plain"}),
        help_text=f"CSV or TXT, up to {LARGEST_FILE // 1_000_000} MB. From Excel: save as “CSV UTF-8”. Which "
        "column holds the identifiers is found out, and can be changed in the next step.",
    )
    artist_name = forms.CharField(
        label="Artist's name",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "auto"}),
    )
    artist_uuid = PastedUUIDField(
        label="Or the artist's UUID at Soundcharts",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "11e81bcc-9c1c-ce38-b96b-a0369fe50396"}),
    )
    limit = forms.IntegerField(
        label="How many songs",
        required=False,
        initial=100,
        min_value=1,
        max_value=LAST_OFFSET,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=f"The most streamed first. One call lists {LIST_PAGE}.",
    )
    place = forms.IntegerField(
        label="Begin at place",
        required=False,
        initial=1,
        min_value=1,
        max_value=LAST_OFFSET,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Where in the list to begin: 1 is the first song.",
    )

    def __init__(
        self, *args: Any, kept: ImportDraft | None = None, is_search: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.kept = kept if kept is not None and kept.file_name else None
        self.is_search = is_search
        # A character that no list has is told in the words of all the others.
        self.fields["text"].validators = []

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        source = Source.ARTIST if self.is_search else cleaned.get("source", "")
        of_lists, of_listings = ("text", "file"), ("limit", "place")
        counting = {
            Source.LIST: of_lists,
            Source.ARTIST: ("artist_name",) if self.is_search else ("artist_uuid", *of_listings),
            Source.TOP: of_listings,
        }.get(source, ())
        for name in [*self.errors]:
            if name not in (*counting, "source"):
                del self.errors[name]
        if source == Source.LIST:
            self._clean_list(cleaned)
        elif self.is_search:
            if not search_text(cleaned.get("artist_name") or "") and "artist_name" not in self.errors:
                self.add_error("artist_name", "Type a name to search for.")
        elif source:
            self._clean_listing(cleaned, source)
        return cleaned

    def _clean_list(self, cleaned: dict[str, Any]) -> None:
        file, text = cleaned.get("file"), cleaned.get("text") or ""
        name = "text"
        try:
            if file is not None:
                name = "file"
                if text.strip():
                    raise UnreadableList("Paste a list or choose a file, not both: empty one of the two.")
                if file.size > LARGEST_FILE:
                    raise UnreadableList(
                        f"The file has {file.size / 1_000_000:,.1f} MB; {LARGEST_FILE // 1_000_000} MB are "
                        "the most. Save only the column of identifiers, or import it in parts."
                    )
                text = decode_file(file.read())
            elif not text.strip() and self.kept is not None:
                name, text = "file", self.kept.text
            if not text.strip():
                raise UnreadableList(
                    "The file is empty." if file is not None else "Paste a list, or choose a file."
                )
            songs = read_list(text, is_file=name == "file")
            if not songs.wanted:
                first = songs.entries[0]
                raise UnreadableList(
                    f"There is no UUID and no ISRC in it. Line {first.line:,} says "
                    f"“{first.given[:SHOWN_LENGTH]}”."
                )
        except UnreadableList as error:
            self.add_error(name, str(error))
            return
        cleaned["text"] = text
        cleaned["file_name"] = ""
        if name == "file":
            cleaned["file_name"] = (file.name if file is not None else self.kept.file_name)[:200]  # type: ignore[union-attr]

    def _clean_listing(self, cleaned: dict[str, Any], source: str) -> None:
        if source == Source.ARTIST and not cleaned.get("artist_uuid") and "artist_uuid" not in self.errors:
            self.add_error(
                "artist_uuid",
                "Search for the name and choose an artist, or give a UUID."
                if cleaned.get("artist_name")
                else "Give an artist's UUID, or search for a name.",
            )
        for name in ("limit", "place"):
            if cleaned.get(name) is None and name not in self.errors:
                self.add_error(name, "This field is required.")
        if (cleaned.get("limit") or 0) + (cleaned.get("place") or 1) - 1 > LAST_OFFSET:
            self.add_error(
                "limit",
                f"Soundcharts lists the first {LAST_OFFSET:,} songs: ask for fewer, or begin earlier.",
            )

    def make_draft(self) -> ImportDraft:
        """Return the unsaved draft of a form that is valid."""
        cleaned = self.cleaned_data
        source = Source.ARTIST if self.is_search else cleaned["source"]
        if source == Source.LIST:
            return ImportDraft(source=source, text=cleaned["text"], file_name=cleaned["file_name"])
        return ImportDraft(
            source=source,
            artist_uuid=cleaned.get("artist_uuid") if source == Source.ARTIST else None,
            artist_name=search_text(cleaned.get("artist_name") or "") if source == Source.ARTIST else "",
            limit=cleaned.get("limit"),
            # People count from 1, the API from 0.
            offset=None if (place := cleaned.get("place")) is None else place - 1,
        )


def initial_of(draft: ImportDraft) -> dict[str, Any]:
    """Return what the form is to show when somebody comes back to a draft."""
    values = {
        "source": draft.source,
        "text": "" if draft.file_name else draft.text,
        "artist_name": draft.artist_name,
        "artist_uuid": draft.artist_uuid,
        "limit": draft.limit,
        "place": None if draft.offset is None else draft.offset + 1,
    }
    return {name: value for name, value in values.items() if value is not None}
