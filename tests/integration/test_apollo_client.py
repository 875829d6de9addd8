"""Apollo's client against the sandbox, and against a server with a script for what the sandbox never says."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest

from chalicelib.domain.companies import Between, Company, IdealCustomer
from chalicelib.domain.errors import (
    AppError,
    CredentialRejected,
    Invalid,
    OutOfCredit,
    ProviderBusy,
    ProviderFailed,
)
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.integrations.apollo.wire import CONNECTIONS
from sandbox.server import Sandbox
from tests.integration.apollo_world import (
    ANYBODY,
    CANARY,
    Reply,
    ScriptedServer,
    a_caller,
    a_page,
    all_that_shows,
    credits_of,
    scripted,
)

NOBODY = IdealCustomer(locations=("Atlantis",))
LOGISTICS = IdealCustomer(industries=("logistics",))


# What is asked


def test_a_profile_becomes_apollos_current_filters() -> None:
    profile = IdealCustomer(
        industries=("logistics", " logistics ", ""),
        employees=Between(50, 500),
        revenue=Between(min=1_000_000),
        locations=("Germany", "Rotterdam"),
        technologies=("Google Analytics", "salesforce"),
    )
    with scripted(a_page()) as (apollo, server):
        apollo.search(a_caller(), profile, page=2, per_page=25)
    [call] = server.received
    assert (call.method, call.path) == ("POST", "/api/v1/mixed_companies/search")
    assert call.json == {
        "q_organization_keyword_tags": ["logistics"],
        "organization_num_employees_ranges": ["50,500"],
        "revenue_range": {"min": 1_000_000},
        "organization_locations": ["Germany", "Rotterdam"],
        "currently_using_any_of_technology_uids": ["google_analytics", "salesforce"],
        "page": 2,
        "per_page": 25,
    }


@pytest.mark.parametrize(
    ("employees", "sent"),
    [(Between(min=200), "200,10000000"), (Between(max=50), "1,50"), (Between(0, 0), "0,0")],
)
def test_an_open_end_of_the_head_count_gets_a_bound(employees: Between, sent: str) -> None:
    with scripted(a_page()) as (apollo, server):
        apollo.search(a_caller(), IdealCustomer(employees=employees), page=1, per_page=25)
    assert server.received[0].json["organization_num_employees_ranges"] == [sent]


def test_key_and_call_id_travel_in_headers_and_nowhere_else() -> None:
    with scripted(a_page()) as (apollo, server):
        apollo.search(a_caller(call_id="use_42"), ANYBODY, page=1, per_page=25)
        apollo.enrich(a_caller(call_id="use_43"), "acme.example")
    assert [call.headers["x-bevyly-call"] for call in server.received] == ["use_42", "use_43"]
    assert {call.headers["x-api-key"] for call in server.received} == {CANARY}
    assert not any(CANARY in call.path or CANARY.encode() in call.body for call in server.received)


def test_calls_after_the_first_use_its_connection(apollo: ApolloClient, sandbox: Sandbox) -> None:
    apollo.search(a_caller(), ANYBODY, page=1, per_page=5)
    client = CONNECTIONS.client()
    apollo.search(a_caller(), ANYBODY, page=2, per_page=5)
    assert CONNECTIONS.client() is client
    assert len(sandbox.ledger.entries()) == 2


def test_eight_threads_share_one_client(apollo: ApolloClient, sandbox: Sandbox) -> None:
    callers = [a_caller(call_id=f"use_{number}") for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda caller: apollo.search(caller, ANYBODY, page=1, per_page=1), callers))
    assert {entry.call for entry in sandbox.ledger.entries()} == {caller.call_id for caller in callers}
    assert [credits_of(caller) for caller in callers] == [1] * 24


def test_importing_the_client_does_not_pay_for_httpx() -> None:
    code = "import sys, chalicelib.integrations.apollo.client; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# What is answered


def test_a_search_returns_companies_and_costs_one_credit(apollo: ApolloClient, sandbox: Sandbox) -> None:
    caller = a_caller(call_id="use_7")
    page = apollo.search(caller, LOGISTICS, page=1, per_page=25)
    assert len(page.companies) == 25
    assert page.total_entries >= 25
    assert page.total_pages == -(-page.total_entries // 25)
    assert all(stub.domain and stub.domain == stub.domain.lower() for stub in page.companies)
    [entry] = sandbox.ledger.entries()
    assert (entry.call, entry.credits, credits_of(caller)) == ("use_7", 1, 1)


def test_pages_do_not_overlap(apollo: ApolloClient) -> None:
    pages = [apollo.search(a_caller(), LOGISTICS, page=number, per_page=20) for number in (1, 2)]
    ids = [stub.id for page in pages for stub in page.companies]
    assert len(set(ids)) == 40


def test_an_empty_page_costs_nothing(apollo: ApolloClient, sandbox: Sandbox) -> None:
    caller = a_caller()
    page = apollo.search(caller, NOBODY, page=1, per_page=25)
    assert (page.companies, page.total_entries, page.total_pages) == ((), 0, 0)
    assert credits_of(caller) == sandbox.ledger.entries()[0].credits == 0


def test_companies_already_in_the_teams_apollo_come_under_their_own_id_and_domain(
    apollo: ApolloClient, sandbox: Sandbox
) -> None:
    found = {
        stub.id: stub.domain
        for number in (1, 2, 3)
        for stub in apollo.search(a_caller(), ANYBODY, page=number, per_page=100).companies
    }
    in_apollo = {company.id: company.domain for company in sandbox.world.companies if company.account_id}
    assert found.keys() & in_apollo.keys()
    assert all(found[company_id] == in_apollo[company_id] for company_id in found.keys() & in_apollo.keys())


def test_a_company_in_both_lists_is_one() -> None:
    row = {"id": "o1", "name": "Acme", "primary_domain": "ACME.example"}
    account = {
        "id": "a1",
        "organization_id": "o1",
        "name": "Acme",
        "primary_domain": None,
        "domain": "acme.example",
    }
    with scripted(a_page(row, accounts=[account], total_entries=1, total_pages=1)) as (apollo, _):
        page = apollo.search(a_caller(), ANYBODY, page=1, per_page=25)
    assert [(stub.id, stub.domain) for stub in page.companies] == [("o1", "acme.example")]


def test_a_bad_row_is_left_out_and_the_others_stay() -> None:
    rows = [
        None,
        7,
        {"id": None, "name": "No id"},
        {"id": "o2"},
        {"id": {"$gt": ""}, "name": "An id of the wrong type"},
        {"id": "o3", "name": "Sparse"},
        {
            "id": "o4",
            "name": " Two\nlines\x00 ",
            "primary_domain": ["x"],
            "domain": "https://not.a/domain",
            "linkedin_url": "javascript:alert(1)",
            "website_url": 9,
        },
        {"id": "o5", "name": "\ud800Lone", "primary_domain": "WWW.Lone.Example."},
    ]
    with scripted(a_page(*rows, total_entries="many", total_pages=None)) as (apollo, _):
        page = apollo.search(a_caller(), ANYBODY, page=3, per_page=25)
    assert [(stub.id, stub.name, stub.domain) for stub in page.companies] == [
        ("o3", "Sparse", None),
        ("o4", "Two lines", None),
        ("o5", "Lone", "lone.example"),
    ]
    assert {(stub.linkedin_url, stub.website_url) for stub in page.companies} == {(None, None)}
    assert (page.page, page.total_pages, page.total_entries) == (3, 3, 3)


@pytest.mark.parametrize(
    "answer",
    [{}, {"organizations": None, "accounts": "none"}, {"organizations": {"id": "o1"}, "pagination": []}],
)
def test_lists_of_the_wrong_type_hold_no_companies(answer: object) -> None:
    with scripted(Reply.json(answer)) as (apollo, _):
        assert apollo.search(a_caller(), ANYBODY, page=1, per_page=25).companies == ()


def test_only_pages_that_apollo_shows_are_counted() -> None:
    with scripted(a_page({"id": "o1", "name": "Acme"}, total_entries=9_000_000, total_pages=90_000)) as (
        apollo,
        _,
    ):
        page = apollo.search(a_caller(), ANYBODY, page=1, per_page=100)
    assert (page.total_pages, page.total_entries) == (500, 9_000_000)


def test_enriching_tells_what_apollo_knows_and_costs_one_credit(
    apollo: ApolloClient, sandbox: Sandbox
) -> None:
    known = next(company for company in sandbox.world.companies if company.funding)
    caller = a_caller()
    company = apollo.enrich(caller, known.domain.upper())
    assert company is not None
    assert (company.id, company.name, company.domain) == (known.id, known.name, known.domain)
    assert (company.industry, company.employee_count) == (known.industry, known.employees)
    assert (company.annual_revenue, company.city, company.country) == (
        known.revenue,
        known.city,
        known.country,
    )
    assert company.technologies == tuple(technology.name for technology in known.technologies)
    assert company.latest_funding_stage == known.funding[-1].stage
    assert company.latest_funding_at is not None
    assert len(company.latest_funding_at) == len("2026-11-02")
    assert company.headcount_growth_12_months == known.growth[1]
    assert credits_of(caller) == sandbox.ledger.entries()[0].credits == 1


def test_enriching_an_unknown_company_finds_nobody_and_costs_nothing(
    apollo: ApolloClient, sandbox: Sandbox
) -> None:
    caller = a_caller()
    assert apollo.enrich(caller, "nobody-knows-it.example") is None
    assert credits_of(caller) == sandbox.ledger.entries()[0].credits == 0


def test_facts_of_the_wrong_type_or_beyond_reason_are_unknown() -> None:
    organization = {
        "id": 5_00,
        "name": None,
        "industry": ["logistics"],
        "estimated_num_employees": True,
        "annual_revenue": 1e300,
        "city": "x" * 400,
        "short_description": "Fine\x00 words",
        "founded_year": -1,
        "technology_names": ["Nginx", None, "Nginx", 3.5],
        "latest_funding_round_date": "soon",
        "organization_headcount_twelve_month_growth": "NaN",
    }
    with scripted(Reply.json({"organization": organization})) as (apollo, _):
        company = apollo.enrich(a_caller(), "acme.example")
    assert company == Company(
        id="500",
        name="acme.example",
        domain="acme.example",
        city="x" * 100,
        description="Fine words",
        technologies=("Nginx",),
    )


def test_the_domain_that_was_asked_for_stays_the_companys() -> None:
    organization = {"id": "o1", "name": "Acme", "primary_domain": "acme-holding.example"}
    with scripted(Reply.json({"organization": organization})) as (apollo, _):
        company = apollo.enrich(a_caller(), "acme.example")
    assert company is not None
    assert company.domain == "acme.example"


# What is refused before a call


@pytest.mark.parametrize(("page", "per_page"), [(501, 25), (501, 100), (0, 25), (-1, 25), (1, 0), (1, 101)])
def test_a_page_out_of_reach_is_refused_before_it_costs(page: int, per_page: int) -> None:
    caller = a_caller()
    with scripted(a_page()) as (apollo, server), pytest.raises(Invalid):
        apollo.search(caller, ANYBODY, page=page, per_page=per_page)
    assert server.received == []
    assert credits_of(caller) is None


@pytest.mark.parametrize("domain", ["", "no domain", "https://acme.example", "a" * 300 + ".example"])
def test_what_is_no_domain_is_not_looked_up(domain: str) -> None:
    with scripted(a_page()) as (apollo, server), pytest.raises(Invalid):
        apollo.enrich(a_caller(), domain)
    assert server.received == []


# What goes wrong


@pytest.mark.parametrize(
    ("key", "kind", "code"),
    [
        ("bad-key", CredentialRejected, "credential_rejected"),
        ("free-plan-key", CredentialRejected, "free_plan"),
        ("no-credit-key", OutOfCredit, "out_of_credit"),
    ],
)
def test_bad_key_free_plan_and_no_credit_are_told_apart(
    sandbox: Sandbox, key: str, kind: type[ProviderFailed], code: str
) -> None:
    caller = a_caller()
    with closing(ApolloClient(key, sandbox.apollo_url)) as apollo, pytest.raises(kind) as told:
        apollo.search(caller, ANYBODY, page=1, per_page=25)
    assert told.value.code == code
    assert credits_of(caller) is None


def test_a_rate_limit_waits_as_long_as_apollo_says(apollo: ApolloClient, sandbox: Sandbox) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "status": 429, "retry_after": 7})
    with pytest.raises(ProviderBusy) as told:
        apollo.search(a_caller(), ANYBODY, page=1, per_page=25)
    assert (told.value.code, told.value.retry_after) == ("rate_limited", timedelta(seconds=7))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"retry-after": "soon"}, 60),
        ({"retry-after": "-5"}, 60),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "9" * 400}, 86_400),
        ({"retry-after": "Mon, 02 Nov 2026 09:01:30 GMT", "date": "Mon, 02 Nov 2026 09:00:00 GMT"}, 90),
    ],
)
def test_a_rate_limit_without_a_usable_figure_waits_a_minute(headers: dict[str, str], seconds: int) -> None:
    reply = Reply(429, b'"{\\"message\\":\\"The maximum number of api calls\\"}"', headers)
    with scripted(reply) as (apollo, _), pytest.raises(ProviderBusy) as told:
        apollo.search(a_caller(), ANYBODY, page=1, per_page=25)
    assert told.value.retry_after == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, b'{"status":"failed","error_code":"INVALID_REQUEST"}', ProviderFailed, "bad_request"),
        (401, b"Invalid API key.", CredentialRejected, "credential_rejected"),
        (402, b"", OutOfCredit, "out_of_credit"),
        (403, b'{"error":"no","error_code":"API_INACCESSIBLE"}', CredentialRejected, "plan_or_scope"),
        (403, b"<html>blocked</html>", ProviderFailed, "blocked"),
        (404, b"", ProviderFailed, "unknown_call"),
        (408, b"", ProviderBusy, "provider_trouble"),
        (422, b'{"error":"Insufficient credits. Please upgrade"}', OutOfCredit, "out_of_credit"),
        (422, b'{"error":"page must be a number"}', ProviderFailed, "bad_request"),
        (422, b"\xff\xfe not even text", ProviderFailed, "bad_request"),
        (500, b"<html>", ProviderBusy, "provider_trouble"),
        (502, b"", ProviderBusy, "provider_trouble"),
        (503, b"", ProviderBusy, "provider_trouble"),
        (504, b"", ProviderBusy, "provider_timeout"),
    ],
)
def test_each_status_is_told_in_words(
    status: int, body: bytes, kind: type[ProviderFailed], code: str
) -> None:
    caller = a_caller()
    with scripted(Reply(status, body)) as (apollo, _), pytest.raises(ProviderFailed) as told:
        apollo.enrich(caller, "acme.example")
    assert type(told.value) is kind
    assert told.value.code == code
    assert told.value.details == {"provider": "apollo", "status": status}
    assert (told.value.retry_after is None) == (kind is not ProviderBusy)
    assert told.value.message.endswith(".")
    assert credits_of(caller) is None


def test_a_redirect_is_not_followed() -> None:
    with scripted(a_page()) as (_, elsewhere):
        reply = Reply(302, b"", {"location": f"{elsewhere.url}/api/v1/mixed_companies/search"})
        with scripted(reply) as (apollo, _), pytest.raises(ProviderFailed):
            apollo.search(a_caller(), ANYBODY, page=1, per_page=25)
        assert elsewhere.received == []


@pytest.mark.parametrize("fault", ["hang", "lost"])
def test_a_call_without_an_answer_has_an_unknown_cost(
    apollo: ApolloClient, sandbox: Sandbox, fault: str
) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "kind": fault})
    caller = a_caller(seconds=0.3)
    with pytest.raises(ProviderBusy) as told:
        apollo.search(caller, ANYBODY, page=1, per_page=25)
    assert told.value.code == "provider_timeout"
    assert credits_of(caller) is None


def test_half_an_answer_is_paid_for(apollo: ApolloClient, sandbox: Sandbox) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "kind": "truncate"})
    caller = a_caller()
    with pytest.raises(ProviderBusy) as told:
        apollo.search(caller, ANYBODY, page=1, per_page=25)
    assert told.value.code == "provider_timeout"
    assert credits_of(caller) == 1


@pytest.mark.parametrize("fault", ["invalid_json", "not_json"])
def test_an_answer_that_cannot_be_read_is_paid_for_and_not_asked_again(
    apollo: ApolloClient, sandbox: Sandbox, fault: str
) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "kind": fault})
    caller = a_caller()
    with pytest.raises(ProviderFailed) as told:
        apollo.search(caller, ANYBODY, page=1, per_page=25)
    assert (type(told.value), told.value.code) == (ProviderFailed, "invalid_answer")
    assert credits_of(caller) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"[" * 100_000),
        Reply(200, b"[]"),
        Reply(200, b'{"organization": ' + b"9" * 5_000 + b"}"),
        Reply(200, b" " * 9_000_000),
        Reply(200, b"not gzip at all", {"content-encoding": "gzip"}),
    ],
    ids=["deep", "a list", "a huge number", "too large", "wrongly packed"],
)
def test_nonsense_of_any_kind_is_an_answer_that_cannot_be_read(reply: Reply) -> None:
    caller = a_caller()
    with scripted(reply) as (apollo, _), pytest.raises(ProviderFailed) as told:
        apollo.enrich(caller, "acme.example")
    assert told.value.code == "invalid_answer"
    assert credits_of(caller) == 1


def test_an_answer_that_trickles_in_does_not_outlast_the_callers_time() -> None:
    caller = a_caller(seconds=0.3)
    started = time.monotonic()
    with scripted(Reply(200, b" " * 200, pause=0.05)) as (apollo, _), pytest.raises(ProviderBusy) as told:
        apollo.enrich(caller, "acme.example")
    assert told.value.code == "provider_timeout"
    assert time.monotonic() - started < 2


def test_apollo_out_of_reach_costs_nothing() -> None:
    with ScriptedServer(Reply()) as server:
        address = server.url
    caller = a_caller()
    with closing(ApolloClient(CANARY, address)) as apollo, pytest.raises(ProviderBusy) as told:
        apollo.enrich(caller, "acme.example")
    assert told.value.code == "unreachable"
    assert credits_of(caller) is None


@pytest.mark.parametrize("address", ["", "apollo", "ftp://127.0.0.1", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with closing(ApolloClient(CANARY, address)) as apollo, pytest.raises(ProviderFailed) as told:
        apollo.enrich(a_caller(), "acme.example")
    assert told.value.code == "bad_address"


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "ключ"])
def test_a_key_that_no_header_can_carry_is_a_bad_key(key: str) -> None:
    with ScriptedServer(Reply()) as server, closing(ApolloClient(key, server.url)) as apollo:
        with pytest.raises(CredentialRejected) as told:
            apollo.enrich(a_caller(), "acme.example")
        assert server.received == []
    assert not key or key not in all_that_shows(told.value)


# The key


def _call(reply: Reply) -> Callable[[], None]:
    def call() -> None:
        with scripted(reply) as (apollo, _):
            apollo.search(a_caller(seconds=0.3), ANYBODY, page=1, per_page=25)

    return call


def _unreachable() -> None:
    with closing(ApolloClient(CANARY, "http://127.0.0.1:1")) as apollo:
        apollo.enrich(a_caller(), "acme.example")


def _bad_address() -> None:
    with closing(ApolloClient(CANARY, "nowhere")) as apollo:
        apollo.enrich(a_caller(), "acme.example")


FAILING = {
    **{
        f"status {status}": _call(Reply(status, CANARY.encode()))
        for status in (302, 400, 401, 403, 422, 429, 500)
    },
    "no JSON": _call(Reply(200, CANARY.encode())),
    "packed": _call(Reply(200, CANARY.encode(), {"content-encoding": "gzip"})),
    "cut off": _call(Reply(200, CANARY.encode(), {"content-length": "999"})),
    "trickling": _call(Reply(200, CANARY.encode() * 9, pause=0.05)),
    "unreachable": _unreachable,
    "no address": _bad_address,
}


@pytest.mark.parametrize("name", FAILING)
def test_no_error_shows_the_key_or_what_apollo_said(name: str) -> None:
    with pytest.raises(AppError) as told:
        FAILING[name]()
    assert told.value.__cause__ is None
    assert told.value.__context__ is None
    assert CANARY not in str(told.value)
    assert CANARY not in repr(told.value.details)
    assert CANARY not in all_that_shows(told.value)


def test_no_log_shows_the_key_or_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    row = {"id": "o1", "name": "secret company"}
    with caplog.at_level(logging.DEBUG), scripted(a_page(row)) as (apollo, _):
        apollo.search(a_caller(), ANYBODY, page=1, per_page=25)
    assert caplog.records
    assert CANARY not in caplog.text
    assert "secret" not in caplog.text


def test_a_client_does_not_show_its_key() -> None:
    assert CANARY not in repr(ApolloClient(CANARY, "https://api.apollo.io/api/v1"))


# Whether a key is good


def test_a_known_key_is_good_and_an_unknown_one_is_not(apollo: ApolloClient, sandbox: Sandbox) -> None:
    apollo.check(a_caller())
    (entry,) = sandbox.ledger.entries()
    assert (entry.credits, entry.paid) == (0, False)
    with closing(ApolloClient("bad-key", sandbox.apollo_url)) as other, pytest.raises(CredentialRejected):
        other.check(a_caller())


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply.json({"healthy": True, "is_logged_in": False}), CredentialRejected),
        (Reply.json({}), CredentialRejected),
        (Reply.json({"is_logged_in": "yes"}), CredentialRejected),
        (Reply(200, b"<html>"), CredentialRejected),
        (Reply(302, headers={"location": "/"}), CredentialRejected),
        (Reply(404), CredentialRejected),
        (Reply(422, b"{}"), CredentialRejected),
        (Reply(401, b"Invalid API key."), CredentialRejected),
        (Reply(403, b'{"error_code":"API_INACCESSIBLE"}'), CredentialRejected),
        (Reply(429), ProviderBusy),
        (Reply(503), ProviderBusy),
    ],
)
def test_whatever_does_not_say_that_the_key_is_good_refuses_it(
    reply: Reply, kind: type[ProviderFailed]
) -> None:
    """A key's fault and a provider's are two things."""
    with scripted(reply) as (client, server):
        with pytest.raises(kind) as refused:
            client.check(a_caller())
        assert CANARY not in all_that_shows(refused.value)
        assert server.received[0].path == "/api/v1/auth/health"
