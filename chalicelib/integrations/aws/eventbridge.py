"""Events to an EventBridge bus, at least once. Order on arrival is the consumer's, by `sequence`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from chalicelib.domain.errors import Unavailable
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.integrations.aws.session import client
from chalicelib.settings import Settings

MOST_ENTRIES: Final = 10
MOST_BYTES: Final = 250_000
"""PutEvents takes 256 KiB in all, some of which goes to each entry's own fields."""

RETRY_AFTER: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class EventBridgeSink:
    """The bus named in the settings."""

    settings: Settings

    @property
    def name(self) -> str:
        return "eventbridge"

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        """For each event None when the bus took it, else why not; more than fit one call go in several.

        Raises Unavailable when the bus cannot be reached or takes no call at all. Some of the events may be
        on it by then; publishing them again is what "at least once" allows.
        """
        import botocore.exceptions  # noqa: PLC0415 - boto3's, imported only where AWS is called

        bus = client("events", self.settings)
        failure: Unavailable
        try:
            return [
                _reason(entry)
                for entries in _batches([self._entry(event) for event in events])
                for entry in bus.put_events(Entries=entries)["Entries"]
            ]
        except botocore.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            failure = _unavailable(f"The event bus refuses every call ({code}).")
        except (botocore.exceptions.BotoCoreError, OSError):
            failure = _unavailable("The event bus cannot be reached.")
        raise failure

    def _entry(self, event: OutgoingEvent) -> dict[str, str]:
        return {
            "EventBusName": self.settings.event_bus,
            "Source": self.settings.event_source,
            "DetailType": event.cloud_event["type"],
            "Detail": json.dumps(event.cloud_event, ensure_ascii=False, separators=(",", ":")),
        }


def _batches(entries: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Entries in order, as many together as one call takes."""
    batch: list[dict[str, str]] = []
    size = 0
    for entry in entries:
        length = sum(len(value.encode()) for value in entry.values())
        if batch and (len(batch) == MOST_ENTRIES or size + length > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def _reason(entry: dict[str, Any]) -> str | None:
    if "ErrorCode" not in entry:
        return None
    return f"{entry['ErrorCode']}: {entry.get('ErrorMessage', '')}"[:500]


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, code="event_bus_unavailable", retry_after=RETRY_AFTER)
