"""Every code that can be stored has words that a person can act on."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

import catalog.fetching
import catalog.quota  # noqa: F401
from catalog.explanations import EXPLANATIONS, OF_IMPORTED_ROWS, OF_PAUSED_TASKS, explain
from catalog.jobs.states import WAITS_FOR_BROKER
from soundcharts.errors import SoundchartsError


def classes_below(kind: type[SoundchartsError]) -> Iterator[type[SoundchartsError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from classes_below(child)


def texts_passed_as(name: str) -> set[str]:
    """Return the literal codes that the source gives to a parameter, a key or a default of this name."""
    found = set()
    for path in (Path(settings.BASE_DIR) / "catalog").rglob("*.py"):
        # The admin stores none; what it calls codes are those of its forms' errors.
        if {"admin", "migrations", "tests"}.intersection(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            pairs: list[tuple[object, ast.AST | None]] = []
            if isinstance(node, ast.keyword):
                pairs = [(node.arg, node.value)]
            elif isinstance(node, ast.Dict):
                pairs = [
                    (getattr(key, "value", None), value)
                    for key, value in zip(node.keys, node.values, strict=True)
                ]
            elif isinstance(node, ast.arguments):
                pairs = [(a.arg, value) for a, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            found |= {
                value.value
                for key, value in pairs
                if key == name and isinstance(value, ast.Constant) and isinstance(value.value, str)
            }
    return found - {""}


@pytest.mark.parametrize(
    "code", sorted({kind.code for kind in classes_below(SoundchartsError) if "tests" not in kind.__module__})
)
def test_every_error_is_explained(code):
    assert code in EXPLANATIONS


def test_every_code_that_the_source_writes_is_explained():
    written = texts_passed_as("code") | texts_passed_as("error_code")
    assert {"by_hand", "all_failed"} <= written
    assert written | {WAITS_FOR_BROKER} <= set(EXPLANATIONS)


@pytest.mark.parametrize(
    "words",
    [*EXPLANATIONS.values(), *OF_IMPORTED_ROWS.values(), *OF_PAUSED_TASKS.values()],
    ids=[
        *EXPLANATIONS,
        *(f"{code} of a row" for code in OF_IMPORTED_ROWS),
        *(f"{code} of a paused task" for code in OF_PAUSED_TASKS),
    ],
)
def test_an_explanation_is_a_short_title_and_whole_sentences(words):
    assert 0 < len(words.title) <= 30
    assert not words.title.endswith(".")
    assert words.meaning.endswith(".")
    assert words.what_to_do.endswith(".")
    assert len(words.reason or words.title) <= 30


@pytest.mark.parametrize(
    "words", [*EXPLANATIONS.values(), *OF_IMPORTED_ROWS.values(), *OF_PAUSED_TASKS.values()]
)
def test_no_setting_is_named_to_those_who_have_no_access_to_it(words):
    assert not re.search(
        r"[A-Z]+_[A-Z_]+", f"{words.title} {words.meaning} {words.what_to_do} {words.reason}"
    )


@pytest.mark.parametrize("code", sorted(OF_IMPORTED_ROWS))
def test_of_a_row_of_an_import_nothing_is_said_about_a_track_that_it_has_not(code):
    of_row, of_track = explain(code, is_of_import=True), explain(code)
    assert (of_row.title, of_row.is_best_left) == (of_track.title, of_track.is_best_left)
    assert "keeps the data" not in of_row.meaning
    assert "track" not in of_row.what_to_do


def test_no_two_codes_have_the_same_title():
    assert len({words.title for words in EXPLANATIONS.values()}) == len(EXPLANATIONS)


@pytest.mark.parametrize(("code", "title"), [("some_old_code", "Some old code"), ("", "No code")])
def test_a_code_without_words_is_named_as_it_is(code, title):
    assert explain(code).title == title
