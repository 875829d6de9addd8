"""What a tenant without keys calls providers by."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from chalicelib.domain.companies import IdealCustomer
from chalicelib.domain.errors import CredentialRejected
from chalicelib.domain.money import Meter
from chalicelib.domain.people import PersonRef, WantedPeople
from chalicelib.domain.providers import Caller, CompanySource, PeopleSource, ProviderAccount
from chalicelib.integrations.not_configured import NotConfigured
from chalicelib.services.runs.context import Providers
from tests.fakes.providers import ScriptedCompanies, ScriptedModel

CALLER = Caller(meter=Meter(), timeout=timedelta(seconds=1), call_id="use_1")
NOBODYS = Providers(NotConfigured("Apollo.io"), ScriptedModel(), people=NotConfigured("Apollo.io"))


def companies_of(made: Providers) -> CompanySource:
    return made.companies


def people_of(made: Providers) -> PeopleSource:
    return made.people


EVERY_CALL: dict[str, Callable[[Providers], object]] = {
    "search": lambda made: companies_of(made).search(CALLER, IdealCustomer(), page=1, per_page=1),
    "enrich": lambda made: companies_of(made).enrich(CALLER, "acme.example"),
    "enrich_many": lambda made: companies_of(made).enrich_many(CALLER, ["acme.example"]),
    "search_people": lambda made: people_of(made).search_people(CALLER, WantedPeople(), page=1, per_page=1),
    "match": lambda made: people_of(made).match(CALLER, PersonRef(id="p1")),
    "match_many": lambda made: people_of(made).match_many(CALLER, [PersonRef(id="p1")]),
}


@pytest.mark.parametrize("name", EVERY_CALL)
def test_without_a_key_every_call_says_where_to_add_one(name: str) -> None:
    with pytest.raises(CredentialRejected) as told:
        EVERY_CALL[name](NOBODYS)
    assert told.value.code == "not_configured"
    assert "No Apollo.io API key configured" in told.value.message


def test_an_account_without_a_key_says_so_too() -> None:
    account: ProviderAccount = NotConfigured("Apollo.io")
    for ask in (account.usage, account.credits):
        with pytest.raises(CredentialRejected):
            ask(CALLER)


def test_people_of_a_process_that_was_given_none_are_not_configured() -> None:
    made = Providers(ScriptedCompanies(), ScriptedModel())
    with pytest.raises(CredentialRejected):
        made.people.match(CALLER, PersonRef(id="p1"))
