"""A small HTTP proxy: tunnels by CONNECT, whole addresses otherwise."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Pass on what comes; `heads` holds the head of every request that it was asked for.

    With `user` and `password` it wants them. `refusal` is what it answers instead of passing on. Names that
    end in .example are all at 127.0.0.1.
    """

    def __init__(self, *, user: str = "", password: str = "", refusal: bytes = b"") -> None:
        self.heads: list[bytes] = []
        pair = f"{user}:{password}"
        self._wanted = b"Basic " + base64.b64encode(pair.encode()) if user else b""
        self._refusal = refusal
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                received = client.recv(65536)
                if not received:
                    return
                head += received
            self.heads.append(head)
            if self._wanted and b"Proxy-Authorization: " + self._wanted not in head:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            if self._refusal:
                client.sendall(self._refusal)
                return
            method, target, _ = head.split(b" ", 2)
            place = target if method == b"CONNECT" else urlsplit(target).netloc
            host, _, port = place.decode().rpartition(":")
            with socket.create_connection(
                ("127.0.0.1" if host.endswith(".example") else host, int(port))
            ) as far:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    far.sendall(head)
                back = threading.Thread(target=_copy, args=(far, client), daemon=True)
                back.start()
                _copy(client, far)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
