"""Events start runs: each noted once, gathered into one run, loops cut."""

import threading
from typing import Any

import pytest

from chalicelib import faults
from chalicelib.domain.access import engine_for
from chalicelib.domain.errors import Invalid
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import AgentConfigId, CustomerId, EventId, new_id
from chalicelib.faults import Point
from chalicelib.services.triggers import Told, react
from tests.builders import a_config, a_contact, rows
from tests.conftest import World
from tests.fakes.providers import scripted

SENDER = {"productValue": "It plans every truck's day.", "senderName": "Alex", "senderTitle": "AE"}
CREATED = EventType.CONTACT_CREATED


def a_listener(world: World) -> AgentConfigId:
    return a_config(
        world.database,
        world.ours.manager,
        agent_type="email_drafter",
        config=SENDER,
        event_types=[CREATED.value],
    )


def emitted(world: World, aggregate_id: str, **causation: Any) -> Told:
    """An event in our outbox, as the bus would tell it."""
    customer_id = world.ours.customer_id
    with world.database.enter(engine_for(customer_id)) as work:
        work.emit(Event(CREATED, "contact", aggregate_id, {"contactId": aggregate_id}, causation))
    (row,) = rows(
        world.database,
        world.ours.manager,
        "SELECT id FROM outbox_events WHERE event_type = :type AND aggregate_id = :id ORDER BY position DESC LIMIT 1",
        type=CREATED.value,
        id=aggregate_id,
    )
    return Told(customer_id, EventId(row.id))


def runs(world: World) -> list[Any]:
    return rows(world.database, world.ours.manager, "SELECT * FROM agent_runs ORDER BY id")


def test_what_has_gathered_is_one_run_and_its_input(world: World) -> None:
    config = a_listener(world)
    contacts = [a_contact(world.database, world.ours.manager) for _ in range(5)]
    assert [react(world.database, emitted(world, contact)) for contact in contacts] == [1] * 5
    (run,) = runs(world)
    assert (run.trigger, run.status, run.agent_config_id) == ("event", "pending", config)
    world.settle()
    (run,) = runs(world)
    assert run.input == {"contactIds": contacts}
    assert (run.status, run.items_succeeded) == ("completed", 5)
    left = rows(world.database, world.ours.manager, "SELECT run_id FROM run_trigger_events")
    assert {row.run_id for row in left} == {run.id}


def test_an_event_delivered_twice_is_noted_once(world: World) -> None:
    a_listener(world)
    told = emitted(world, a_contact(world.database, world.ours.manager))
    assert [react(world.database, told), react(world.database, told)] == [1, 0]
    world.settle()
    assert react(world.database, told) == 0
    assert len(runs(world)) == 1


def test_an_event_that_comes_while_the_run_works_waits_for_the_next(world: World) -> None:
    a_listener(world)
    first, second = (a_contact(world.database, world.ours.manager) for _ in range(2))
    react(world.database, emitted(world, first))
    providers = scripted()
    late = emitted(world, second)
    model = providers.model

    def answer(*args: Any, **named: Any) -> Any:
        react(world.database, late)
        return type(model).answer(model, *args, **named)

    providers = type(providers)(providers.companies, _Model(answer))
    world.visit(providers)
    assert [run.status for run in runs(world)] == ["completed", "pending"]
    world.settle()
    assert [run.input["contactIds"] for run in runs(world)] == [[first], [second]]


class _Model:
    def __init__(self, answer: Any) -> None:
        self.answer = answer


def test_a_config_never_reacts_to_its_own_descendants(world: World) -> None:
    """Seen red with the ancestors left out of the query: it ran in circles."""
    config = a_listener(world)
    told = emitted(world, a_contact(world.database, world.ours.manager), depth=1, configIds=[config])
    assert react(world.database, told) == 0
    assert runs(world) == []


def test_a_chain_of_events_ends_at_the_third_run(world: World) -> None:
    a_listener(world)
    contact = a_contact(world.database, world.ours.manager)
    assert react(world.database, emitted(world, contact, depth=3, configIds=["agt_other"])) == 0
    assert react(world.database, emitted(world, contact, depth=2, configIds=["agt_other"])) == 1
    (run,) = runs(world)
    assert run.causation["depth"] == 3
    assert "agt_other" in run.causation["configIds"]


def test_what_a_run_causes_knows_its_ancestors(world: World) -> None:
    config = a_listener(world)
    react(world.database, emitted(world, a_contact(world.database, world.ours.manager)))
    world.settle()
    (item,) = rows(world.database, world.ours.manager, "SELECT causation FROM approval_items")
    assert item.causation == {"depth": 1, "configIds": [config]}


def test_nobody_elses_event_and_no_invented_one_counts(world: World) -> None:
    """The message is not believed: the event is read from the outbox of the tenant it names."""
    a_listener(world)
    told = emitted(world, a_contact(world.database, world.ours.manager))
    assert react(world.database, Told(world.theirs.customer_id, told.event_id)) == 0
    assert react(world.database, Told(world.ours.customer_id, EventId(new_id("EventId")))) == 0
    assert react(world.database, Told(CustomerId("cus_nobody"), told.event_id)) == 0
    assert runs(world) == []


def test_an_agent_listens_only_to_what_it_can_react_to(world: World) -> None:
    with pytest.raises(Invalid, match="reacts to"):
        a_config(world.database, world.ours.manager, event_types=["agent.run.completed"])


def test_no_event_is_left_behind_when_it_comes_as_the_run_is_claimed(world: World) -> None:
    """A worker claims after the event has found the run that waits, and before the event is committed.

    Seen red without the queue locked first: the run took what it saw, and the event waited for nobody.
    """
    a_listener(world)
    first, second = (a_contact(world.database, world.ours.manager) for _ in range(2))
    react(world.database, emitted(world, first))
    worker = threading.Thread(target=world.visit)

    def claim_meanwhile(point: Point) -> None:
        if point is Point.BEFORE_EVENT_COUNTS and worker.ident is None:
            worker.start()
            worker.join(1)

    faults.install(claim_meanwhile)
    try:
        react(world.database, emitted(world, second))
    finally:
        faults.uninstall()
    worker.join()
    world.settle()
    (run,) = runs(world)
    assert run.input == {"contactIds": [first, second]}
