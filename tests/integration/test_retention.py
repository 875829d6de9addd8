"""What is kept for a time only goes then and not before, once, and whoever holds it keeps it."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.api.runs import get_run
from chalicelib.db.models.every import Base
from chalicelib.domain.access import SIGN_IN_WINDOW, engine_for
from chalicelib.domain.errors import ProviderBusy
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import AgentConfigId, EventId
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.services import agents
from chalicelib.services.outbox import Relay, send_again
from chalicelib.services.retention import BATCH, Retention
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from chalicelib.services.schedules import Scheduler
from chalicelib.services.triggers import Told, react
from chalicelib.settings import MissingSetting, Settings
from local.postgres import Postgres
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import MINUTE, World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedCompanies, ScriptedModel, scripted

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
JUST = timedelta(seconds=1)
SENDER = {"productValue": "It plans every truck's day.", "senderName": "Alex", "senderTitle": "AE"}


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(START)
    world.database = replace(world.database, clock=hands)
    return hands


def clear(world: World) -> dict[str, int]:
    """What went, by kind."""
    figures: Counter[str] = Counter()
    Retention(world.database).clear(figures, enough=lambda: False)
    return {kind: count for kind, count in figures.items() if count}


def count(world: World, table: str) -> int:
    (row,) = rows(world.database, world.ours.manager, f"SELECT count(*) AS n FROM {table}")  # noqa: S608
    return int(row.n)


@pytest.mark.parametrize("name", ["STEP_OUTPUT", "OUTBOX", "TRIGGER"])
def test_nothing_can_be_set_to_be_kept_for_less_than_a_day(settings: Settings, name: str) -> None:
    """Seen red without the least."""
    needed = {
        "DATABASE_URL": settings.database_url,
        "DATABASE_SYSTEM_URL": settings.database_system_url,
        "OIDC_ISSUER": settings.oidc_issuer,
        "OIDC_JWKS_URL": settings.oidc_jwks_url,
        "OIDC_CLIENT_ID": settings.oidc_client_id,
    }
    with pytest.raises(MissingSetting, match="must be 1 or more"):
        Settings.from_environ({**needed, f"RETENTION_{name}_DAYS": "0"})


# Step outputs


def steps(world: World, run_id: str) -> list[Any]:
    return rows(
        world.database,
        world.ours.manager,
        "SELECT * FROM agent_run_steps WHERE run_id = :id ORDER BY key",
        id=run_id,
    )


def test_a_steps_output_goes_thirty_days_after_its_run_ended_and_the_step_stays(
    world: World, clock: Hands
) -> None:
    """The run ends two days after its first step. Seen red with the run's end left out of the condition."""
    companies = ScriptedCompanies()
    busy = iter([True])

    def before(call: str) -> None:
        if call == "enrich:company-2.example" and next(busy, False):
            raise ProviderBusy("Apollo is busy.", retry_after=2 * DAY)

    companies.before = before
    run_id = a_run(world.database, world.ours.manager)
    world.visit(Providers(companies, ScriptedModel()))
    clock.forward(2 * DAY)
    world.settle(Providers(companies, ScriptedModel()))
    recorded = steps(world, run_id)
    clock.forward(30 * DAY - JUST)
    assert "stepOutputs" not in clear(world)
    assert steps(world, run_id) == recorded
    clock.forward(JUST)
    assert clear(world)["stepOutputs"] == len(recorded)
    bare = steps(world, run_id)
    assert {step.output for step in bare} == {None}
    kept = ("key", "status", "input_hash", "item", "proposal", "duration_ms", "recorded_at")
    assert [[getattr(step, name) for name in kept] for step in bare] == [
        [getattr(step, name) for name in kept] for step in recorded
    ]
    assert "stepOutputs" not in clear(world)


def test_a_run_whose_outputs_are_gone_can_still_be_read(world: World, clock: Hands) -> None:
    run_id = a_run(world.database, world.ours.manager)
    world.settle()
    clock.forward(30 * DAY)
    with world.database.enter(world.ours.manager) as work:
        before = get_run(work, run_id)
    clear(world)
    with world.database.enter(world.ours.manager) as work:
        after = get_run(work, run_id)
    assert len(after.steps) > 0
    assert after == before


def test_a_run_whose_outputs_are_gone_is_done_anew_when_it_is_replayed(world: World, clock: Hands) -> None:
    """Also where some of its outputs are there yet: what a step was asked may hang on one that is gone.

    Seen red with `output_removed_at` left out of what is copied, and with it asked of each step alone.
    """
    companies = ScriptedCompanies()
    run_id = a_run(world.database, world.ours.manager)
    world.settle(Providers(companies, ScriptedModel()))
    clock.forward(30 * DAY)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_run_steps SET recorded_at = recorded_at + interval '1 day' WHERE key LIKE 'known%' RETURNING key",
    )
    clear(world)
    kept = [step.key for step in steps(world, run_id) if step.output is not None]
    assert kept
    assert companies.calls["search:1"] == 1
    with world.database.enter(world.ours.manager) as work:
        again = start.replay(work, run_id, from_checkpoints=True)
    assert steps(world, again.id) == []
    world.settle(Providers(companies, ScriptedModel()))
    (run,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=again.id)
    assert run.status == "completed"
    assert companies.calls["search:1"] == 2


def test_a_step_whose_result_is_nothing_is_no_step_that_was_cleared(world: World, clock: Hands) -> None:
    """JSON's null is stored as no output at all. Seen red with an empty output taken for a cleared one."""
    run_id = a_run(world.database, world.ours.manager)
    world.settle()
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_run_steps SET output = NULL WHERE key LIKE 'known%' RETURNING key",
    )
    with world.database.enter(world.ours.manager) as work:
        again = start.replay(work, run_id, from_checkpoints=True)
    assert {step.key for step in steps(world, again.id)} == {"search:1", "known:1"}


# The outbox


@dataclass(slots=True)
class Sink:
    """Takes all but what it is told to refuse."""

    name: str = "eventbridge"
    refuse: set[str] = field(default_factory=set)

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        return ["no" if event.cloud_event["data"]["name"] in self.refuse else None for event in events]


def emit(world: World, *names: str) -> None:
    with world.database.enter(world.ours.manager) as work:
        for name in names:
            work.emit(Event(EventType.ACCOUNT_UPDATED, "account", "acc_a", {"name": name}))


def deliver(world: World, *sinks: Sink) -> None:
    Relay(world.database, list(sinks)).drain(lambda: MINUTE)


def names(world: World) -> list[str]:
    events = rows(world.database, world.ours.manager, "SELECT payload FROM outbox_events ORDER BY position")
    return [event.payload["name"] for event in events]


def test_an_event_goes_thirty_days_after_the_last_sink_had_it(world: World, clock: Hands) -> None:
    """With its deliveries, and its aggregate's numbers go on. Seen red with one sink's delivery being enough, and
    with its age counted instead of its delivery's.
    """
    both = world.with_settings(event_sinks=("eventbridge", "kafka"))
    emit(both, "first")
    deliver(both, Sink("eventbridge"))
    clock.forward(30 * DAY)
    assert clear(both) == {}
    assert count(both, "event_deliveries") == 2
    deliver(both, Sink("kafka"))
    clock.forward(30 * DAY - JUST)
    emit(both, "second")
    deliver(both, Sink("eventbridge"), Sink("kafka"))
    assert clear(both) == {}
    clock.forward(JUST)
    assert clear(both) == {"outboxEvents": 1}
    assert names(both) == ["second"]
    assert count(both, "event_deliveries") == 2
    emit(both, "third")
    sequences = rows(both.database, both.ours.manager, "SELECT sequence FROM outbox_events ORDER BY position")
    assert [event.sequence for event in sequences] == [2, 3]


def test_a_parked_event_waits_for_a_person_for_ever(world: World, clock: Hands) -> None:
    """Seen red with `pending` in the place of "not delivered", in the statement and the policy."""
    emit(world, "poison")
    for _ in range(10):
        deliver(world, Sink(refuse={"poison"}))
        clock.forward(timedelta(hours=1))
    (parked,) = rows(world.database, world.ours.manager, "SELECT event_id, status FROM event_deliveries")
    assert parked.status == "parked"
    clock.forward(400 * DAY)
    assert clear(world) == {}
    with world.database.enter(world.ours.manager) as work:
        send_again(work, EventId(parked.event_id))
    deliver(world, Sink())
    assert clear(world) == {}
    clock.forward(30 * DAY)
    assert clear(world) == {"outboxEvents": 1}


def test_an_event_that_nobody_could_be_told_waits(world: World, clock: Hands) -> None:
    emit(world, "first")
    clock.forward(400 * DAY)
    assert clear(world) == {}
    assert names(world) == ["first"]


def test_an_event_that_a_run_has_still_to_take_waits_for_it(world: World, clock: Hands) -> None:
    """Its run ended without taking it, and the agent's next one takes it. Seen red with the note not looked at."""
    config, contact, told = a_gathered_event(world)
    deliver_all(world)
    clock.forward(60 * DAY)
    assert world.visit() is None
    clear(world)
    next_contact = a_contact(world.database, world.ours.manager)
    react(world.database, told_of(world, next_contact))
    world.settle(scripted())
    (run,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE status <> 'failed'")
    assert (run.agent_config_id, run.input) == (config, {"contactIds": [contact, next_contact]})
    assert react(world.database, told) == 0


def a_gathered_event(world: World) -> tuple[str, str, Told]:
    config = a_config(
        world.database,
        world.ours.manager,
        agent_type="email_drafter",
        config=SENDER,
        event_types=[EventType.CONTACT_CREATED.value],
    )
    contact = a_contact(world.database, world.ours.manager)
    told = told_of(world, contact)
    assert react(world.database, told) == 1
    return config, contact, told


def told_of(world: World, contact: str) -> Told:
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.emit(Event(EventType.CONTACT_CREATED, "contact", contact, {"contactId": contact}))
    (row,) = rows(
        world.database,
        world.ours.manager,
        "SELECT id FROM outbox_events WHERE aggregate_id = :id",
        id=contact,
    )
    return Told(world.ours.customer_id, EventId(row.id))


def deliver_all(world: World) -> None:
    rows(
        world.database,
        world.ours.manager,
        "UPDATE event_deliveries SET status = 'delivered', delivered_at = app_now() RETURNING event_id",
    )


# Notes of events, and slots


def test_the_note_of_an_event_goes_after_ninety_days_and_never_before_its_event(
    world: World, clock: Hands
) -> None:
    """While the event is there it may be told again. Seen red with the event not looked at."""
    _, _, told = a_gathered_event(world)
    world.settle(scripted())
    clock.forward(90 * DAY - JUST)
    assert "triggerEvents" not in clear(world)
    clock.forward(JUST)
    assert "triggerEvents" not in clear(world)
    assert react(world.database, told) == 0
    deliver_all(world)
    clock.forward(30 * DAY)
    gone = clear(world)
    assert (gone["outboxEvents"] > 0, gone["triggerEvents"]) == (True, 1)
    assert react(world.database, told) == 0
    assert count(world, "run_trigger_events") == 0


def test_what_has_gathered_for_an_agent_that_is_deleted_goes_too(world: World, clock: Hands) -> None:
    """Nobody will take it. An agent that is only disabled may be enabled again."""
    config, _, _ = a_gathered_event(world)
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, AgentConfigId(config), version=1, changes={"enabled": False})
    deliver_all(world)
    clock.forward(90 * DAY)
    assert "triggerEvents" not in clear(world)
    with world.database.enter(world.ours.manager) as work:
        agents.delete(work, AgentConfigId(config), version=2)
    assert clear(world)["triggerEvents"] == 1
    assert clear(world)["outboxEvents"] > 0


def test_what_became_of_a_slot_is_told_for_ninety_days(world: World, clock: Hands) -> None:
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    clock.forward(timedelta(hours=3))
    Scheduler(world.database).tick()
    assert count(world, "schedule_fires") == 3
    clock.forward(90 * DAY - JUST)
    assert "scheduleFires" not in clear(world)
    clock.forward(JUST)
    assert clear(world)["scheduleFires"] == 3


# The edge's


def an_answer(world: World, key: str) -> None:
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO idempotency_keys (customer_id, user_id, route, key, body_sha256, status, answer)"
        " VALUES (:c, :u, 'POST /v1/runs', :key, '', 202, '{}') RETURNING key",
        c=world.ours.customer_id,
        u=world.ours.manager.user_id,
        key=key,
    )


def test_an_answer_is_kept_for_a_day(world: World, clock: Hands) -> None:
    an_answer(world, "a")
    clock.forward(DAY - JUST)
    an_answer(world, "b")
    assert clear(world) == {}
    clock.forward(JUST)
    assert clear(world) == {"idempotencyKeys": 1}
    assert [
        row.key for row in rows(world.database, world.ours.manager, "SELECT key FROM idempotency_keys")
    ] == ["b"]


def test_tries_to_sign_in_are_forgotten_after_their_window(world: World, clock: Hands) -> None:
    def try_again() -> bool:
        with world.database.anonymous() as session:
            allowed = session.execute(
                text("SELECT allow_sign_in(ARRAY['a'], 1, :window, :now)"),
                {"window": SIGN_IN_WINDOW, "now": clock.moment.isoformat()},
            )
            return bool(allowed.scalar_one())

    assert [try_again(), try_again()] == [True, False]
    clock.forward(SIGN_IN_WINDOW - JUST)
    assert clear(world) == {}
    assert not try_again()
    clock.forward(JUST)
    assert clear(world) == {"signInAttempts": 1}
    assert try_again()


# What providers said


def test_an_answer_goes_once_it_serves_no_more_and_its_keys_with_it(world: World, clock: Hands) -> None:
    """By the longer of the two settings. Seen red with the shorter one, and without the keys' cascade."""
    world = world.with_settings(provider_searches_fresh_days=10)
    a_run(world.database, world.ours.manager)
    world.settle()
    assert (count(world, "provider_facts"), count(world, "provider_fact_keys")) == (4, 7)
    clock.forward(30 * DAY - JUST)
    assert "providerFacts" not in clear(world)
    clock.forward(JUST)
    assert clear(world)["providerFacts"] == 4
    assert (count(world, "provider_facts"), count(world, "provider_fact_keys")) == (0, 0)


def test_where_nothing_is_kept_any_more_what_was_kept_goes_after_a_day(world: World, clock: Hands) -> None:
    """Not before: the policies show the sweep nothing younger, whatever the settings say."""
    a_run(world.database, world.ours.manager)
    world.settle()
    world = world.with_settings(provider_facts_fresh_days=0, provider_searches_fresh_days=0)
    clock.forward(DAY - JUST)
    assert "providerFacts" not in clear(world)
    clock.forward(JUST)
    assert clear(world)["providerFacts"] == 4


# In batches, at once, and by whom


def many_events(world: World, number: int) -> None:
    emit(world, "first")
    rows(
        world.database,
        world.ours.manager,
        "WITH e AS (INSERT INTO outbox_events (id, customer_id, event_type, aggregate_type, aggregate_id, sequence,"
        " payload) SELECT new_id('evt'), customer_id, event_type, aggregate_type, aggregate_id, 1 + n, payload"
        " FROM outbox_events, generate_series(1, :n) n RETURNING *)"
        " INSERT INTO event_deliveries (customer_id, event_id, sink, position, aggregate_id)"
        " SELECT customer_id, id, 'eventbridge', position, aggregate_id FROM e RETURNING 1",
        n=number - 1,
    )
    deliver_all(world)


def test_a_batch_is_one_transaction_and_the_next_waits_until_there_is_time(
    world: World, clock: Hands
) -> None:
    """Seen red without the LIMIT."""
    many_events(world, 2 * BATCH + 10)
    an_answer(world, "a")
    clock.forward(30 * DAY)
    figures: Counter[str] = Counter()
    time = iter([False] * 6)
    Retention(world.database).clear(figures, enough=lambda: next(time, True))
    assert (figures["outboxEvents"], figures["idempotencyKeys"]) == (BATCH, 1)
    assert clear(world) == {"outboxEvents": BATCH + 10}
    assert (count(world, "outbox_events"), count(world, "event_deliveries")) == (0, 0)


def test_two_sweeps_at_once_count_each_row_once(world: World, clock: Hands) -> None:
    """Four, on connections of their own, over the same three thousand events."""
    many_events(world, 3 * BATCH)
    clock.forward(30 * DAY)
    together, done = threading.Barrier(4), list[dict[str, int]]()

    def one() -> None:
        together.wait()
        done.append(clear(world))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 4
    assert sum(gone.get("outboxEvents", 0) for gone in [*done, clear(world)]) == 3 * BATCH
    assert (count(world, "outbox_events"), count(world, "event_deliveries")) == (0, 0)


@pytest.fixture
def may_lock(postgres: Postgres, database_name: str) -> None:
    """The tenant's role may not lock these itself; its foreign keys and writes do."""
    postgres.execute(
        "GRANT UPDATE ON idempotency_keys, outbox_events, provider_facts TO bevyly_app",
        database=database_name,
    )


HOLDS: Sequence[tuple[str, str]] = (
    ("idempotencyKeys", "SELECT FROM idempotency_keys FOR SHARE"),
    ("stepOutputs", "SELECT FROM agent_run_steps FOR SHARE"),
    ("outboxEvents", "SELECT FROM outbox_events FOR KEY SHARE"),
    ("providerFacts", "SELECT FROM provider_facts FOR KEY SHARE"),
)


@pytest.mark.parametrize("held", HOLDS)
def test_what_a_transaction_holds_is_left_until_it_ends(
    world: World, clock: Hands, may_lock: None, caplog: pytest.LogCaptureFixture, held: tuple[str, str]
) -> None:
    """And nobody waits for it. Seen red without SKIP LOCKED."""
    kind, hold = held
    a_run(world.database, world.ours.manager)
    world.settle()
    an_answer(world, "a")
    deliver_all(world)
    clock.forward(30 * DAY)
    with world.database.enter(world.ours.manager) as work:
        work.session.execute(text(hold))
        assert kind not in clear(world)
    assert [said for said in caplog.messages if "held" in said] == []
    assert clear(world)[kind] > 0


def test_the_audit_is_never_touched(world: World, clock: Hands) -> None:
    a_run(world.database, world.ours.manager)
    world.settle()
    deliver_all(world)
    before = rows(world.database, world.ours.manager, "SELECT * FROM audit_entries ORDER BY id")
    clock.forward(4000 * DAY)
    assert clear(world)["outboxEvents"] > 0
    assert before
    assert rows(world.database, world.ours.manager, "SELECT * FROM audit_entries ORDER BY id") == before


MAY_DELETE = {
    "event_deliveries",
    "idempotency_keys",
    "outbox_events",
    "provider_facts",
    "run_trigger_events",
    "schedule_fires",
    "sign_in_attempts",
}
THE_APP_DELETES_TOO = {"idempotency_keys", "provider_facts"}


def test_the_system_role_may_delete_these_tables_rows_and_no_others(
    world: World, postgres: Postgres, database_name: str
) -> None:
    may = postgres.execute(
        "SELECT c.relname::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        " AND has_table_privilege('bevyly_system', c.oid, 'DELETE')",
        database=database_name,
    )
    assert {name for (name,) in may} == MAY_DELETE
    app = postgres.execute(
        "SELECT c.relname::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        " AND has_table_privilege('bevyly_app', c.oid, 'DELETE')",
        database=database_name,
    )
    assert {name for (name,) in app} <= set(Base.metadata.tables) - (MAY_DELETE - THE_APP_DELETES_TOO)


def test_the_policies_let_nothing_young_or_undelivered_go(world: World, clock: Hands) -> None:
    """Whatever a statement says. Seen red with the condition of each of them made true."""
    a_run(world.database, world.ours.manager)
    world.settle()
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    a_gathered_event(world)
    clock.forward(timedelta(hours=1))
    Scheduler(world.database).tick()
    an_answer(world, "a")
    assert delete_all(world) == dict.fromkeys(MAY_DELETE, 0) | {"sign_in_attempts": 0}
    clock.forward(2 * DAY)
    gone = delete_all(world)
    assert (gone["outbox_events"], gone["event_deliveries"], gone["run_trigger_events"]) == (0, 0, 0)
    assert (gone["idempotency_keys"], gone["schedule_fires"]) == (1, 1)
    assert gone["provider_facts"] > 0


def delete_all(world: World) -> dict[str, int]:
    gone = {}
    for table in sorted(MAY_DELETE):
        with world.database.system() as session:
            done: Any = session.execute(text(f"DELETE FROM {table}"))  # noqa: S608
            gone[table] = int(done.rowcount)
    return gone


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT output FROM agent_run_steps",
        "SELECT answer FROM idempotency_keys",
        "SELECT reason FROM schedule_fires",
        "SELECT value FROM provider_facts",
        "SELECT key FROM provider_fact_keys",
        "UPDATE agent_run_steps SET status = 'failed'",
        "DELETE FROM agent_run_steps",
        "DELETE FROM audit_entries",
        "UPDATE outbox_events SET payload = '{}'",
        "UPDATE outbox_events SET created_at = app_now()",
        "UPDATE idempotency_keys SET created_at = app_now()",
        "UPDATE run_trigger_events SET created_at = app_now()",
        "UPDATE schedule_fires SET created_at = app_now()",
        "UPDATE provider_facts SET fetched_at = app_now()",
        "DELETE FROM provider_fact_keys",
        "UPDATE agent_run_steps SET output_removed_at = app_now()",
        "UPDATE agent_run_steps SET output = '{}', output_removed_at = app_now()",
    ],
)
def test_the_system_role_reads_no_content_and_changes_nothing_but_a_cleared_output(
    world: World, clock: Hands, statement: str
) -> None:
    a_config(world.database, world.ours.manager, schedule="0 * * * *", time_zone="UTC")
    a_gathered_event(world)
    a_run(world.database, world.ours.manager)
    world.settle()
    clock.forward(timedelta(hours=1))
    Scheduler(world.database).tick()
    an_answer(world, "a")
    clock.forward(60 * DAY)
    with (
        pytest.raises(Exception, match=r"permission denied|row-level security"),
        world.database.system() as session,
    ):
        session.execute(text(statement))


def test_what_is_old_is_found_by_its_index(world: World, postgres: Postgres, database_name: str) -> None:
    """Beside the policies. Seen red with one of them left out."""
    wanted = {
        "outbox_events_created_at_idx": "SELECT id FROM outbox_events WHERE created_at <= app_now()",
        "idempotency_keys_age_idx": "SELECT key FROM idempotency_keys WHERE created_at <= app_now()",
        "run_trigger_events_created_at_idx": "SELECT event_id FROM run_trigger_events WHERE created_at <= app_now()",
        "schedule_fires_created_at_idx": "SELECT slot_at FROM schedule_fires WHERE created_at <= app_now()",
        "provider_facts_fetched_at_idx": "SELECT id FROM provider_facts WHERE fetched_at <= app_now()",
        "sign_in_attempts_window_idx": "SELECT key_hash FROM sign_in_attempts WHERE window_start <= app_now()",
        "agent_run_steps_recorded_at_idx": "SELECT key FROM agent_run_steps WHERE output_removed_at IS NULL"
        " AND recorded_at <= app_now()",
    }
    for index, statement in wanted.items():
        order = statement.split("<=")[0].split()[-1]
        with world.database.system() as session:
            session.execute(text("SET LOCAL enable_seqscan = off"))
            session.execute(text("SET LOCAL enable_bitmapscan = off"))
            plan = session.scalars(text(f"EXPLAIN {statement} ORDER BY {order} LIMIT 100")).all()
        assert any(index in line for line in plan), plan
        assert any("Index Cond" in line and order in line for line in plan), plan
