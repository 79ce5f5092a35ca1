from __future__ import annotations

import inspect
import pickle
from uuid import UUID

import pytest

from soundcharts import errors
from soundcharts.errors import SoundchartsError
from soundcharts.payloads import Song

TREE = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, SoundchartsError)]
LEAVES = [each for each in TREE if each is not SoundchartsError]


@pytest.mark.parametrize("kind", LEAVES)
def test_every_error_is_drawn_in_the_tree_with_its_nature(kind: type[SoundchartsError]) -> None:
    assert errors.__doc__ is not None
    (line,) = (line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in line)

    assert ("temporary" in line, "stops all" in line) == (kind.is_temporary, kind.stops_all)


@pytest.mark.parametrize("kind", LEAVES)
def test_no_error_is_both_temporary_and_a_reason_to_stop(kind: type[SoundchartsError]) -> None:
    assert not (kind.is_temporary and kind.stops_all)


def test_codes_are_unique_but_for_the_kinds_of_invalid_response() -> None:
    codes = [kind.code for kind in LEAVES if kind is not errors.TruncatedResponse]

    assert len(codes) == len(set(codes))
    assert errors.TruncatedResponse.code == errors.InvalidResponse.code


@pytest.mark.parametrize("kind", LEAVES)
def test_default_message_is_a_sentence(kind: type[SoundchartsError]) -> None:
    message = kind.default_message

    assert message[0].isupper()
    assert message.endswith(".")


def test_error_carries_message_status_path_and_advice() -> None:
    error = errors.RateLimited("Slow down.", status=429, path="/x", retry_after=7.0)

    assert (str(error), error.status, error.path, error.retry_after) == ("Slow down.", 429, "/x", 7.0)


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.RateLimited(status=429, path="/x", retry_after=7.0)))

    assert (type(error), error.status, error.path, error.retry_after) == (errors.RateLimited, 429, "/x", 7.0)


def test_moved_names_the_new_uuid_and_survives_pickling() -> None:
    new_uuid = UUID(int=7)
    error = errors.Moved(new_uuid=new_uuid, song=Song(new_uuid, name="bad guy"), status=200, path="/x")

    copy = pickle.loads(pickle.dumps(error))

    assert str(new_uuid) in str(error)
    assert (copy.new_uuid, copy.song, str(copy), copy.status, copy.path) == (
        *(new_uuid, Song(new_uuid, name="bad guy"), str(error), 200, "/x"),
    )
