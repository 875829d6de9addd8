"""What the inside asks of the outside, but for the providers. Integrations implement these; tests may too."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from chalicelib.domain.ids import CustomerId


class Signals(Protocol):
    """Messages sent after a commit. None of them may fail the caller: the sweep makes up for a lost one."""

    def ring(self, customer_id: CustomerId, *, delay: timedelta = timedelta()) -> None:
        """Look at this tenant's queue."""

    def nudge_relay(self) -> None:
        """There are events to publish."""

    def nudge_effects(self, customer_id: CustomerId, *, delay: timedelta) -> None:
        """Decisions of this tenant become due after the delay."""


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An outbox row on its way to a sink."""

    id: str
    customer_id: str
    cloud_event: Mapping[str, Any]  # CloudEvents 1.0, JSON format


class EventSink(Protocol):
    """Where events are published."""

    @property
    def name(self) -> str: ...

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        """For each event None when it was taken, else the reason why not. At most 10 events a call.

        Raises Unavailable when the sink itself cannot be reached.
        """


class Issuer(Protocol):
    """Who says who people are."""

    def sign_in(self, email: str, password: str) -> "SignedIn | Challenge": ...

    def answer_challenge(self, email: str, session: str, new_password: str) -> "SignedIn": ...

    def refresh(self, refresh_token: str) -> "SignedIn": ...

    def sign_out(self, refresh_token: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SignedIn:
    access_token: str
    expires_in: int  # seconds
    refresh_token: str | None


@dataclass(frozen=True, slots=True)
class Challenge:
    """The first password has to be replaced."""

    session: str
