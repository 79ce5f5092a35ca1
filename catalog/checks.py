"""System checks that run before anything is migrated or fetched."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, connections


@register(Tags.database)
def check_encoding(*, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a PostgreSQL database that is not in UTF-8, because it would lose or reject names."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        encoding = _encoding_of(alias)
        if encoding not in ("", "UTF8"):
            name = connections[alias].settings_dict["NAME"]
            messages.append(
                Error(
                    f'The database "{name}" stores text as {encoding}, which cannot hold every name.',
                    hint=f"Create one in UTF-8: CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0.",
                    id="catalog.E001",
                )
            )
    return messages


def exit_unless_in_utf8() -> None:
    """End this process with a sentence if its database is not in UTF-8; one that is away is not looked at.

    Before a process of Celery, which would only log another exception, does anything.
    """
    try:
        found = check_encoding(databases=["default"])
    except DatabaseError:
        return
    finally:
        connections["default"].close()  # What a worker forks must inherit none.
    if found:
        raise SystemExit(f"Liner Notes cannot start: {found[0].msg} {found[0].hint}")


def _encoding_of(alias: str) -> str:
    """Return a PostgreSQL database's encoding; empty for another kind of database."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()"
        )
        found = cursor.fetchone()[0]
    # The driver cannot read text in SQL_ASCII.
    return found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)


@register()
def check_addresses(**kwargs: Any) -> list[CheckMessage]:
    """Warn if the keys are sent unencrypted to another machine."""
    return [
        Warning(
            f"{name} begins with http://, so the keys are sent unencrypted.",
            hint="Use https://, except for a test server on your own network.",
            id="catalog.W001",
        )
        for name in ("SOUNDCHARTS_API_URL", "SOUNDCHARTS_AUTH_URL")
        if urlsplit(address := getattr(settings, name)).scheme == "http" and not _is_local(address)
    ]


def _is_local(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
