"""What EventBridge's rules do: call the scheduled handlers once a minute, and once at the start."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from local.aws import REGION
from local.invocation import Context

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 60.0

Handler = Callable[[dict[str, Any], Context], Any]


class Clock:
    """One thread a handler, so that a slow one holds up no other; one execution of each at a time."""

    def __init__(
        self,
        handlers: Sequence[tuple[str, Handler]],
        stopping: threading.Event,
        *,
        period_seconds: float = PERIOD_SECONDS,
    ) -> None:
        self._stopping = stopping
        self._period = period_seconds
        self._threads = [
            threading.Thread(target=self._tick, args=pair, name=f"clock {pair[0]}", daemon=True)
            for pair in handlers
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        self._stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _tick(self, function_name: str, handler: Handler) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            try:
                handler(scheduled_event(function_name), Context(function_name, self._stopping))
            except Exception:
                if not self._stopping.is_set():
                    logger.exception("%s failed; its next minute comes", function_name)
            due = max(due + self._period, time.monotonic())


def scheduled_event(rule: str) -> dict[str, Any]:
    """The event of a rule with a rate, as Lambda hands it over."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:123456789012:rule/{rule}"],
        "detail": {},
    }
