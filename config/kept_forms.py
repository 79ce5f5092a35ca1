"""Keep a form that could not be processed, so people can send it again without retyping it.

After the end of a session it waits in the visitor's next one, for an hour at most, until they have logged in.
"""

import json
import time
import zlib
from base64 import b64decode, b64encode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.views.csrf import csrf_failure
from django.views.decorators.http import require_POST

Fields = list[tuple[str, str]]

_KEY = "kept_form"
# Most compressed bytes kept: a list of ten thousand UUIDs from a known browser. A stranger could fill the
# database, so the limit is the size of a failed log-in.
MOST_BYTES = 300_000
MOST_BYTES_OF_A_STRANGER = 3_000
SECONDS = 3600
# Names the last user of this browser; it grants no access.
_COOKIE = "known_user"
_COOKIE_SECONDS = 90 * 86_400


def fields_of(request: HttpRequest) -> Fields:
    """Return the submitted fields without passwords, files and the token (the next form has a new one)."""
    return [
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if name != "csrfmiddlewaretoken" and "password" not in name.lower()
    ]


def keep(request: HttpRequest) -> bool:
    """Keep a form in the session until the visitor logs in; return False if it is too large."""
    told = json.dumps({"fields": fields_of(request), "has_files": bool(request.FILES)})
    packed = zlib.compress(told.encode())
    user = _known_user(request)
    if len(packed) > (MOST_BYTES if user else MOST_BYTES_OF_A_STRANGER):
        return False
    request.session[_KEY] = {
        "user": user,
        "address": request.get_full_path(),
        "at": time.time(),
        "form": b64encode(packed).decode(),
    }
    return True


def remember_user(request: HttpRequest, response: HttpResponse) -> None:
    """Set a cookie that says later whose session has ended."""
    user = str(request.user.pk)
    if _known_user(request) != user:
        response.set_signed_cookie(
            _COOKIE,
            user,
            max_age=_COOKIE_SECONDS,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )


def _known_user(request: HttpRequest) -> str | None:
    return request.get_signed_cookie(_COOKIE, None, max_age=_COOKIE_SECONDS)


def offer_kept(request: HttpRequest) -> HttpResponse | None:
    """Return the page that offers to send the form kept for this address, or None. It changes nothing."""
    kept = request.session.get(_KEY)
    if not kept or kept["address"] != request.get_full_path() or time.time() - kept["at"] > SECONDS:
        return None
    # Never show it to another user of the same browser.
    if kept["user"] not in (None, str(request.user.pk)):
        return None
    form = json.loads(zlib.decompress(b64decode(kept["form"])))
    response = render(request, "kept_form.html", {"address": kept["address"], **form})
    add_never_cache_headers(response)
    return response


def forget(request: HttpRequest, *, address: str | None = None) -> str | None:
    """Forget the kept form (of this address alone), and return its address."""
    kept = request.session.get(_KEY)
    if not kept or address not in (None, kept["address"]):
        return None
    del request.session[_KEY]
    return str(kept["address"])


def answer_stale_token(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form with an invalid token: offer to send it again if it came from this site.

    Such a page was open while somebody logged in elsewhere in the same browser. Only the browser's word
    (`Origin`) that it is our own page counts: another site must not get its form in front of a button.
    """
    is_ours = request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"
    if not is_ours or settings.CSRF_COOKIE_NAME not in request.COOKIES or request.headers.get("HX-Request"):
        return csrf_failure(request, reason)
    values = {
        "address": request.get_full_path(),
        "fields": fields_of(request),
        "has_files": bool(request.FILES),
    }
    response = render(request, "stale_form.html", values, status=403)
    add_never_cache_headers(response)
    return response


@require_POST
def discard(request: HttpRequest) -> HttpResponse:
    """Discard the kept form and open its page."""
    return HttpResponseRedirect(forget(request) or reverse(settings.LOGIN_REDIRECT_URL))
