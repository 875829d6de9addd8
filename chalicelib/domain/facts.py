"""What providers told a customer, and under what it is found again, so that it is paid for once.

A fact is a provider's answer as a step recorded it. Whoever asks the same provider for the same kind gets it, whatever
its agent; so each kind has one shape.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

from chalicelib.domain.companies import CompanyAnswer, CompanyPage, IdealCustomer
from chalicelib.domain.people import PersonAnswer, PersonPage, PersonRef, WantedPeople

Answer = TypeVar("Answer")

UNKNOWN_FRESH: Final = timedelta(days=7)
"""How long, at most, a provider is believed that it knows nothing: it learns."""
LARGEST: Final = 64 * 1024
"""Bytes of JSON; a longer answer is not kept."""
LONGEST_KEY: Final = 300


class FactKind(StrEnum):
    """What an answer is about."""

    COMPANY = "company"
    PERSON = "person"
    COMPANY_SEARCH = "company_search"
    PEOPLE_SEARCH = "people_search"

    @property
    def is_search(self) -> bool:
        return self in {FactKind.COMPANY_SEARCH, FactKind.PEOPLE_SEARCH}


PERSONAL: Final = (FactKind.PERSON, FactKind.PEOPLE_SEARCH)
"""Kinds that tell of people. Each is kept under the id, or the address, of everybody it tells of."""


def _none(_answer: Any) -> Iterable[str]:
    return ()


def _yes(_answer: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Keeps(Generic[Answer]):
    """What a step asks a provider, so that the answer serves again."""

    provider: str
    kind: FactKind
    under: tuple[str, ...]  # of `by_…` below: any of them finds the answer, and it is kept under all
    also_under: Callable[[Answer], Iterable[str]] = field(default=_none)  # what the answer itself tells
    is_known: Callable[[Answer], bool] = field(default=_yes)  # false: the provider knows nothing there
    anew: bool = False  # ask, whatever earlier runs were told


def by_domain(domain: str) -> str:
    """The same however it is spelled: capitals, `www.`, a dot at the end."""
    plain = domain.strip().lower().rstrip(".")
    bare = plain.removeprefix("www.")
    return f"domain:{bare if '.' in bare else plain}"


def by_email(address: str) -> str:
    """Without the address in it, since keys are seen where values are not: in a database's messages and plans."""
    return f"email:{sha256(address.strip().lower().rstrip('.').encode()).hexdigest()}"


def by_id(provider_id: str) -> str:
    """The provider's own id."""
    return f"id:{provider_id}"


def by_page(search: Any, *, page: int, per_page: int) -> str:
    """A page of a search; `search` is JSON that says all there is to it."""
    said = json.dumps(search, sort_keys=True, separators=(",", ":"))
    return f"search:{sha256(said.encode()).hexdigest()}:{per_page}:{page}"


def company_at(domain: str, *, anew: bool = False) -> Keeps[CompanyAnswer]:
    """All that Apollo.io knows of the company there; found by its id, too."""
    return Keeps(
        "apollo",
        FactKind.COMPANY,
        (by_domain(domain),),
        also_under=lambda answer: [by_id(answer.company.id)] if answer.company else [],
        is_known=lambda answer: answer.company is not None,
        anew=anew,
    )


def company_page(
    profile: IdealCustomer, *, page: int, per_page: int, anew: bool = False
) -> Keeps[CompanyPage]:
    """A page of Apollo.io's companies that fit. The order of a filter's words makes no other search."""
    return Keeps(
        "apollo",
        FactKind.COMPANY_SEARCH,
        (by_page(_search(asdict(profile)), page=page, per_page=per_page),),
        is_known=lambda found: bool(found.companies),
        anew=anew,
    )


def person_as(ref: PersonRef, *, anew: bool = False) -> Keeps[PersonAnswer]:
    """All that Apollo.io knows of somebody; found by the id and the address that it tells, too.

    Whoever asks for the mobile number is not answered from what was told without asking for it; the other way round
    they are.
    """
    plain = _keys_of(ref)
    return Keeps(
        "apollo",
        FactKind.PERSON,
        tuple(f"mobile:{key}" for key in plain) if ref.mobile else plain,
        also_under=lambda answer: _told_keys(answer, plain, mobile=ref.mobile),
        is_known=lambda answer: answer.person is not None,
        anew=anew,
    )


def people_page(wanted: WantedPeople, *, page: int, per_page: int, anew: bool = False) -> Keeps[PersonPage]:
    """A page of Apollo.io's people. The order of a filter's words makes no other search."""
    return Keeps(
        "apollo",
        FactKind.PEOPLE_SEARCH,
        (by_page(_search(asdict(wanted)), page=page, per_page=per_page),),
        also_under=lambda found: [by_id(person.id) for person in found.people],
        is_known=lambda found: bool(found.people),
        anew=anew,
    )


def _search(criteria: dict[str, Any]) -> dict[str, Any]:
    return {name: sorted(set(said)) if isinstance(said, tuple) else said for name, said in criteria.items()}


def _keys_of(ref: PersonRef) -> tuple[str, ...]:
    """By all that is given of somebody, none of it readable but the provider's id."""
    keys = [by_id(ref.id)] if ref.id else []
    keys += [by_email(ref.email)] if ref.email else []
    if ref.linkedin_url:
        keys.append(_hashed("profile", ref.linkedin_url.strip().lower().rstrip("/").partition("://")[2]))
    if ref.name and ref.domain:
        keys.append(_hashed("name", f"{' '.join(ref.name.lower().split())} {by_domain(ref.domain)}"))
    return tuple(keys)


def _told_keys(answer: PersonAnswer, plain: tuple[str, ...], *, mobile: bool) -> list[str]:
    """What else finds an answer. By the plain id and address whoever asks for erasure finds it in any case."""
    person = answer.person
    told = [] if person is None else [by_id(person.id), *([by_email(person.email)] if person.email else [])]
    return [*plain, *told, *(f"mobile:{key}" for key in told)] if mobile else told


def _hashed(kind: str, said: str) -> str:
    return f"{kind}:{sha256(said.encode()).hexdigest()}"
