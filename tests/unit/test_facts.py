"""Under what a provider's answers are found."""

import pytest

from chalicelib.domain.companies import Between, CompanyPage, CompanyStub, IdealCustomer
from chalicelib.domain.facts import by_domain, by_email, company_at, company_page
from chalicelib.services.runs.memory import Asked

PROFILE = IdealCustomer(industries=("logistics", "retail"), locations=("Germany",))


@pytest.mark.parametrize(
    "spelled", ["Acme.Example", "www.acme.example", " acme.example. ", "WWW.ACME.EXAMPLE"]
)
def test_a_domain_is_found_however_it_is_spelled(spelled: str) -> None:
    """Seen red without the dot taken off."""
    assert by_domain(spelled) == by_domain("acme.example") == "domain:acme.example"


def test_www_alone_is_no_prefix() -> None:
    assert by_domain("www.example") != by_domain("example")


def test_an_address_is_found_however_it_is_spelled_and_cannot_be_read() -> None:
    """Seen red with the address in the key."""
    assert by_email(" Ada@Acme.Example ") == by_email("ada@acme.example") != by_email("bob@acme.example")
    assert "ada" not in by_email("ada@acme.example")


def pages(profile: IdealCustomer, *, page: int = 1, per_page: int = 25) -> tuple[str, ...]:
    return company_page(profile, page=page, per_page=per_page).under


def test_the_order_of_words_makes_no_other_search() -> None:
    """Seen red without sorting."""
    other_order = IdealCustomer(industries=("retail", "logistics", "retail"), locations=("Germany",))
    assert pages(other_order) == pages(PROFILE)


@pytest.mark.parametrize(
    "other",
    [
        IdealCustomer(industries=("logistics",), locations=("Germany",)),
        IdealCustomer(industries=("logistics", "retail"), technologies=("Germany",)),
        IdealCustomer(industries=("logistics", "retail"), locations=("Germany",), employees=Between(min=1)),
        IdealCustomer(industries=("logistics", "retail"), locations=("Germany",), revenue=Between(min=1)),
    ],
)
def test_other_filters_are_another_search(other: IdealCustomer) -> None:
    assert pages(other) != pages(PROFILE)


def test_another_page_or_size_is_another_answer() -> None:
    """Seen red with the size left out."""
    assert len({pages(PROFILE), pages(PROFILE, page=2), pages(PROFILE, per_page=100)}) == 3


def test_an_empty_page_is_no_knowledge() -> None:
    keeps = company_page(PROFILE, page=1, per_page=25)
    assert keeps.is_known(CompanyPage((CompanyStub("1", "A", None),), 1, 1, 1))
    assert not keeps.is_known(CompanyPage((), 1, 1, 0))


def test_of_those_who_ask_the_same_the_first_one_asks() -> None:
    """Seen red with the first one taken for another's."""
    domains = {"a": "acme.example", "b": "other.example", "c": "www.acme.example", "d": "ACME.example"}
    asked = Asked.of({name: company_at(domain) for name, domain in domains.items()})
    assert asked.first == {"a": "a", "b": "b", "c": "a", "d": "a"}
    assert dict(asked.others) == {"a": ["c", "d"]}
