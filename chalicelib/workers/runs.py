"""The doorbell's handlers."""

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from chalicelib.bootstrap import context
from chalicelib.domain.access import engine_for
from chalicelib.domain.ids import CustomerId, is_id

logger = logging.getLogger(__name__)


def time_left(lambda_context: Any) -> Callable[[], timedelta]:
    """What is left of the function's time, live."""
    return lambda: timedelta(milliseconds=lambda_context.get_remaining_time_in_millis())


def customer_of(body: str) -> CustomerId:
    """Whom a message is about. Raises ValueError for one that nobody can read: it goes to the dead-letter queue."""
    message = json.loads(body)
    customer_id = message.get("customerId") if isinstance(message, dict) else None
    if not isinstance(customer_id, str) or not is_id("CustomerId", customer_id):
        raise ValueError("the message names no customer")
    return CustomerId(customer_id)


def execute(event: Any) -> None:
    """Look at the tenant each message names."""
    for record in event:
        context().engine.visit(customer_of(record.body), time_left(event.context))


def start_for_events(event: Any) -> None:
    """Note each event for the agents that wait for it."""
    from chalicelib.services.triggers import react, told_by

    for told in told_by([record.body for record in event]):
        react(context().database, told)


def bury(event: Any) -> None:
    """Record a dead message and ring its tenant, if it names one. No run's status is touched."""
    database = context().database  # first, since it sets up the log
    for record in event:
        logger.error("a message is dead", extra={"message_id": record.to_dict().get("messageId")})
        try:
            customer_id = customer_of(record.body)
        except ValueError:
            continue
        with database.enter(engine_for(customer_id)) as work:
            work.ring()
