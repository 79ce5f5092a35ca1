"""Pages for a busy database: they keep the submitted form so that people can send it again."""

import logging
import sqlite3
import sys
from collections.abc import Callable

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.defaults import server_error

from config.kept_forms import fields_of

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
# PostgreSQL: lock or statement timeout, deadlock, conflict, too many connections, restart.
_BUSY_STATES = {"55P03", "57014", "40P01", "40001", "53300", "57P01", "57P02", "57P03"}
_BUSY_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_busy(error: BaseException | None) -> bool:
    """Return whether a database error is likely to pass within a moment."""
    if not isinstance(error, DatabaseError):
        return False
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _BUSY_CODES
    return getattr(cause, "sqlstate", None) in _BUSY_STATES


def answer_busy(request: HttpRequest) -> HttpResponse:
    """Return the page for a busy database, with a button that sends the form again. Makes no query."""
    logger.warning("%s %s: the database is busy", request.method, request.path)
    is_sent = request.method == "POST"
    values = {
        "address": request.get_full_path(),
        "is_sent": is_sent,
        "fields": fields_of(request) if is_sent else (),
        "has_files": is_sent and bool(request.FILES),
    }
    response = render(request, "busy.html", values, status=503)
    response["Retry-After"] = str(RETRY_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


class BusyDatabase:
    """Middleware: answer 503 if the database keeps a view waiting too long, and keep the form's entries."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return answer_busy(request) if is_busy(exception) else None


def answer_error(request: HttpRequest) -> HttpResponse:
    """Answer any other error, including a session that cannot be saved after a view."""
    if is_busy(sys.exc_info()[1]):
        return answer_busy(request)
    return server_error(request)
