"""Every address of the catalogue's admin: who may go there, who may press what, and that it is written down.

The addresses come from the admin itself. A new one has to be added to the table below, or a test fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from catalog import jobs
from catalog.models import FetchFailure, ImportDraft, ImportRow, MetadataFetchTask, Track, TrackChange
from catalog.roles import ROLES, permissions_of
from catalog.song_lists import read_list

pytestmark = pytest.mark.on_sqlite_alone

NOBODY: tuple[str, ...] = ()
OPERATOR = ("Operator",)
EDITOR = ("Editor", *OPERATOR)
VIEWER = ("Viewer", *EDITOR)
# Staff who were given nothing.
STAFF = ("Outsider", *VIEWER)
VISITORS = (*STAFF, "anonymous")

SUBMITTED = {"_form_submitted": "on"}
AUDIENCE = SUBMITTED | {"platforms": "spotify", "days": ""}
TICKED = {"_selected_action": "{track}", "select_across": "0"}


@dataclass(frozen=True)
class Address:
    """Who may GET and POST an address; all others get `refusal`, and without a log-in the log-in page."""

    get: tuple[str, ...]
    post: tuple[str, ...]
    # What has to be sent for a POST to do something. None: nothing can be done here by a POST.
    press: dict[str, str] | None = None
    refusal: int = 403
    get_refusal: int | None = None
    # What those who may POST get for a GET, where that is not a page.
    get_status: int | None = None
    # Where its link, button or choice is seen; None: it is no button.
    button: str | None = None


# Follow the address of a row's page: a redirect, before anything is looked at.
REDIRECT = Address(STAFF, STAFF)
HISTORY = Address(VIEWER, VIEWER)
NO_PAGE = Address(NOBODY, NOBODY)
LIST = Address(VIEWER, VIEWER)
READ_ONLY = Address(VIEWER, NOBODY)
ACTION = {"get": VIEWER, "post": OPERATOR}

TRACK, TASK, FAILURE = "catalog/track/", "catalog/metadatafetchtask/", "catalog/fetchfailure/"
CHANGE, SCHEDULE = "catalog/trackchange/", "catalog/refreshpolicy/"
EXPECTED = {
    TRACK: LIST,
    f"{TRACK} fetch_in_background": Address(
        **ACTION, press=TICKED | {"action": "fetch_in_background", "fetch": "all"}, button="list"
    ),
    f"{TRACK} create_bulk_task": Address(
        **ACTION, press=TICKED | {"action": "create_bulk_task", "fetch": "all"}, button="list"
    ),
    f"{TRACK} fetch_audience_of_chosen": Address(
        **ACTION, press=TICKED | {"action": "fetch_audience_of_chosen", "fetch": "all"}, button="list"
    ),
    f"{TRACK} export_audience": Address(
        VIEWER, VIEWER, press=TICKED | {"action": "export_audience"}, button="list"
    ),
    f"{TRACK} delete_selected": Address(
        VIEWER, NOBODY, press=TICKED | {"action": "delete_selected", "post": "yes"}, button="list"
    ),
    f"{TRACK}add/": Address(
        EDITOR, EDITOR, press={"uuid": "7d534228-5165-11e9-9375-549f35161576"}, button="list"
    ),
    f"{TRACK}import/": Address(EDITOR, EDITOR, button="list"),
    f"{TRACK}import/<int:draft_id>/": Address(EDITOR, EDITOR, press={"do": "confirm"}),
    f"{TRACK}<int:track_id>/panel/": LIST,
    f"{TRACK}<int:track_id>/release/": Address(
        NOBODY, EDITOR, press={"field": "name"}, get_refusal=405, button="track"
    ),
    f"{TRACK}<int:track_id>/adopt/": Address(NOBODY, EDITOR, press={}, get_refusal=405, button="track"),
    f"{TRACK}<int:track_id>/audience/": LIST,
    f"{TRACK}audience-price/": Address(OPERATOR, OPERATOR),
    f"{TRACK}fetch_all_audience/": Address(OPERATOR, OPERATOR, press=AUDIENCE, button="list"),
    f"{TRACK}<path:object_id>/fetch_audience_now/": Address(
        OPERATOR, OPERATOR, press=AUDIENCE, button="track"
    ),
    f"{TRACK}fetch_all_metadata/": Address(OPERATOR, OPERATOR, press=SUBMITTED, button="list"),
    f"{TRACK}<path:object_id>/fetch_now/": Address(OPERATOR, OPERATOR, press=SUBMITTED, button="track"),
    f"{TRACK}<path:object_id>/change/": Address(
        VIEWER, EDITOR, press={"name": "By hand", "initial-name": ""}, button=None
    ),
    f"{TRACK}<path:object_id>/delete/": Address(NOBODY, NOBODY, press={"post": "yes"}, button="track"),
    f"{TRACK}<path:object_id>/history/": HISTORY,
    f"{TRACK}<path:object_id>/": REDIRECT,
    TASK: LIST,
    f"{TASK}add/": NO_PAGE,
    f"{TASK}live/": LIST,
    f"{TASK}<int:job_id>/progress/": LIST,
    f"{TASK}<int:job_id>/failures.csv": LIST,
    f"{TASK}<int:job_id>/rows/": LIST,
    f"{TASK}<int:job_id>/rows.csv": LIST,
    f"{TASK}<int:job_id>/rechecks/": Address(NOBODY, OPERATOR, press={"do": "cancel"}, get_refusal=405),
    # Pausing costs nothing and is asked by no dialog.
    f"{TASK}<int:job_id>/pause/": Address(NOBODY, OPERATOR, press={}, get_status=405, button="running"),
    f"{TASK}<int:job_id>/resume/": Address(OPERATOR, OPERATOR, press={}, button="paused"),
    f"{TASK}<int:job_id>/cancel/": Address(OPERATOR, OPERATOR, press={}, button="running"),
    f"{TASK}<int:job_id>/retry/": Address(OPERATOR, OPERATOR, press={}, button="failed"),
    f"{TASK}<path:object_id>/change/": READ_ONLY,
    f"{TASK}<path:object_id>/delete/": NO_PAGE,
    f"{TASK}<path:object_id>/history/": HISTORY,
    f"{TASK}<path:object_id>/": REDIRECT,
    FAILURE: LIST,
    f"{FAILURE}add/": NO_PAGE,
    f"{FAILURE}<path:object_id>/change/": READ_ONLY,
    f"{FAILURE}<path:object_id>/delete/": NO_PAGE,
    f"{FAILURE}<path:object_id>/history/": HISTORY,
    f"{FAILURE}<path:object_id>/": REDIRECT,
    CHANGE: LIST,
    f"{CHANGE}export/": LIST,
    f"{CHANGE}add/": NO_PAGE,
    f"{CHANGE}<path:object_id>/change/": READ_ONLY,
    f"{CHANGE}<path:object_id>/delete/": NO_PAGE,
    f"{CHANGE}<path:object_id>/history/": HISTORY,
    f"{CHANGE}<path:object_id>/": REDIRECT,
    SCHEDULE: LIST,
    f"{SCHEDULE}add/": Address(NOBODY, NOBODY, refusal=404),
    f"{SCHEDULE}<path:object_id>/change/": Address(
        *(VIEWER, OPERATOR),
        press={
            "is_on": "on",
            "frequency": "day",
            "weekday": "1",
            "hours": "6",
            "at": "04:00",
            "max_age_days": "20",
            "tracks_per_run": "",
        },
    ),
    f"{SCHEDULE}<path:object_id>/run_now/": Address(OPERATOR, OPERATOR, press=SUBMITTED, button="schedule"),
    f"{SCHEDULE}<str:kind>/price/": LIST,
    f"{SCHEDULE}<path:object_id>/delete/": NO_PAGE,
    f"{SCHEDULE}<path:object_id>/history/": HISTORY,
    f"{SCHEDULE}<path:object_id>/": REDIRECT,
    # Whoever may see nothing of an app is told that it is not there.
    "catalog/": Address(VIEWER, VIEWER, refusal=404),
}
PRESSES = [address for address, row in EXPECTED.items() if row.press is not None]
BUTTONS = [address for address, row in EXPECTED.items() if row.button]


def find_patterns(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from find_patterns(pattern, route)
        else:
            yield route, pattern


def addresses() -> set[str]:
    """Return every route of the catalogue's admin, and every action on ticked rows as one of its list."""
    routes = {route.removeprefix("admin/") for route, _ in find_patterns(get_resolver())}
    found = {route for route in routes if route.startswith("catalog/")} | {"catalog/"}
    superuser = User(is_superuser=True, is_staff=True, is_active=True)
    for model in (Track, TrackChange, MetadataFetchTask, FetchFailure):
        model_admin = admin.site.get_model_admin(model)
        request = type("Request", (), {"user": superuser, "GET": {}})()
        found |= {f"catalog/{model._meta.model_name}/ {name}" for name in model_admin.get_actions(request)}
    return found


def test_the_table_knows_every_address_and_every_action():
    assert addresses() == set(EXPECTED)


@pytest.fixture
def clients(db) -> dict[str, Client]:
    """A browser for each kind of visitor."""
    found = {"anonymous": Client()}
    for name in STAFF:
        user = User.objects.create_user(name, is_staff=True)
        if name in ROLES:
            group, _ = Group.objects.get_or_create(name=name)
            group.permissions.set(
                Permission.objects.filter(
                    content_type__app_label="catalog", codename__in=permissions_of(name)
                )
            )
            user.groups.add(group)
        found[name] = Client()
        found[name].force_login(user)
    return found


@pytest.fixture
def things(make_track, make_failed_job, broker, simulator) -> dict[str, Any]:
    """A track, and a job in each state that has buttons of its own."""
    tracks = [make_track(number) for number in range(4)]
    Track.objects.filter(pk=tracks[0].pk).update(edited_fields=["name"], moved_to=uuid4())
    change = TrackChange.objects.create(
        track=tracks[0], at=timezone.now(), changes={"name": ["Before", "After"]}
    )
    failed = make_failed_job(tracks[1])
    paused = jobs.request_metadata([tracks[2].pk]).job
    jobs.pause_job(paused)
    running = jobs.request_metadata([tracks[3].pk]).job
    imported = jobs.request_list_import(read_list("USUM71900764").entries).job
    ImportRow.objects.create(
        job=imported, number=2, item="USUM71900765", outcome="not_found", recheck_at=timezone.now()
    )
    return {
        "track": tracks[0].pk,
        "failed": failed.pk,
        "paused": paused.pk,
        "running": running.pk,
        "failure": failed.failures.get().pk,
        "change": change.pk,
        "import": imported.pk,
        "draft": ImportDraft.objects.create(source="top", limit=10, offset=0).pk,
    }


def fill_in(address: str, things: dict[str, Any]) -> str:
    """Return the path of an address: with the track's key, or that of the job which shows its button."""
    key = things["track"]
    if address.startswith(TASK):
        key = things[
            "import"
            if "/rows" in address or "/rechecks" in address
            else EXPECTED[address].button or "running"
        ]
    elif address.startswith(FAILURE):
        key = things["failure"]
    elif address.startswith(CHANGE):
        key = things["change"]
    elif address.startswith(SCHEDULE):
        key = "metadata"
    elif "<int:draft_id>" in address:
        key = things["draft"]
    route = address.split(" ")[0]
    for placeholder in ("<path:object_id>", "<int:job_id>", "<int:track_id>", "<int:draft_id>", "<str:kind>"):
        route = route.replace(placeholder, str(key))
    return f"/admin/{route}"


def values_for(address: str, things: dict[str, Any]) -> dict[str, str]:
    return {name: text.format(**things) for name, text in (EXPECTED[address].press or {}).items()}


def outcome_of(answer) -> str | int:
    if answer.status_code == 302 and answer.headers["Location"].startswith(reverse("admin:login")):
        return "log-in page"
    return "allowed" if answer.status_code in (200, 302) else answer.status_code


def expected_outcomes(allowed: tuple[str, ...], refusal: int) -> dict[str, str | int]:
    outcomes: dict[str, str | int] = {name: "allowed" if name in allowed else refusal for name in STAFF}
    return outcomes | {"anonymous": "log-in page"}


@pytest.mark.parametrize("address", EXPECTED)
def test_a_page_is_for_those_who_may_see_it(address, clients, things):
    row = EXPECTED[address]
    path = fill_in(address, things)
    outcomes = {name: outcome_of(clients[name].get(path)) for name in VISITORS}
    expected = expected_outcomes(row.get, row.get_refusal or row.refusal)
    if row.get_status:
        expected |= dict.fromkeys(row.post, row.get_status)
    assert outcomes == expected


@pytest.mark.parametrize("address", EXPECTED)
def test_a_press_is_for_those_who_may_press(address, clients, things, simulator):
    row = EXPECTED[address]
    path = fill_in(address, things)
    # Without confirming where that is asked for: this is about who is let in.
    values = {name: text for name, text in values_for(address, things).items() if name not in SUBMITTED}
    outcomes = {name: outcome_of(clients[name].post(path, values)) for name in VISITORS}
    assert outcomes == expected_outcomes(row.post, row.refusal)


@pytest.mark.parametrize("address", PRESSES)
def test_a_press_that_is_refused_changes_nothing(address, clients, things, simulator):
    path, values = fill_in(address, things), values_for(address, things)
    before = list(Track.objects.values()), list(MetadataFetchTask.objects.values())
    for name in set(VISITORS) - set(EXPECTED[address].post):
        clients[name].post(path, values)
    assert (list(Track.objects.values()), list(MetadataFetchTask.objects.values())) == before
    assert not LogEntry.objects.exists()
    assert simulator.state.calls.total() == 0


@pytest.mark.parametrize("address", PRESSES)
def test_a_press_stands_in_the_log_in_the_name_of_who_pressed(address, clients, things, admin_user):
    allowed = EXPECTED[address].post
    client = clients[allowed[-1]] if allowed else Client()
    if not allowed:
        client.force_login(admin_user)
    client.post(fill_in(address, things), values_for(address, things))
    assert [entry.user.username for entry in LogEntry.objects.all()] == [
        allowed[-1] if allowed else admin_user.username
    ]


def test_whoever_may_post_either_presses_something_or_only_reads():
    # The first step of an import only keeps what was typed, and prices are for those who may spend.
    only_reads = {address for address, row in EXPECTED.items() if row.press is None and row.post} - {
        f"{TRACK}import/",
        f"{TRACK}audience-price/",
    }
    assert {EXPECTED[address].post for address in only_reads} <= {VIEWER, STAFF}


@pytest.mark.parametrize("address", BUTTONS)
def test_a_button_is_shown_to_those_who_may_press_it(address, clients, things, admin_client):
    row = EXPECTED[address]
    pages = {
        "schedule": f"/admin/{SCHEDULE}",
        "list": f"/admin/{TRACK}",
        "track": f"/admin/{TRACK}{things['track']}/change/",
    }
    page = pages.get(row.button) or f"/admin/{TASK}{things[row.button]}/change/"
    what = f'"{address.split(" ")[1]}"' if " " in address else fill_in(address, things)
    shown = {name for name in VIEWER if what in clients[name].get(page).content.decode()}
    assert shown == set(row.post)
    assert what in admin_client.get(page).content.decode()


# --- settings for Soundcharts that cannot be used

UNUSABLE = [
    {"SOUNDCHARTS_APP_ID": "", "SOUNDCHARTS_CLIENT_ID": ""},
    {"SOUNDCHARTS_API_KEY": "a key with spaces"},
    {"SOUNDCHARTS_API_URL": "https://user:password@api.example"},
    {"SOUNDCHARTS_API_URL": "no address"},
]
DASHBOARD = ("", *(f"dashboard/{part}/" for part in ("catalogue", "failures", "jobs", "health")))


@pytest.mark.parametrize("unusable", UNUSABLE, ids=lambda unusable: next(iter(unusable)))
@pytest.mark.parametrize("method", ["get", "post"])
def test_no_page_fails_for_settings_that_cannot_be_used(unusable, method, things, admin_user, settings):
    for name, value in unusable.items():
        setattr(settings, name, value)
    client = Client(raise_request_exception=False)
    client.force_login(admin_user)
    answers = {}
    for address in [*EXPECTED, *DASHBOARD]:
        path = fill_in(address, things) if address in EXPECTED else f"/admin/{address}"
        values = values_for(address, things) if address in EXPECTED and method == "post" else {}
        if "delete" not in address:
            answers[address] = getattr(client, method)(path, values).status_code
    assert {address: status for address, status in answers.items() if status >= 500} == {}


@pytest.mark.parametrize("unusable", UNUSABLE, ids=lambda unusable: next(iter(unusable)))
@pytest.mark.parametrize("button", ["fetch_now", "fetch_audience_now"])
def test_a_fetch_says_that_the_settings_cannot_be_used(unusable, button, things, admin_client, settings):
    made = MetadataFetchTask.objects.count()
    for name, value in unusable.items():
        setattr(settings, name, value)
    values = AUDIENCE if "audience" in button else SUBMITTED
    path = f"/admin/{TRACK}{things['track']}/{button}/"
    said = admin_client.post(path, values, follow=True).content.decode()
    assert "Not fetched. " in said
    assert "password@" not in said
    assert MetadataFetchTask.objects.count() == made
