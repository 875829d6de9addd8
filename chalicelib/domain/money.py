"""What calls cost, before and after they are made."""

from dataclasses import dataclass, field
from threading import Lock


@dataclass(frozen=True, slots=True)
class Quote:
    """What one call may cost at worst; booked before it is made."""

    provider: str  # "apollo", "openai"
    operation: str  # "search_companies", "complete", …
    credits: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call did cost, by the provider's own figures."""

    credits: int = 0
    model: str | None = None
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    tokens_reasoning: int = 0
    request_id: str | None = None


@dataclass(slots=True)
class Meter:
    """Collects the charges of one call, also where it fails afterwards. Safe on any thread."""

    charges: list[Charge] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add(self, charge: Charge) -> None:
        with self._lock:
            self.charges.append(charge)

    def total(self) -> Charge | None:
        """All charges as one; None when the provider was never reached."""
        with self._lock:
            if not self.charges:
                return None
            last = self.charges[-1]
            return Charge(
                credits=sum(charge.credits for charge in self.charges),
                model=last.model,
                tokens_in=sum(charge.tokens_in for charge in self.charges),
                tokens_cached=sum(charge.tokens_cached for charge in self.charges),
                tokens_out=sum(charge.tokens_out for charge in self.charges),
                tokens_reasoning=sum(charge.tokens_reasoning for charge in self.charges),
                request_id=last.request_id,
            )
