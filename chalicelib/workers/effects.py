"""The applier's handler."""

from typing import Any

from chalicelib.bootstrap import context
from chalicelib.workers.runs import customer_of


def apply(event: Any) -> None:
    """Each tenant once, however many messages name it."""
    from chalicelib.services.approvals.effects import apply_due

    for customer_id in dict.fromkeys(customer_of(record.body) for record in event):
        apply_due(context().database, customer_id)
