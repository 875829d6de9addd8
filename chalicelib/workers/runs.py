"""The doorbell's handlers."""

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from chalicelib.bootstrap import context
from chalicelib.domain.access import engine_for
from chalicelib.domain.ids import CustomerId, is_id

logger = logging.getLogger(__name__)

Key = TypeVar("Key")

Failures = dict[str, list[dict[str, str]]]
"""A batch's answer: `{"batchItemFailures": [{"itemIdentifier": messageId}, …]}`. Lambda deletes the other messages; and
these too, where the mapping does not say ReportBatchItemFailures, which infra/deploy sees to."""


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


def each_once(event: Any, read: Callable[[str], Key], do: Callable[[Key], object]) -> Failures:
    """Do it once for all that a batch's messages are about, however many name the same.

    A message that nobody can read, or that fails, keeps no other from being done. Returns those that failed: they alone
    come again. Where all failed the first failure is raised, since Lambda counts only what is raised as an error, and
    what stops all work (a database that is away) has to ring that alarm long before the dead letters' does.
    """
    about: dict[Key, list[str]] = {}
    failed: dict[str, Exception] = {}
    messages = 0
    for record in event:
        messages += 1
        message_id = record.to_dict()["messageId"]
        try:
            about.setdefault(read(record.body), []).append(message_id)
        except Exception as unreadable:
            logger.exception("a message of a batch cannot be read", extra={"message_id": message_id})
            failed[message_id] = unreadable
    for key, message_ids in about.items():
        try:
            do(key)
        except Exception as failure:
            logger.exception("a message of a batch failed", extra={"message_ids": message_ids})
            failed.update(dict.fromkeys(message_ids, failure))
    if failed and len(failed) == messages:
        raise next(iter(failed.values()))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def execute(event: Any) -> None:
    """Look at the tenant each message names."""
    for record in event:
        context().engine.visit(customer_of(record.body), time_left(event.context))


def start_for_events(event: Any) -> Failures:
    """Note each event for the agents that wait for it."""
    from chalicelib.services.triggers import react, told_by

    database = context().database  # first, since it sets up the log
    return each_once(event, told_by, lambda told: react(database, told))


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
