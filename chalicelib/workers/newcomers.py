"""The operator's handler: `make person` invokes it. What is refused is answered in words, and is no failure."""

import logging
from collections.abc import Mapping
from typing import Any

from chalicelib.bootstrap import context
from chalicelib.domain.errors import AppError

logger = logging.getLogger(__name__)


class NotRegisteredError(Exception):
    """Something failed that should not. Lambda hands it to whoever invoked, so it tells nothing of the inside."""


def add_person(event: Mapping[str, Any], _lambda_context: Any) -> dict[str, Any]:
    """Register `event`, or only see whether it could be, where it says no `subject`.

    Refusals are returned: a raised one would have its text, and the address in it, in the log, and set off an alarm.
    """
    try:
        return _added(event)
    except AppError as refused:
        logger.info("a person is refused", extra={"code": refused.code})
        return {"refused": {"code": refused.code, "message": refused.message}}
    except Exception as error:
        logger.exception("a person was not let in")
        raise NotRegisteredError(
            f"Nobody is registered: the function failed with {type(error).__name__}. Its log says more."
        ) from None


def _added(event: Mapping[str, Any]) -> dict[str, Any]:
    newcomers = context().newcomers  # first, since it sets up the log
    from chalicelib.domain.newcomers import Newcomer

    newcomer = Newcomer.of(event)
    if event.get("subject") is None:
        newcomers.look(newcomer)
        return {}
    made = newcomers.register(newcomer, event["subject"])
    return {
        "customerId": made.customer_id,
        "userId": made.user_id,
        "madeCustomer": made.made_customer,
        "madeUser": made.made_user,
    }
