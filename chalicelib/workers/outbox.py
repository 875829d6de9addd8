"""The relay's handler."""

from typing import Any

from chalicelib.bootstrap import context
from chalicelib.workers.runs import time_left


def relay(event: Any) -> None:
    """However many messages: one drain, which fails as a whole."""
    context().relay.drain(time_left(event.context))
