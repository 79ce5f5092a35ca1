"""The site that gunicorn serves to the browser tests: quick log-ins, and an address that goes wrong."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from config.wsgi import application

__all__ = ["application"]


def break_down(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("On purpose, for the browser tests.")


urlpatterns = [path("broken/", break_down), path("", include("config.urls"))]
settings.ROOT_URLCONF = __name__
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
