"""What browsers are told a page of ours may do: the values of two response headers.

Nothing may be loaded from elsewhere but pictures, because covers come from Soundcharts and from whatever
address staff have typed.
"""

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE


def content_security_policy(*, image_origins: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return the policy; `image_origins` are further origins (http://host:port) whose images are shown."""
    directives = {
        "default-src": [NONE],
        # Alpine, which the theme is built with, makes functions of the expressions in its attributes.
        # No inline script and no handler in an attribute runs, whatever gets into a page.
        "script-src": [SELF, UNSAFE_EVAL],
        # A style attribute is allowed (Alpine and the theme position and size things with it), a <style>
        # is not. The first line is for browsers that do not know the second.
        "style-src": [SELF, UNSAFE_INLINE],
        "style-src-elem": [SELF],
        "img-src": [SELF, "data:", "https:", *image_origins],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [SELF],
        "frame-ancestors": [NONE],
    }
    return {"DIRECTIVES": directives}


# The admin uses no device and no sensor: nor may anything that gets into it.
PERMISSIONS_POLICY: dict[str, list[str]] = {
    feature: []
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "usb",
    )
}
