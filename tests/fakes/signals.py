"""Signals that only remember, for tests that drive the workers themselves."""

from dataclasses import dataclass, field
from datetime import timedelta

from chalicelib.domain.ids import CustomerId


@dataclass(slots=True)
class RememberedSignals:
    rings: list[tuple[CustomerId, timedelta]] = field(default_factory=list)
    relays: int = 0
    effects: list[tuple[CustomerId, timedelta]] = field(default_factory=list)

    def ring(self, customer_id: CustomerId, *, delay: timedelta = timedelta()) -> None:
        self.rings.append((customer_id, delay))

    def nudge_relay(self) -> None:
        self.relays += 1

    def nudge_effects(self, customer_id: CustomerId, *, delay: timedelta) -> None:
        self.effects.append((customer_id, delay))
