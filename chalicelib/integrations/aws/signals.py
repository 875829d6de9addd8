"""Messages that make workers look at the database. Nothing depends on their arriving."""

import json
import logging
import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from chalicelib.domain.ids import CustomerId
from chalicelib.integrations.aws.session import client
from chalicelib.settings import Settings

logger = logging.getLogger(__name__)

LONGEST_DELAY: Final = timedelta(minutes=15)
"""SQS keeps a message back no longer. What is due later is the sweep's: a message would come too early."""


@dataclass(slots=True)
class SqsSignals:
    """Signals over SQS. A failure is logged and forgotten: the sweep makes up for it within a minute."""

    settings: Settings
    _urls: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def ring(self, customer_id: CustomerId, *, delay: timedelta = timedelta()) -> None:
        self._send(self.settings.queues.runs, {"customerId": customer_id}, delay)

    def nudge_relay(self) -> None:
        self._send(self.settings.queues.relay, {}, timedelta())

    def nudge_effects(self, customer_id: CustomerId, *, delay: timedelta) -> None:
        self._send(self.settings.queues.effects, {"customerId": customer_id}, delay)

    def check(self) -> None:
        """Raise when the doorbell's queue cannot be reached."""
        client("sqs", self.settings, hurried=True).get_queue_url(QueueName=self.settings.queues.runs)

    def _send(self, queue: str, body: dict[str, str], delay: timedelta) -> None:
        if delay > LONGEST_DELAY:
            return
        try:
            sqs = client("sqs", self.settings, hurried=True)
            sqs.send_message(
                QueueUrl=self._url(sqs, queue),
                MessageBody=json.dumps(body),
                DelaySeconds=max(math.ceil(delay.total_seconds()), 0),
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller's work is committed and stands
            self._urls.pop(queue, None)  # a queue made anew may have another address
            logger.warning("signal not sent", extra={"queue": queue, "reason": type(error).__name__, **body})

    def _url(self, sqs: Any, queue: str) -> str:
        if queue not in self._urls:
            self._urls[queue] = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        return self._urls[queue]
