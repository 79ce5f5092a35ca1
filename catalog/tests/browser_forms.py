"""Reads the forms of pages as a browser does, for tests without one."""

from html.parser import HTMLParser

from django.test import Client

Values = dict[str, list[str]]


class FormReader(HTMLParser):
    """Reads what a browser would send if the form with this id were submitted as it is."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.values: Values = {}
        self._form_id = form_id
        self._is_inside = False
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form":
            self._is_inside = attributes.get("id") == self._form_id
        is_ours = attributes.get("form") == self._form_id if "form" in attributes else self._is_inside
        if tag == "select":
            self._select = attributes["name"] or "" if is_ours else ""
        elif tag == "option" and self._select and "selected" in attributes:
            self.values.setdefault(self._select, []).append(attributes.get("value") or "")
        if not is_ours or tag != "input" or not attributes.get("name"):
            return
        kind = attributes.get("type", "text")
        if kind == "submit" or (kind in ("checkbox", "radio") and "checked" not in attributes):
            return
        self.values.setdefault(attributes["name"], []).append(attributes.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False
        elif tag == "select":
            self._select = ""


def values_in(page: str, form_id: str) -> Values:
    reader = FormReader(form_id)
    reader.feed(page)
    assert "csrfmiddlewaretoken" in reader.values
    return reader.values


def open_form(client: Client, address: str, form_id: str) -> Values:
    return values_in(client.get(address).content.decode(), form_id)
