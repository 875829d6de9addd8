"""Each slot of a schedule is accounted for once: started, coalesced, or skipped with the reason."""

import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib import faults
from chalicelib.domain.errors import Invalid
from chalicelib.domain.ids import AgentConfigId
from chalicelib.domain.schedules import following
from chalicelib.faults import Point
from chalicelib.services import agents
from chalicelib.services.schedules import Scheduler
from tests.builders import a_config, rows
from tests.conftest import World
from tests.fakes.clock import Hands

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(START)
    world.database = replace(world.database, clock=hands)
    return hands


def fires(world: World) -> list[Any]:
    return rows(world.database, world.ours.manager, "SELECT * FROM schedule_fires ORDER BY slot_at")


def runs(world: World) -> list[Any]:
    return rows(world.database, world.ours.manager, "SELECT * FROM agent_runs ORDER BY slot_at")


def tick(world: World, clock: Hands, moment: datetime) -> None:
    clock.moment = moment
    Scheduler(world.database).tick()


def test_a_due_schedule_starts_a_run_behind_what_people_started(world: World, clock: Hands) -> None:
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    tick(world, clock, START + timedelta(minutes=59))
    assert runs(world) == []
    tick(world, clock, START + timedelta(minutes=60, seconds=20))
    (run,) = runs(world)
    assert (run.trigger, run.slot_at, run.slots_covered) == ("scheduled", START + timedelta(hours=1), 1)
    assert run.queue_at == clock.moment + timedelta(minutes=10)
    assert world.signals.rings[-1][0] == world.ours.customer_id
    assert world.visit() == run.id


def test_after_downtime_one_run_stands_for_the_missed_slots(world: World, clock: Hands) -> None:
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    tick(world, clock, START + timedelta(hours=4, minutes=1))
    (run,) = runs(world)
    assert (run.slot_at, run.slots_covered) == (START + timedelta(hours=4), 4)
    assert [(fire.outcome, fire.run_id) for fire in fires(world)] == [("coalesced", run.id)] * 3 + [
        ("started", run.id)
    ]


def test_a_slot_is_skipped_while_the_last_run_is_active(world: World, clock: Hands) -> None:
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    tick(world, clock, START + timedelta(hours=1))
    (run,) = runs(world)
    tick(world, clock, START + timedelta(hours=2))
    assert [fire.outcome for fire in fires(world)] == ["started", "skipped"]
    assert run.id in fires(world)[1].reason
    world.settle()
    tick(world, clock, START + timedelta(hours=3))
    assert [fire.outcome for fire in fires(world)] == ["started", "skipped", "started"]


def test_pausing_stops_it_and_resuming_counts_from_then(world: World, clock: Hands) -> None:
    config = a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    change(world, config, 1, enabled=False)
    tick(world, clock, START + timedelta(hours=5))
    assert fires(world) == []
    change(world, config, 2, enabled=True)
    tick(world, clock, START + timedelta(hours=5, minutes=59))
    assert fires(world) == []
    tick(world, clock, START + timedelta(hours=6))
    assert [fire.slot_at for fire in fires(world)] == [START + timedelta(hours=6)]


def test_an_edit_of_anything_else_leaves_the_next_slot_alone(world: World, clock: Hands) -> None:
    config = a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    clock.moment = START + timedelta(hours=2)
    change(world, config, 1, name="Another name")
    tick(world, clock, START + timedelta(hours=2))
    assert len(fires(world)) == 2


def test_a_schedule_too_tight_for_the_installation_is_refused(world: World, clock: Hands) -> None:
    with pytest.raises(Invalid, match="more often"):
        a_config(world.database, world.ours.manager, schedule="*/2 * * * *")


def test_a_switched_off_scheduler_starts_nothing_and_loses_nothing(world: World, clock: Hands) -> None:
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    clock.moment = START + timedelta(hours=1)
    Scheduler(world.with_settings(agents_scheduler_enabled=False).database).tick()
    assert fires(world) == []
    tick(world, clock, START + timedelta(hours=1, minutes=1))
    assert len(fires(world)) == 1


def test_two_ticks_at_one_slot_start_one_run(world: World, clock: Hands) -> None:
    """The second tick comes while the first has the slot in its hands.

    Four things guard a slot, each alone enough: its row is held, `next_due_at` is compared, the slot is a key,
    and a run that is active lets no other start.
    """
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    clock.moment = START + timedelta(hours=1)
    second = threading.Thread(target=Scheduler(world.database).tick)

    def tick_meanwhile(point: Point) -> None:
        if point is Point.BEFORE_SLOT_COUNTS and second.ident is None:
            second.start()
            second.join(1)

    faults.install(tick_meanwhile)
    try:
        Scheduler(world.database).tick()
    finally:
        faults.uninstall()
    second.join()
    assert len(runs(world)) == len(fires(world)) == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Sydney"])
@pytest.mark.parametrize("expression", ["30 2 * * *", "0 */6 * * *", "15,45 1-3 * * *"])
@pytest.mark.parametrize("begin", [datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 10, 23, tzinfo=UTC)])
def test_every_slot_is_told_once_however_the_ticks_come(
    world: World, clock: Hands, zone: str, expression: str, begin: datetime
) -> None:
    """Ticks delivered three times, two at once, with downtime, over daylight saving changes."""
    chance = random.Random(f"{zone}{expression}{begin}")
    clock.moment = begin
    a_config(world.database, world.ours.manager, schedule=expression, time_zone=zone)
    end = begin + timedelta(days=6)
    while clock.moment < end:
        clock.moment = min(end, clock.moment + timedelta(minutes=chance.choice([5, 61, 61, 240, 1500])))
        together = [threading.Thread(target=Scheduler(world.database).tick) for _ in range(2)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        Scheduler(world.database).tick()
        if chance.random() < 0.5:
            rows(
                world.database,
                world.ours.manager,
                "UPDATE agent_runs SET status = 'completed' WHERE status = 'pending' RETURNING id",
            )
    expected = [slot for slot in following(expression, zone, after=begin, count=200) if slot <= end]
    told = fires(world)
    assert [fire.slot_at for fire in told] == expected
    started = [fire for fire in told if fire.outcome == "started"]
    assert [run.slot_at for run in runs(world)] == [fire.slot_at for fire in started]
    by_run = {run.id: run.slots_covered for run in runs(world)}
    for fire in started:
        stood_for = sum(other.run_id == fire.run_id for other in told)
        assert stood_for == fire.covers == by_run[fire.run_id]


def change(world: World, config: AgentConfigId, version: int, **changes: Any) -> None:
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=version, changes=changes)
