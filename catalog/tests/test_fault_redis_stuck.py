"""Faults 8 and 9: Redis is frozen, or full, while somebody clicks."""

import os
import signal
import time

import pytest
import redis
from django.urls import reverse
from pytest_django.asserts import assertContains

from catalog.models import MetadataFetchTask
from catalog.tests.tracks import add_tracks

pytestmark = pytest.mark.django_db(transaction=True)


def click(client) -> MetadataFetchTask:
    """Press Fetch All Metadata, and return the job that this has made."""
    address = reverse("admin:catalog_track_fetch_all_metadata")
    response = client.post(address, {"_form_submitted": "True"}, follow=True)
    assertContains(response, "the queue is unavailable")
    return MetadataFetchTask.objects.get()


def assert_it_waits_and_says_so(job: MetadataFetchTask) -> None:
    assert (job.status, job.error_code) == ("pending", "broker_unreachable")
    assert "Nothing is lost" in job.error_message


def test_with_redis_frozen_a_click_is_answered_and_the_job_waits(simulator, own_valkey, staff_client):
    add_tracks(simulator, 3)
    process = own_valkey._process.pid
    os.kill(process, signal.SIGSTOP)
    try:
        started = time.monotonic()
        job = click(staff_client)
        seconds = time.monotonic() - started
    finally:
        os.kill(process, signal.SIGCONT)
    assert_it_waits_and_says_so(job)
    # Not a measure of speed: the promise is that nobody is left waiting for a broker that hangs.
    assert seconds < 30


def test_with_redis_full_a_click_is_answered_and_the_job_waits(simulator, own_valkey, staff_client):
    add_tracks(simulator, 3)
    client = redis.Redis.from_url(f"redis://127.0.0.1:{own_valkey.port}/0")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    job = click(staff_client)
    assert_it_waits_and_says_so(job)
