"""The applier's handler."""

from typing import Any

from chalicelib.bootstrap import context
from chalicelib.workers.runs import Failures, customer_of, each_once


def apply(event: Any) -> Failures:
    """Each tenant once, however many messages name it."""
    from chalicelib.services.approvals.effects import apply_due

    database = context().database  # first, since it sets up the log
    return each_once(event, customer_of, lambda customer_id: apply_due(database, customer_id))
