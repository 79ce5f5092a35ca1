"""What is refused before anything is migrated or fetched."""

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.core.checks import run_checks
from django.db import connection

from catalog.tests.workers import BASE_DIR

pytestmark = pytest.mark.django_db(transaction=True)
on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL")


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def wrong_database(request) -> Iterator[tuple[str, str]]:
    """The encoding and the URL of a database that is not in UTF-8."""
    name = f"wrong_{request.param.lower()}_{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE 'C' TEMPLATE template0")
    yield request.param, urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def start(*command: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=BASE_DIR,
        env=os.environ | {"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@on_postgresql
def test_migrate_refuses_a_database_that_is_not_in_utf8(wrong_database):
    encoding, url = wrong_database
    result = start("manage.py", "migrate", url=url)
    assert result.returncode != 0
    assert f"stores text as {encoding}" in result.stderr
    assert "ENCODING 'UTF8'" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Applying" not in result.stdout


@on_postgresql
@pytest.mark.parametrize("process", ["worker", "beat"])
def test_no_process_starts_to_work_in_a_database_that_is_not_in_utf8(wrong_database, process):
    encoding, url = wrong_database
    result = start("-m", "celery", "-A", "config", process, url=url)
    assert result.returncode != 0
    assert "Liner Notes cannot start: The database" in result.stderr
    assert f"stores text as {encoding}" in result.stderr


def test_the_usual_database_is_accepted():
    assert run_checks(tags=["database"], databases=["default"]) == []


@pytest.mark.parametrize(
    ("url", "warnings"),
    [
        ("https://customer.api.soundcharts.com", 0),
        ("http://127.0.0.1:8001", 0),
        ("http://[::1]:8001", 0),
        ("http://localhost", 0),
        ("http://customer.api.soundcharts.com", 1),
        ("http://10.0.0.7", 1),
    ],
)
def test_keys_that_travel_in_the_clear_are_warned_of(settings, url, warnings):
    settings.SOUNDCHARTS_API_URL = url
    settings.SOUNDCHARTS_AUTH_URL = "https://account.soundcharts.com/oauth/token"
    assert [message.id for message in run_checks()].count("catalog.W001") == warnings
