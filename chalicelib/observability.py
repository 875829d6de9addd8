"""Logs that are events with fields, on standard output as JSON."""

import logging
from functools import cache

from aws_lambda_powertools import Logger

from chalicelib.settings import settings


@cache
def set_up_logging() -> Logger:
    """Once a process: our own loggers write through Powertools, one JSON line an event."""
    logger = Logger(service="bevyly", level=settings().log_level, utc=True)
    ours = logging.getLogger("chalicelib")
    ours.setLevel(settings().log_level)
    ours.propagate = False
    ours.handlers = [*logger.handlers]
    return logger
