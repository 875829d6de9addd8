"""What the agents ask of providers. Integrations implement these; tests may too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from chalicelib.domain.companies import Company, CompanyPage, IdealCustomer
from chalicelib.domain.money import Meter
from chalicelib.domain.people import Person, PersonPage, PersonRef, WantedPeople
from chalicelib.domain.quotas import CallQuotas, Credits

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose account a call is made, who counts its cost, and how long it may take."""

    meter: Meter
    timeout: timedelta
    call_id: str  # the ledger entry's id, so that the provider's books can be compared with ours
    most_tokens_in: int | None = None  # what is booked for a model's call, never more; None: nobody booked it


class CompanySource(Protocol):
    """Where companies come from. Every method raises ProviderFailed and its kinds."""

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
        """One page of companies; costs one credit unless empty."""

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        """All that is known of one company, or None; costs one credit."""

    def enrich_many(self, caller: Caller, domains: Sequence[str]) -> Mapping[str, Company | None]:
        """The same of at most 10 companies in one call, by the domains as they were given."""


class PeopleSource(Protocol):
    """Where people come from. Every method raises ProviderFailed and its kinds."""

    def search_people(self, caller: Caller, wanted: WantedPeople, *, page: int, per_page: int) -> PersonPage:
        """One page of people, without a way to write to them; free."""

    def match(self, caller: Caller, ref: PersonRef) -> Person | None:
        """All that is known of one person, or None; costs a credit, and eight more with a mobile number."""

    def match_many(self, caller: Caller, refs: Sequence[PersonRef]) -> Mapping[PersonRef, Person | None]:
        """The same of at most 10 people in one call, by what was asked."""


class ProviderAccount(Protocol):
    """What an account at a provider has used and may still use. Asking is free."""

    def usage(self, caller: Caller) -> Mapping[str, CallQuotas]:
        """Calls, by the operation that a quote names."""

    def credits(self, caller: Caller) -> Credits:
        """What is left to spend."""


class LanguageModel(Protocol):
    """A model that answers in a given form."""

    def answer(
        self,
        caller: Caller,
        *,
        instructions: str,
        facts: Mapping[str, Any],
        form: type[Answer],
    ) -> Answer:
        """The model's answer, valid by `form`. `facts` are data, fenced off from the instructions.

        Raises:
            Refused: it declined, was cut off, or did not keep to the form; its usage is booked all the same. Or it
                was never asked, since the facts are longer than what is booked: `too_long`.
        """
