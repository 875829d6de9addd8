"""Who ends a run soon takes the tenant's next one in the same transaction, by the rules of any claim."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from chalicelib import faults
from chalicelib.domain.ids import RunId
from chalicelib.faults import Point
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from tests.builders import a_config, a_run, rows
from tests.conftest import MINUTE, World
from tests.fakes.providers import ScriptedCompanies, ScriptedModel


@dataclass(slots=True)
class Hands:
    """An engine's clock that stands still until somebody moves it."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def _nothing(_call: str) -> None:
    pass


def visit(
    world: World,
    *,
    companies: int = 3,
    before: Callable[[str], None] = _nothing,
    clock: Callable[[], float] | None = None,
) -> list[RunId]:
    """What a worker does with one doorbell message; each run makes its calls, whatever was known before."""
    providers = Providers(ScriptedCompanies(companies, before=before), ScriptedModel())
    world = world.with_settings(provider_facts_fresh_days=0, provider_searches_fresh_days=0)
    engine = Engine(world.database, lambda _customer: providers, clock=clock or Hands())
    return engine.visit(world.ours.customer_id, lambda: MINUTE)


def runs_of(world: World, count: int) -> list[RunId]:
    config = a_config(world.database, world.ours.manager)
    return [a_run(world.database, world.ours.manager, config_id=config) for _ in range(count)]


def statuses(world: World) -> list[str]:
    found = rows(world.database, world.ours.manager, "SELECT status FROM agent_runs ORDER BY queue_at, id")
    return [run.status for run in found]


def change(world: World, sql: str, **parameters: object) -> None:
    rows(world.database, world.ours.manager, sql, **parameters)


def test_one_message_is_enough_for_all_runs_that_are_short(world: World) -> None:
    """Under a limit of one, so that no other worker is rung for."""
    change(world, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
    accepted = runs_of(world, 4)
    assert len(world.signals.rings) == 1
    assert visit(world) == accepted
    assert len(world.signals.rings) == 1
    assert statuses(world) == ["completed"] * 4


def test_a_worker_that_has_stayed_long_enough_leaves_the_next_run_to_the_others(world: World) -> None:
    """Seen red with a worker that never leaves: it took all three, and rang nobody."""
    change(world, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
    first, *_ = runs_of(world, 3)
    clock = Hands()

    def takes_a_while(_call: str) -> None:
        clock.seconds += 0.3

    rung = len(world.signals.rings)
    assert visit(world, before=takes_a_while, clock=clock) == [first]
    assert len(world.signals.rings) == rung + 1
    assert statuses(world) == ["completed", "pending", "pending"]


def test_the_limit_counts_for_the_next_run_too(world: World) -> None:
    """The limit is lowered while a worker is at its run and another holds the one slot that is left.

    Seen red without the count in `finish_and_claim`: the second run was begun as well.
    """
    first, second, third = runs_of(world, 3)
    change(
        world,
        "UPDATE agent_runs SET status = 'running', lease_token = 'another', lease_expires_at = app_now() + interval"
        " '1 minute' WHERE id = :id RETURNING id",
        id=third,
    )

    def lowered(_call: str) -> None:
        change(world, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")

    assert visit(world, before=lowered) == [first]
    assert statuses(world) == ["completed", "pending", "running"]
    assert second != third


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE customers SET agents_enabled = false RETURNING id",
        "UPDATE agent_runs SET due_at = app_now() + interval '1 minute' WHERE status = 'pending' RETURNING id",
    ],
)
def test_what_no_claim_would_take_is_not_taken(world: World, meanwhile: str) -> None:
    """Switched off, or not due, by the time the first one's last call comes back.

    Seen red without either condition in `finish_and_claim`.
    """
    first, _ = runs_of(world, 2)

    def happens(call: str) -> None:
        if call == "enrich:company-0.example":
            change(world, meanwhile)

    assert visit(world, companies=1, before=happens) == [first]
    assert statuses(world) == ["completed", "pending"]


@pytest.mark.parametrize(
    ("meanwhile", "becomes"),
    [
        ("UPDATE agent_runs SET created_at = app_now() - interval '73 hours' WHERE status = 'pending' RETURNING id", "failed"),
        ("UPDATE agent_configs SET enabled = false RETURNING id", "cancelled"),
    ],
)  # fmt: skip
def test_a_run_that_is_to_be_ended_is_left_to_a_claim_that_was_rung_for(
    world: World, meanwhile: str, becomes: str
) -> None:
    """Too old, or of an agent that was put away: it does not become the worker's, and somebody is rung for."""
    first, _ = runs_of(world, 2)
    visit_rings = len(world.signals.rings)

    def happens(_call: str) -> None:
        change(world, meanwhile)
        change(world, "UPDATE tenant_queues SET rung_at = NULL RETURNING customer_id")

    assert visit(world, before=happens) == [first]
    assert statuses(world) == ["completed", "pending"]
    assert len(world.signals.rings) > visit_rings
    assert visit(world) == []
    assert statuses(world) == ["completed", becomes]


def test_the_bell_that_rings_for_somebody_else_is_left_alone(world: World) -> None:
    """Two runs wait beside the worker's: it takes one itself, the message that is under way is for the other.

    Seen red with the next claim clearing the bell: it rang anew after each run, once for each.
    """
    runs_of(world, 3)
    assert len(world.signals.rings) == 1
    during: list[int] = []

    def look(call: str) -> None:
        if call == "search:1":
            during.append(len(world.signals.rings))

    assert len(visit(world, before=look)) == 3
    assert during == [2, 2, 2]  # the claim that was rung for found more to do; nobody rang after that


def test_a_worker_that_dies_with_the_next_run_in_its_hands_is_followed_by_another(world: World) -> None:
    """Between the commit that took the next run and its first step. Its lease runs out like any other."""
    first, second = runs_of(world, 2)

    class Died(BaseException):
        """The process is gone."""

    def die(point: Point) -> None:
        if point is Point.AFTER_END:
            raise Died

    faults.install(die)
    try:
        with pytest.raises(Died):
            visit(world)
    finally:
        faults.uninstall()
    assert statuses(world) == ["completed", "running"]
    assert visit(world) == []
    change(world, "UPDATE agent_runs SET lease_expires_at = app_now() WHERE status = 'running' RETURNING id")
    assert visit(world) == [second]
    assert statuses(world) == ["completed", "completed"]
    told = rows(
        world.database,
        world.ours.manager,
        "SELECT aggregate_id FROM outbox_events WHERE event_type = 'agent.run.started' ORDER BY position",
    )
    assert [event.aggregate_id for event in told] == [first, second]


def test_a_run_that_fails_or_is_cancelled_gives_its_slot_to_the_next_one_as_well(world: World) -> None:
    change(world, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
    first, second = runs_of(world, 2)
    asked = iter([True])

    def cancelled(_call: str) -> None:
        if next(asked, False):
            change(
                world,
                "UPDATE agent_runs SET cancel_requested_at = app_now() WHERE id = :id RETURNING id",
                id=first,
            )

    assert visit(world, before=cancelled) == [first, second]
    assert statuses(world) == ["cancelled", "completed"]


def test_the_next_run_has_a_slice_of_its_own(world: World) -> None:
    """A worker's second run is not cut short by the first one's slice.

    Seen red with one deadline a visit: the second run was given back.
    """
    short = world.with_settings(run_slice_seconds=1)
    first, second = runs_of(world, 2)
    clock = Hands()

    def passes(call: str) -> None:
        if call == "search:1":
            clock.seconds += 0.6

    providers = Providers(ScriptedCompanies(before=passes), ScriptedModel())
    engine = replace(
        Engine(short.database, lambda _customer: providers, clock=clock), stay=timedelta(minutes=1)
    )
    assert engine.visit(world.ours.customer_id, lambda: MINUTE) == [first, second]
    assert statuses(world) == ["completed", "completed"]
