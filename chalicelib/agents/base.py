"""What an agent is, and all that it can see while it runs.

An agent is a value: words about itself, two pydantic models, and a function. It reaches providers through
ports, changes nothing itself, and proposes what it wants changed. What it does once it does in a step.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from chalicelib.domain.approvals import Priority
from chalicelib.domain.content import Content
from chalicelib.domain.crm import AccountFacts, ContactFacts
from chalicelib.domain.facts import Keeps
from chalicelib.domain.ids import AccountId, ContactId
from chalicelib.domain.money import Quote
from chalicelib.domain.providers import Caller, CompanySource, LanguageModel, PeopleSource

Item = TypeVar("Item")
Result = TypeVar("Result")


class Category(StrEnum):
    PROSPECTING = "Prospecting"
    OUTREACH = "Outreach"


class AgentModel(BaseModel):
    """The base of every agent's Config and Input: camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,  # most processes run no agent
    )


ModelClass = type[AgentModel]


class Ports(Protocol):
    """The tenant's ways to providers."""

    @property
    def companies(self) -> CompanySource: ...

    @property
    def people(self) -> PeopleSource: ...

    @property
    def model(self) -> LanguageModel: ...


@dataclass(frozen=True, slots=True)
class Call:
    """What a step's function may use. It may run on any thread, so it has no way to the database."""

    caller: Caller
    ports: Ports

    @property
    def companies(self) -> CompanySource:
        return self.ports.companies

    @property
    def people(self) -> PeopleSource:
        return self.ports.people

    @property
    def model(self) -> LanguageModel:
        return self.ports.model


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an agent wants changed; it becomes an approval item."""

    content: Content
    title: str
    dedupe_key: str  # one open item a tenant for each
    evidence: Mapping[str, Any]
    description: str | None = None
    priority: Priority = Priority.NORMAL
    flags: Sequence[Mapping[str, str]] = ()  # {"code", "message"}: what a reviewer must see
    account_id: AccountId | None = None
    contact_id: ContactId | None = None


class CrmReader(Protocol):
    """What the tenant's CRM knows."""

    def known_domains(self, domains: Iterable[str]) -> list[str]:
        """Those already an account, waiting for a decision as one, or once rejected."""

    def contacts(self, contact_ids: Iterable[str]) -> list[ContactFacts]:
        """The contacts there are of these, with their accounts and signals."""

    def accounts(self, account_ids: Iterable[str]) -> list[AccountFacts]:
        """The accounts there are of these."""


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """An event that a run reacts to."""

    type: str
    aggregate_id: str
    payload: Mapping[str, Any]


class RunContext(Protocol):
    """A run, as its agent sees it. All of it is replayed from the record when the run is resumed."""

    def step(
        self,
        key: str,
        work: Callable[[Call], Result],
        *,
        returns: type[Result],
        inputs: object = None,
        pays: Quote | None = None,
        keeps: Keeps[Result] | None = None,
    ) -> Result:
        """Do once, and remember. `inputs` is what the work depends on; another for the same key is an error.

        `keeps` says that the result is a provider's answer: a later step of any run takes it from there, for nothing.
        """

    def look_up(
        self, key: str, read: Callable[[CrmReader], Result], *, returns: type[Result], inputs: object = None
    ) -> Result:
        """Read the CRM once, and remember what it said then."""

    def map(
        self,
        items: Sequence[Item],
        *,
        key: Callable[[Item], str],
        work: Callable[[Call, Item], Result],
        returns: type[Result],
        pays: Quote | None = None,
        propose: Callable[[Item, Result], Proposal | None] = ...,
        keeps: Callable[[Item], Keeps[Result]] | None = None,
        concurrency: int = 8,
        counts: bool = True,
    ) -> list[Result]:
        """Do for each item, several at once. A result is recorded together with what it proposes.

        An item that fails fails alone: it is counted, told in the run's errors, and left out of the answer. Items that
        by `keeps` ask the same share one call, and its failure. Without `counts` it is more work on items that another
        map has counted.
        """

    def remembered(self, key: str) -> datetime | None:
        """When the provider said what a step says, if the step took it from an earlier call; None: it asked."""

    def note(self, **facts: Any) -> None:
        """Add to the run's output."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Calls of one kind that a run with some config and input will make, before anything is known of how it goes."""

    quote: Quote
    likely: int
    at_most: int  # unless a call has to be repeated because it failed
    items: bool = False  # one for each item, as the agent's limits count them
    tokens_in: int = 0  # of a model: what one call likely takes,
    tokens_out: int = 0  # and answers, its reasoning included


@dataclass(frozen=True, slots=True)
class Agent:
    """One kind of agent. `registry` lists them all."""

    type: str
    name: str
    description: str
    icon: str  # lucide's name
    category: Category
    version: str
    config: ModelClass
    input: ModelClass
    run: Callable[[RunContext, Any, Any], None]
    requires_approval: bool = True
    cleanup: Callable[[], None] = field(default=lambda: None)
    reacts_to: frozenset[str] = frozenset()  # event types that may start it
    input_of: Callable[[Sequence[TriggerEvent]], dict[str, Any]] = field(default=lambda _events: {})
    expects: Callable[[Any, Any], Sequence[Expected]] = field(default=lambda _config, _inputs: ())
    """What a run will call, by its config and input; for an agent that pays for nothing, nothing."""
