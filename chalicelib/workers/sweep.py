"""The minute's handler."""

from typing import Any

from chalicelib.bootstrap import context
from chalicelib.workers.runs import time_left


def run_due_schedules(_event: Any) -> dict[str, int]:
    return context().scheduler.tick()


def every_minute(event: Any) -> dict[str, int]:
    return context().sweep.every_minute(time_left(event.context))
