"""The log-in: who is asking, and a wait after too many wrong passwords.

django-axes counts failures for each user name and address together, in the database; so a stranger who tries
a colleague's name locks nobody out but himself, and colleagues behind one address do not lock out each other.
"""

import math
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.forms import AuthenticationForm

from config import kept_forms


def find_address(request: HttpRequest) -> str | None:
    """Return the visitor's address, for an IPv6 one its network (a household has 2 ** 64 of them).

    Behind a proxy it is the last of X-Forwarded-For: the proxy adds that one, those before it may be made up.
    """
    text = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_TLS_PROXY:
        text = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() or text
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or ip_network((address, 64), strict=False).network_address
    return str(address)


def count_minutes_to_wait(request: HttpRequest) -> int:
    """Return in how many minutes the user name of this refused request may be tried again."""
    username = (getattr(request, "axes_credentials", None) or {}).get("username")
    attempts = AccessAttempt.objects.filter(username=username, ip_address=find_address(request))
    last = attempts.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    end = (last or timezone.now()) + settings.AXES_COOLOFF_TIME
    return max(1, math.ceil((end - timezone.now()).total_seconds() / 60))


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    """The theme's form, which also says for how long a name is refused from here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Django only asks the browser for it, and the table of failures has no room for more than 255.
        self.fields["username"].validators.append(MaxLengthValidator(self.fields["username"].max_length))

    def get_invalid_login_error(self) -> ValidationError:
        if not getattr(self.request, "axes_locked_out", False):
            error: ValidationError = super().get_invalid_login_error()
            return error
        minutes = count_minutes_to_wait(self.request)
        return ValidationError(
            "Too many failed log-ins for this user name from your address. "
            f"Try again in {minutes} minute{'' if minutes == 1 else 's'}."
        )


def answer_refused(
    request: HttpRequest, response: HttpResponse, credentials: dict[str, str] | None
) -> HttpResponse:
    """Answer with the log-in page as it is, which says how long to wait, and with the status for that."""
    response.status_code = 429
    response.headers["Retry-After"] = str(count_minutes_to_wait(request) * 60)
    return response


def tell_of_ended_session(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep what somebody has sent after the end of a session, and say that it was not done.

    A middleware. Without it people would log in, find the page as it was, and take it for saved. After the
    log-in they are asked whether to send it now.
    """

    def answer(request: HttpRequest) -> HttpResponse:
        is_in_part = bool(request.headers.get("HX-Request"))
        if request.method == "GET" and not is_in_part and request.user.is_authenticated:
            response = kept_forms.offer_kept(request) or get_response(request)
            if request.user.is_authenticated:
                kept_forms.remember_user(request, response)
            return response
        response = get_response(request)
        is_to_log_in = response.status_code == 302 and "/login/?next=" in response.headers["Location"]
        if is_in_part and is_to_log_in:
            # A redirect would load the log-in page into a dialog; the page's own script shows a message.
            return HttpResponse(status=401)
        if request.method != "POST":
            return response
        if request.user.is_authenticated:
            kept_forms.forget(request, address=request.get_full_path())
        elif is_to_log_in:
            todo = "Log in: your entries are kept." if kept_forms.keep(request) else "Log in and try again."
            messages.warning(request, f"Your session had ended, so nothing was done. {todo}")
        return response

    return answer
