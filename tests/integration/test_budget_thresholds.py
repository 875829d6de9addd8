"""A threshold of a budget is told once, with the transaction that reached it, whoever and however many spend."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.db.driver import create
from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Database
from chalicelib.domain.access import engine_for
from chalicelib.domain.money import ModelPrice, Terms
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.services import budgets
from chalicelib.services.outbox import Relay
from chalicelib.services.runs.context import Providers
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedCompanies, ScriptedModel
from tests.integration.test_flow_control import SENDER, a_budget, checkpoint, running, the_run

MARCH = datetime(2026, 3, 27, 12, 10, tzinfo=UTC)
WORKERS = 50


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(MARCH)
    world.database = replace(world.database, clock=hands)
    return hands


def told(world: World, *, unit: str | None = None) -> list[tuple[Any, ...]]:
    """What the outbox says of thresholds, in order: month, unit, threshold, cap, spent, reason."""
    found = rows(
        world.database,
        world.ours.manager,
        "SELECT * FROM outbox_events WHERE event_type = 'budget.threshold.reached' ORDER BY position",
    )
    assert all(event.aggregate_type == "budget" for event in found)
    assert all(event.aggregate_id == event.payload["month"] for event in found)
    names = ("month", "unit", "threshold", "cap", "spent", "reason")
    assert all(event.payload.keys() == set(names) for event in found)
    return [
        tuple(event.payload[name] for name in names)
        for event in found
        if unit in (None, event.payload["unit"])
    ]


def spend(world: World, lease: queries.Lease, *, credit: int = 0, dollars: str = "0") -> None:
    """One call that is reserved and settled at this price."""
    (entry,), _, _ = checkpoint(
        world, lease, keys=["a call"], credits=credit, dollars=dollars, countsItems=False
    )
    charged = {"id": entry, "status": "settled", "credits": credit, "dollars": dollars}
    checkpoint(world, lease, settled=[charged])


def change(world: World, *, credit: int | None = None, dollars: Decimal | None = None) -> None:
    with world.database.enter(world.ours.manager) as work:
        version = work.session.execute(text("SELECT max(version) FROM budgets")).scalar_one() or 0
        budgets.change(work, version=version, monthly_credits=credit, monthly_dollars=dollars)


def test_each_threshold_is_told_once_when_it_is_reached(world: World, clock: Hands) -> None:
    """Seen red with the record not asked for: every later call told them again."""
    change(world, credit=10)
    lease = running(world)
    seen = []
    for _ in range(10):
        spend(world, lease, credit=1)
        seen.append(len(told(world)))
    assert seen == [0, 0, 0, 0, 0, 0, 0, 1, 1, 2]
    assert told(world) == [
        ("2026-03", "credits", 80, 10, 8, "spent"),
        ("2026-03", "credits", 100, 10, 10, "spent"),
    ]


def test_one_call_may_reach_both_and_a_unit_says_nothing_of_the_other(world: World, clock: Hands) -> None:
    change(world, credit=1000, dollars=Decimal("2.50"))
    spend(world, running(world), credit=5, dollars="2.5")
    assert told(world) == [
        ("2026-03", "dollars", 80, 2.5, 2.5, "spent"),
        ("2026-03", "dollars", 100, 2.5, 2.5, "spent"),
    ]


def test_they_are_published_in_order_to_every_sink(world: World, clock: Hands) -> None:
    """Seen red with events for no sink."""
    change(world, credit=10)
    spend(world, running(world), credit=10)

    class Sink:
        name = "eventbridge"
        taken: list[OutgoingEvent] = []  # noqa: RUF012 - one sink, one test

        def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
            self.taken += events
            return [None] * len(events)

    sink = Sink()
    Relay(world.database, [sink]).drain(lambda: timedelta(minutes=5))
    heard = [event.cloud_event for event in sink.taken if "budget" in event.cloud_event["type"]]
    assert [(event["subject"], event["sequence"], event["data"]["threshold"]) for event in heard] == [
        ("2026-03", "1", 80),
        ("2026-03", "2", 100),
    ]


def test_what_is_reserved_and_then_released_does_not_cry_wolf(world: World) -> None:
    """Seen red with what is reserved counted as spent."""
    change(world, credit=10)
    lease = running(world)
    (entry,), _, _ = checkpoint(world, lease, keys=["a"], credits=10)
    checkpoint(world, lease, settled=[{"id": entry, "status": "released", "credits": 0}])
    assert told(world) == []


def test_what_nobody_heard_of_again_is_spent_and_its_late_settling_tells_nothing_twice(
    world: World, clock: Hands
) -> None:
    change(world, credit=10)
    lease = running(world)
    (entry,), _, _ = checkpoint(world, lease, keys=["a"], credits=8)
    checkpoint(world, lease, settled=[{"id": entry, "status": "unknown", "credits": 0}])
    assert told(world) == [("2026-03", "credits", 80, 10, 8, "spent")]
    checkpoint(world, lease, settled=[{"id": entry, "status": "settled", "credits": 1}])
    spend(world, lease, credit=8)
    assert told(world) == [("2026-03", "credits", 80, 10, 8, "spent")]


def test_a_settlement_that_is_rolled_back_has_told_nothing(world: World) -> None:
    change(world, credit=10)
    lease = running(world)
    (entry,), _, _ = checkpoint(world, lease, keys=["a"], credits=10)
    with pytest.raises(ZeroDivisionError), world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.session.execute(
            text("UPDATE usage_entries SET status = 'settled' WHERE id = :id"), {"id": entry}
        )
        assert work.session.execute(text("SELECT count(*) FROM budget_alerts")).scalar_one() == 2
        raise ZeroDivisionError
    assert told(world) == []
    assert rows(world.database, world.ours.manager, "SELECT cap FROM budget_alerts") == []


def test_a_cap_lowered_below_what_is_spent_is_told_at_once(world: World, clock: Hands) -> None:
    """Seen red without the trigger on the budget."""
    change(world, credit=100)
    lease = running(world)
    spend(world, lease, credit=9)
    assert told(world) == []
    change(world, credit=10)
    assert told(world) == [("2026-03", "credits", 80, 10, 9, "spent")]
    change(world, credit=5)
    assert told(world)[1:] == [
        ("2026-03", "credits", 80, 5, 9, "spent"),
        ("2026-03", "credits", 100, 5, 9, "spent"),
    ]


def test_a_raised_cap_is_told_of_anew_and_one_that_comes_back_is_not(world: World, clock: Hands) -> None:
    """Seen red with the record kept by month, unit and threshold alone."""
    change(world, credit=10)
    lease = running(world)
    spend(world, lease, credit=10)
    change(world, credit=20)
    assert len(told(world)) == 2
    spend(world, lease, credit=6)
    assert told(world)[2:] == [("2026-03", "credits", 80, 20, 16, "spent")]
    change(world, credit=20, dollars=Decimal(5))  # the other unit's cap says nothing new of this one
    change(world, credit=10)
    change(world, credit=20)
    assert len(told(world)) == 3


def test_a_cap_of_nothing_is_reached_when_something_is_spent(world: World, clock: Hands) -> None:
    change(world, credit=0, dollars=Decimal(0))
    assert told(world) == []
    change(world, credit=None, dollars=Decimal(0))
    spend(world, running(world), credit=1)
    change(world, credit=0, dollars=Decimal(0))
    assert [threshold for _, _, threshold, *_ in told(world)] == [80, 100]


def test_a_new_month_begins_with_its_thresholds_not_reached(world: World, clock: Hands) -> None:
    """A call of March that is settled in April is March's."""
    change(world, credit=10)
    lease = running(world)
    (late,), _, _ = checkpoint(world, lease, keys=["a"], credits=9)
    clock.moment = datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)
    lease = running(world)
    spend(world, lease, credit=8)
    checkpoint(world, lease, settled=[{"id": late, "status": "settled", "credits": 9}])
    assert told(world) == [
        ("2026-04", "credits", 80, 10, 8, "spent"),
        ("2026-03", "credits", 80, 10, 9, "spent"),
    ]


def test_a_cap_in_dollars_that_ends_a_run_is_reached(world: World, clock: Hands) -> None:
    """The worst that the next call may cost, $0.0041, does not fit any more, so spending stops below the cap.

    Seen red without the trigger on runs: the cap stopped the agents and nobody was told.
    """
    price = ModelPrice(Decimal("0.10"), Decimal("0.10"), Decimal("0.50"))
    model = ScriptedModel()
    providers = Providers(ScriptedCompanies(), model, {"openai": Terms(price=price, most_tokens_out=5000)})
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contacts = [a_contact(world.database, world.ours.manager) for _ in range(3)]
    change(world, dollars=Decimal("0.01"))
    spend(world, running(world), dollars="0.0059")
    for _ in range(2):
        run_id = a_run(world.database, world.ours.manager, config_id=config, contactIds=contacts)
        world.settle(providers)
        assert the_run(world, run_id).error_code == "budget_dollars"
    spent = float(Decimal("0.0059") + len(model.asked) * Decimal("0.000035"))
    assert told(world) == [("2026-03", "dollars", 100, 0.01, pytest.approx(spent), "run_ended")]


def test_whoever_does_not_know_the_sinks_leaves_the_telling_to_the_next(world: World, clock: Hands) -> None:
    """As code does that runs while a new release is deployed. Seen red with events told to no sink."""
    change(world, credit=10)
    lease = running(world)
    (first, second), _, _ = checkpoint(world, lease, keys=["a", "b"], credits=4)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.session.execute(text("SELECT set_config('app.event_sinks', '', true)"))
        work.session.execute(
            text("UPDATE usage_entries SET status = 'settled' WHERE id = :id"), {"id": first}
        )
        work.session.execute(
            text("UPDATE usage_entries SET status = 'unknown' WHERE id = :id"), {"id": second}
        )
    assert told(world) == []
    spend(world, lease, credit=1)
    assert told(world) == [("2026-03", "credits", 80, 10, 9, "spent")]


def test_nobody_is_told_of_another_customers(world: World) -> None:
    a_budget(world, monthly=1)
    a_run(world.database, world.theirs.manager)
    world.visit(tenant=world.theirs)
    assert told(world) == []


@pytest.fixture
def many(world: World) -> Iterator[Database]:
    """The same database with a connection for each worker."""
    pool = create(world.database.settings.database_url, pool_size=WORKERS)
    yield replace(world.database, app=pool)
    pool.dispose()


def test_fifty_who_reach_it_at_once_tell_it_once(world: World, clock: Hands, many: Database) -> None:
    """While somebody changes the caps to and fro. Each event is there once, in one sequence without gaps.

    Seen red with the record not asked for.
    """
    change(world, credit=100, dollars=Decimal(10))
    leases = [running(world) for _ in range(WORKERS)]
    theirs = replace_database(world, replace(many, clock=clock))
    barrier = threading.Barrier(WORKERS + 1)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait(60)
            spend(theirs, leases[number], credit=2, dollars="0.2")
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    def change_caps() -> None:
        try:
            barrier.wait(60)
            for turn in range(10):
                change(world, credit=(150, 100)[turn % 2], dollars=Decimal((15, 10)[turn % 2]))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    threads.append(threading.Thread(target=change_caps))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    seen = [(unit, threshold, cap) for _, unit, threshold, cap, *_ in told(world)]
    assert len(seen) == len(set(seen))
    assert {("credits", 80, 100), ("credits", 100, 100), ("dollars", 80, 10), ("dollars", 100, 10)} <= set(
        seen
    )
    sequences = rows(
        world.database,
        world.ours.manager,
        "SELECT sequence FROM outbox_events WHERE aggregate_type = 'budget' ORDER BY position",
    )
    assert [event.sequence for event in sequences] == list(range(1, len(seen) + 1))
    alerts = rows(world.database, world.ours.manager, "SELECT unit, threshold, cap FROM budget_alerts")
    assert sorted(map(tuple, alerts)) == sorted(seen)


def replace_database(world: World, database: Database) -> World:
    """The same world on other connections."""
    other = World(database, world.signals, world.engines)
    other.ours, other.theirs = world.ours, world.theirs
    return other
