"""Flow control where it once went wrong: locks out of order, waits too long or told wrongly, work left lying."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.db.driver import create
from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import engine_for
from chalicelib.domain.companies import CompanyPage, IdealCustomer
from chalicelib.domain.errors import ProviderBusy
from chalicelib.domain.ids import new_id
from chalicelib.domain.money import RateNews, Terms
from chalicelib.domain.providers import Caller
from chalicelib.services import agents
from chalicelib.services.runs.context import Providers
from local.postgres import Postgres
from tests.builders import a_config, a_run, rows, wait_until_somebody_waits
from tests.conftest import World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedCompanies, ScriptedModel
from tests.integration.test_flow_control import CHARGED, QUOTE, all_buckets, checkpoint, running, the_run

START = datetime(2026, 3, 27, 12, 10, tzinfo=UTC)


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(START)
    world.database = replace(world.database, clock=hands)
    return hands


def say(
    work: Work,
    lease: queries.Lease,
    *,
    keys: tuple[str, ...] = (),
    settled: tuple[Mapping[str, Any], ...] = (),
    **quote: Any,
) -> None:
    """A checkpoint inside a transaction that goes on."""
    answered = queries.checkpoint(
        work.session,
        lease,
        queries.Written(settled=[{**CHARGED, **entry} for entry in settled]),
        calls=[{"id": new_id("UsageEntryId"), "stepKey": key} for key in keys],
        quote={**QUOTE, **quote},
        current_step=None,
    )
    assert queries.answer(answered).refusal is None


def beside(what: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Do it on a thread of its own; what went wrong there is in the list."""
    wrong: list[BaseException] = []

    def go() -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            wrong.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    return thread, wrong


# Locks


def test_a_free_calls_day_is_not_locked_before_its_month(world: World) -> None:
    """One run settles a call that costs nothing and books one that does; another settles one that did cost.

    Seen red, as a deadlock, with the month's row left alone where its sums stay the same.
    """
    config = a_config(world.database, world.ours.manager)
    one, other = running(world, config_id=config), running(world, config_id=config)
    (free,), _, _ = checkpoint(world, one, keys=["a"], credits=0)
    (paid,), _, _ = checkpoint(world, other, keys=["b"], credits=1)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        say(work, one, settled=({"id": free, "status": "settled", "credits": 0},))
        thread, wrong = beside(
            lambda: checkpoint(world, other, settled=[{"id": paid, "status": "settled", "credits": 1}])
        )
        wait_until_somebody_waits(world.database)
        say(work, one, keys=("c",))
    thread.join()
    assert wrong == []
    checkpoint(world, one, settled=[])
    (month,) = rows(world.database, world.ours.manager, "SELECT * FROM usage_months")
    assert (month.credits_spent, month.credits_reserved) == (1, 1)


def test_a_claim_that_finds_lost_workers_takes_their_months_in_order(world: World, clock: Hands) -> None:
    """The first lost run has a call of April, the second one of March; a third run goes from March to April.

    Seen red, as a deadlock, with each lost run's calls closed in a statement of their own.
    """
    first, second, third = sorted((running(world) for _ in range(3)), key=lambda lease: lease.run_id)
    clock.moment = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
    checkpoint(world, second, keys=["march"])
    (mine,), _, _ = checkpoint(world, third, keys=["march"])
    clock.forward(90)
    checkpoint(world, first, keys=["april"])
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET lease_expires_at = app_now() WHERE id <> :id RETURNING id",
        id=third.run_id,
    )
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        say(work, third, settled=({"id": mine, "status": "settled", "credits": 1},))
        thread, wrong = beside(world.visit)
        wait_until_somebody_waits(world.database)
        say(work, third, keys=("april",))
    thread.join()
    assert wrong == []
    entries = rows(
        world.database,
        world.ours.manager,
        "SELECT status FROM usage_entries WHERE run_id IN (:first, :second) AND step_key IN ('march', 'april')",
        first=first.run_id,
        second=second.run_id,
    )
    assert [entry.status for entry in entries] == ["unknown", "unknown"]


def test_a_crm_read_does_not_hold_the_platforms_bucket(
    world: World, postgres: Postgres, database_name: str
) -> None:
    """What a search heard of the rate is written with the lookup after it; others book meanwhile.

    Seen red with the news in the lookup's own transaction.
    """

    class Told(ScriptedCompanies):
        def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:
            caller.meter.hear(RateNews(per_minute=200, left=150))
            return super().search(caller, profile, page=page, per_page=per_page)

    run_id = a_run(world.database, world.ours.manager)
    terms = {"apollo": Terms(calls_per_minute=100)}
    owner = create(postgres.url("bevyly_owner", database_name))
    with owner.begin() as connection:
        connection.execute(text("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE"))
        thread, wrong = beside(lambda: world.visit(Providers(Told(), ScriptedModel(), terms)))
        wait_until_somebody_waits(world.database)
        with world.database.system() as session:
            session.execute(text("SELECT FROM rate_buckets FOR UPDATE NOWAIT"))
    thread.join()
    owner.dispose()
    assert wrong == []
    assert the_run(world, run_id).status == "completed"
    (bucket,) = all_buckets(world, "apollo:search_companies")
    assert (bucket.per_minute, bucket.used) == (200, 50)


# Limits


def test_a_limit_that_was_lowered_holds_for_who_waits_in_line(world: World) -> None:
    """Seen red with the limit read once, before the counter was locked, and a change that locked nothing."""
    config = a_config(world.database, world.ours.manager, limits={"hourly": 10})
    one, other = running(world, config_id=config), running(world, config_id=config)
    answers: list[queries.Answer] = []

    def book() -> None:
        answers.append(checkpoint(world, other, keys=list("abcdef"))[1])

    def lower() -> None:
        with world.database.enter(world.ours.manager) as work:
            agents.change(work, config, version=1, changes={"limits": {"hourly": 2}})

    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        say(work, one, keys=("first",))
        booking, wrong = beside(book)
        wait_until_somebody_waits(world.database)
        lowering, wrong_there = beside(lower)
        lowering.join(1)
        was_lowered = not lowering.is_alive()
    booking.join()
    lowering.join()
    assert (wrong, wrong_there) == ([], [])
    assert not (was_lowered and answers[0].refusal is None)
    _, answer, _ = checkpoint(world, one, keys=["another", "third"])
    assert answer.refusal is not None
    assert answer.refusal.limit == 2


def test_a_daily_limit_leaves_no_item_that_it_counted(world: World, clock: Hands) -> None:
    """The first of two companies a day meets a trouble that passes; it is tried again before the run is complete.

    Seen red with the run complete at once: one of the day's two was neither done nor failed.
    """
    troubles = iter([True])

    def before(call: str) -> None:
        if call == "enrich:company-0.example" and next(troubles, False):
            raise ProviderBusy("In trouble.", code="provider_trouble", retry_after=timedelta(seconds=15))

    config = a_config(world.database, world.ours.manager, limits={"daily": 2})
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    providers = Providers(ScriptedCompanies(before=before), ScriptedModel())
    world.visit(providers)
    run = the_run(world, run_id)
    assert (run.status, run.items_succeeded, run.due_at) == ("pending", 1, START + timedelta(seconds=15))
    clock.moment = run.due_at
    world.visit(providers)
    run = the_run(world, run_id)
    assert (run.status, run.items_succeeded, run.output["stoppedBy"]) == ("completed", 2, "daily_limit")


def test_an_hour_that_a_clock_change_shortens_is_waited_for_no_longer(world: World, clock: Hands) -> None:
    """On Lord Howe Island clocks go by half an hour: 01:59 is followed by 01:30, which begins an hour.

    Seen red with the next hour's beginning taken from the wall clock an hour ahead.
    """
    clock.moment = datetime(2026, 4, 4, 14, 40, tzinfo=UTC)  # 01:40, summer time
    config = a_config(
        world.database, world.ours.manager, limits={"hourly": 1}, time_zone="Australia/Lord_Howe"
    )
    lease = running(world, config_id=config)
    _, answer, _ = checkpoint(world, lease, keys=["a", "b"])
    assert answer.refusal is not None
    assert answer.refusal.retry_in == timedelta(minutes=20)
    checkpoint(world, lease, keys=["a"])
    clock.forward(timedelta(minutes=20) - timedelta(seconds=1))
    assert checkpoint(world, lease, keys=["b"])[1].refusal is not None
    clock.forward(1)
    assert checkpoint(world, lease, keys=["b"])[1].refusal is None


# Rates


def test_a_closed_bucket_is_told_without_a_figure_that_nobody_named(world: World, clock: Hands) -> None:
    """Seen red as "The provider takes 0 calls a minute", for a provider with no rate of ours."""
    lease = running(world)
    news = {"credential": "crd_ours", "endpointGroup": "apollo:enrich_company", "blockedForSeconds": 300}
    for per_minute in (None, 100):
        _, answer, _ = checkpoint(world, lease, keys=["a"], news=[news], perMinute=per_minute)
        assert answer.refusal is not None
        assert (
            answer.refusal.words == "The provider takes no calls for now; the next ones wait until it does."
        )
        assert answer.refusal.retry_in == timedelta(seconds=300)


def test_a_bucket_that_is_closed_and_full_says_when_it_is_neither(world: World, clock: Hands) -> None:
    """Seen red with the five seconds of the 429, after which the minute was still full."""
    lease = running(world)
    checkpoint(world, lease, keys=["a", "b"], perMinute=2)
    clock.forward(10)
    news = {"credential": "crd_ours", "endpointGroup": "apollo:enrich_company", "blockedForSeconds": 5}
    _, answer, _ = checkpoint(world, lease, keys=["c"], news=[news], perMinute=2)
    assert answer.refusal is not None
    assert answer.refusal.retry_in == timedelta(seconds=50)
