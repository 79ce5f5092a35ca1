"""Addresses: the admin is the site; /healthz is for the deployment."""

from django.contrib import admin
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.generic import RedirectView

from catalog.admin.dashboard import dashboard_urls
from config.kept_forms import discard


def health(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the database answers; a raised error is a 500."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok", content_type="text/plain")


urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("healthz", health, name="health"),
    path("admin/kept/discard/", discard, name="discard_kept_form"),
    path("admin/dashboard/", include(dashboard_urls())),
    path("admin/", admin.site.urls),
]

handler500 = "config.busy.answer_error"
