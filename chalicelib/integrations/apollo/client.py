"""Companies and people from Apollo.io, and what an account there may still do.

It searches and looks up; it keeps nothing, waits for nothing, retries nothing. A call without an answer is
not made again here: whether it was carried out is not known, and Apollo charges by the call. The run's own
record decides.

Every method raises, besides what it says itself:
    ProviderBusy: 429 or 5xx, or no answer; `retry_after` is Apollo's own figure where it gave one.
    OutOfCredit, CredentialRejected, ProviderFailed: for good, in words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from chalicelib.domain import quotes
from chalicelib.domain.companies import Company, CompanyPage, IdealCustomer
from chalicelib.domain.errors import CredentialRejected, Invalid, ProviderBusy, ProviderFailed
from chalicelib.domain.people import Person, PersonPage, PersonRef, WantedPeople
from chalicelib.domain.providers import Caller
from chalicelib.domain.quotas import CallQuotas, Credits
from chalicelib.integrations.apollo import companies, failures, limits, people
from chalicelib.integrations.apollo.values import domain_of
from chalicelib.integrations.apollo.wire import CONNECTIONS, Request, exchange, is_bare

MOST_A_PAGE: Final = 100
MOST_AT_ONCE: Final = 10

_SENDABLE_KEY: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, eq=False)
class ApolloClient:
    """One tenant's or the platform's access to Apollo. Safe on any thread; the connections are the process's."""

    api_key: str = field(repr=False)
    base_url: str  # https://api.apollo.io/api/v1

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
        """One page of companies; costs one credit, also when short, and nothing when empty.

        Raises Invalid, and calls nothing, for a page beyond the 50,000 rows that Apollo shows and for a profile
        that says nothing.
        """
        _check_reach(page, per_page)
        content = {**companies.filters(profile), "page": page, "per_page": per_page}
        answer = self._call(
            caller,
            Request("POST", "/mixed_companies/search", companies.price_of_page, worst=1, content=content),
        )
        return companies.company_page(answer, page=page, per_page=per_page)

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        """All that Apollo knows of one company, or None; costs one credit where it knows one.

        Raises Invalid for what is no domain.
        """
        asked = _domain(domain)
        answer = self._call(
            caller,
            Request("GET", "/organizations/enrich", companies.price_of_one, worst=1, query={"domain": asked}),
        )
        return companies.company(answer, domain=asked)

    def enrich_many(self, caller: Caller, domains: Sequence[str]) -> dict[str, Company | None]:
        """The same of at most 10 companies, by their domains as given; one credit each that Apollo knows.

        None, too, for a company that Apollo knows under another domain only: `enrich` finds it.
        Raises Invalid for more, and for what is no domain.
        """
        _check_number(domains)
        asked = {domain: _domain(domain) for domain in domains}
        unique = list(dict.fromkeys(asked.values()))
        if not unique:
            return {}
        answer = self._call(
            caller,
            Request(
                "POST",
                "/organizations/bulk_enrich",
                companies.price_of_many,
                worst=quotes.enrich_companies(len(unique)).credits,
                content={"details": [{"domain": domain} for domain in unique]},
            ),
        )
        found = companies.companies(answer, asked=unique)
        return {domain: found[own] for domain, own in asked.items()}

    def search_people(self, caller: Caller, wanted: WantedPeople, *, page: int, per_page: int) -> PersonPage:
        """One page of people, without a way to write to them; free. `match` those who have an e-mail.

        Raises Invalid as `search` does.
        """
        _check_reach(page, per_page)
        content = {**people.filters(wanted), "page": page, "per_page": per_page}
        answer = self._call(
            caller, Request("POST", "/mixed_people/api_search", _free, worst=0, content=content)
        )
        return people.person_page(answer, page=page, per_page=per_page)

    def match(self, caller: Caller, ref: PersonRef) -> Person | None:
        """All that Apollo knows of one person, or None; costs one credit where it knows one.

        Eight more where `ref.mobile` asks for the number and it comes with the answer. Apollo may want to send
        numbers to a webhook later; there is none here, and it is told in words.
        Raises Invalid for a reference that names nobody.
        """
        quote = quotes.MATCH_PERSON_WITH_MOBILE if ref.mobile else quotes.MATCH_PERSON
        answer = self._call(
            caller,
            Request(
                "POST",
                "/people/match",
                partial(people.price_of_one, mobile=ref.mobile),
                worst=quote.credits,
                content={**people.details(ref), **_reveal(mobile=ref.mobile)},
            ),
        )
        return people.person(answer)

    def match_many(self, caller: Caller, refs: Sequence[PersonRef]) -> dict[PersonRef, Person | None]:
        """The same of at most 10 people, by what was asked. Ask by id: only ids are sure to be found again.

        Raises Invalid for more, for one that names nobody, and where some ask for mobile numbers and others do
        not: Apollo knows one answer for a whole call.
        """
        _check_number(refs)
        unique = list(dict.fromkeys(refs))
        if not unique:
            return {}
        mobile = unique[0].mobile
        if any(ref.mobile is not mobile for ref in unique):
            raise Invalid(
                "People with and without their mobile numbers are asked for in separate calls.",
                code="mixed_mobile",
            )
        answer = self._call(
            caller,
            Request(
                "POST",
                "/people/bulk_match",
                partial(people.price_of_many, mobile=mobile),
                worst=quotes.match_people(len(unique), mobile=mobile).credits,
                content={"details": [people.details(ref) for ref in unique], **_reveal(mobile=mobile)},
            ),
        )
        return people.people(answer, asked=unique)

    def usage(self, caller: Caller) -> dict[str, CallQuotas]:
        """The account's calls by the operations that quotes name; free. Needs a master key."""
        answer = self._call(
            caller, Request("POST", "/usage_stats/api_usage_stats", _free, worst=0, content={})
        )
        return limits.usage(answer)

    def credits(self, caller: Caller) -> Credits:
        """The account's credits; free. Needs a master key."""
        answer = self._call(
            caller, Request("POST", "/usage_stats/credit_usage_stats", _free, worst=0, content={})
        )
        return limits.credits_of(answer)

    def check(self, caller: Caller) -> None:
        """Whether Apollo knows the key; costs nothing.

        Raises CredentialRejected when it does not say so, ProviderBusy when it cannot be asked just now.
        """
        try:
            answer = self._call(caller, Request("GET", "/auth/health", _free, worst=0))
        except (ProviderBusy, CredentialRejected):
            raise
        except ProviderFailed as failure:
            if failure.code == "bad_address":
                raise
            answer = {}
        if answer.get("is_logged_in") is not True:
            raise failures.bad_key()

    def close(self) -> None:
        """Let go of the process's connections to Apollo. The next call opens new ones."""
        CONNECTIONS.close()

    def _call(self, caller: Caller, request: Request) -> Mapping[str, Any]:
        """The answer's JSON. A call that was served is on the meter, whatever becomes of its answer here."""
        if not _SENDABLE_KEY.fullmatch(self.api_key):
            raise failures.bad_key()
        if is_bare(self.base_url):
            raise failures.bad_address()
        outcome = exchange(caller, request, base_url=self.base_url, api_key=self.api_key)
        if isinstance(outcome, ProviderFailed):
            raise outcome  # from here, where no frame and no context holds the key or what Apollo said
        return outcome


def _check_reach(page: int, per_page: int) -> None:
    if not 1 <= per_page <= MOST_A_PAGE:
        raise Invalid(f"A page holds 1 to {MOST_A_PAGE} rows.", code="page_size")
    if page < 1 or page > companies.MOST_PAGES or page * per_page > companies.MOST_ROWS:
        raise Invalid(
            f"Apollo.io shows the first {companies.MOST_ROWS:,} rows of a search, on at most "
            f"{companies.MOST_PAGES} pages. Narrow the search to see others.",
            code="page_out_of_reach",
        )


def _check_number(asked: Sequence[object]) -> None:
    if len(asked) > MOST_AT_ONCE:
        raise Invalid(f"Apollo.io takes at most {MOST_AT_ONCE} in one call.", code="too_many_at_once")


def _domain(given: str) -> str:
    asked = domain_of(given)
    if asked is None:
        raise Invalid("A company is looked up by its domain, such as example.com.", code="no_domain")
    return asked


def _free(_answer: Mapping[str, Any]) -> int:
    return 0


def _reveal(*, mobile: bool) -> Mapping[str, bool]:
    """Never said unless it is wanted: each number costs eight credits."""
    return {"reveal_phone_number": True} if mobile else {}
