"""Over HTTP, what another tenant owns is answered as what nobody has. Built from the registry of routes."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from chalicelib.api.http import Route
from chalicelib.domain.access import Actor, Role
from chalicelib.domain.ids import PREFIXES, new_id
from local.postgres import Postgres
from tests.builders import an_item, rows
from tests.integration.http_world import (
    BODIES,
    DECLARED,
    Api,
    an_api,
    body_of,
    data_of,
    error_of,
    existing,
    kinds_in_body,
    kinds_of,
    name_of,
    path_of,
    with_ids,
)

WITH_IDS = [declared for declared in DECLARED if kinds_of(declared)]
LISTS = [
    declared
    for declared in DECLARED
    if declared.query is not None and any(name.endswith("_id") for name in declared.query.model_fields)
]
ABOUT_THE_REQUEST = {"date", "x-request-id"}


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


def admin(api: Api) -> Actor:
    return api.ours.people[Role.ADMIN]


def seen(said: httpx.Response, asked_for: list[str]) -> tuple[int, Any, dict[str, str]]:
    """An answer without what tells one request from another: its own id, its date, the ids it asked for."""
    text = said.text
    body = said.json() if text else None
    if isinstance(body, dict) and "error" in body:
        text = text.replace(body["error"]["requestId"], "<request>")
    for place in asked_for:
        text = text.replace(place, "<asked for>")
    headers = {name: value for name, value in said.headers.items() if name not in ABOUT_THE_REQUEST}
    return said.status_code, text, headers


def row_of(api: Api, kind: str, object_id: str) -> Any:
    """The other tenant's row as it is now."""
    table, _ = existing(kind)
    (row,) = rows(
        api.world.database,
        api.theirs.manager,
        f"SELECT to_jsonb(t) AS row FROM {table} t WHERE id = :id",  # noqa: S608 - tables are named in EXISTING
        id=object_id,
    )
    return row.row


def test_every_body_in_the_table_is_valid_and_belongs_to_a_route() -> None:
    """A new route with a body fails here until BODIES has one for it."""
    for declared in DECLARED:
        body = body_of(declared)
        if declared.body is not None:
            declared.body.model_validate(body)
    assert BODIES.keys() <= {name_of(declared) for declared in DECLARED}


@pytest.mark.parametrize("declared", WITH_IDS, ids=name_of)
def test_another_tenants_id_is_answered_as_one_that_nobody_has(api: Api, declared: Route) -> None:
    """Seen red with row-level security off on `accounts` and the tenant left out of `pages.one`."""
    kinds = kinds_of(declared)
    real = {kind: existing(kind)[1](api.world, api.theirs) for kind in kinds}
    random = {kind: new_id(kind) for kind in kinds}
    before = {kind: row_of(api, kind, real[kind]) for kind in kinds}

    foreign = api.call(declared, admin(api), ids=real)
    unknown = api.call(declared, admin(api), ids=random)

    assert foreign.status_code == 404
    assert error_of(foreign)["code"] == "not_found"
    assert seen(foreign, list(real.values())) == seen(unknown, list(random.values()))
    assert {kind: row_of(api, kind, real[kind]) for kind in kinds} == before
    owners = api.call(declared, api.theirs.people[Role.ADMIN], ids=real)
    assert owners.status_code != 404, "the id is not real, so this test says nothing"


@pytest.mark.parametrize("declared", WITH_IDS, ids=name_of)
def test_a_malformed_id_is_not_found(api: Api, declared: Route) -> None:
    """Seen red with `path_value` answering Invalid to what is no id."""
    for kind in kinds_of(declared):
        good = new_id(kind)
        other = next(prefix for name, prefix in PREFIXES.items() if name != kind)
        for bad in (
            "x",
            "%20",
            good[:-1],
            good + "0",
            good.upper(),
            good + "%0A",
            good.replace("_", "-"),
            f"{other}_{good[4:]}",
            f"{good[:4]}8{good[5:]}",
            "%D9%A1" * 26,
            "%27%20OR%201=1--",
            "x" * 2000,
        ):
            said = api.send(
                declared.method, path_of(declared, {kind: bad}), admin(api), body=body_of(declared)
            )
            assert (said.status_code, error_of(said)["code"]) == (404, "not_found"), bad


@pytest.mark.parametrize("declared", LISTS, ids=name_of)
def test_a_list_filtered_by_another_tenants_id_is_empty_as_by_one_that_nobody_has(
    api: Api, declared: Route
) -> None:
    """Seen red with row-level security off on `contacts` and the tenant left out of `list_contacts`."""
    assert declared.query is not None
    their_item = an_item(api.world.database, api.theirs.manager)
    for kind in ("ContactId", "EmailId"):
        existing(kind)[1](api.world, api.theirs)
    run_id = row_of(api, "ApprovalItemId", their_item)["agent_run_id"]
    account = rows(
        api.world.database, api.theirs.manager, "SELECT account_id, contact_id FROM outreach_emails"
    )[0]
    rows(
        api.world.database,
        api.theirs.manager,
        "UPDATE accounts SET source_run_id = :run WHERE id = :account RETURNING id",
        run=run_id,
        account=account.account_id,
    )
    config_id = row_of(api, "RunId", run_id)["agent_config_id"]
    for sql in (
        (
            "INSERT INTO usage_entries (id, customer_id, run_id, agent_config_id, step_key, lease_token, provider,"
            " operation) VALUES (new_id('use'), :customer, :run, :config, 'a', 'a token', 'apollo', 'a call')"
            " RETURNING id"
        ),
        (
            "UPDATE usage_entries SET status = 'settled' WHERE run_id = :run AND agent_config_id = :config"
            " AND customer_id = :customer RETURNING id"
        ),
    ):
        rows(
            api.world.database,
            api.theirs.manager,
            sql,
            customer=api.theirs.customer_id,
            run=run_id,
            config=config_id,
        )
    theirs = {
        "config_id": config_id,
        "run_id": run_id,
        "owner_id": str(api.theirs.manager.user_id),
        "account_id": account.account_id,
        "contact_id": account.contact_id,
        "aggregate_id": run_id,
    }
    for name in [name for name in declared.query.model_fields if name.endswith("_id")]:
        assert name in theirs, f"{name_of(declared)} filters by {name}: say one of theirs here."
        parameter = _alias(declared.query, name)
        foreign = api.send("GET", declared.path, admin(api), query=f"{parameter}={theirs[name]}")
        unknown = api.send("GET", declared.path, admin(api), query=f"{parameter}=nobodys")
        assert seen(foreign, []) == seen(unknown, [])
        assert listed(foreign) == []
        owners = api.send(
            "GET", declared.path, api.theirs.people[Role.ADMIN], query=f"{parameter}={theirs[name]}"
        )
        assert listed(owners), f"nothing of theirs has this {name}, so this test says nothing"


def listed(said: httpx.Response) -> Any:
    """The rows of a list, or of a report."""
    data = data_of(said)
    return data if isinstance(data, list) else data["rows"]


def _alias(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].alias or name


@pytest.mark.parametrize("declared", [known for known in DECLARED if kinds_in_body(known)], ids=name_of)
def test_another_tenants_id_in_a_body_is_answered_as_one_that_nobody_has(api: Api, declared: Route) -> None:
    """Seen red with `_check_owner` asking for the user alone and row-level security off on `users`."""
    ours = {kind: existing(kind)[1](api.world, api.ours) for kind in kinds_of(declared)}
    theirs = {kind: existing(kind)[1](api.world, api.theirs) for kind in kinds_in_body(declared)}
    before = {kind: row_of(api, kind, object_id) for kind, object_id in theirs.items()}

    def send(ids: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        body = with_ids(body_of(declared), ids.__getitem__)
        said = api.send(declared.method, path_of(declared, ours), admin(api), body=body)
        return seen(said, list(ids.values()))

    foreign = send(theirs)
    assert foreign == send({kind: new_id(kind) for kind in theirs})
    assert foreign[0] in {404, 422} or '"succeeded":0' in foreign[1]
    assert {kind: row_of(api, kind, object_id) for kind, object_id in theirs.items()} == before
    own = {kind: existing(kind)[1](api.world, api.ours) for kind in theirs}
    assert send(own) != foreign, "one's own is refused as well, so this test says nothing"


def test_lists_and_figures_hold_the_tenants_own_only(api: Api) -> None:
    """Every GET without an id in its path, asked by both tenants: no id of the one in the other's answer.

    Seen red with row-level security off on `approval_items` and the tenant left out of `list_approvals`.
    """
    for tenant in (api.ours, api.theirs):
        an_item(api.world.database, tenant.manager)
        for kind in ("ContactId", "EmailId"):
            existing(kind)[1](api.world, tenant)
    theirs: set[str] = set()
    for table in ("accounts", "agent_configs", "agent_runs", "approval_items", "contacts", "outreach_emails",
                  "outbox_events", "users"):  # fmt: skip
        theirs |= {row.id for row in rows(api.world.database, api.theirs.manager, f"SELECT id FROM {table}")}  # noqa: S608
    assert len(theirs) > 8
    for declared in DECLARED:
        if declared.method == "GET" and declared.is_signed_in and not declared.path_kinds:
            said = api.call(declared, admin(api))
            data_of(said)
            assert [leaked for leaked in theirs if leaked in said.text] == [], name_of(declared)
