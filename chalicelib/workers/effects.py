"""The applier's handler."""

from typing import Any

from chalicelib.bootstrap import context
from chalicelib.workers.runs import customer_of, each_once


def apply(event: Any) -> None:
    """Each tenant once, however many messages name it."""
    from chalicelib.services.approvals.effects import apply_due

    each_once(event, customer_of, lambda customer_id: apply_due(context().database, customer_id))
