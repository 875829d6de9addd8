"""The invented world, whole: built once from a seed, then only looked things up in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from sandbox.companies import companies
from sandbox.people import people
from sandbox.records import (
    PLACEHOLDER_EMAIL,
    WORLD_DAY,
    Article,
    Company,
    FundingEvent,
    Person,
    Signal,
    Technology,
)

__all__ = [
    "DEFAULT_SEED",
    "PLACEHOLDER_EMAIL",
    "WORLD_DAY",
    "Article",
    "Company",
    "FundingEvent",
    "Person",
    "Signal",
    "Technology",
    "World",
    "build_world",
]

DEFAULT_SEED: Final = 20261101
COMPANIES: Final = 2_400


@dataclass(frozen=True, slots=True)
class World:
    seed: int
    companies: Sequence[Company]
    people: Sequence[Person]
    by_id: Mapping[str, Company]  # by the company's id, and by the account's where the team has one
    by_domain: Mapping[str, Company]
    by_company_linkedin: Mapping[str, Company]
    by_company_name: Mapping[str, Company]  # in lower case
    person_by_id: Mapping[str, Person]
    person_by_email: Mapping[str, Person]
    person_by_linkedin: Mapping[str, Person]
    people_of: Mapping[str, Sequence[Person]]  # by the company's id

    def company_of(self, person: Person) -> Company:
        return self.by_id[person.company_id]


def build_world(seed: int = DEFAULT_SEED, size: int = COMPANIES) -> World:
    """The world of a seed: `size` companies and five or six people in each; built once a process."""
    return _built(seed, size)


@cache
def _built(seed: int, size: int) -> World:
    rng = Random(seed)
    all_companies = tuple(companies(rng, size))
    people_of = {company.id: tuple(people(rng, company)) for company in all_companies}
    everybody = tuple(person for staff in people_of.values() for person in staff)
    return World(
        seed=seed,
        companies=all_companies,
        people=everybody,
        by_id=_companies_by_id(all_companies),
        by_domain={company.domain: company for company in all_companies},
        by_company_linkedin={company.linkedin_url: company for company in all_companies},
        by_company_name={company.name.lower(): company for company in all_companies},
        person_by_id={person.id: person for person in everybody},
        person_by_email=_people_by_email(everybody),
        person_by_linkedin={person.linkedin_url: person for person in everybody},
        people_of=people_of,
    )


def _companies_by_id(all_companies: Iterable[Company]) -> dict[str, Company]:
    found = dict[str, Company]()
    for company in all_companies:
        found[company.id] = company
        if company.account_id:
            found[company.account_id] = company
    return found


def _people_by_email(everybody: Iterable[Person]) -> dict[str, Person]:
    return {
        person.email: person for person in everybody if person.email and person.email != PLACEHOLDER_EMAIL
    }
