"""The same Idempotency-Key gets the same answer, from many threads over HTTP at once and after every failure."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from chalicelib.api.http import ROUTES, Out, route
from chalicelib.api.parsing import In
from chalicelib.db.work import Work
from chalicelib.domain.access import Actor, Permission
from chalicelib.domain.errors import Conflict
from chalicelib.domain.runs import Trigger
from chalicelib.services.runs import start
from local.postgres import Postgres
from tests.builders import a_config, an_item, rows
from tests.conftest import Tenant
from tests.integration.http_world import Api, an_api, code_of, data_of

AT_ONCE = 40


class Stumble(In):
    config_id: str
    over: str | None = None


class StumbleOut(Out):
    run_id: str


def declare_stumbling() -> None:
    """A route that does its work and then fails when it is told to."""

    @route("POST", "/v1/stumbles", needs=Permission.AGENTS_EXECUTE, summary="", status=202, idempotent=True)
    def stumble(work: Work, body: Stumble) -> StumbleOut:
        run = start.start(
            work,
            agent_type=None,
            config_id=body.config_id,  # type: ignore[arg-type]  # a test's word for it
            inputs={},
            trigger=Trigger.API,
        )
        if body.over == "a conflict":
            raise Conflict("Not like this.")
        if body.over == "a bug":
            raise RuntimeError("a bug")
        return StumbleOut(run_id=run.id)


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    before = list(ROUTES)
    declare_stumbling()
    try:
        with an_api(postgres, ROUTES[-1]) as made:
            yield made
    finally:
        ROUTES[:] = before


def start_run(api: Api, by: Actor, key: str, config_id: str, **inputs: Any) -> httpx.Response:
    return post(api, "/v1/runs", by, {"configId": config_id, "input": inputs}, key)


def post(api: Api, path: str, by: Actor, body: Any, key: str) -> httpx.Response:
    """A POST that waits its turn while the first one with the key is at work."""
    while True:
        said = api.send("POST", path, by, body=body, headers={"Idempotency-Key": key})
        if code_of(said) != "still_running":
            return said
        assert (said.status_code, said.headers["Retry-After"]) == (409, "1")
        time.sleep(0.02)


def together(action: Callable[[], httpx.Response], times: int = AT_ONCE) -> list[httpx.Response]:
    ready = threading.Barrier(times)

    def act() -> httpx.Response:
        ready.wait()
        return action()

    with ThreadPoolExecutor(times) as threads:
        return [future.result() for future in [threads.submit(act) for _ in range(times)]]


def runs_of(api: Api, tenant: Tenant, config_id: str) -> list[str]:
    found = rows(
        api.world.database,
        tenant.manager,
        "SELECT id FROM agent_runs WHERE agent_config_id = :config",
        config=config_id,
    )
    return [row.id for row in found]


def kept(api: Api, tenant: Tenant, key: str) -> int:
    (row,) = rows(
        api.world.database,
        tenant.manager,
        "SELECT count(*) AS answers FROM idempotency_keys WHERE key = :key",
        key=key,
    )
    return int(row.answers)


def test_forty_at_once_with_one_key_start_one_run_and_get_one_answer(api: Api) -> None:
    """Seen red with the advisory lock left out of `begin_idempotent`: several runs, then a duplicate key."""
    config_id = a_config(api.world.database, api.ours.manager)
    answers = together(lambda: start_run(api, api.ours.manager, "forty", config_id, limit=2))
    assert {said.status_code for said in answers} == {202}
    assert len({said.content for said in answers}) == 1
    assert sum("Idempotency-Replayed" not in said.headers for said in answers) == 1
    assert runs_of(api, api.ours, config_id) == [data_of(answers[0])["id"]]
    events = rows(
        api.world.database,
        api.ours.manager,
        "SELECT count(*) AS told FROM outbox_events WHERE aggregate_id = :run",
        run=data_of(answers[0])["id"],
    )
    assert events[0].told == 1


def test_twenty_at_once_decide_in_bulk_once(api: Api) -> None:
    """Every answer is the first one's, though the items' versions have moved on since."""
    items = [an_item(api.world.database, api.ours.manager) for _ in range(3)]
    body = {"items": [{"id": item_id, "version": 1} for item_id in items]}

    answers = together(lambda: post(api, "/v1/approvals/bulk/approve", api.ours.manager, body, "bulk"), 20)
    assert len({said.content for said in answers}) == 1
    assert data_of(answers[0])["succeeded"] == 3


def test_another_body_under_the_same_key_is_refused_and_starts_nothing(api: Api) -> None:
    """Seen red with the body's hash not compared in `begin_idempotent`."""
    config_id = a_config(api.world.database, api.ours.manager)
    data_of(start_run(api, api.ours.manager, "other body", config_id, limit=1))
    said = start_run(api, api.ours.manager, "other body", config_id, limit=2)
    assert (said.status_code, code_of(said)) == (422, "idempotency_mismatch")
    assert len(runs_of(api, api.ours, config_id)) == 1


def test_two_bodies_at_once_under_one_key_start_one_run(api: Api) -> None:
    config_id = a_config(api.world.database, api.ours.manager)
    limits = iter(range(1, 9))
    answers = together(
        lambda: start_run(api, api.ours.manager, "two bodies", config_id, limit=next(limits)), 8
    )
    assert sorted(said.status_code for said in answers) == [202, *[422] * 7]
    assert len(runs_of(api, api.ours, config_id)) == 1


def test_a_key_belongs_to_the_person_who_sent_it(api: Api) -> None:
    """Seen red with the user left out of `begin_idempotent`."""
    config_id = a_config(api.world.database, api.ours.manager)
    people = [
        person for person in api.ours.people.values() if Permission.AGENTS_EXECUTE in person.permissions
    ]
    answers = [start_run(api, person, "one of two people", config_id) for person in people]
    assert len({data_of(said)["id"] for said in answers}) == len(people) == 2
    assert sorted(runs_of(api, api.ours, config_id)) == sorted(data_of(said)["id"] for said in answers)


def test_a_key_belongs_to_the_tenant_who_sent_it(api: Api) -> None:
    """Not even a different body makes the one tenant learn of the other's key."""
    config_ids = [a_config(api.world.database, tenant.manager) for tenant in (api.ours, api.theirs)]
    ours = start_run(api, api.ours.manager, "one of two tenants", config_ids[0])
    theirs = start_run(api, api.theirs.manager, "one of two tenants", config_ids[1], limit=9)
    assert (ours.status_code, theirs.status_code) == (202, 202)
    assert data_of(ours)["id"] != data_of(theirs)["id"]


def test_a_key_belongs_to_the_route_and_the_object_it_was_sent_to(api: Api) -> None:
    one, other = (an_item(api.world.database, api.ours.manager) for _ in range(2))
    codes = []
    for path in (f"{one}/approve", f"{other}/approve", f"{one}/reject", f"{one}/approve"):
        said = post(api, f"/v1/approvals/{path}", api.ours.manager, {"version": 1}, "one of two items")
        codes.append((code_of(said), "Idempotency-Replayed" in said.headers))
    assert codes == [(None, False), (None, False), ("already_processed", False), (None, True)]


def test_a_refusal_is_not_kept(api: Api) -> None:
    """The same key may be used again once the request is right. Seen red with refusals kept as well."""
    config_id = a_config(api.world.database, api.ours.manager, enabled=False)
    refused = start_run(api, api.ours.manager, "refused", config_id, limit=1)
    assert code_of(refused) == "agent_disabled"
    enabled = {"version": 1, "enabled": True}
    data_of(api.send("PATCH", f"/v1/agents/{config_id}", api.ours.manager, body=enabled))
    assert start_run(api, api.ours.manager, "refused", config_id, limit="many").status_code == 422
    assert kept(api, api.ours, "refused") == 0
    assert start_run(api, api.ours.manager, "refused", config_id, limit=1).status_code == 202
    assert kept(api, api.ours, "refused") == 1


@pytest.mark.parametrize(("over", "status"), [("a conflict", 409), ("a bug", 500)])
def test_a_handler_that_fails_after_its_work_leaves_neither_work_nor_answer(
    api: Api, over: str, status: int
) -> None:
    """Seen red with the transaction committed in `_once` when the handler fails."""
    config_id = a_config(api.world.database, api.ours.manager)

    failed = post(api, "/v1/stumbles", api.ours.manager, {"configId": config_id, "over": over}, over)
    assert failed.status_code == status
    assert runs_of(api, api.ours, config_id) == []
    assert kept(api, api.ours, over) == 0
    again = post(api, "/v1/stumbles", api.ours.manager, {"configId": config_id}, over)
    assert runs_of(api, api.ours, config_id) == [data_of(again)["runId"]]


def test_an_answer_that_cannot_be_kept_leaves_no_work(api: Api, postgres: Postgres) -> None:
    """The database fails between the work and the record of its answer: there is no such moment.

    Seen red with the work committed before its answer is inserted.
    """
    config_id = a_config(api.world.database, api.ours.manager)
    refuse = (
        "CREATE FUNCTION doom() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$"
    )
    refuse_this_key = (
        "CREATE TRIGGER doom BEFORE INSERT ON idempotency_keys FOR EACH ROW"
        " WHEN (NEW.key = 'doomed') EXECUTE FUNCTION doom()"
    )
    for statement in (refuse, refuse_this_key):
        postgres.execute(statement, database=api.database_name)
    failed = start_run(api, api.ours.manager, "doomed", config_id)
    assert (failed.status_code, code_of(failed)) == (503, "unavailable")
    assert runs_of(api, api.ours, config_id) == []
    assert kept(api, api.ours, "doomed") == 0
    postgres.execute("DROP TRIGGER doom ON idempotency_keys", database=api.database_name)
    again = start_run(api, api.ours.manager, "doomed", config_id)
    assert runs_of(api, api.ours, config_id) == [data_of(again)["id"]]


def test_a_key_counts_for_24_hours(api: Api) -> None:
    """Seen red with old answers not deleted by `begin_idempotent`."""
    config_id = a_config(api.world.database, api.ours.manager)
    born = datetime(2030, 1, 1, tzinfo=UTC)
    found = []
    try:
        for hours in (0, 23.9, 24.1):
            api.clock.moment = born + timedelta(hours=hours)
            found.append(data_of(start_run(api, api.ours.manager, "a day", config_id))["id"])
    finally:
        api.clock.moment = None
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x7fb"])
def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    config_id = a_config(api.world.database, api.ours.manager)
    said = start_run(api, api.ours.manager, key, config_id)
    assert (said.status_code, code_of(said)) == (422, "invalid")
    assert runs_of(api, api.ours, config_id) == []


def test_without_a_key_every_request_is_another(api: Api) -> None:
    config_id = a_config(api.world.database, api.ours.manager)
    for _ in range(2):
        data_of(api.send("POST", "/v1/runs", api.ours.manager, body={"configId": config_id}))
    assert len(runs_of(api, api.ours, config_id)) == 2
