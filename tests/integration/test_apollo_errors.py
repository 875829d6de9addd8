"""Every error and oddity of Apollo's, of every kind of call: what is told, and what is booked."""

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chalicelib.domain.errors import (
    CredentialRejected,
    OutOfCredit,
    ProviderBusy,
    ProviderFailed,
)
from chalicelib.domain.people import PersonRef, Seniority, WantedPeople
from chalicelib.domain.providers import Caller
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.integrations.apollo.wire import CONNECTIONS, Request
from sandbox.server import Sandbox
from tests.integration.apollo_world import (
    ANYBODY,
    CANARY,
    Reply,
    a_caller,
    a_page,
    all_that_shows,
    credits_of,
    scripted,
)

DIRECTORS = WantedPeople(seniorities=(Seniority.DIRECTOR,))
ADA = PersonRef(email="ada@acme.example")

# Each call, and what is booked for it at worst.
CALLS: dict[str, tuple[Callable[[ApolloClient, Caller], object], int]] = {
    "search": (lambda apollo, caller: apollo.search(caller, ANYBODY, page=1, per_page=25), 1),
    "enrich": (lambda apollo, caller: apollo.enrich(caller, "northwind-logistics.example"), 1),
    "enrich_many": (
        lambda apollo, caller: apollo.enrich_many(caller, ["northwind-logistics.example", "b.example"]),
        2,
    ),
    "search_people": (
        lambda apollo, caller: apollo.search_people(caller, DIRECTORS, page=1, per_page=25),
        0,
    ),
    "match": (lambda apollo, caller: apollo.match(caller, ADA), 1),
    "match_many": (lambda apollo, caller: apollo.match_many(caller, [ADA]), 1),
    "usage": (lambda apollo, caller: apollo.usage(caller), 0),
    "credits": (lambda apollo, caller: apollo.credits(caller), 0),
}
each_call = pytest.mark.parametrize("name", CALLS)


def failing(name: str, apollo: ApolloClient, caller: Caller) -> ProviderFailed:
    with pytest.raises(ProviderFailed) as told:
        CALLS[name][0](apollo, caller)
    assert told.value.details["provider"] == "apollo"
    assert told.value.message.endswith(".")
    return told.value


def with_key(sandbox: Sandbox, key: str) -> ApolloClient:
    return ApolloClient(key, sandbox.apollo_url)


# Of every kind of call, by the sandbox


@each_call
def test_a_bad_key(sandbox: Sandbox, name: str) -> None:
    caller = a_caller()
    with closing(with_key(sandbox, "bad-key")) as apollo:
        error = failing(name, apollo, caller)
    assert (type(error), error.code) == (CredentialRejected, "credential_rejected")
    assert "make a new one" in error.message
    assert credits_of(caller) is None


@each_call
def test_a_free_plan(sandbox: Sandbox, name: str) -> None:
    caller = a_caller()
    with closing(with_key(sandbox, "free-plan-key")) as apollo:
        error = failing(name, apollo, caller)
    assert (type(error), error.code) == (CredentialRejected, "free_plan")
    assert "Upgrade the plan" in error.message
    assert credits_of(caller) is None


@pytest.mark.parametrize("name", ["search", "enrich", "enrich_many", "match", "match_many"])
def test_no_credit(sandbox: Sandbox, name: str) -> None:
    known = next(one for one in sandbox.world.people if one.email and one.email_status == "verified")
    paid: dict[str, Callable[[ApolloClient, Caller], object]] = {
        **{name: call for name, (call, _) in CALLS.items()},
        "match": lambda apollo, caller: apollo.match(caller, PersonRef(id=known.id)),
        "match_many": lambda apollo, caller: apollo.match_many(caller, [PersonRef(id=known.id)]),
    }
    caller = a_caller()
    with closing(with_key(sandbox, "no-credit-key")) as empty, pytest.raises(OutOfCredit) as told:
        paid[name](empty, caller)
    assert (told.value.code, told.value.details["status"]) == ("out_of_credit", 422)
    assert "Add credits" in told.value.message
    assert credits_of(caller) is None


@each_call
def test_a_minute_that_is_full(sandbox: Sandbox, name: str) -> None:
    """Five calls a minute; twelve do not fit into two of them."""
    callers = [a_caller() for _ in range(12)]
    with closing(with_key(sandbox, f"limited-key-{name}")) as apollo, pytest.raises(ProviderBusy) as told:
        for caller in callers:
            CALLS[name][0](apollo, caller)
    error = told.value
    assert error.code == "rate_limited"
    assert error.retry_after is not None
    assert timedelta() < error.retry_after <= timedelta(minutes=1)
    assert credits_of(callers[-1]) is None
    assert None not in [credits_of(caller) for caller in callers[:5]]


@each_call
@pytest.mark.parametrize("fault", ["hang", "lost"])
def test_a_call_without_an_answer(apollo: ApolloClient, sandbox: Sandbox, name: str, fault: str) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "kind": fault})
    caller = a_caller(seconds=0.2)
    error = failing(name, apollo, caller)
    assert (type(error), error.code) == (ProviderBusy, "provider_timeout")
    assert credits_of(caller) is None


@each_call
def test_a_connection_that_is_closed_before_anything_was_done(
    apollo: ApolloClient, sandbox: Sandbox, name: str
) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "kind": "refused"})
    assert failing(name, apollo, a_caller()).code == "provider_timeout"


@each_call
def test_half_an_answer_is_booked_at_worst(apollo: ApolloClient, sandbox: Sandbox, name: str) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "kind": "truncate"})
    caller = a_caller()
    assert failing(name, apollo, caller).code == "provider_timeout"
    assert credits_of(caller) == CALLS[name][1]


@each_call
@pytest.mark.parametrize("fault", ["invalid_json", "not_json"])
def test_a_200_that_is_no_json_or_a_web_page(
    apollo: ApolloClient, sandbox: Sandbox, name: str, fault: str
) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "kind": fault})
    caller = a_caller()
    error = failing(name, apollo, caller)
    assert (type(error), error.code) == (ProviderFailed, "invalid_answer")
    assert credits_of(caller) == CALLS[name][1]


@each_call
@pytest.mark.parametrize("status", [500, 502, 503])
def test_trouble_at_apollo_with_a_web_page(
    apollo: ApolloClient, sandbox: Sandbox, name: str, status: int
) -> None:
    sandbox.faults.add({"path": "/api/v1/*", "status": status, "retry_after": 40})
    error = failing(name, apollo, a_caller())
    assert (type(error), error.code, error.retry_after) == (
        ProviderBusy,
        "provider_trouble",
        timedelta(seconds=40),
    )


# The same words in other forms


def refusal(status: int, content: object, **headers: str) -> ProviderFailed:
    with scripted(Reply.json(content, status, **headers)) as (apollo, _):
        return failing("match", apollo, a_caller())


NOT_HERE = "api/v1/people/match is not accessible with this api_key"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"error": f"{NOT_HERE} on a free plan.", "error_code": "API_INACCESSIBLE"}, "free_plan"),
        ({"error": "Please upgrade your plan.", "error_code": "API_INACCESSIBLE"}, "free_plan"),
        ({"error": f"{NOT_HERE}.", "error_code": "API_INACCESSIBLE"}, "scope"),
        ({"message": "Please use a master API key."}, "scope"),
        ({"error_message": "The key's scopes do not include this."}, "scope"),
        ({"error": "no", "error_code": "API_INACCESSIBLE"}, "plan_or_scope"),
        ({}, "plan_or_scope"),
    ],
)
def test_plan_and_scope_are_told_apart_as_far_as_apollo_does(content: object, code: str) -> None:
    error = refusal(403, content)
    assert (type(error), error.code) == (CredentialRejected, code)


@pytest.mark.parametrize("name", ["usage", "credits"])
def test_a_key_that_may_not_see_the_usage_is_told_of_a_master_key(name: str) -> None:
    content = {"error": "Requires a master key.", "error_code": "API_INACCESSIBLE"}
    with scripted(Reply.json(content, 403)) as (apollo, _):
        error = failing(name, apollo, a_caller())
    assert error.code == "scope"
    assert "master key" in error.message


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (422, {"error": "Insufficient credits. Please upgrade your plan."}),
        (422, {"message": "You have no credit left"}),
        (400, {"status": "failed", "error_code": "X", "error_message": "Not enough credits."}),
        (402, {}),
        (402, "pay"),
    ],
)
def test_no_credit_has_many_forms(status: int, content: object) -> None:
    error = refusal(status, content)
    assert (type(error), error.code) == (OutOfCredit, "out_of_credit")


LIMIT = {"message": "The maximum number of api calls allowed for api/v1/people/match is 600 times per hour."}


@pytest.mark.parametrize("content", [LIMIT, str(LIMIT).replace("'", '"'), "", None, "<html>"])
def test_a_limits_body_may_be_json_in_a_string_or_anything(content: object) -> None:
    error = refusal(429, content, retry_after="1800")
    assert (type(error), error.code, error.retry_after) == (
        ProviderBusy,
        "rate_limited",
        timedelta(seconds=1800),
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"status": "failed", "error_code": "INVALID_REQUEST", "error_message": "Bad."}, "bad_request"),
        (
            {"status": "failed", "error_code": "RECORD_LIMIT_EXCEEDED", "error_message": "At most 5."},
            "too_many_records",
        ),
    ],
)
@pytest.mark.parametrize("status", [400, 200])
@pytest.mark.parametrize("name", ["enrich_many", "match_many"])
def test_a_bulk_call_that_is_refused(name: str, status: int, content: object, code: str) -> None:
    """A 400; and a 200 that says of itself that it failed is none better."""
    caller = a_caller()
    with scripted(Reply.json(content, status)) as (apollo, _):
        error = failing(name, apollo, caller)
    assert (type(error), error.code) == (ProviderFailed, code)
    assert not credits_of(caller)


def test_what_the_sandbox_says_of_a_bulk_call_is_understood(apollo: ApolloClient) -> None:
    for details, code in (([], "bad_request"), ([{"id": str(n)} for n in range(11)], "too_many_records")):
        with pytest.raises(ProviderFailed) as told:
            apollo._call(a_caller(), a_request("/people/bulk_match", {"details": details}))
        assert told.value.code == code


def a_request(path: str, content: dict[str, Any]) -> Request:
    return Request("POST", path, lambda _: 0, worst=0, content=content)


@pytest.mark.parametrize("path", ["/mixed_people/search", "/people/search", "/organizations/search"])
def test_an_old_name_says_that_the_product_is_out_of_date(apollo: ApolloClient, path: str) -> None:
    with pytest.raises(ProviderFailed) as told:
        apollo._call(a_caller(), a_request(path, {"page": 1}))
    assert (told.value.code, told.value.details["status"]) == ("retired_call", 422)


@pytest.mark.parametrize("content", [{"page": "x"}, {"per_page": 1_000}, {"revenue_range": 7}])
def test_bad_parameters_are_told_without_apollos_words(apollo: ApolloClient, content: dict[str, Any]) -> None:
    with pytest.raises(ProviderFailed) as told:
        apollo._call(a_caller(), a_request("/mixed_companies/search", content))
    assert (type(told.value), told.value.code) == (ProviderFailed, "bad_request")
    assert "range is an object" not in all_that_shows(told.value)


def test_a_mobile_number_that_wants_a_webhook_is_told() -> None:
    error = refusal(400, {"error": "Please add a valid 'webhook_url' parameter when revealing phones."})
    assert error.code == "needs_webhook"
    assert "without mobile numbers" in error.message


def test_a_firewalls_page_is_not_taken_for_apollos_word() -> None:
    with scripted(Reply(403, b"\n<!doctype html><title>Upgrade your browser</title>")) as (apollo, _):
        error = failing("match", apollo, a_caller())
    assert (type(error), error.code) == (ProviderFailed, "blocked")


# Where it is asked


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_told(status: int) -> None:
    with scripted(a_page()) as (_, elsewhere):
        reply = Reply(status, b"", {"location": f"{elsewhere.url}/api/v1/people/match"})
        with scripted(reply) as (apollo, _):
            error = failing("match", apollo, a_caller())
        assert elsewhere.received == []
    assert (type(error), error.code) == (ProviderFailed, "redirected")
    assert "APOLLO_BASE_URL" in error.message


@each_call
def test_the_bare_address_that_finds_nobody_is_refused(sandbox: Sandbox, name: str) -> None:
    """It would answer 200 with no rows. Seen red without the refusal: a search found nobody, for nothing."""
    caller = a_caller()
    for base in (f"{sandbox.url}/v1", f"{sandbox.url}/v1/"):
        with closing(ApolloClient("sandbox-apollo-key", base)) as apollo:
            assert failing(name, apollo, caller).code == "bad_address"
    assert sandbox.ledger.entries() == ()


def test_another_address_that_finds_nobody_cannot_be_told_from_an_account_that_does() -> None:
    with scripted(a_page()) as (apollo, _):
        assert apollo.search(a_caller(), ANYBODY, page=1, per_page=25).companies == ()


def test_an_address_where_nothing_is_says_so(sandbox: Sandbox) -> None:
    with closing(ApolloClient("sandbox-apollo-key", f"{sandbox.url}/elsewhere")) as apollo:
        error = failing("match", apollo, a_caller())
    assert error.code == "unknown_call"
    assert "APOLLO_BASE_URL" in error.message


@pytest.mark.parametrize("base", ["http://[", "http://", "//host/api/v1", "http://127.0.0.1:99999/api/v1"])
def test_an_address_that_is_none(base: str) -> None:
    with closing(ApolloClient(CANARY, base)) as apollo:
        assert failing("match", apollo, a_caller()).code in {"bad_address", "unreachable"}


# One client, many keys


def test_all_keys_share_one_client_and_its_connections(sandbox: Sandbox) -> None:
    with closing(with_key(sandbox, "sandbox-apollo-key-a")) as one:
        other = with_key(sandbox, "paid-plan-key-b")
        CALLS["search"][0](one, a_caller())
        pool = CONNECTIONS.client()._transport._pool  # type: ignore[attr-defined]
        connections = list(pool.connections)
        CALLS["search"][0](other, a_caller())
        assert list(pool.connections) == connections
        assert len(connections) == 1
    assert [entry.key_last4 for entry in sandbox.ledger.entries()] == ["ey-a", "ey-b"]


def test_a_cookie_of_one_key_does_not_go_out_with_another() -> None:
    """Seen red with the client's usual cookies."""
    reply = Reply.json({"person": None}, set_cookie="session=of-the-first-tenant; Path=/")
    with scripted(reply) as (apollo, server):
        apollo.match(a_caller(), ADA)
        ApolloClient("another-key", apollo.base_url).match(a_caller(), ADA)
    assert [call.headers["x-api-key"] for call in server.received] == [CANARY, "another-key"]
    assert all("cookie" not in call.headers for call in server.received)


def test_connections_are_opened_anew_after_they_were_let_go(apollo: ApolloClient, sandbox: Sandbox) -> None:
    CALLS["search"][0](apollo, a_caller())
    before: httpx.Client = CONNECTIONS.client()
    apollo.close()
    CALLS["search"][0](apollo, a_caller())
    assert CONNECTIONS.client() is not before
    assert len(sandbox.ledger.entries()) == 2
