"""Logs that are events with fields, and metrics, both on standard output as JSON.

Metrics are CloudWatch's embedded format; they count by agent type at most, never by tenant. `infra/README.md` lists
them, and what alarms on them.
"""

import logging
from enum import StrEnum
from functools import cache, partial
from typing import Final

from aws_lambda_powertools import Logger

from chalicelib import tracing
from chalicelib.settings import settings

NAMESPACE: Final = "Bevyly/Agents"


class Unit(StrEnum):
    COUNT = "Count"
    SECONDS = "Seconds"


@cache
def set_up_logging() -> Logger:
    """Once a process: our own loggers write through Powertools, one JSON line an event."""
    logger = Logger(service="bevyly", level=settings().log_level, utc=True)
    for handler in logger.handlers:
        handler.addFilter(_say_which_trace)
    ours = logging.getLogger("chalicelib")
    ours.setLevel(settings().log_level)
    ours.propagate = False
    ours.handlers = [*logger.handlers]
    return logger


def measure(name: str, value: float, unit: Unit = Unit.COUNT, *, agent_type: str | None = None) -> None:
    """One figure for CloudWatch; with an agent type also by that."""
    from aws_lambda_powertools.metrics import MetricUnit, single_metric  # noqa: PLC0415 - only workers measure

    given = partial(single_metric, name, MetricUnit(unit.value), value, namespace=NAMESPACE)
    with given():
        pass
    if agent_type is not None:
        with given() as by_type:
            by_type.add_dimension("AgentType", agent_type)


def _say_which_trace(record: logging.LogRecord) -> bool:
    place = tracing.here()
    if place is not None:
        record.trace_id = place.trace_id
    return True
