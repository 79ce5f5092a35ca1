"""Requests that no page can make sense of are refused (400), and are no fault of the page (500).

A middleware. Pages say in words what is wrong with what people type, where they look at it. This is for the
rest: what only the database finds out, at whatever place in an address, a form or a cookie.
"""

import logging
import re
from collections.abc import Callable, Iterator

from django.core.exceptions import SuspiciousOperation
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.views.defaults import bad_request

logger = logging.getLogger("config.unreadable")

# What the drivers of both databases raise for a value that no column can hold, and no statement.
REFUSED_VALUES = (DataError, OverflowError, ValueError, UnicodeEncodeError)

# NUL and half a character are in no text of PostgreSQL; a number of 19 digits may be in no column.
_HOSTILE = re.compile(r"[\0\ud800-\udfff]|\d{19}")


class RefuseUnreadable:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # The session is looked up before any page is asked.
        if any("\0" in text for text in (request.path_info, *request.COOKIES, *request.COOKIES.values())):
            return bad_request(request, SuspiciousOperation("NUL in an address or a cookie"))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 400 where a value of the request is behind an error; let our own mistakes be mistakes."""
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
