"""A stand-in for the doorbell's SQS queue, between processes, and the signals that ring it.

A message goes to one reader, roughly in the order sent, whichever tenant it names; like SQS it knows no
fairness between tenants. It arrives at once, which SQS's do not. A message that was read is gone: nobody
dies here, so nothing comes a second time.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from chalicelib.domain.ids import CustomerId
from local.invocation import Context
from local.poller import record

_SIZE: Final = 64
"""Every message's bytes. A pipe takes and gives so few as a whole, so readers never get half of one."""
_ARN: Final = "arn:aws:sqs:eu-central-1:123456789012:bench-runs"


class Doorbell:
    """A pipe whose two ends may be handed to children."""

    def __init__(self, read_end: int, write_end: int) -> None:
        self.ends = (read_end, write_end)

    @classmethod
    def made(cls) -> "Doorbell":
        return cls(*os.pipe())

    def send(self, body: str) -> None:
        os.write(self.ends[1], body.encode().ljust(_SIZE))

    def receive(self) -> str:
        """The next message's body; waits for one."""
        return os.read(self.ends[0], _SIZE).decode()

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


class DoorbellSignals:
    """`Signals` that ring a `Doorbell`. Nobody relays events here and nothing is approved."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self.rang_at = 0.0  # by the machine's clock

    def ring(self, customer_id: CustomerId, *, delay: timedelta = timedelta()) -> None:
        if delay:
            raise AssertionError("No run of a benchmark waits for anything.")
        self.rang_at = time.time()
        self._doorbell.send(json.dumps({"customerId": customer_id}))

    def nudge_relay(self) -> None:
        """Leave the events in the outbox."""

    def nudge_effects(self, customer_id: CustomerId, *, delay: timedelta) -> None:
        """Nothing to apply."""


def answer(doorbell: Doorbell, handler: Callable[[dict[str, Any], Context], Any], context: Context) -> None:
    """Hand each message to the handler as Lambda would, one after the other, for ever."""
    while True:
        body = doorbell.receive()
        message = {
            "MessageId": str(uuid.uuid4()),
            "ReceiptHandle": "none",
            "Body": body,
            "MD5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
            "Attributes": {"ApproximateReceiveCount": "1"},
        }
        handler({"Records": [record(message, _ARN)]}, context)
