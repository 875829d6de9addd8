"""What an account at a provider may still do: calls by window, and credits."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Quota:
    """So many of something. What the provider does not say is None; a limit of None may be none at all."""

    limit: int | None = None
    used: int | None = None
    left: int | None = None


@dataclass(frozen=True, slots=True)
class CallQuotas:
    """One kind of call's, in the windows that a provider counts by; None for one it does not tell."""

    minute: Quota | None = None
    hour: Quota | None = None
    day: Quota | None = None


@dataclass(frozen=True, slots=True)
class Credits:
    """What an account has paid for in this cycle, and what is left of it."""

    balance: Quota = field(default_factory=Quota)  # the credits that our calls cost
    by_kind: Mapping[str, Quota] = field(default_factory=dict)  # all kinds, by the provider's names
    cycle_ends_at: str | None = None  # a date, ISO 8601


@dataclass(frozen=True, slots=True)
class AccountAtProvider:
    """What an account may still do: credits, and calls by the operations that quotes name."""

    credits: Credits
    calls: Mapping[str, CallQuotas]
