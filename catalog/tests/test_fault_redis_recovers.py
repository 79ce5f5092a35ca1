"""Faults 8 and 9, and after: what happened while Redis was frozen or full is made good by itself."""

import os
import signal
from collections.abc import Iterator

import pytest
import redis
from django.urls import reverse

from catalog import jobs
from catalog.models import MetadataFetchTask
from catalog.tests.outcomes import assert_one_outcome_each, finish_here, keys_of
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024


@pytest.fixture
def own_redis(own_valkey, settings) -> Iterator[redis.Redis]:
    """A client of the test's own Redis."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        yield client


def fill(client: redis.Redis) -> None:
    """Write until there is no room for one more small value."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info()["used_memory"] + MIB)
    number = 0
    for size in (10_000, 1):
        try:
            while number < 100_000:
                client.set(f"filler {number}", b"x" * size)
                number += 1
        except redis.exceptions.OutOfMemoryError:
            continue
        pytest.fail("Redis never was full.")


def test_the_sweep_rings_for_what_was_asked_while_redis_was_frozen(own_redis, simulator):
    tracks = add_tracks(simulator, 10)
    process = own_redis.info()["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        job = jobs.request_metadata(keys_of(tracks)).job
    finally:
        os.kill(process, signal.SIGCONT)
    assert jobs.sweep() == 1
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("pending", "")
    finish_here(job)
    assert_one_outcome_each(job, tracks)


def test_the_sweep_rings_for_what_was_asked_while_redis_was_full(own_redis, simulator):
    tracks = add_tracks(simulator, 10)
    fill(own_redis)
    job = jobs.request_metadata(keys_of(tracks)).job
    assert (job.status, job.error_code, jobs.sweep()) == ("pending", "broker_unreachable", 0)
    own_redis.config_set("maxmemory", 0)
    assert jobs.sweep() == 1
    finish_here(job)
    assert_one_outcome_each(job, tracks)


def test_one_track_is_fetched_at_once_while_redis_is_full(own_redis, simulator, staff_client):
    (track,) = add_tracks(simulator, 1)
    fill(own_redis)
    address = reverse("admin:catalog_track_fetch_now", args=(track.pk,))
    staff_client.post(address, {"_form_submitted": "on"})
    assert_one_outcome_each(MetadataFetchTask.objects.get(), [track])
