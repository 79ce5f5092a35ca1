"""Covers that a page may show under the Content-Security-Policy."""

from urllib.parse import urlsplit

from django.conf import settings

from soundcharts.fields import is_web_url


def shown_at(address: str) -> str:
    """Return the address of a cover for pages; empty if initials are shown instead.

    Pictures come by https. An http address is tried by https, which every host of covers speaks today, unless
    it names a port: nothing says at which port the same host would speak https.
    """
    if not is_web_url(address):
        return ""
    parts = urlsplit(address)
    if parts.scheme == "https" or f"{parts.scheme}://{parts.netloc}" in settings.IMAGE_ORIGINS:
        return address
    if parts.port not in (None, 80) or not parts.hostname or "." not in parts.hostname:
        return ""
    return parts._replace(scheme="https", netloc=parts.netloc.removesuffix(":80")).geturl()
