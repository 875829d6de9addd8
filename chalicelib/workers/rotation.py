"""The operator's handler: `aws lambda invoke` with `{}`, and again with `{"after": …}` while `next` says so."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from chalicelib.bootstrap import context
from chalicelib.workers.runs import time_left

FOR_THE_ANSWER: Final = timedelta(seconds=30)


def rotate(event: Mapping[str, Any], lambda_context: Any) -> dict[str, Any]:
    left = time_left(lambda_context)
    return context().rotation.rotate(
        after=str((event or {}).get("after") or ""), enough=lambda: left() < FOR_THE_ANSWER
    )
