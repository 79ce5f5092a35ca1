"""Serve the endpoints over HTTP: credentials, rate and quota first, then latency, faults and the answer."""

from __future__ import annotations

import base64
import binascii
import hmac
import http
import logging
import os
import select
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import parse_qs

from soundcharts.simulator import answers, covers
from soundcharts.simulator.answers import Answer, Refused
from soundcharts.simulator.control import PREFIX, Control
from soundcharts.simulator.endpoints import Call, Endpoints, Request, parse_query
from soundcharts.simulator.faults import Fault, Faults
from soundcharts.simulator.state import State

logger = logging.getLogger("soundcharts.simulator")

TOKEN_PATH = "/oauth/token"  # noqa: S105
_MAX_BODY = 1 << 20
_IDLE_SECONDS = 75.0
_STOP_SECONDS = 2.0
_NOTICE_SECONDS = 0.25
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class _Stopped(ConnectionError):
    """The simulator is stopping; the call gets no answer."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What callers must know: either pair opens every endpoint."""

    app_id: str
    api_key: str
    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that a connection needs to answer."""

    credentials: Credentials
    endpoints: Endpoints
    control: Control
    state: State
    faults: Faults


class Server(socketserver.ThreadingTCPServer):
    """One thread per connection; knows its connections, so that stopping ends them all."""

    allow_reuse_address = True
    daemon_threads = True
    # A worker pool opens its connections all at once; the default backlog of 5 would delay some by a second.
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        self.site = site
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection, and serve it in a thread of its own."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and forget it."""
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what is wrong with the simulator, but not that a client has gone."""
        gone = isinstance(sys.exception(), OSError)
        logger.log(logging.DEBUG if gone else logging.ERROR, "connection lost", exc_info=True)

    def stop(self) -> None:
        """Stop listening, cut every connection, and wait up to 2 s until their threads are done."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        deadline = time.monotonic() + _STOP_SECONDS
        with self._changed:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    logger.debug("connection was closed already")
            while self._connections and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Simulator"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True

    @property
    def _server(self) -> Server:
        return cast(Server, self.server)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def _serve(self) -> None:
        try:
            self._serve_request()
        except _Stopped:
            self.close_connection = True
        except (OSError, ValueError) as error:
            # ValueError: the socket was closed under us, by a reset or by the end of the simulator.
            if not isinstance(error, OSError) and self.connection.fileno() >= 0:
                raise
            self.close_connection = True
            if not self._server.stopping.is_set():
                self._server.site.state.record_hang_up()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def _serve_request(self) -> None:
        request = self._read_request()
        if request is None:
            return
        site = self._server.site
        if request.path.startswith(PREFIX):
            with_keys = any(name in self.headers for name in ("x-api-key", "x-app-id", "authorization"))
            self._send(site.control.answer(request, with_keys=with_keys))
            return
        if request.path.startswith(covers.PATH):
            # No call of the API: neither counted nor slow.
            self._send(covers.answer(request.path, revision=request.query.get("v", "")))
            return
        if request.path == TOKEN_PATH:
            call = Call("token", (), lambda: self._token(request))
        else:
            call = site.endpoints.route(request)
        site.state.start_call(call.kind)
        try:
            answer = self._answer_call(call)
        finally:
            # Before its answer is out: whoever has that may make the next call.
            site.state.finish_call()
        if answer is not None:
            self._send(answer)
        logger.debug("%s %s", request.method, request.path)

    def _read_request(self) -> Request | None:
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self._refuse_request(400)
            return None
        if int(length[:12]) > _MAX_BODY:
            self._refuse_request(413)
            return None
        body = self.rfile.read(int(length)) if length != "0" else b""
        if len(body) < int(length):
            raise ConnectionAbortedError("The client went away in the middle of its request.")
        path, _, query = self.path.partition("?")
        return Request(self.command, path, parse_query(query), body)

    def _refuse_request(self, status: int) -> None:
        self.close_connection = True
        self._send(answers.error(status))

    # Letting calls in -----------------------------------------------------------------------------

    def _answer_call(self, call: Call) -> Answer | None:
        """Return what is to be sent, None when a fault has sent it in its own way."""
        site, fault, charged, refusal = self._server.site, None, False, None
        if call.kind != "token":
            refusal, charged = self._refusal(call.kind)
        if refusal is None:
            site.endpoints.record_asked(call)
            strike = site.faults.next_strike(call.kind, call.uuids)
            fault = strike.fault
            self._wait(site.state.latency + strike.delay)
            answer = self._sound_or_broken(call, fault)
        else:
            self._wait(site.state.latency)
            answer = refusal
        # Requests that the server fails to answer are not counted (help.soundcharts.com).
        unanswered = fault is not None and fault.name in ("reset", "closed", "hang")
        is_page = fault is not None and fault.name == "gateway_page"
        if charged and (answer.status >= 500 or answer.status in (408, 425, 429) or unanswered or is_page):
            site.state.refund()
        if call.kind != "token" and _names_quota(fault):
            answer.headers["x-quota-remaining"] = str(site.state.quota_remaining)
        deliver = None if fault is None else _DELIVERIES.get(fault.name)
        if deliver is None or deliver(self, answer, cast(Fault, fault).options):
            site.state.record_answer(answer.status, songs=answer.songs, platform=answer.platform)
        return answer if deliver is None else None

    def _refusal(self, kind: str) -> tuple[Answer | None, bool]:
        """Return why a call is not let in, if it is not, and whether the quota was charged for it."""
        state = self._server.site.state
        wait = state.admit()
        if wait is not None:
            return answers.rate_limited(wait), False
        if not self._is_authenticated():
            # One request is one call, whatever it returns (help.soundcharts.com).
            return answers.error(401), state.charge()
        if kind == "usage":
            return None, False
        return (None, True) if state.charge() else (answers.quota_exhausted(), False)

    def _is_authenticated(self) -> bool:
        site = self._server.site
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return site.state.knows_token(token.strip())
        return _same(self.headers.get("x-app-id", ""), site.credentials.app_id) and _same(
            self.headers.get("x-api-key", ""), site.credentials.api_key
        )

    def _token(self, request: Request) -> Answer:
        site = self._server.site
        if request.method != "POST":
            return answers.error(405)
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        try:
            pair = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            pair = ""
        if not _same(pair, f"{site.credentials.client_id}:{site.credentials.client_secret}"):
            return Answer(401, answers.encode({"error": "invalid_client"}), {"WWW-Authenticate": "Basic"})
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if form.get("grant_type") != ["client_credentials"]:
            return Answer(400, answers.encode({"error": "unsupported_grant_type"}))
        token = site.state.issue_token(form.get("team_id", [None])[0])
        lifetime = int(site.state.token_lifetime)
        return answers.ok({"access_token": token, "token_type": "bearer", "expires_in": lifetime})

    # Faults ---------------------------------------------------------------------------------------

    def _sound_or_broken(self, call: Call, fault: Fault | None) -> Answer:
        name, options = ("", {}) if fault is None else (fault.name, fault.options)
        match name:
            case "error" | "batch_refused":
                return answers.error(options["status"], options.get("message"))
            case "rate_limited":
                return answers.rate_limited(options["reset"])
            case "quota_exhausted":
                return answers.quota_exhausted()
            case "gateway_page":
                page = answers.html(options["status"], title=str(options["status"]))
                if options["retry_after"] is not None:
                    page.headers["Retry-After"] = options["retry_after"]
                return page
            case "redirect":
                return Answer(
                    options["status"], headers={"Location": options["location"] or self._elsewhere()}
                )
        try:
            sound = call.answer()
        except Refused as refused:
            sound = refused.answer
        if name == "extra_items" and sound.status == 200:
            return self._server.site.endpoints.extra_items(sound, count=options["count"])
        if name == "incomplete" and sound.status == 200:
            return answers.incomplete(sound, **options)
        broken = answers.BROKEN.get(name)
        return sound if broken is None else broken(sound, options)

    def _elsewhere(self) -> str:
        # The same server under another name counts as another host for every HTTP client.
        return f"http://localhost:{self._server.server_address[1]}{PREFIX}elsewhere"

    def _drip(self, answer: Answer, options: dict[str, Any], *, from_head: bool) -> bool:
        head = self._head(answer, len(answer.body))
        quick, slow = (b"", head + answer.body) if from_head else (head, answer.body)
        self.wfile.write(quick)
        for place in range(len(slow)):
            if place:
                self._wait(options["interval"])
            self.wfile.write(slow[place : place + 1])
        return True

    def _truncate(self, answer: Answer, options: dict[str, Any]) -> bool:
        part = answer.body[: int(len(answer.body) * min(1.0, options["share"]))]
        self.close_connection = True
        self.wfile.write(self._head(answer, len(answer.body if options["full_length"] else part)) + part)
        self._server.site.state.record_answer(answer.status)
        return False

    def _reset(self, answer: Answer, options: dict[str, Any]) -> bool:
        self.close_connection = True
        sent = (self._head(answer, len(answer.body)) + answer.body)[: int(options["after_bytes"])]
        if sent:
            self.wfile.write(sent)
        # Lingering for 0 s makes close send RST; the orderly shutdown that follows otherwise would send FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        return False

    def _close(self, answer: Answer, options: dict[str, Any]) -> bool:
        self.close_connection = True
        return False

    def _hang(self, answer: Answer, options: dict[str, Any]) -> bool:
        self.close_connection = True
        self._wait(options["seconds"])
        return False

    def _wait(self, seconds: float) -> None:
        """Pause; raise ConnectionError when the simulator stops or, in longer pauses, the client goes."""
        stopping = self._server.stopping
        if seconds <= 2 * _NOTICE_SECONDS:
            if seconds > 0 and stopping.wait(seconds):
                raise _Stopped
            return
        poller = select.poll()
        poller.register(self.connection, _GONE)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if stopping.is_set():
                raise _Stopped
            if poller.poll(min(left, _NOTICE_SECONDS) * 1000):
                raise ConnectionAbortedError("The client went away before its answer.")

    # Sending --------------------------------------------------------------------------------------

    def _send(self, answer: Answer) -> None:
        if answer.chunks is None:
            self.wfile.write(self._head(answer, len(answer.body)) + answer.body)
            return
        self.close_connection = self.close_connection or answer.length is None
        self.wfile.write(self._head(answer, answer.length))
        for chunk in answer.chunks():
            if self._server.stopping.is_set():
                raise _Stopped
            self.wfile.write(chunk)

    def _head(self, answer: Answer, length: int | None) -> bytes:
        lines = [
            f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {answer.content_type}",
        ]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


_REASONS = {int(status): status.phrase for status in http.HTTPStatus}

# How an answer is sent when not simply whole; each returns whether the client got all of it.
_DELIVERIES: dict[str, Callable[[_Handler, Answer, dict[str, Any]], bool]] = {
    "truncated_json": _Handler._truncate,
    "drip": partial(_Handler._drip, from_head=False),
    "drip_headers": partial(_Handler._drip, from_head=True),
    "reset": _Handler._reset,
    "closed": _Handler._close,
    "hang": _Handler._hang,
}


def _names_quota(fault: Fault | None) -> bool:
    """Return whether an answer names the calls that are left, as the API's own do.

    A gateway knows nothing of them, and a quota that a fault has used up has not that many.
    """
    if fault is None or fault.name not in ("gateway_page", "quota_exhausted"):
        return True
    return bool(fault.options.get("with_quota"))


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
