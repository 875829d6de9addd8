"""What a run would cost, before it runs: from what its agent expects and how such runs have gone here. Calls nobody."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from statistics import median
from typing import Any, Final

from pydantic import ValidationError

from chalicelib.agents import registry
from chalicelib.agents.base import Agent, Expected
from chalicelib.db.models.agent import AgentConfig
from chalicelib.db.queries import agents as configs
from chalicelib.db.queries import estimates as queries
from chalicelib.db.work import Work
from chalicelib.domain.ids import AgentConfigId
from chalicelib.domain.money import MILLIONTH, Gate, Payer, Terms
from chalicelib.services.runs.start import check_config, check_input
from chalicelib.services.terms import terms_of


class Basis(StrEnum):
    """What the likely figures rest on."""

    AGENT = "agent"  # this agent's last runs
    AGENT_TYPE = "agentType"  # the last runs of its type
    CONFIG = "config"  # its config and input alone


class Chance(StrEnum):
    """How sure it is that something stops a run."""

    CERTAIN = "certain"
    LIKELY = "likely"  # with the likely figures
    POSSIBLE = "possible"  # with the highest ones


@dataclass(frozen=True, slots=True)
class Stop:
    """What would keep a run from starting, have it wait, or end it early."""

    code: str
    chance: Chance
    message: str


@dataclass(frozen=True, slots=True)
class Figures:
    calls: int = 0
    credits: int = 0
    dollars: Decimal | None = Decimal(0)  # None: nobody knows what the model costs

    def __add__(self, other: "Figures") -> "Figures":
        unknown = self.dollars is None or other.dollars is None
        dollars = None if unknown else (self.dollars or 0) + (other.dollars or Decimal(0))
        return Figures(self.calls + other.calls, self.credits + other.credits, dollars)


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call."""

    provider: str
    operation: str
    terms: Terms
    likely: Figures
    at_most: Figures
    one: Figures  # a single call, at the worst: what a gate asks for


@dataclass(frozen=True, slots=True)
class Estimate:
    basis: Basis
    runs: int  # of the past, that the likely figures rest on
    items: int
    operations: Sequence[Operation]
    stops: Sequence[Stop]
    seconds: float | None  # from start to end; None where the past does not say

    @property
    def likely(self) -> Figures:
        return sum((operation.likely for operation in self.operations), Figures())

    @property
    def at_most(self) -> Figures:
        return sum((operation.at_most for operation in self.operations), Figures())

    @property
    def unpriced(self) -> list[str]:
        """Models whose price nobody knows."""
        return sorted(
            {one.terms.model or one.provider for one in self.operations if one.at_most.dollars is None}
        )


@dataclass(slots=True)
class Past:
    """What like runs expected by their own config and input, and what they did."""

    basis: Basis = Basis.CONFIG
    runs: int = 0
    expected: Counter[tuple[str, str]] = field(default_factory=Counter)  # calls, by provider and operation
    called: dict[tuple[str, str], Any] = field(default_factory=dict)
    pace: list[float] = field(default_factory=list)  # seconds an item, of each run


def estimate(work: Work, config_id: AgentConfigId, inputs: Mapping[str, Any]) -> Estimate:
    """What a run of this agent with this input would cost if it began now.

    Raises NotFound for an agent that is not this tenant's, Invalid for an input that does not fit.
    """
    saved = configs.get(work.session, work.actor.scope, config_id)
    agent = registry.find(saved.agent_type)
    config = agent.config.model_validate(check_config(agent, saved.config))
    expected = agent.expects(config, agent.input.model_validate(check_input(agent, inputs)))
    past = _past(work, agent, saved)
    terms = terms_of(work)
    operations = [_operation(one, terms.get(one.quote.provider, Terms()), past) for one in expected]
    items = _items(expected)
    return Estimate(
        basis=past.basis,
        runs=past.runs,
        items=items,
        operations=operations,
        stops=list(_stops(work, saved, operations, items)),
        seconds=median(past.pace) * max(items, 1) if past.pace else None,
    )


def _items(expected: Sequence[Expected]) -> int:
    return sum(one.likely for one in expected if one.items)


def _past(work: Work, agent: Agent, saved: AgentConfig) -> Past:
    """Of this agent, else of its type, else nothing. Runs whose config or input no longer fits are left out."""
    scope = work.actor.scope
    for basis, column, value in (
        (Basis.AGENT, "agent_config_id", saved.id),
        (Basis.AGENT_TYPE, "agent_type", agent.type),
    ):
        past = Past(basis)
        ids = []
        found = queries.runs_like(work.session, scope, column, value, version=agent.version)
        for run in found:
            try:
                expected = agent.expects(
                    agent.config.model_validate(run.config), agent.input.model_validate(run.input)
                )
            except ValidationError:
                continue
            ids.append(run.id)
            for one in expected:
                past.expected[one.quote.provider, one.quote.operation] += one.likely
            if run.seconds is not None:
                past.pace.append(float(run.seconds) / max(_items(expected), 1))
        if ids:
            past.runs = len(ids)
            calls = queries.calls_of(work.session, scope, ids)
            past.called = {(row.provider, row.operation): row for row in calls}
            return past
    return Past()


def _operation(expected: Expected, terms: Terms, past: Past) -> Operation:
    """One kind of call: the most by the agent's word, and what is likely by the past, in proportion."""
    quote = expected.quote
    one = Figures(1, quote.credits, terms.worst(quote))
    at_most = Figures(
        expected.at_most,
        expected.at_most * one.credits,
        None if one.dollars is None else expected.at_most * one.dollars,
    )
    calls, credit = Decimal(expected.likely), Decimal(expected.likely * quote.credits)
    tokens = {"tokens_in": expected.tokens_in, "tokens_cached": 0, "tokens_out": expected.tokens_out}
    key = (quote.provider, quote.operation)
    if past.expected[key]:
        share = Decimal(expected.likely) / past.expected[key]
        did = past.called.get(key)
        calls, credit = (did.calls * share, did.credits * share) if did else (Decimal(0), Decimal(0))
        if did and did.metered:
            tokens = {name: round(getattr(did, name) / did.metered) for name in tokens}
    calls = min(calls, Decimal(at_most.calls))
    dollars: Decimal | None = Decimal(0)
    if quote.most_tokens_in:
        dollars = None if terms.price is None else (calls * terms.price.of(**tokens)).quantize(MILLIONTH)
    if dollars is not None and at_most.dollars is not None:
        dollars = min(dollars, at_most.dollars)
    likely = Figures(round(calls), min(round(credit), at_most.credits), dollars)
    return Operation(quote.provider, quote.operation, terms, likely, at_most, one)


# What would stop it


def _stops(work: Work, saved: AgentConfig, operations: Sequence[Operation], items: int) -> Iterator[Stop]:
    left = queries.left(work.session, work.actor.scope, saved.id, saved.time_zone)
    if not saved.enabled:
        yield Stop("agent_disabled", Chance.CERTAIN, "Agent is disabled. Enable it first.")
    if not work.settings.agents_enabled:
        yield Stop("agents_switched_off", Chance.CERTAIN, "Agents are switched off on this installation.")
    elif not left.agents_enabled:
        yield Stop(
            "agents_switched_off", Chance.CERTAIN, "Agents are switched off; the run waits until they are on."
        )
    paying = [one for one in operations if one.at_most.calls]
    for provider in sorted({one.provider for one in paying if not one.terms.configured}):
        yield Stop(
            "not_configured",
            Chance.CERTAIN,
            f"No {NAMES.get(provider, provider)} API key configured. An administrator can add one under Integrations.",
        )
    yield from _caps(work, left, paying)
    limits = saved.limits or {}
    for gate, taken, most, then in (
        (Gate.HOURLY, left.hour_items, limits.get("hourly"), "the rest waits for the next hour"),
        (Gate.DAILY, left.day_items, limits.get("daily"), "the rest is left for another day"),
    ):
        if most is not None and items > most - taken:
            free = max(most - taken, 0)
            span = "an hour" if gate is Gate.HOURLY else "a day"
            yield Stop(
                f"{gate}_limit",
                Chance.LIKELY if free else Chance.CERTAIN,
                f"{free:,} of the agent's {most:,} items {span} are left, {items:,} are wanted; {then}.",
            )


@dataclass(frozen=True, slots=True)
class Cap:
    """A gate of money: what it lets pass a month, what is booked already, and whose calls it is asked for."""

    gate: Gate
    whose: str
    cap: Decimal | None
    booked: Decimal
    operations: Sequence[Operation]

    @property
    def left(self) -> Decimal:
        return max((self.cap or Decimal(0)) - self.booked, Decimal(0))

    def of(self, figures: Figures) -> Decimal | None:
        """What the gate counts of these."""
        return figures.dollars if "dollars" in self.gate else Decimal(figures.credits)

    def words(self, amount: Decimal) -> str:
        return f"${amount:,.4f}" if "dollars" in self.gate else f"{amount:,.0f} credits"

    def stops(self) -> Iterator[Stop]:
        """What it would say of a run that begins now."""
        if self.cap is None:
            return
        unpriced = [one.terms.model for one in self.operations if self.of(one.one) is None]
        if unpriced:
            yield Stop(
                f"budget_{Gate.UNPRICED}",
                Chance.CERTAIN,
                f"Nobody knows what {unpriced[0]} costs, so {self.whose} {self.words(self.cap)} cannot be kept.",
            )
        costing = [one for one in self.operations if self.of(one.one)]
        chance = self._chance(costing)
        if chance:
            likely, most = (
                sum((self.of(figures) or Decimal(0) for figures in all_of), Decimal(0))
                for all_of in ([one.likely for one in costing], [one.at_most for one in costing])
            )
            yield Stop(
                f"budget_{self.gate}",
                chance,
                f"{self.words(self.left)} of {self.whose} {self.words(self.cap)} are left;"
                f" the run likely takes {self.words(likely)}, at most {self.words(most)}.",
            )

    def _chance(self, costing: Sequence[Operation]) -> Chance | None:
        """A call is booked at its worst and then settled, so the last one needs room for its worst."""
        if not costing:
            return None
        likely = most = above = Decimal(0)
        worst = []
        for one in costing:
            each = self.of(one.one) or Decimal(0)
            worst.append(each)
            likely += self.of(one.likely) or 0
            most += self.of(one.at_most) or 0
            if one.likely.calls:
                above = max(above, each - (self.of(one.likely) or Decimal(0)) / one.likely.calls)
        if min(worst) > self.left:
            return Chance.CERTAIN
        if likely + above > self.left:
            return Chance.LIKELY
        return Chance.POSSIBLE if most > self.left else None


def _caps(work: Work, left: Any, operations: Sequence[Operation]) -> Iterator[Stop]:
    settings = work.settings
    platform = [one for one in operations if one.terms.payer is Payer.PLATFORM]
    for gate, whose, most, booked, asked in (
        (Gate.CREDITS, "this month's budget of", left.monthly_credits, left.credits, operations),
        (
            Gate.PLATFORM_CREDITS,
            "your plan's",
            settings.platform_credits_per_month,
            left.platform_credits,
            platform,
        ),
        (Gate.DOLLARS, "this month's budget of", left.monthly_dollars, left.dollars, operations),
        (
            Gate.PLATFORM_DOLLARS,
            "your plan's",
            settings.platform_dollars_per_month,
            left.platform_dollars,
            platform,
        ),
    ):
        yield from Cap(gate, whose, None if most is None else Decimal(most), Decimal(booked), asked).stops()


NAMES: Final[Mapping[str, str]] = {"apollo": "Apollo.io", "openai": "OpenAI"}
