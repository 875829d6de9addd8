"""What Lambda's event source mappings do: fetch messages, call the handler, delete what it did not report as failed.

One thread a queue polls; as many executions as the queue may have run beside each other.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from local.aws import REGION
from local.invocation import Context

logger = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any], Context], Any]

WAIT_SECONDS = 1  # a poll's length, and so how long stopping may take
RETRY_SECONDS = 10
"""When a message comes again after a failure. On AWS it is the queue's visibility timeout, which is long."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A queue, its handler, and how the two are connected."""

    queue: str
    function_name: str
    handler: Handler
    batch_size: int
    concurrency: int


class Poller:
    """Polls until it is stopped. `sqs` is a boto3 client, which may be shared between threads."""

    def __init__(
        self,
        sqs: Any,
        mappings: Sequence[Mapped],
        stopping: threading.Event,
        *,
        retry_seconds: int = RETRY_SECONDS,
    ) -> None:
        self._sqs = sqs
        self._stopping = stopping
        self._retry_seconds = retry_seconds
        self._pools: list[ThreadPoolExecutor] = []
        self._working: set[Future[None]] = set()
        self._handing_over = threading.Lock()
        self._threads = [
            threading.Thread(target=self._poll, args=(mapped,), name=f"poll {mapped.queue}", daemon=True)
            for mapped in mappings
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Take nothing more, and give what is at work this long to yield."""
        self._stopping.set()
        with self._handing_over:
            at_work = list(self._working)
        wait(at_work, timeout=seconds)
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _poll(self, mapped: Mapped) -> None:
        url = self._sqs.get_queue_url(QueueName=mapped.queue)["QueueUrl"]
        said = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = said["Attributes"]["QueueArn"]
        pool = ThreadPoolExecutor(mapped.concurrency, thread_name_prefix=mapped.function_name)
        free = threading.Semaphore(mapped.concurrency)
        self._pools.append(pool)
        while not self._stopping.is_set():
            if not free.acquire(timeout=WAIT_SECONDS):
                continue
            messages = self._receive(url, mapped.batch_size)
            with self._handing_over:
                if not messages or self._stopping.is_set():
                    free.release()
                    continue
                done = pool.submit(self._invoke, mapped, url, arn, messages)
                self._working.add(done)
            done.add_done_callback(self._working.discard)
            done.add_done_callback(lambda _, free=free: free.release())  # type: ignore[misc]

    def _receive(self, url: str, most: int) -> list[dict[str, Any]]:
        try:
            said = self._sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=WAIT_SECONDS,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        except Exception:
            if not self._stopping.wait(WAIT_SECONDS):
                logger.exception("a queue cannot be polled")
            return []
        return list(said.get("Messages", []))

    def _invoke(self, mapped: Mapped, url: str, arn: str, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [record(message, arn) for message in messages]}
        failed = {str(message["MessageId"]) for message in messages}
        try:
            said = mapped.handler(event, Context(mapped.function_name, self._stopping))
        except Exception:
            logger.exception("%s failed; its messages come again", mapped.function_name)
        else:
            # As infra/deploy asks for ReportBatchItemFailures. Elsewhere Lambda does not look at the answer.
            failed = reported(said, failed) if mapped.batch_size > 1 else set()
            if failed:
                logger.error(
                    "%s reports failures: %d of %d", mapped.function_name, len(failed), len(messages)
                )
        self._settle(url, messages, failed)

    def _settle(self, url: str, messages: list[dict[str, Any]], failed: Collection[str]) -> None:
        for message in messages:
            named = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
            try:
                if message["MessageId"] in failed:
                    self._sqs.change_message_visibility(**named, VisibilityTimeout=self._retry_seconds)
                else:
                    self._sqs.delete_message(**named)
            except Exception:
                if not self._stopping.is_set():
                    logger.exception("a message cannot be settled; it comes again")


def reported(said: Any, message_ids: set[str]) -> set[str]:
    """Which messages failed by what their handler answered, as AWS reads it ("Success and failure conditions").

    Nothing, or an empty list: none. An answer of another form, or one that names a message that is not among them: all.
    """
    failures = said.get("batchItemFailures") if isinstance(said, dict) else said
    if not failures:
        return set()
    listed = failures if isinstance(failures, list) else [failures]
    named = [each.get("itemIdentifier") if isinstance(each, dict) else None for each in listed]
    return {str(each) for each in named} if all(each in list(message_ids) for each in named) else message_ids


def record(message: Mapping[str, Any], queue_arn: str) -> dict[str, Any]:
    """A received message as Lambda hands it over."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {
            name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **({"stringValue": value["StringValue"]} if "StringValue" in value else {}),
        **({"binaryValue": value["BinaryValue"]} if "BinaryValue" in value else {}),
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": value["DataType"],
    }
