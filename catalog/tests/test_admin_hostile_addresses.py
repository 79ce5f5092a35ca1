"""Whatever stands in an address or a form of the admin: an answer, and never one that says that we broke."""

import re
from typing import Any
from urllib.parse import quote as quote_text

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from catalog import jobs
from catalog.admin import dashboard
from catalog.models import ImportDraft, TrackChange
from catalog.song_lists import read_list

# A statement that PostgreSQL refuses must not reach those after it.
pytestmark = pytest.mark.django_db(transaction=True)

HUGE = "1" + "0" * 30
VALUES = {
    "NUL": "a\0b",
    "10^30": HUGE,
    "-10^30": f"-{HUGE}",
    "2^63": str(2**63),
    "-1": "-1",
    "5,000 digits": "9" * 5000,
    "surrogate": "\ud800",
    "digits of elsewhere": "٣",
    "brackets": "[{(%s%%\\",
}
# What lists read of a query, in Django's ways and in ours, and what they do not know.
OF_LISTS = (
    *("q", "p", "o", "e", "all", "_facets", "_popup", "_to_field", "_changelist_filters"),
    *("id__exact", "id__in", "pk__gt", "job__id__exact", "track__id__exact", "status__exact"),
    *("task_type__exact", "is_active__exact", "code", "created_at__gte", "at", "groups__id__exact"),
    *("nonsense", "nonsense__exact", "user__password__startswith"),
    *("freshness", "failures", "period", "label", "genre", "year_from", "year_to", "audience", "isrc"),
)
# What our own pages read, all at once.
OF_PAGES = (
    *("p", "page", "ids", "marks", "job", "days", "platforms", "audience", "draft", "outcome", "fetch"),
    *("code", "column", "field", "next", "platform", "from", "to", "term", "app_label", "model_name"),
    *("field_name", "kind", "object_id", "_popup", "_to_field", "track", "is_on", "at", "status"),
)
IN_QUERIES = ("NUL", "10^30", "-1", "5,000 digits")


def find_routes(resolver: URLResolver, before: str = "") -> dict[str, set[str]]:
    """Return every address of the site, with what stands in place of each placeholder."""
    found: dict[str, set[str]] = {}
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            found |= find_routes(pattern, route)
        elif isinstance(pattern, URLPattern):
            found[route] = {*re.findall(r"<[^>]+>", route)}
    return found


ROUTES = {
    route: placeholders
    for route, placeholders in find_routes(get_resolver()).items()
    # Regular expressions of Django's: what is at the end of the admin, and the app's own lists.
    if not re.search(r"\(|\$", route) and "logout" not in route
}


@pytest.fixture
def keys(db, make_track, make_failed_job, broker, simulator) -> dict[str, str]:
    """The key of one thing of every kind, by the beginning of its address."""
    track = make_track(1)
    job = make_failed_job(track)
    imported = jobs.request_list_import(read_list("USUM71900764").entries).job
    change = TrackChange.objects.create(track=track, at=job.created_at, changes={"name": ["a", "b"]})
    return {
        "admin/catalog/track/import/": str(ImportDraft.objects.create(source="top", limit=9, offset=0).pk),
        "admin/catalog/trackchange/": str(change.pk),
        "admin/catalog/track/": str(track.pk),
        "admin/catalog/metadatafetchtask/<int:job_id>/rows": str(imported.pk),
        "admin/catalog/metadatafetchtask/": str(job.pk),
        "admin/catalog/fetchfailure/": str(job.failures.get().pk),
        "admin/catalog/refreshpolicy/": "metadata",
    }


def fill_in(route: str, keys: dict[str, str]) -> str:
    key = next((key for beginning, key in keys.items() if route.startswith(beginning)), "1")
    return "/" + re.sub(r"<[^>]+>", key, route)


@pytest.fixture
def visitor(keys) -> Client:
    User.objects.create_superuser("root", password="x")
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(username="root"))
    return client


def broken_by(client: Client, method: str, path: str, values: dict[str, Any] | None = None) -> int:
    """Return the status of an answer that says that we broke, also in the middle of a file; else 0."""
    try:
        answer = getattr(client, method)(path, values or {})
        if answer.streaming:
            b"".join(answer)
    except UnicodeEncodeError:
        # No browser can send it.
        return 0
    return answer.status_code if answer.status_code >= 500 else 0


def quote(value: str) -> str:
    return quote_text(value.encode("utf-8", "surrogatepass"), safe="")


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_key_in_an_address_breaks_a_page(method, visitor):
    paths = {
        "/" + re.sub(r"<[^>]+>", quote(value[:1000]), route)
        for value in VALUES.values()
        for route, placeholders in ROUTES.items()
        if placeholders
    }
    assert len(paths) > 300
    assert {path[:200]: status for path in paths if (status := broken_by(visitor, method, path))} == {}


LISTS = [route for route in ROUTES if re.fullmatch("admin/[a-z]+/[a-z]+/", route)]


@pytest.mark.parametrize("name", IN_QUERIES)
def test_no_query_breaks_a_list(name, visitor):
    value = quote(VALUES[name])
    names = [*OF_LISTS, value]
    paths = [f"/{route}?{parameter}={value}" for route in LISTS for parameter in names]
    assert {path[:100]: status for path in paths if (status := broken_by(visitor, "get", path))} == {}


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_values_break_a_page(method, visitor, keys):
    broken = {}
    for name in IN_QUERIES:
        values = dict.fromkeys(OF_PAGES, VALUES[name])
        for path in (fill_in(route, keys) for route in ROUTES):
            if status := broken_by(visitor, method, path, values):
                broken[name, path] = status
    assert broken == {}


@pytest.mark.parametrize("value", ["a\0b", HUGE])
def test_a_list_by_what_no_column_holds_is_refused_or_empty(value, visitor):
    answer = visitor.get(f"/admin/auth/group/?id__in={quote(value)}")
    # PostgreSQL compares with numbers that no column holds: nothing is equal to them.
    assert answer.status_code in (302, 400) or not answer.context["cl"].result_count
    answer = visitor.get(f"/admin/catalog/track/{quote(value)}/change/")
    assert answer.status_code in (302, 400, 404)


def test_a_session_that_no_database_can_hold_is_refused(visitor):
    visitor.cookies["sessionid"] = "aaaaaaaaaaaaaaaa"
    visitor.cookies["sessionid"].set("sessionid", "a\0b", '"aaaaaaaaaaaaaaaa\\000"')
    assert visitor.get("/admin/").status_code == 400


def test_no_log_in_is_broken_by_what_is_typed(visitor):
    for value in (VALUES["NUL"], HUGE, VALUES["5,000 digits"]):
        form = {"username": value, "password": value, "next": value}
        assert visitor.post("/admin/login/", form).status_code < 500
        assert visitor.get(f"/admin/login/?next={quote(value)}").status_code < 500


def test_a_mistake_of_our_own_is_no_fault_of_the_request(visitor, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise OverflowError

    monkeypatch.setattr(dashboard, "current_counts", fail)
    assert visitor.get("/admin/?q=1").status_code == 500
    assert visitor.get(f"/admin/?q={HUGE}").status_code == 400
