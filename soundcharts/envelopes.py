"""The envelopes of the API's answers: the errors that it names, one object, and a page of a list.

A success may name errors too, and a page may hold fewer items than it promises. Then it is not the whole
truth: what it lacks may be there all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from soundcharts.errors import IncompleteResponse, InvalidResponse
from soundcharts.fields import Fields, as_count, as_fields, shown

logger = logging.getLogger("soundcharts.envelopes")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiError:
    """One error that the API names. `code` is usually an HTTP status."""

    key: str = ""
    code: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a collection.

    `offset`, `limit`, `total` and `listed` count the collection's own items, also where `items` was
    flattened (audience) or lacks the ones that could not be understood, each of which is named in
    `warnings`. `listed` of them came. `shortfall` says why the page is not
    whole: it lacks items that it promises, or names errors.
    """

    items: tuple[T, ...]
    offset: int = 0
    limit: int = 0
    total: int | None = None
    has_next: bool = False
    warnings: tuple[str, ...] = ()
    listed: int = 0
    shortfall: str = ""

    @property
    def next_offset(self) -> int | None:
        """Return the offset of the next page, or None after the last page."""
        return self.offset + (self.listed or self.limit) if self.has_next else None

    @property
    def is_whole(self) -> bool:
        """Return whether the page is complete, so that an item missing from it does not exist."""
        return not self.shortfall


def parse_page(
    payload: object,
    parse_item: Callable[[object], T],
    *,
    offset: int | None = None,
    limit: int | None = None,
) -> Page[T]:
    """Return one page of a collection, with every item parsed by `parse_item`.

    `offset` and `limit` were asked for; without them, what the page says of itself counts. An item for which
    `parse_item` raises InvalidResponse is left out and named in the page's warnings. Raises InvalidResponse
    unless the payload is an object with a list of items.
    """
    return parse_items(payload, lambda item, warnings: [parse_item(item)], offset=offset, limit=limit)


def parse_items(
    payload: object,
    parse_item: Callable[[object, list[str]], Iterable[T]],
    *,
    offset: int | None = None,
    limit: int | None = None,
    keeps_more: bool = False,
) -> Page[T]:
    """Return a page of whatever `parse_item` makes of each item; the list is for its own warnings.

    More items than were asked for are cut, unless `keeps_more` says that they are welcome.
    """
    fields = as_fields(payload, what="the answer")
    raw_items = fields.get("items")
    if not isinstance(raw_items, list):
        # Without any item nothing says that the rest of it can be believed.
        raise _trouble_of(fields) or InvalidResponse(
            f"Soundcharts sent {shown(raw_items)} where a list of items was expected."
        )
    if limit is not None and len(raw_items) > limit:
        logger.warning("Soundcharts sent %d items where %d were asked for", len(raw_items), limit)
        raw_items = raw_items if keeps_more else raw_items[:limit]
    items: list[T] = []
    warnings: list[str] = []
    for index, raw_item in enumerate(raw_items):
        try:
            items.extend(parse_item(raw_item, warnings))
        except InvalidResponse as error:
            warnings.append(f"items[{index}]: {error}")
    place = _place(fields, listed=len(raw_items), offset=offset, limit=limit)
    return Page(
        tuple(items),
        offset=place.offset,
        limit=len(raw_items) if place.limit is None else place.limit,
        total=place.total,
        has_next=place.has_next,
        warnings=tuple(warnings),
        listed=len(raw_items),
        shortfall=_shortfall(fields, listed=len(raw_items), promised=place.promised),
    )


def require_whole(page: Page[T]) -> Page[T]:
    """Return a complete page. Raises IncompleteResponse, with the items received, for an incomplete one."""
    if page.is_whole:
        return page
    raise IncompleteResponse(page.shortfall, status=200, page=page)


def errors_beside(fields: Fields) -> str | None:
    """Return a sentence about the errors in a success, None if there are no errors.

    Of their text nothing is quoted, which is not ours: only the first number.
    """
    errors = fields.get("errors")
    if not errors:
        return None
    code = next((error.code for error in parse_api_errors(fields) or () if error.code), None)
    return f"Soundcharts named an error ({code})" if code else "Soundcharts named an error"


def parse_api_errors(payload: object) -> tuple[ApiError, ...] | None:
    """Return the errors of {"errors": [...]}, None for any other payload. Never raises."""
    errors = payload.get("errors") if isinstance(payload, dict) else None
    if not isinstance(errors, list):
        return None
    return tuple(_api_error(error) for error in errors)


def parse_error_message(payload: object) -> str | None:
    """Return the first message of an envelope's errors, or None. Never raises."""
    return next((error.message for error in parse_api_errors(payload) or () if error.message), None)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page stands in its collection, and how many items it must have there.

    `limit` is how many the server puts on a page, as far as it says and as were asked for.
    """

    offset: int
    limit: int | None
    total: int | None
    has_next: bool
    promised: int


def _place(fields: Fields, *, listed: int, offset: int | None, limit: int | None) -> _Place:
    """Return where a page stands: what was asked for counts, and of what it says only what can be.

    A total promises as many items as are left, at most a page of them; without a total, a link to a next
    page promises that this one is full, if it says how large its pages are.
    """
    page = fields.get("page")
    said: Fields = page if isinstance(page, dict) else {}
    if offset is None:
        offset = as_count(said.get("offset")) or 0
    # A server may send smaller pages than were asked for.
    own_limit = as_count(said.get("limit")) or None
    limits = [each for each in (limit, own_limit) if each is not None]
    total = as_count(said.get("total"))
    promised = 0
    if total is not None:
        promised = min(max(0, total - offset), *limits) if limits else max(0, total - offset)
    elif said.get("next") and own_limit is not None:
        promised = min(limits)
    is_more = bool(said.get("next")) or (total is not None and offset + listed < total)
    # A page without a single item never has a next one, whatever it claims: whoever walks the pages must
    # come to an end.
    own = None if own_limit is None else min(limits)
    return _Place(offset, own, total, listed > 0 and is_more, promised)


def _shortfall(fields: Fields, *, listed: int, promised: int) -> str:
    """Return a sentence about what a page lacks, empty if it is complete."""
    trouble = errors_beside(fields)
    if listed < promised:
        found = f"Soundcharts sent {listed} of {promised} items"
        return f"{found} that it promised{' and named an error' if trouble else ''}."
    return f"{trouble} beside its answer." if trouble else ""


def _trouble_of(fields: Fields) -> IncompleteResponse | None:
    trouble = errors_beside(fields)
    return None if trouble is None else IncompleteResponse(f"{trouble} instead of an answer.", status=200)


def _api_error(error: object) -> ApiError:
    fields: Fields = error if isinstance(error, dict) else {"message": error}
    key, code, message = (fields.get(name) for name in ("key", "code", "message"))
    return ApiError(
        key=key.strip() if isinstance(key, str) else "",
        code=as_count(code),
        message=message.strip() if isinstance(message, str) else "",
    )
