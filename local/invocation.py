"""What a handler is given on Lambda beside its event."""

import json
import threading
import time
import uuid
from functools import cache
from typing import Any

from chalice.config import Config

from local.processes import ROOT

LONGEST_SECONDS = 900.0


class Context:
    """The part of Lambda's context that Chalice, Powertools and our handlers read."""

    function_version = "$LATEST"
    log_group_name = ""
    log_stream_name = ""
    identity = None
    client_context = None

    def __init__(self, function_name: str, stopping: threading.Event) -> None:
        self.function_name = function_name
        self.aws_request_id = str(uuid.uuid4())
        self.invoked_function_arn = f"arn:aws:lambda:eu-central-1:123456789012:function:{function_name}"
        self.memory_limit_in_mb = memory_mb(function_name)
        self._deadline = time.monotonic() + timeout_seconds(function_name)
        self._stopping = stopping

    def get_remaining_time_in_millis(self) -> int:
        """Until the function's timeout in .chalice/config.json; none once the stack stops."""
        if self._stopping.is_set():
            return 0
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def timeout_seconds(function_name: str) -> float:
    return float(_config(function_name).lambda_timeout or LONGEST_SECONDS)


def memory_mb(function_name: str) -> int:
    return int(_config(function_name).lambda_memory_size or 128)


@cache
def _config(function_name: str) -> Any:
    """The figures of the production stage: the ones a handler has to get along with."""
    said = json.loads((ROOT / ".chalice" / "config.json").read_text())
    return Config(chalice_stage="prod", function_name=function_name, config_from_disk=said)
