"""What calls cost, before and after they are made, and the gates that they pass before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from threading import Lock
from typing import Final


class EntryStatus(StrEnum):
    """What became of a paid call, in the ledger."""

    RESERVED = "reserved"  # may be under way; the worst it may cost is booked
    SETTLED = "settled"  # made, and booked with what it did cost
    RELEASED = "released"  # never made, or refused for nothing
    UNKNOWN = "unknown"  # nobody knows whether it was made: the worst stays booked


class Payer(StrEnum):
    """Whose key a call is made with."""

    TENANT = "tenant"
    PLATFORM = "platform"


class Grouping(StrEnum):
    """By what spending may be told."""

    DAY = "day"
    AGENT = "agent"
    AGENT_TYPE = "agentType"
    PROVIDER = "provider"
    MODEL = "model"
    PAYER = "payer"


class BudgetUnit(StrEnum):
    """What a budget is counted in."""

    CREDITS = "credits"
    DOLLARS = "dollars"


class AlertReason(StrEnum):
    """How a threshold of a budget was reached."""

    SPENT = "spent"
    RUN_ENDED = "run_ended"  # the next call might have exceeded the cap, so a run ended; all of it is reached


class Gate(StrEnum):
    """What may refuse a call before it is made, in the order in which they are asked."""

    HOURLY = "hourly"
    DAILY = "daily"
    CREDITS = "credits"
    DOLLARS = "dollars"
    UNPRICED = "unpriced"
    PLATFORM_CREDITS = "platform_credits"
    PLATFORM_DOLLARS = "platform_dollars"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class Quote:
    """What one call asks of a provider; what it may cost at worst follows from the provider's terms."""

    provider: str  # "apollo", "openai"
    operation: str  # "search_companies", "complete", …
    credits: int = 0
    most_tokens_in: int = 0  # of a model: what is sent at most

    @property
    def endpoint_group(self) -> str:
        """Calls that a provider counts together."""
        return f"{self.provider}:{self.operation}"


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """US dollars a million tokens."""

    tokens_in: Decimal
    tokens_cached: Decimal
    tokens_out: Decimal

    def of(self, *, tokens_in: int, tokens_cached: int = 0, tokens_out: int) -> Decimal:
        """Dollars, rounded up to a millionth. `tokens_in` includes the cached ones."""
        cached = min(tokens_cached, tokens_in)
        millionths = (
            (tokens_in - cached) * self.tokens_in + cached * self.tokens_cached + tokens_out * self.tokens_out
        )
        return (millionths / MILLION).quantize(MILLIONTH, rounding=ROUND_UP)

    def at_most(self, *, tokens_in: int, tokens_out: int) -> Decimal:
        """Dollars that so many tokens cost at most, however many of them were cached."""
        cached = tokens_in if self.tokens_cached > self.tokens_in else 0
        return self.of(tokens_in=tokens_in, tokens_cached=cached, tokens_out=tokens_out)


@dataclass(frozen=True, slots=True)
class PriceList:
    """What models cost at one address, on one day."""

    base_url: str
    as_of: date
    prices: Mapping[str, ModelPrice]  # by model


def dollars_of(amount: float | None) -> Decimal | None:
    """An amount of JSON's in whole cents."""
    return None if amount is None else Decimal(str(amount)).quantize(CENT)


CENT: Final = Decimal("0.01")
MILLION: Final = 1_000_000
MILLIONTH: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a provider is called: with whose key, how fast, at what price."""

    payer: Payer = Payer.PLATFORM
    credential: str = "platform"  # the key's row, or "platform"; what a provider counts by
    calls_per_minute: int | None = None  # for each group of endpoints, until the provider says otherwise
    price: ModelPrice | None = None  # of the model; None: nobody knows it
    most_tokens_out: int = 0
    model: str | None = None  # the one that is asked
    configured: bool = True  # False: there is no key, so every call is refused

    def worst(self, quote: Quote) -> Decimal | None:
        """Dollars that one call may cost at most; None when the model's price is not known."""
        if quote.most_tokens_in == 0:
            return Decimal(0)
        if self.price is None:
            return None
        return self.price.at_most(tokens_in=quote.most_tokens_in, tokens_out=self.most_tokens_out)

    def cost(self, charge: "Charge") -> Decimal | None:
        """Dollars that one call did cost; None when the model's price is not known."""
        if charge.tokens_in == charge.tokens_out == 0:
            return Decimal(0)
        if self.price is None:
            return None
        return self.price.of(
            tokens_in=charge.tokens_in, tokens_cached=charge.tokens_cached, tokens_out=charge.tokens_out
        )


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


@dataclass(frozen=True, slots=True)
class RateNews:
    """What a provider says of its limits; None where it says nothing."""

    per_minute: int | None = None  # calls it takes
    left: int | None = None  # of them, now: fewer where a longer window has fewer left
    blocked_for: timedelta | None = None  # a longer window is used up: until it frees


@dataclass(slots=True)
class Meter:
    """Collects the charges of one call, also where it fails afterwards. Safe on any thread."""

    charges: list[Charge] = field(default_factory=list)
    news: RateNews | None = None
    _lock: Lock = field(default_factory=Lock)

    def add(self, charge: Charge) -> None:
        with self._lock:
            self.charges.append(charge)

    def hear(self, news: RateNews) -> None:
        """Note what the provider says of its limit."""
        self.news = news

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


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gate that did not let all of some calls pass. Nothing of them was booked."""

    gate: Gate
    limit: Decimal | None  # items, credits, dollars or calls
    fits: int  # how many of the calls would pass
    retry_in: timedelta | None  # when to ask again; None: not for long

    @property
    def words(self) -> str:
        """Why, for people, and what to do."""
        if self.gate is Gate.RATE and self.limit is None:
            return "The provider takes no calls for now; the next ones wait until it does."
        return _WORDS[self.gate](self.limit or Decimal(0))


_WORDS: Final[dict[Gate, Callable[[Decimal], str]]] = {
    Gate.HOURLY: lambda most: (
        f"The agent's limit of {most:,.0f} items an hour is reached; it goes on with the next hour."
    ),
    Gate.DAILY: lambda most: (
        f"The agent's limit of {most:,.0f} items a day is reached; the rest is left for another day."
    ),
    Gate.CREDITS: lambda most: (
        f"This month's budget of {most:,.0f} credits is used up, calls under way included."
        " Raise the budget, or wait for the next month."
    ),
    Gate.DOLLARS: lambda most: (
        f"This month's budget of ${most:,.2f} is used up, calls under way included."
        " Raise the budget, or wait for the next month."
    ),
    Gate.UNPRICED: lambda _most: (
        "Nobody knows what this model costs, so a cap in dollars cannot be kept. Choose a model with a known price,"
        " or take the cap away: the budget's, or the installation's PLATFORM_DOLLARS_PER_MONTH=none."
    ),
    Gate.PLATFORM_CREDITS: lambda most: (
        f"Your plan's {most:,.0f} credits of this month are used up. Connect an account of your own, or wait for the"
        " next month."
    ),
    Gate.PLATFORM_DOLLARS: lambda most: (
        f"Your plan's ${most:,.2f} of this month are used up. Connect an account of your own, or wait for the next"
        " month."
    ),
    Gate.RATE: lambda most: (
        f"The provider takes {most:,.0f} calls a minute; the next ones wait for their turn."
    ),
}
