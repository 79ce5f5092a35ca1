"""Queries about gaps, leases and the dates of tasks use their indexes."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from catalog.jobs.audience import _with_gaps
from catalog.models import FetchChunk, MetadataFetchTask, TrackAudience

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def indexes_first() -> None:
    """PostgreSQL reads few rows without an index, or by any of several; here one must be worth it."""
    if connection.vendor == "postgresql":
        job = MetadataFetchTask.objects.create(title="Many", dedupe_key="many", fresh_after=timezone.now())
        FetchChunk.objects.bulk_create(FetchChunk(job=job, size=1) for _ in range(1000))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE catalog_fetchchunk")
            cursor.execute("SET LOCAL enable_seqscan = off")


def ended_since(days: int) -> QuerySet[MetadataFetchTask]:
    since = timezone.now() - timedelta(days=days)
    return MetadataFetchTask.objects.filter(completed_at__gte=since).order_by()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (lambda: _with_gaps(["spotify", "youtube"], 1000), "audience_missing"),
        (
            lambda: TrackAudience.objects.filter(platform="spotify", missing_days__gt=0).order_by(),
            "audience_missing",
        ),
        (
            lambda: FetchChunk.objects.filter(finished_at=None, lease_expires_at__gte=Now()).order_by(),
            "chunk_leased",
        ),
        (
            lambda: MetadataFetchTask.objects.filter(
                created_at__gte=timezone.now() - timedelta(days=1)
            ).order_by(),
            "job_created",
        ),
        (lambda: MetadataFetchTask.objects.order_by("-created_at", "-pk")[:50], "job_created"),
        (lambda: ended_since(1), "job_completed"),
    ],
)
def test_a_query_uses_its_index(query, index):
    assert index in query().explain()
