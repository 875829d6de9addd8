"""What the minute's sweep makes up for, whether or not anybody may claim, and whoever else is at it."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.db.queries import runs as queries
from chalicelib.domain.access import Actor, engine_for
from chalicelib.domain.approvals import Decision
from chalicelib.domain.errors import ProviderBusy
from chalicelib.domain.ids import RunId, new_id
from chalicelib.domain.runs import LEASE, OLDEST
from chalicelib.services import agents
from chalicelib.services.approvals.decide import Verdict, decide_one
from chalicelib.services.outbox import Relay
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from chalicelib.services.sweep import FIGURES, PATIENCE, STALE, Sweep
from chalicelib.services.turns import in_turns
from local.postgres import Postgres
from tests.architecture import ROOT
from tests.builders import a_config, a_run, an_item, rows
from tests.conftest import MINUTE, Tenant, World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedCompanies, ScriptedModel

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(START)
    world.database = replace(world.database, clock=hands)
    return hands


def sweep(world: World, time_left: Callable[[], timedelta] = lambda: MINUTE) -> dict[str, int]:
    """What a sweep did, without what it had nothing to do for."""
    figures = Sweep(world.database, Relay(world.database, [])).every_minute(time_left)
    return {what: count for what, count in figures.items() if count}


def at_once(count: int, work: Callable[[], dict[str, int]]) -> list[dict[str, int]]:
    """So many threads that begin together."""
    together, done = threading.Barrier(count), list[dict[str, int]]()

    def one() -> None:
        together.wait()
        done.append(work())

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == count
    return done


def claimed(world: World, tenant: Tenant | None = None) -> queries.Lease:
    """A worker's claim, after which nothing is heard of it."""
    token = new_id("RunId")
    with world.database.enter(engine_for((tenant or world.ours).customer_id)) as work:
        row = queries.claim(work.session, token=token, limit=5, enabled=True, sinks=["eventbridge"])
    return queries.Lease(RunId(row.id), token)


def booked(world: World, lease: queries.Lease) -> str:
    """A call of seven credits that a worker has booked."""
    entry_id = new_id("UsageEntryId")
    quote = {
        "provider": "apollo",
        "operation": "search_companies",
        "credits": 7,
        "dollars": 0,
        "payer": "platform",
        "credential": "platform",
        "perMinute": None,
        "countsItems": False,
    }
    write(world, lease, calls=[{"id": entry_id, "stepKey": "search:1"}], quote=quote)
    return entry_id


def write(
    world: World,
    lease: queries.Lease,
    *,
    calls: Sequence[dict[str, Any]] = (),
    quote: dict[str, Any] | None = None,
    settled: Sequence[dict[str, Any]] = (),
) -> None:
    """A checkpoint, which renews the lease."""
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        queries.checkpoint(
            work.session,
            lease,
            queries.Written(settled=[*settled]),
            calls=[*calls],
            quote=quote,
            current_step=None,
        )


def switch(world: World, *, on: bool, tenant: Tenant | None = None) -> None:
    rows(
        world.database,
        (tenant or world.ours).manager,
        "UPDATE customers SET agents_enabled = :on RETURNING id",
        on=on,
    )


def the_run(world: World, run_id: str, actor: Actor | None = None) -> Any:
    (run,) = rows(
        world.database, actor or world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id
    )
    return run


def the_entry(world: World, entry_id: str) -> Any:
    (entry,) = rows(
        world.database, world.ours.manager, "SELECT * FROM usage_entries WHERE id = :id", id=entry_id
    )
    return entry


def the_month(world: World) -> tuple[int, int]:
    """Credits reserved and spent."""
    (month,) = rows(
        world.database, world.ours.manager, "SELECT credits_reserved, credits_spent FROM usage_months"
    )
    return tuple(month)


def ends(world: World, actor: Actor | None = None) -> list[str]:
    """The runs that the world was told are over, as often as it was told."""
    told = rows(
        world.database,
        actor or world.ours.manager,
        "SELECT aggregate_id FROM outbox_events WHERE event_type IN"
        " ('agent.run.completed', 'agent.run.cancelled', 'agent.run.failed') ORDER BY position",
    )
    return [event.aggregate_id for event in told]


# Runs


def test_a_dead_workers_run_goes_back_though_its_tenant_is_switched_off(world: World, clock: Hands) -> None:
    """Seen red with the visit left out where agents are switched off."""
    run_id = a_run(world.database, world.ours.manager)
    claimed(world)
    switch(world, on=False)
    clock.forward(LEASE)
    world.signals.rings.clear()
    assert sweep(world) == {"expiredLeases": 1}
    run = the_run(world, run_id)
    assert (run.status, run.failures, run.lease_token) == ("pending", 1, None)
    assert world.signals.rings == []
    assert world.visit() is None


def test_a_dead_workers_run_that_was_to_stop_ends_though_its_tenant_is_switched_off(
    world: World, clock: Hands
) -> None:
    """Seen red with the request left out of `take_back`."""
    run_id = a_run(world.database, world.ours.manager)
    claimed(world)
    with world.database.enter(world.ours.manager) as work:
        assert start.cancel(work, run_id) == "running"
    switch(world, on=False)
    clock.forward(LEASE)
    assert sweep(world) == {"expiredLeases": 1}
    assert the_run(world, run_id).status == "cancelled"
    assert ends(world) == [run_id]


@pytest.mark.parametrize("because", ["switched off", "no slot is free", "not due yet"])
def test_a_run_ends_at_72_hours_whatever_keeps_it(world: World, clock: Hands, because: str) -> None:
    """Seen red with the condition on its age left to the claim, and with `due_at` beside it."""
    run_id = a_run(world.database, world.ours.manager)
    clock.forward(OLDEST - timedelta(minutes=1))
    if because == "switched off":
        switch(world, on=False)
    elif because == "no slot is free":
        rows(world.database, world.ours.manager, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
        rows(
            world.database,
            world.ours.manager,
            "UPDATE agent_runs SET queue_at = queue_at + interval '1 year' RETURNING id",
        )
        a_run(world.database, world.ours.manager)
        claimed(world)
    else:
        for_hours = ScriptedCompanies(before=_busy(timedelta(hours=3)))
        world.visit(Providers(for_hours, ScriptedModel()))
    assert "overAge" not in sweep(world)
    clock.forward(timedelta(minutes=1))
    assert sweep(world)["overAge"] == 1
    run = the_run(world, run_id)
    assert (run.status, run.error_code) == ("failed", "too_old")
    assert ends(world) == [run_id]


def _busy(retry_after: timedelta) -> Callable[[str], None]:
    def busy(_call: str) -> None:
        raise ProviderBusy("Apollo.io is busy.", retry_after=retry_after)

    return busy


def test_a_dead_workers_run_that_is_too_old_ends_in_one_visit(world: World, clock: Hands) -> None:
    run_id = a_run(world.database, world.ours.manager)
    claimed(world)
    clock.forward(OLDEST)
    assert sweep(world) == {"expiredLeases": 1, "overAge": 1}
    assert the_run(world, run_id).error_code == "too_old"


def test_a_living_workers_run_is_left_to_it_however_old(world: World, clock: Hands) -> None:
    run_id = a_run(world.database, world.ours.manager)
    lease = claimed(world)
    clock.forward(OLDEST)
    write(world, lease)
    assert sweep(world) == {}
    assert the_run(world, run_id).status == "running"


def test_what_waits_for_an_agent_that_was_put_away_ends_though_nobody_may_claim(
    world: World, clock: Hands
) -> None:
    """More runs wait than the request that disables the agent has time for; then the tenant is switched off.

    Seen red with the part of `sweep_runs` that ends them left out.
    """
    config = a_config(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager, config_id=config)
    many_like_it(world, 749)
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=1, changes={"enabled": False})
    switch(world, on=False)
    assert sweep(world) == {"cancelled": 250}
    left = "SELECT id FROM agent_runs WHERE status <> 'cancelled'"
    assert rows(world.database, world.ours.manager, left) == []
    assert len(ends(world)) == len(set(ends(world))) == 750
    assert sweep(world) == {}


def many_like_it(world: World, count: int) -> None:
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO agent_runs (id, customer_id, agent_config_id, agent_type, trigger, input, config, agent_version,"
        " approval_expiry_hours) SELECT new_id('run'), customer_id, agent_config_id, agent_type, trigger, input,"
        " config, agent_version, approval_expiry_hours FROM agent_runs, generate_series(1, :count) RETURNING id",
        count=count,
    )


def test_a_run_that_has_waited_for_its_provider_is_rung_for(world: World, clock: Hands) -> None:
    """A wait too long for a message, or whose message was lost. Seen red with `due_at` compared the other way."""
    a_run(world.database, world.ours.manager)
    world.visit(Providers(ScriptedCompanies(before=_busy(timedelta(hours=1))), ScriptedModel()))
    world.signals.rings.clear()
    clock.forward(timedelta(minutes=59))
    assert sweep(world) == {}
    clock.forward(timedelta(minutes=1))
    assert sweep(world) == {"rung": 1, "dueRetries": 1}
    assert sweep(world) == {}
    clock.forward(PATIENCE)
    assert sweep(world) == {"rung": 1, "dueRetries": 1}
    assert [ring[0] for ring in world.signals.rings] == [world.ours.customer_id] * 2


def test_a_bell_that_rang_before_agents_were_switched_off_is_no_hindrance_after(
    world: World, clock: Hands
) -> None:
    """Its message found nothing to claim, or was lost, and a bell that stays rung silences those after it.

    Seen red with the bell left as it is.
    """
    a_run(world.database, world.ours.manager)
    claimed(world)
    rows(world.database, world.ours.manager, "UPDATE tenant_queues SET rung_at = app_now() RETURNING 1")
    switch(world, on=False)
    clock.forward(LEASE)
    sweep(world)
    (queue,) = rows(world.database, world.ours.manager, "SELECT rung_at FROM tenant_queues")
    assert queue.rung_at is None


def test_nothing_is_rung_where_the_installation_is_switched_off(world: World, clock: Hands) -> None:
    """Seen red with the setting left out of the ring."""
    run_id = a_run(world.database, world.ours.manager)
    claimed(world)
    clock.forward(LEASE)
    world.signals.rings.clear()
    assert sweep(world.with_settings(agents_enabled=False)) == {"expiredLeases": 1}
    assert (the_run(world, run_id).status, world.signals.rings) == ("pending", [])
    assert sweep(world) == {"rung": 1, "dueRetries": 1}


def test_two_sweeps_at_once_end_and_return_each_run_once(world: World, clock: Hands) -> None:
    """Two tenants, each with a hundred runs too old and three of dead workers; four sweeps on connections of their own.

    Seen red with the queue's lock and the runs' left out.
    """
    for tenant in (world.ours, world.theirs):
        a_run(world.database, tenant.manager)
        rows(
            world.database,
            tenant.manager,
            "INSERT INTO agent_runs (id, customer_id, agent_type, trigger, input, config, agent_version,"
            " approval_expiry_hours) SELECT new_id('run'), customer_id, agent_type, trigger, input,"
            " config, agent_version, approval_expiry_hours FROM agent_runs, generate_series(1, 99) RETURNING id",
        )
    clock.forward(OLDEST)
    for tenant in (world.ours, world.theirs):
        for _ in range(3):
            a_run(world.database, tenant.manager)
            rows(
                world.database,
                tenant.manager,
                "UPDATE agent_runs SET status = 'running', lease_token = 'x', lease_expires_at = app_now()"
                " WHERE status = 'pending' AND created_at = app_now() RETURNING id",
            )
    done = at_once(4, lambda: sweep(world))
    totals = {what: sum(figures.get(what, 0) for figures in done) for what in ("overAge", "expiredLeases")}
    assert totals == {"overAge": 200, "expiredLeases": 6}
    for tenant in (world.ours, world.theirs):
        assert len(ends(world, tenant.manager)) == len(set(ends(world, tenant.manager))) == 100
        returned = rows(
            world.database, tenant.manager, "SELECT failures FROM agent_runs WHERE status = 'pending'"
        )
        assert [run.failures for run in returned] == [1, 1, 1]


# Reservations


def test_a_call_that_nobody_can_be_making_becomes_unknown_and_keeps_its_amount(
    world: World, clock: Hands
) -> None:
    """Booked by a worker whose lease is another's now. A settlement that comes late still counts.

    Seen red with the token left out of the condition.
    """
    a_run(world.database, world.ours.manager)
    lost = claimed(world)
    entry = booked(world, lost)
    held = replace(lost, token=new_id("RunId"))
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET lease_token = :t RETURNING id",
        t=held.token,
    )
    clock.forward(STALE - timedelta(seconds=1))
    write(world, held)
    assert sweep(world) == {}
    clock.forward(timedelta(seconds=1))
    assert sweep(world) == {"staleReservations": 1}
    assert (the_entry(world, entry).status, the_entry(world, entry).credits) == ("unknown", 7)
    assert sweep(world) == {}
    assert the_month(world) == (0, 7)
    tokens = dict.fromkeys(("tokensIn", "tokensCached", "tokensOut", "tokensReasoning"), 0)
    write(world, held, settled=[{"id": entry, "status": "settled", "credits": 3, "dollars": 0, **tokens}])
    assert (the_entry(world, entry).status, the_entry(world, entry).credits) == ("settled", 3)
    assert the_month(world) == (0, 3)


def test_a_call_under_a_lease_that_holds_is_left_however_long_it_takes(world: World, clock: Hands) -> None:
    """Seen red with the run left out of the condition."""
    a_run(world.database, world.ours.manager)
    lease = claimed(world)
    entry = booked(world, lease)
    clock.forward(STALE)
    write(world, lease)
    assert sweep(world) == {}
    assert the_entry(world, entry).status == "reserved"


def test_a_run_that_somebody_holds_keeps_its_reservations_for_a_minute(
    world: World, clock: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    """And the sweep does not wait for the holder. Seen red with SKIP LOCKED left out."""
    a_run(world.database, world.ours.manager)
    lease = claimed(world)
    entry = booked(world, lease)
    rows(world.database, world.ours.manager, "UPDATE agent_runs SET lease_token = 'x' RETURNING id")
    clock.forward(STALE)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        work.session.execute(text("UPDATE agent_runs SET lease_expires_at = app_now() + interval '1 minute'"))
        assert sweep(world) == {}
    assert [said for said in caplog.messages if "held" in said] == []
    assert the_entry(world, entry).status == "reserved"
    assert sweep(world) == {"staleReservations": 1}


def test_two_sweeps_at_once_count_each_reservation_once(world: World, clock: Hands) -> None:
    """Seen red with the run's lock and the entries' left out."""
    a_run(world.database, world.ours.manager)
    lease = claimed(world)
    booked(world, lease)
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO usage_entries (id, customer_id, run_id, step_key, lease_token, provider, operation)"
        " SELECT new_id('use'), customer_id, run_id, step_key, lease_token, provider, operation"
        " FROM usage_entries, generate_series(1, 1199) RETURNING id",
    )
    rows(world.database, world.ours.manager, "UPDATE agent_runs SET lease_token = 'x' RETURNING id")
    clock.forward(STALE)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET lease_expires_at = app_now() + interval '1 minute' RETURNING id",
    )
    done = [*at_once(3, lambda: sweep(world)), sweep(world)]
    assert sum(figures.get("staleReservations", 0) for figures in done) == 1200


# One tenant and the others


def test_a_tenant_whose_rows_are_held_keeps_no_other_waiting_and_fails_nothing(world: World) -> None:
    """An account of theirs is locked for longer than the sweep waits; the effect is not counted as a failure.

    Seen red with the lock wait of other transactions (ten seconds), and with the failure counted.
    """
    for tenant in (world.ours, world.theirs):
        item_id = an_item(world.database, tenant.manager, domain="held.example")
        with world.database.enter(tenant.manager) as work:
            decide_one(work, Verdict(item_id, 1), Decision.APPROVE)
    held = world.theirs.manager
    rows(
        world.database,
        held,
        "INSERT INTO accounts (id, customer_id, name, domain) VALUES ('acc_x', :c, 'X', 'held.example') RETURNING id",
        c=held.customer_id,
    )
    with world.database.enter(engine_for(held.customer_id)) as work:
        work.session.execute(text("SELECT FROM accounts FOR UPDATE"))
        began = time.monotonic()
        assert sweep(world)["applied"] == 1
        assert time.monotonic() - began < 10
    (theirs,) = rows(
        world.database, held, "SELECT applied_at, apply_failures, apply_error FROM approval_items"
    )
    assert tuple(theirs) == (None, 0, None)
    assert sweep(world)["applied"] == 1


def test_a_sweep_that_is_out_of_time_leaves_the_rest_to_the_next(world: World, clock: Hands) -> None:
    """Each part stops while there is time for those after it. Seen red with the time not asked for."""
    for tenant in (world.ours, world.theirs):
        a_run(world.database, tenant.manager)
    clock.forward(OLDEST)
    left = iter([timedelta(seconds=40)])
    assert sweep(world, lambda: next(left, timedelta(seconds=31)))["overAge"] == 1
    assert sweep(world)["overAge"] == 1


def test_a_part_that_fails_keeps_no_other(world: World, postgres: Postgres, database_name: str) -> None:
    """Seen red without the parts tried one by one."""
    item_id = an_item(world.database, world.ours.manager)
    with world.database.enter(world.ours.manager) as work:
        decide_one(work, Verdict(item_id, 1), Decision.APPROVE)
    postgres.execute("REVOKE SELECT ON agent_configs FROM bevyly_system", database=database_name)
    assert sweep(world)["applied"] == 1


def test_one_line_in_the_log_has_every_figure_and_the_page_says_what_each_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen red with one that the page does not know."""
    caplog.set_level("INFO", "chalicelib")
    sweep(world)
    (line,) = [record for record in caplog.records if record.message == "swept"]
    assert {name: vars(line)[name] for name in FIGURES} == dict.fromkeys(FIGURES, 0)
    page = (ROOT / "docs/how-to/look-after-it.md").read_text(encoding="utf-8")
    assert [name for name in FIGURES if f"`{name}`" not in page] == []


def test_who_has_much_left_comes_again_after_the_others() -> None:
    """Seen red with them coming again at once."""
    left = {"much": 3, "bad": 1, "little": 1}
    seen = []

    def once(whose: str) -> bool:
        seen.append(whose)
        if whose == "bad":
            raise ZeroDivisionError
        left[whose] -= 1
        return left[whose] > 0

    in_turns(left, once, enough=lambda: False)
    assert seen == ["much", "bad", "little", "much", "much"]
