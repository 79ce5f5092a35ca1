"""The doorbell: messages that tell workers to look at the database, where the work is.

A message is a hint. Losing every one of them loses nothing: the sweep rings again.
"""

import logging
from typing import Any

from celery import current_app
from django.conf import settings
from kombu.exceptions import ChannelError, OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)

WORK_ON_JOB = "catalog.tasks.fetch_bulk_track_metadata"

# What a broker that is away, frozen or full makes kombu and redis-py raise.
BROKER_ERRORS = (OperationalError, RedisError, OSError)


def ring(job_id: int) -> bool:
    """Send one message for a job; return False, with a WARNING, when the broker does not take it."""
    try:
        # One try: the person who clicked is waiting, and the sweep tries again.
        current_app.send_task(WORK_ON_JOB, args=[job_id], retry=False, ignore_result=True)
    except BROKER_ERRORS as error:
        logger.warning("job %s: the broker did not take its message: %s", job_id, type(error).__name__)
        return False
    return True


def is_answering(*, timeout: float = 1.0) -> bool:
    """Return within about `timeout` seconds whether the broker answers; for whoever must not wait longer."""
    # Not by kombu: its pool waits and tries again for longer than a page may take.
    client = Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(client.ping())
    except BROKER_ERRORS:
        return False
    finally:
        client.close()


def count_waiting() -> int | None:
    """Return how many messages wait for a worker, or None when the broker does not answer."""
    try:
        with current_app.connection_or_acquire() as connection:
            # The channel's type is that of all transports; the call is one that every AMQP-like has.
            channel: Any = connection.default_channel
            return int(channel.queue_declare(current_app.conf.task_default_queue, passive=True).message_count)
    except ChannelError:
        return 0  # Redis keeps no empty list.
    except BROKER_ERRORS as error:
        logger.warning("the broker does not answer: %s", type(error).__name__)
        return None


def count_workers(*, timeout: float = 1.0) -> int | None:
    """Return how many workers answer within `timeout` seconds, or None without a broker."""
    try:
        return len(current_app.control.ping(timeout=timeout) or ())
    except BROKER_ERRORS:
        return None
