"""Companies and a model without a wire, for tests of the engine; they count their calls."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chalicelib.domain.companies import Company, CompanyPage, CompanyStub, IdealCustomer
from chalicelib.domain.money import Charge
from chalicelib.domain.providers import Answer, Caller
from chalicelib.services.runs.context import Providers


def _nothing(_call: str) -> None:
    pass


class Enriches(Protocol):
    def enrich(self, caller: Caller, domain: str) -> Company | None: ...


def one_by_one(self: Enriches, caller: Caller, domains: Sequence[str]) -> Mapping[str, Company | None]:
    """`enrich_many` of a stand-in that nobody asks for many."""
    return {domain: self.enrich(caller, domain) for domain in domains}


@dataclass(slots=True)
class ScriptedCompanies:
    """`total` companies named after their number, on pages of any size."""

    total: int = 3
    calls: Counter[str] = field(default_factory=Counter)
    before: Callable[[str], None] = _nothing  # may raise, wait, or kill

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
        self._called(caller, f"search:{page}")
        numbers = range((page - 1) * per_page, min(page * per_page, self.total))
        stubs = tuple(CompanyStub(f"org{n}", f"Company {n}", f"company-{n}.example") for n in numbers)
        return CompanyPage(stubs, page, max(1, -(-self.total // per_page)), self.total)

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        self._called(caller, f"enrich:{domain}")
        number = int(domain.removeprefix("company-").removesuffix(".example"))
        return Company(
            id=f"org{number}",
            name=f"Company {number}",
            domain=domain,
            industry="logistics",
            employee_count=100 + number,
            city="Hamburg",
            country="Germany",
        )

    enrich_many = one_by_one

    def _called(self, caller: Caller, call: str) -> None:
        self.calls[call] += 1
        self.before(call)
        caller.meter.add(Charge(credits=1))


@dataclass(slots=True)
class ScriptedModel:
    """Answers every question with the same words."""

    answer_with: Mapping[str, Any] = field(
        default_factory=lambda: {
            "subject": "A question",
            "body": "Hello Ada, your company grows.\n\nThat is work. We take it off you. Shall we talk?",
            "factsUsed": ["companyName"],
        }
    )
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    def answer(
        self, caller: Caller, *, instructions: str, facts: Mapping[str, Any], form: type[Answer]
    ) -> Answer:
        self.asked.append(facts)
        caller.meter.add(Charge(model="scripted", tokens_in=100, tokens_out=50))
        return form.model_validate(dict(self.answer_with))


def scripted(total: int = 3) -> Providers:
    return Providers(companies=ScriptedCompanies(total), model=ScriptedModel())
