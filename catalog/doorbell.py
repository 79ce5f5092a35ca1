"""The doorbell: messages that tell workers to look at the database, where the work is.

A message is a hint. Losing every one of them loses nothing: the sweep rings again.
"""

import logging
from typing import Any

from celery import current_app
from kombu.exceptions import ChannelError, OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

WORK_ON_JOB = "catalog.tasks.fetch_bulk_track_metadata"

# What a broker that is away, frozen or full makes kombu and redis-py raise.
BROKER_ERRORS = (OperationalError, RedisError, OSError)


def ring(job_id: int) -> bool:
    """Send one message for a job; return False, with a WARNING, when the broker does not take it."""
    try:
        # One try: the person who clicked is waiting, and the sweep tries again.
        current_app.send_task(WORK_ON_JOB, args=[job_id], retry=False)
    except BROKER_ERRORS as error:
        logger.warning("job %s: the broker did not take its message: %s", job_id, type(error).__name__)
        return False
    return True


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
