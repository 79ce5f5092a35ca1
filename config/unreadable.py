"""Middleware: answer 400, instead of 500, to requests with values that only the database rejects.

Forms report the usual mistakes beside their fields. This covers all other values in an address, a form or a
cookie.
"""

import logging
import re
from collections.abc import Callable, Iterator

from django.core.exceptions import SuspiciousOperation
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.views.defaults import bad_request

logger = logging.getLogger("config.unreadable")

# Errors of both database drivers for a value that no column or statement can hold.
REFUSED_VALUES = (DataError, OverflowError, ValueError, UnicodeEncodeError)

# PostgreSQL stores no NUL and no lone surrogate in text; a number of 19 digits may exceed every column.
_HOSTILE = re.compile(r"[\0\ud800-\udfff]|\d{19}")


class RefuseUnreadable:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # The session is read before any view runs.
        if any("\0" in text for text in (request.path_info, *request.COOKIES, *request.COOKIES.values())):
            return bad_request(request, SuspiciousOperation("NUL in an address or a cookie"))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 400 if a value of the request caused an error; leave our own mistakes at 500."""
        if not isinstance(exception, REFUSED_VALUES):
            return None
        if not any(_HOSTILE.search(text) for text in _texts_of(request)):
            return None
        logger.warning("%s %s: %s", request.method, request.path, type(exception).__name__, exc_info=True)
        return bad_request(request, exception)


def _texts_of(request: HttpRequest) -> Iterator[str]:
    yield request.path_info
    for values in (request.GET, request.POST):
        for name, texts in values.lists():
            yield name
            yield from texts
