"""Who gets through to which route, over HTTP. Built from the registry of routes and the table of grants."""

from collections.abc import Iterator

import pytest

from chalicelib.api.http import Route
from chalicelib.domain.access import GRANTS, Permission, Role
from chalicelib.domain.approvals import Priority
from local.postgres import Postgres
from tests.builders import an_item, rows
from tests.conftest import a_tenant
from tests.integration.http_world import (
    DECLARED,
    Api,
    an_api,
    code_of,
    data_of,
    error_of,
    name_of,
    token,
)

SIGNED_IN = [declared for declared in DECLARED if declared.is_signed_in]
OPEN = [declared for declared in DECLARED if not declared.is_signed_in]
PERMITTED = [declared for declared in DECLARED if isinstance(declared.needs, Permission)]


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


@pytest.mark.parametrize("declared", SIGNED_IN, ids=name_of)
def test_a_role_gets_403_exactly_where_it_has_no_permission(api: Api, declared: Route) -> None:
    """Seen red with `work.actor.need` left out of the wrapper."""
    refused = {}
    for role, actor in api.ours.people.items():
        said = api.call(declared, actor)
        assert said.status_code != 401
        assert said.status_code < 500, said.text
        assert (said.status_code == 403) == (code_of(said) == "not_permitted"), said.text
        refused[role] = said.status_code == 403
        if refused[role]:
            assert error_of(said)["details"] == {"permission": declared.needs, "role": role.value}
    expected = {
        role: isinstance(declared.needs, Permission) and declared.needs not in GRANTS[role] for role in Role
    }
    assert refused == expected


@pytest.mark.parametrize("declared", PERMITTED, ids=name_of)
def test_a_refused_role_learns_nothing_of_what_it_sent(api: Api, declared: Route) -> None:
    """403 comes before a malformed id, an unknown parameter and a body that is no JSON.

    Seen red with the permission asked for after the parsing.
    """
    for role in Role:
        if declared.needs not in GRANTS[role]:
            path = declared.path.replace("{", "x").replace("}", "x")
            said = api.send(declared.method, path, api.ours.people[role], raw=b"{", query="debug=1")
            assert (said.status_code, code_of(said)) == (403, "not_permitted")


@pytest.mark.parametrize("declared", SIGNED_IN, ids=name_of)
def test_nobody_gets_in_without_a_token_that_counts(api: Api, declared: Route) -> None:
    """Seen red with `is_signed_in` true for routes with a permission only: GET /v1/me lets everybody in."""
    for sent in (
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer a.b.c"},
    ):
        said = api.send(declared.method, declared.path.replace("{", "x").replace("}", "x"), headers=sent)
        assert said.status_code == 401, sent
        assert said.headers["WWW-Authenticate"] == "Bearer"
        assert error_of(said)["code"] in {"not_signed_in", "bad_token"}


@pytest.mark.parametrize("declared", OPEN, ids=name_of)
def test_a_public_route_asks_nobody_who_they_are(api: Api, declared: Route) -> None:
    said = api.call(declared)
    assert code_of(said) not in {"not_signed_in", "bad_token", "not_permitted"}
    assert said.status_code < 500


def test_the_public_routes_are_these(api: Api) -> None:
    """A new one is a decision: it belongs here as well."""
    assert sorted(name_of(declared) for declared in OPEN) == [
        "GET /v1/docs",
        "GET /v1/healthz",
        "GET /v1/openapi.json",
        "GET /v1/readyz",
        "POST /v1/auth/challenge",
        "POST /v1/auth/login",
        "POST /v1/auth/logout",
        "POST /v1/auth/refresh",
    ]


def test_a_good_token_of_somebody_disabled_does_not_count(api: Api) -> None:
    """Seen red with `status = 'active'` left out of the stored function `enter`."""
    gone = a_tenant(api.world.database, "Gone").rep
    assert api.send("GET", "/v1/me", gone).status_code == 200
    rows(
        api.world.database,
        gone,
        "UPDATE users SET status = 'disabled' WHERE id = :id RETURNING id",
        id=gone.user_id,
    )
    said = api.send("GET", "/v1/me", gone)
    assert (said.status_code, code_of(said)) == (401, "no_such_user")


def test_a_role_counts_as_our_own_row_has_it_now(api: Api) -> None:
    """Whoever loses a role keeps nothing of it until their token ends."""
    demoted = a_tenant(api.world.database, "Demoted").people[Role.ADMIN]
    assert api.send("GET", "/v1/events", demoted).status_code == 200
    rows(
        api.world.database,
        demoted,
        "UPDATE users SET role = 'VIEWER' WHERE id = :id RETURNING id",
        id=demoted.user_id,
    )
    assert api.send("GET", "/v1/events", demoted).status_code == 403


def test_a_token_with_one_letter_changed_does_not_count(api: Api) -> None:
    """Seen red with `jwt.decode` told not to verify the signature."""
    good = token(str(api.ours.rep.user_id))
    place = len(good) - 20
    bad = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
    assert api.send("GET", "/v1/me", headers={"Authorization": f"Bearer {good}"}).status_code == 200
    said = api.send("GET", "/v1/me", headers={"Authorization": f"Bearer {bad}"})
    assert (said.status_code, code_of(said)) == (401, "bad_token")


# Sales representatives decide what is theirs


def status_of(api: Api, item_id: str) -> str:
    return str(data_of(api.send("GET", f"/v1/approvals/{item_id}", api.ours.rep))["status"])


@pytest.mark.parametrize(("verb", "status"), [("approve", "approved"), ("reject", "rejected")])
def test_a_sales_rep_decides_their_own_item_and_not_anothers(api: Api, verb: str, status: str) -> None:
    """Seen red with OWN_ONLY empty."""
    own = an_item(api.world.database, api.ours.manager, owner=api.ours.rep)
    others = an_item(api.world.database, api.ours.manager, owner=api.ours.manager)
    said = api.send("POST", f"/v1/approvals/{own}/{verb}", api.ours.rep, body={"version": 1})
    assert data_of(said)["status"] == status
    said = api.send("POST", f"/v1/approvals/{others}/{verb}", api.ours.rep, body={"version": 1})
    assert (said.status_code, code_of(said)) == (403, "not_owner")
    assert status_of(api, others) == "pending"


def test_a_sales_rep_sees_the_items_they_may_not_decide(api: Api) -> None:
    others = an_item(api.world.database, api.ours.manager, priority=Priority.URGENT)
    assert status_of(api, others) == "pending"
    listed = data_of(api.send("GET", "/v1/approvals", api.ours.rep, query="limit=100"))
    assert others in {item["id"] for item in listed}


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_in_bulk_a_sales_reps_own_items_are_decided_and_the_others_say_why_not(api: Api, verb: str) -> None:
    """Seen red with OWN_ONLY empty."""
    own = [an_item(api.world.database, api.ours.manager, owner=api.ours.rep) for _ in range(2)]
    others = an_item(api.world.database, api.ours.manager, owner=api.ours.manager)
    seen = [{"id": item_id, "version": 1} for item_id in (own[0], others, own[1])]
    told = data_of(api.send("POST", f"/v1/approvals/bulk/{verb}", api.ours.rep, body={"items": seen}))
    assert [(result["ok"], result["code"]) for result in told["results"]] == [
        (True, None),
        (False, "not_owner"),
        (True, None),
    ]
    assert (told["succeeded"], told["failed"]) == (2, 1)
    assert status_of(api, others) == "pending"


def test_a_sales_rep_undoes_their_own_decision_and_not_anothers(api: Api) -> None:
    """Seen red with the owner left out of the undo's UPDATE."""
    slow = a_tenant(api.world.database, "Slow", undo_window_seconds=600)
    own = an_item(api.world.database, slow.manager, owner=slow.rep)
    others = an_item(api.world.database, slow.manager, owner=slow.manager)
    for item_id in (own, others):
        data_of(api.send("POST", f"/v1/approvals/{item_id}/approve", slow.manager, body={"version": 1}))
    undone = api.send("POST", f"/v1/approvals/{own}/revert", slow.rep, body={"version": 2})
    assert data_of(undone)["status"] == "pending"
    said = api.send("POST", f"/v1/approvals/{others}/revert", slow.rep, body={"version": 2})
    assert (said.status_code, code_of(said)) == (403, "not_owner")
