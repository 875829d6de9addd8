"""What commits is published, once it has committed, in order within each aggregate."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from chalicelib.domain.errors import Conflict, Unavailable
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import EventId
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.services.outbox import ATTEMPTS, Relay, send_again
from tests.builders import rows
from tests.conftest import World


@dataclass(slots=True)
class ScriptedSink:
    """Takes events, except those whose data say otherwise."""

    name: str = "eventbridge"
    taken: list[OutgoingEvent] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    out: bool = False

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        if self.out:
            raise Unavailable("The bus is out.")
        self.batches.append([str(event.cloud_event["subject"]) for event in events])
        answers: list[str | None] = []
        for event in events:
            refused = event.cloud_event["data"]["name"] in self.refuse
            answers.append("ThrottlingException" if refused else None)
            if not refused:
                self.taken.append(event)
        return answers

    def names(self) -> list[str]:
        return [event.cloud_event["data"]["name"] for event in self.taken]


def emit(world: World, aggregate: str, *names: str) -> None:
    with world.database.enter(world.ours.manager) as work:
        for name in names:
            work.emit(Event(EventType.ACCOUNT_UPDATED, "account", aggregate, {"name": name}))


def drain(world: World, sink: ScriptedSink) -> int:
    return Relay(world.database, [sink]).drain(lambda: timedelta(minutes=5))


def due_again(world: World) -> None:
    rows(
        world.database,
        world.ours.manager,
        "UPDATE event_deliveries SET next_attempt_at = app_now() RETURNING event_id",
    )


def test_events_are_published_once_and_in_order_within_their_aggregate(world: World) -> None:
    for number in range(4):
        emit(world, "acc_a", f"a{number}")
        emit(world, "acc_b", f"b{number}")
    sink = ScriptedSink()
    assert drain(world, sink) == 8
    assert drain(world, sink) == 0
    assert [name for name in sink.names() if name.startswith("a")] == ["a0", "a1", "a2", "a3"]
    assert [
        event.cloud_event["sequence"] for event in sink.taken if event.cloud_event["subject"] == "acc_a"
    ] == ["1", "2", "3", "4"]
    assert all(len(batch) == len(set(batch)) for batch in sink.batches)


def test_what_rolls_back_is_never_published(world: World) -> None:
    with pytest.raises(ZeroDivisionError), world.database.enter(world.ours.manager) as work:
        work.emit(Event(EventType.ACCOUNT_UPDATED, "account", "acc_a", {"name": "never"}))
        raise ZeroDivisionError
    sink = ScriptedSink()
    assert drain(world, sink) == 0


def test_a_late_commit_is_not_lost(world: World) -> None:
    """An earlier position commits after a later one was published."""
    sink = ScriptedSink()
    with world.database.enter(world.ours.manager) as slow:
        slow.emit(Event(EventType.ACCOUNT_UPDATED, "account", "acc_slow", {"name": "slow"}))
        slow.flush()
        slow.session.connection().exec_driver_sql("SELECT 1")
        emit(world, "acc_fast", "fast")
        assert drain(world, sink) == 1
    assert drain(world, sink) == 1
    assert sink.names() == ["fast", "slow"]


def test_a_refused_event_keeps_back_its_successors_only(world: World) -> None:
    emit(world, "acc_a", "a0", "a1")
    emit(world, "acc_b", "b0", "b1")
    sink = ScriptedSink(refuse={"a0"})
    drain(world, sink)
    assert sink.names() == ["b0", "b1"]
    sink.refuse = set()
    due_again(world)
    drain(world, sink)
    assert sink.names() == ["b0", "b1", "a0", "a1"]


def test_a_poison_event_is_parked_and_blocks_nobody_and_can_be_sent_again(world: World) -> None:
    emit(world, "acc_a", "poison", "after")
    sink = ScriptedSink(refuse={"poison"})
    for _ in range(ATTEMPTS):
        drain(world, sink)
        due_again(world)
    drain(world, sink)
    assert sink.names() == ["after"]
    (parked,) = rows(
        world.database, world.ours.manager, "SELECT * FROM event_deliveries WHERE status = 'parked'"
    )
    assert parked.error == "ThrottlingException"
    sink.refuse = set()
    with world.database.enter(world.ours.manager) as work:
        assert send_again(work, EventId(parked.event_id)) == ["eventbridge"]
    drain(world, sink)
    assert sink.names() == ["after", "poison"]
    with pytest.raises(Conflict), world.database.enter(world.ours.manager) as work:
        send_again(work, EventId(parked.event_id))


def test_an_outage_counts_against_no_event(world: World) -> None:
    emit(world, "acc_a", "a0")
    sink = ScriptedSink(out=True)
    for _ in range(ATTEMPTS + 1):
        drain(world, sink)
    sink.out = False
    assert drain(world, sink) == 1


def test_one_sinks_outage_does_not_stall_the_other(world: World) -> None:
    both = world.with_settings(event_sinks=("eventbridge", "kafka"))
    emit(both, "acc_a", "a0")
    out, well = ScriptedSink("eventbridge", out=True), ScriptedSink("kafka")
    assert Relay(both.database, [out, well]).drain(lambda: timedelta(minutes=5)) == 1
    assert well.names() == ["a0"]


def test_a_second_relay_stands_back_while_the_first_holds_the_lease(world: World) -> None:
    emit(world, "acc_a", "a0", "a1")
    second = ScriptedSink()

    @dataclass(slots=True)
    class Meanwhile(ScriptedSink):
        def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
            assert drain(world, second) == 0
            return ScriptedSink.publish(self, events)

    first = Meanwhile()
    assert drain(world, first) == 2
    assert second.names() == []


def test_more_events_than_a_batch_all_go(world: World) -> None:
    for number in range(25):
        emit(world, f"acc_{number}", f"n{number}")
    sink = ScriptedSink()
    assert drain(world, sink) == 25
    assert max(len(batch) for batch in sink.batches) == 10


def test_an_aggregate_that_waits_with_a_long_tail_keeps_nobody_elses_back(world: World) -> None:
    """Seen red with the relay looking at the oldest 500 deliveries only."""
    emit(world, "acc_a", *["poison"] * 510)
    emit(world, "acc_b", "b0")
    sink = ScriptedSink(refuse={"poison"})
    drain(world, sink)
    assert sink.names() == ["b0"]
