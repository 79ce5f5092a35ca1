"""A server that sends exactly the bytes a test says, for what no well-behaved server would do."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

Answer = Callable[[socket.socket], None]


class RawServer:
    """Answer the nth request by the nth of `answers`, and all later ones by the last.

    `requests` holds every request's head and body as they came. Connections are kept until the client
    or an answer closes them. With `tls` it speaks TLS, at an https URL.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answers = answers
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self.address: tuple[str, int] = self._listener.getsockname()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Wakes up accept(), which close() alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._talk(self._tls.wrap_socket(connection, server_side=True) if self._tls else connection)

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            while request := _read_request(connection):
                with self._lock:
                    self.requests.append(request)
                    answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
                answer(connection)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return b""
        data += received
        if data.startswith(b"\x16"):
            return data  # The greeting of TLS, which this server does not speak.
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def sends(*pieces: bytes, every: float = 0.0, closes: bool = False) -> Answer:
    """Answer with these bytes, pausing after each piece."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(every)
        if closes:
            connection.close()

    return answer


def drips(data: bytes, *, first: bytes = b"", every: float = 0.05) -> Answer:
    """Answer with `first` at once and with `data` byte by byte."""
    return sends(first, *(data[i : i + 1] for i in range(len(data))), every=every)


def repeats(piece: bytes, *, first: bytes = b"") -> Answer:
    """Answer with `first` and then with `piece` until the client has had enough."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)

    return answer


def resets(*pieces: bytes) -> Answer:
    """Answer with these bytes and reset the connection."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()

    return answer


def hangs(seconds: float = 30.0) -> Answer:
    """Answer nothing."""
    return sends(b"", every=seconds)


def http(
    body: bytes = b"{}",
    *,
    status: str = "200 OK",
    headers: Iterable[str] = (),
    length: int | None = None,
) -> bytes:
    """Return a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
