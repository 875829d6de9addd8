"""Walking the lists over HTTP, and not sending again what the client has."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.api.pages import Listing
from chalicelib.domain.access import Role, engine_for
from chalicelib.domain.approvals import Priority
from chalicelib.domain.ids import new_id
from local.postgres import Postgres
from tests.builders import a_config, a_run, an_item, rows
from tests.conftest import Tenant, a_tenant
from tests.integration.http_world import DECLARED, Api, an_api, code_of, data_of, error_of, name_of, path_to

LISTS = [
    declared for declared in DECLARED if declared.query is not None and issubclass(declared.query, Listing)
]
RANK = {"urgent": 0, "high": 1, "normal": 2, "low": 3}


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


def pages(api: Api, path: str, tenant: Tenant, limit: int, query: str = "") -> Iterator[Any]:
    """Each page's body, the next one asked for when this one has been dealt with."""
    place = ""
    for _ in range(100):
        said = api.send("GET", path, tenant.people[Role.ADMIN], query=f"limit={limit}{query}{place}")
        body = said.json()
        assert said.status_code == 200, body
        yield body
        if body["pagination"]["nextCursor"] is None:
            return
        place = f"&cursor={body['pagination']['nextCursor']}"
    pytest.fail("the list does not end")


def some_items(api: Api, tenant: Tenant, count: int) -> list[str]:
    """Items of all priorities, several of which were born in the same microsecond."""
    priorities = random.Random(7).choices(list(Priority), k=count)
    items = [an_item(api.world.database, tenant.manager, priority=priority) for priority in priorities]
    rows(
        api.world.database,
        tenant.manager,
        "UPDATE approval_items SET created_at = date_trunc('minute', created_at)"
        " - make_interval(mins => length(title) % 3) RETURNING id",
    )
    return [str(item_id) for item_id in items]


@pytest.mark.parametrize("limit", [1, 4, 23, 100])
def test_walking_the_approvals_visits_each_once_urgent_first_then_the_oldest(api: Api, limit: int) -> None:
    """Seen red with the id left out of the order (ties are skipped), and with `>=` for `>` in `_beyond`."""
    tenant = a_tenant(api.world.database, f"Walkers{limit}")
    born = some_items(api, tenant, 23)
    seen = []
    for page in pages(api, "/v1/approvals", tenant, limit):
        assert len(page["data"]) <= limit
        assert page["pagination"]["total"] == 23
        assert page["pagination"]["limit"] == limit
        assert "totalIsCapped" not in page["pagination"]
        seen += page["data"]
    assert sorted(item["id"] for item in seen) == sorted(born)
    places = [(RANK[item["priority"]], item["createdAt"], item["id"]) for item in seen]
    assert places == sorted(places)
    assert len({place[:2] for place in places}) < len(places), "no two are tied, so this test says less"


@pytest.mark.parametrize("limit", [1, 5, 12])
def test_walking_the_runs_visits_each_once_the_newest_first(api: Api, limit: int) -> None:
    tenant = a_tenant(api.world.database, f"Runners{limit}")
    config_id = a_config(api.world.database, tenant.manager)
    born = [a_run(api.world.database, tenant.manager, config_id=config_id) for _ in range(12)]
    seen = [run["id"] for page in pages(api, "/v1/runs", tenant, limit) for run in page["data"]]
    assert seen == sorted(born, reverse=True)


def test_what_is_decided_or_born_meanwhile_makes_nobody_skip_or_repeat_the_rest(api: Api) -> None:
    """The cursor is a place in the order, not a number of rows."""
    tenant = a_tenant(api.world.database, "Busy")
    waiting = set(some_items(api, tenant, 12))
    seen: list[str] = []
    for page in pages(api, "/v1/approvals", tenant, 4):
        seen += [item["id"] for item in page["data"]]
        decided = seen[-1]
        data_of(api.send("POST", f"/v1/approvals/{decided}/reject", tenant.manager, body={"version": 1}))
        an_item(api.world.database, tenant.manager, priority=Priority.URGENT)
    assert len(seen) == len(set(seen))
    assert waiting <= set(seen)


def test_a_filter_holds_on_every_page_and_in_the_total(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Filterers")
    for number in range(9):
        priority = Priority.HIGH if number % 3 else Priority.LOW
        an_item(api.world.database, tenant.manager, priority=priority)
    found = list(pages(api, "/v1/approvals", tenant, 2, query="&priority=high"))
    assert [item["priority"] for page in found for item in page["data"]] == ["high"] * 6
    assert {page["pagination"]["total"] for page in found} == {6}


def test_a_total_beyond_ten_thousand_says_so(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Large")
    with api.world.database.enter(engine_for(tenant.customer_id)) as work:
        work.session.execute(
            text(
                "INSERT INTO accounts (id, customer_id, name, domain)"
                " SELECT new_id('acc'), :customer, 'A company', 'n' || n || '.example'"
                " FROM generate_series(1, 10001) n"
            ),
            {"customer": tenant.customer_id},
        )
    told = next(pages(api, "/v1/accounts", tenant, 1))["pagination"]
    assert (told["total"], told["totalIsCapped"]) == (10_000, True)


def test_an_empty_list_has_no_next_page(api: Api) -> None:
    for declared in LISTS:
        tenant = a_tenant(api.world.database, "New")
        said = api.send("GET", path_to(api, declared, tenant), tenant.people[Role.ADMIN])
        assert data_of(said) == [], name_of(declared)
        assert said.json()["pagination"] == {"limit": 50, "total": 0, "nextCursor": None}


def test_a_cursor_of_one_list_is_refused_by_every_other(api: Api) -> None:
    """Seen red with the list's name left out of the cursor: agents' and accounts' keys have the same types."""
    tenant = a_tenant(api.world.database, "Confused")
    for _ in range(2):
        an_item(api.world.database, tenant.manager)
    cursors = {}
    for path in ("/v1/approvals", "/v1/runs", "/v1/agents", "/v1/events"):
        cursors[path] = next(pages(api, path, tenant, 1))["pagination"]["nextCursor"]
    for origin, cursor in cursors.items():
        for declared in LISTS:
            path = path_to(api, declared, tenant)
            said = api.send("GET", path, tenant.people[Role.ADMIN], query=f"cursor={cursor}")
            if declared.path == origin:
                assert said.status_code == 200
            else:
                assert (said.status_code, error_of(said)["details"]) == (422, {"pointer": "cursor"})


def test_another_tenants_cursor_shows_nothing_of_theirs(api: Api) -> None:
    """A cursor is only a place: in one's own list."""
    theirs, ours = a_tenant(api.world.database, "Giver"), a_tenant(api.world.database, "Taker")
    for tenant in (theirs, ours):
        some_items(api, tenant, 4)
    cursor = next(pages(api, "/v1/approvals", theirs, 1))["pagination"]["nextCursor"]
    said = api.send("GET", "/v1/approvals", ours.manager, query=f"cursor={cursor}")
    foreign = {row.id for row in rows(api.world.database, theirs.manager, "SELECT id FROM approval_items")}
    assert foreign.isdisjoint(item["id"] for item in data_of(said))


@pytest.mark.parametrize(
    "declared", [known for known in DECLARED if known.method == "GET" and known.is_signed_in and not known.path_kinds],
    ids=name_of,
)  # fmt: skip
def test_what_the_client_has_is_not_sent_again(api: Api, declared: Any) -> None:
    """Seen red with the ETag made of the request's id."""
    tenant = a_tenant(api.world.database, new_id("CustomerId"))
    reader = tenant.people[Role.ADMIN]
    first = api.send("GET", declared.path, reader)
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = api.send("GET", declared.path, reader, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    other = api.send("GET", declared.path, reader, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_a_change_is_sent_to_whoever_has_the_state_before(api: Api) -> None:
    tenant = a_tenant(api.world.database, "Poller")
    item_id = an_item(api.world.database, tenant.manager)
    places = ("/v1/approvals", f"/v1/approvals/{item_id}", "/v1/approvals/stats")
    tags = {path: api.send("GET", path, tenant.manager).headers["ETag"] for path in places}
    data_of(api.send("POST", f"/v1/approvals/{item_id}/approve", tenant.manager, body={"version": 1}))
    for path, tag in tags.items():
        said = api.send("GET", path, tenant.manager, headers={"If-None-Match": tag})
        assert said.status_code == 200, path
        assert said.headers["ETag"] != tag


def test_a_refusal_has_no_tag(api: Api) -> None:
    said = api.send("GET", f"/v1/runs/{new_id('RunId')}", api.ours.rep, headers={"If-None-Match": "*"})
    assert code_of(said) == "not_found"
    assert "ETag" not in said.headers
    assert said.headers["Cache-Control"] == "no-store"
