"""No paid call without every gate's leave: limits, budgets, rates, booked in the transaction that fences."""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
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
from chalicelib.domain.companies import Company
from chalicelib.domain.errors import ProviderBusy
from chalicelib.domain.ids import new_id
from chalicelib.domain.money import Gate, ModelPrice, RateNews, Terms
from chalicelib.domain.providers import Caller
from chalicelib.domain.runs import TRIES
from chalicelib.services import agents, budgets
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import Tenant, World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedCompanies, ScriptedModel

START = datetime(2026, 3, 27, 12, 10, tzinfo=UTC)
SENDER = {"productValue": "Saves a lot of time", "senderName": "Sam", "senderTitle": "SDR"}


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(START)
    world.database = replace(world.database, clock=hands)
    return hands


def the_run(world: World, run_id: str) -> Any:
    (run,) = rows(world.database, world.ours.manager, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    return run


def a_budget(world: World, *, monthly: int | None = None, dollars: Decimal | None = None) -> None:
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO budgets (customer_id, monthly_credits, monthly_dollars) VALUES (:c, :credits, :dollars)"
        " ON CONFLICT (customer_id) DO UPDATE SET monthly_credits = :credits, monthly_dollars = :dollars"
        " RETURNING customer_id",
        c=world.ours.customer_id,
        credits=monthly,
        dollars=dollars,
    )


def the_books_agree(world: World, tenant: Tenant | None = None) -> None:
    """The month's and the days' rows are the sums of the entries, and nothing is left reserved."""
    actor = (tenant or world.ours).manager
    assert (
        rows(
            world.database,
            actor,
            "SELECT customer_id FROM usage_months WHERE credits_reserved <> 0 OR dollars_reserved <> 0",
        )
        == []
    )
    assert rows(world.database, actor, "SELECT id FROM usage_entries WHERE status = 'reserved'") == []
    spent = "coalesce(sum({0}) FILTER (WHERE status IN ('settled', 'unknown')), 0)"
    (entries,) = rows(
        world.database,
        actor,
        f"SELECT {spent.format('credits')} AS credits, {spent.format('dollars')} AS dollars,"  # noqa: S608
        " coalesce(sum(credits) FILTER (WHERE payer = 'platform' AND status <> 'released'), 0) AS platform,"
        " count(*) FILTER (WHERE status IN ('settled', 'unknown')) AS calls FROM usage_entries",
    )
    (month,) = rows(
        world.database,
        actor,
        "SELECT coalesce(sum(credits_spent), 0) AS credits, coalesce(sum(dollars_spent), 0) AS dollars,"
        " coalesce(sum(platform_credits), 0) AS platform FROM usage_months",
    )
    (days,) = rows(
        world.database,
        actor,
        "SELECT coalesce(sum(credits), 0) AS credits, coalesce(sum(dollars), 0) AS dollars,"
        " coalesce(sum(calls), 0) AS calls FROM usage_days",
    )
    assert (month.credits, month.dollars, month.platform) == (
        entries.credits,
        entries.dollars,
        entries.platform,
    )
    assert (days.credits, days.dollars, days.calls) == (entries.credits, entries.dollars, entries.calls)


# Limits


def test_an_hourly_limit_is_waited_for_and_no_item_counts_twice(world: World, clock: Hands) -> None:
    """Twelve companies at five an hour are done in the third hour; an item that was tried again counts once.

    Seen red with every booked call counted, and with the hour begun in UTC.
    """
    busy = iter([True])

    def before(call: str) -> None:
        if call == "enrich:company-1.example" and next(busy, False):
            raise ProviderBusy("Busy.", code="rate_limited", retry_after=timedelta(seconds=1))

    companies = ScriptedCompanies(12, before=before)
    config = a_config(
        world.database,
        world.ours.manager,
        config={"industries": ["logistics"], "batchSize": 12},
        limits={"hourly": 5},
        time_zone="Asia/Kolkata",
    )
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    processed = []
    run = the_run(world, run_id)
    for _ in range(3):
        while world.visit(Providers(companies, ScriptedModel())):
            clock.forward(2)
        run = the_run(world, run_id)
        processed.append((run.items_processed, run.status, clock.moment.hour))
        clock.moment = run.due_at
    assert processed == [(5, "pending", 12), (10, "pending", 12), (12, "completed", 13)]
    assert run.wait_reason is None
    the_books_agree(world)


def test_an_hour_begins_where_the_agents_zone_begins_it(world: World, clock: Hands) -> None:
    """In Kolkata, half an hour off: 12:10 UTC is 17:40 there, the next hour begins at 12:30 UTC."""
    config = a_config(world.database, world.ours.manager, limits={"hourly": 1}, time_zone="Asia/Kolkata")
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.visit()
    run = the_run(world, run_id)
    assert run.due_at == START.replace(minute=30)
    assert run.wait_reason == (
        "The agent's limit of 1 items an hour is reached; it goes on with the next hour."
    )
    assert (run.items_processed, run.failures) == (1, 0)


def test_a_daily_limit_completes_the_run_and_says_so(world: World, clock: Hands) -> None:
    config = a_config(world.database, world.ours.manager, limits={"daily": 2}, time_zone="Europe/Berlin")
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.settle()
    run = the_run(world, run_id)
    assert (run.status, run.items_processed, run.items_total) == ("completed", 2, 3)
    assert run.output["stoppedBy"] == "daily_limit"
    assert "2 items a day" in run.output["message"]
    again = a_run(world.database, world.ours.manager, config_id=config)
    world.settle()
    assert the_run(world, again).items_processed == 0
    clock.moment = START.replace(hour=23, minute=1)  # the next day in Berlin
    third = a_run(world.database, world.ours.manager, config_id=config)
    world.settle()
    assert the_run(world, third).items_processed > 0
    the_books_agree(world)


def test_raising_a_limit_wakes_the_run_that_waits_for_it(world: World, clock: Hands) -> None:
    config = a_config(world.database, world.ours.manager, limits={"hourly": 1})
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.visit()
    assert world.visit() is None
    rings = len(world.signals.rings)
    with world.database.enter(world.ours.manager) as work:
        agents.change(work, config, version=1, changes={"limits": {"hourly": 10}})
    assert len(world.signals.rings) == rings + 1
    assert world.visit() == run_id
    assert the_run(world, run_id).status == "completed"


# Budgets


def test_a_budget_of_credits_ends_the_run_with_a_sentence(world: World) -> None:
    """One search and two of three companies fit; the third is not called."""
    a_budget(world, monthly=3)
    companies = ScriptedCompanies()
    run_id = a_run(world.database, world.ours.manager)
    world.settle(Providers(companies, ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.error_code, run.items_succeeded) == ("failed", "budget_credits", 2)
    assert run.error == (
        "This month's budget of 3 credits is used up, calls under way included. Raise the budget, or wait for the next month."
    )
    assert sum(companies.calls.values()) == 3
    the_books_agree(world)


def test_a_months_first_call_obeys_its_budget(world: World) -> None:
    """Seen red with the caps asked only of a month that has a row."""
    a_budget(world, monthly=0)
    companies = ScriptedCompanies()
    run_id = a_run(world.database, world.ours.manager)
    world.settle(Providers(companies, ScriptedModel()))
    assert (the_run(world, run_id).error_code, companies.calls) == ("budget_credits", {})


def test_a_new_month_has_its_whole_budget(world: World, clock: Hands) -> None:
    a_budget(world, monthly=4)
    ended = []
    for moment in (START, datetime(2026, 3, 31, 23, 59, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)):
        clock.moment = moment
        run_id = a_run(world.database, world.ours.manager, refresh=True)  # or the first one's answers serve
        world.settle()
        ended.append(the_run(world, run_id).status)
    assert ended == ["completed", "failed", "completed"]
    spent = rows(world.database, world.ours.manager, "SELECT credits_spent FROM usage_months ORDER BY month")
    assert [month.credits_spent for month in spent] == [4, 1]  # April's run found its companies known


def test_a_budget_in_dollars_counts_the_worst_case_and_then_what_it_was(world: World) -> None:
    """A call may cost 16,000 tokens in and 5,000 out, $0.0041; it does cost 100 and 50, $0.000035."""
    price = ModelPrice(Decimal("0.10"), Decimal("0.10"), Decimal("0.50"))
    terms = {"openai": Terms(price=price, most_tokens_out=5000)}
    model = ScriptedModel()
    providers = Providers(ScriptedCompanies(), model, terms)
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contacts = [a_contact(world.database, world.ours.manager) for _ in range(3)]
    a_budget(world, dollars=Decimal("0.00"))
    refused = a_run(world.database, world.ours.manager, config_id=config, contactIds=contacts)
    world.settle(providers)
    assert (the_run(world, refused).error_code, model.asked) == ("budget_dollars", [])
    a_budget(world, dollars=Decimal("0.01"))  # two at once, the third when one has settled
    served = a_run(world.database, world.ours.manager, config_id=config, contactIds=contacts)
    world.settle(providers)
    assert (the_run(world, served).status, len(model.asked)) == ("completed", 3)
    (month,) = rows(
        world.database, world.ours.manager, "SELECT dollars_spent, dollars_reserved FROM usage_months"
    )
    assert (month.dollars_spent, month.dollars_reserved) == (3 * Decimal("0.000035"), 0)
    the_books_agree(world)


def test_a_budget_in_dollars_refuses_a_model_whose_price_nobody_knows(world: World) -> None:
    a_budget(world, dollars=Decimal(100))
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contact = a_contact(world.database, world.ours.manager)
    run_id = a_run(world.database, world.ours.manager, config_id=config, contactIds=[contact])
    model = ScriptedModel()
    world.settle(Providers(ScriptedCompanies(), model))
    assert (the_run(world, run_id).error_code, model.asked) == ("budget_unpriced", [])
    assert "Choose a model with a known price" in the_run(world, run_id).error


def test_without_a_cap_a_model_of_unknown_price_costs_unknown_not_nothing(world: World) -> None:
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contact = a_contact(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager, config_id=config, contactIds=[contact])
    world.settle()
    (entry,) = rows(world.database, world.ours.manager, "SELECT status, dollars FROM usage_entries")
    assert (entry.status, entry.dollars) == ("settled", None)
    (day,) = rows(world.database, world.ours.manager, "SELECT calls, unpriced_calls FROM usage_days")
    assert (day.calls, day.unpriced_calls) == (1, 1)


def test_the_platforms_keys_have_a_cap_of_the_plans(world: World) -> None:
    world = world.with_settings(platform_credits_per_month=2)
    run_id = a_run(world.database, world.ours.manager)
    world.settle()
    assert (the_run(world, run_id).error_code, the_run(world, run_id).items_succeeded) == (
        "budget_platform_credits",
        1,
    )


# Rates


def with_rate(companies: ScriptedCompanies, per_minute: int) -> Providers:
    return Providers(companies, ScriptedModel(), {"apollo": Terms(calls_per_minute=per_minute)})


def test_no_minute_has_more_calls_than_the_provider_takes(world: World, clock: Hands) -> None:
    """Thirteen companies at five a minute: three minutes; the waits are told and count as no failure."""
    made: list[datetime] = []
    companies = ScriptedCompanies(
        13, before=lambda call: made.append(clock.moment) if "enrich" in call else None
    )
    config = a_config(
        world.database, world.ours.manager, config={"industries": ["logistics"], "batchSize": 13}
    )
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    while world.visit(with_rate(companies, 5)):
        run = the_run(world, run_id)
        if run.status == "pending":
            assert (
                run.wait_reason == "The provider takes 5 calls a minute; the next ones wait for their turn."
            )
            assert run.failures == 0
            assert world.signals.rings[-1] == (world.ours.customer_id, run.due_at - clock.moment)
            clock.moment = run.due_at
    assert the_run(world, run_id).status == "completed"
    assert len(made) == 13
    assert max(sum(1 for other in made if one <= other < one + timedelta(minutes=1)) for one in made) == 5


def test_a_short_wait_is_slept_and_the_run_keeps_its_function(world: World, clock: Hands) -> None:
    config = a_config(
        world.database, world.ours.manager, config={"industries": ["logistics"], "batchSize": 3}
    )
    run_id = a_run(world.database, world.ours.manager, config_id=config)

    def before(call: str) -> None:
        if call == "enrich:company-1.example":
            clock.forward(59)

    providers = with_rate(ScriptedCompanies(3, before=before), 2)
    engine = replace(world.engine(providers), sleep=clock.forward)
    assert engine.visit(world.ours.customer_id, lambda: timedelta(minutes=5)) == [run_id]
    run = the_run(world, run_id)
    assert (run.status, run.attempt) == ("completed", 1)


def test_one_429_holds_back_every_run_with_that_key(world: World, clock: Hands) -> None:
    """Also another customer's, where the key is the platform's: the provider counts by key."""
    told = iter([True])

    def refuse(call: str) -> None:
        if call.startswith("search") and next(told, False):
            raise ProviderBusy("Full.", code="rate_limited", retry_after=timedelta(seconds=300))

    companies = ScriptedCompanies(before=refuse)
    ours = a_run(world.database, world.ours.manager)
    world.visit(Providers(companies, ScriptedModel()))
    their_run = a_run(world.database, world.theirs.manager)
    world.visit(Providers(companies, ScriptedModel()), world.theirs)
    assert companies.calls == {"search:1": 1}
    (run,) = rows(
        world.database, world.theirs.manager, "SELECT * FROM agent_runs WHERE id = :id", id=their_run
    )
    assert (run.status, run.due_at, run.failures) == ("pending", START + timedelta(seconds=300), 0)
    clock.moment = run.due_at
    world.settle(Providers(companies, ScriptedModel()))
    assert the_run(world, ours).status == "completed"


def test_a_tenants_own_key_is_not_held_back_by_the_platforms(world: World, clock: Hands) -> None:
    def refuse(_call: str) -> None:
        raise ProviderBusy("Full.", code="rate_limited", retry_after=timedelta(seconds=300))

    a_run(world.database, world.theirs.manager)
    world.visit(Providers(ScriptedCompanies(before=refuse), ScriptedModel()), world.theirs)
    run_id = a_run(world.database, world.ours.manager)
    world.settle(Providers(ScriptedCompanies(), ScriptedModel(), {"apollo": Terms(credential="crd_ours")}))
    assert the_run(world, run_id).status == "completed"


def test_the_providers_own_figures_replace_ours(world: World, clock: Hands) -> None:
    """We think 100 a minute; the answers say 4, and that others took two of them."""

    class Told(ScriptedCompanies):
        def enrich(self, caller: Caller, domain: str) -> Company | None:
            caller.meter.hear(
                RateNews(per_minute=4, left=4 - 2 - sum("enrich" in call for call in self.calls))
            )
            return super().enrich(caller, domain)

    companies = Told(12)
    config = a_config(
        world.database, world.ours.manager, config={"industries": ["logistics"], "batchSize": 12}
    )
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.visit(with_rate(companies, 100))
    assert (
        8 <= sum("enrich" in call for call in companies.calls) < 12
    )  # the first eight left before any answer
    run = the_run(world, run_id)
    assert (run.status, run.due_at) == ("pending", START + timedelta(minutes=1))
    (bucket,) = all_buckets(world, "apollo:enrich_company")
    assert bucket.per_minute == 4


def all_buckets(world: World, group: str) -> list[Any]:
    with world.database.system() as session:
        return list(
            session.execute(
                text("SELECT * FROM rate_buckets WHERE endpoint_group = :group"), {"group": group}
            ).all()
        )


# Trouble


def test_an_item_in_trouble_holds_up_no_other_and_is_given_up_in_the_end(world: World, clock: Hands) -> None:
    """Seen red with the run given back at the first trouble: the others waited with it."""

    def before(call: str) -> None:
        if call == "enrich:company-0.example":
            raise ProviderBusy("Apollo.io is in trouble.", code="provider_trouble", retry_after=timedelta())

    companies = ScriptedCompanies(20, before=before)
    config = a_config(
        world.database, world.ours.manager, config={"industries": ["logistics"], "batchSize": 20}
    )
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.visit(Providers(companies, ScriptedModel()))
    run = the_run(world, run_id)
    assert (run.status, run.items_succeeded) == ("pending", 19)
    waits = []
    while run.status == "pending":
        waits.append(run.due_at - clock.moment)
        clock.moment = run.due_at
        world.visit(Providers(companies, ScriptedModel()))
        run = the_run(world, run_id)
    assert (run.status, run.items_succeeded, run.items_failed) == ("completed", 19, 1)
    assert companies.calls["enrich:company-0.example"] == TRIES
    assert run.output["errors"] == [
        {
            "item": "enrich:company-0.example",
            "error": f"Apollo.io is in trouble. The call was tried {TRIES} times.",
        }
    ]
    assert waits == sorted(waits)
    assert timedelta(minutes=20) < sum(waits, timedelta()) < timedelta(hours=1)
    the_books_agree(world)


def test_when_nothing_but_trouble_comes_back_the_run_waits(world: World, clock: Hands) -> None:
    """An outage is noticed after eight calls, not after all of them."""

    def before(call: str) -> None:
        if call.startswith("enrich"):
            raise ProviderBusy("Out.", code="unreachable", retry_after=timedelta(seconds=15))

    companies = ScriptedCompanies(40, before=before)
    config = a_config(
        world.database, world.ours.manager, config={"industries": ["logistics"], "batchSize": 40}
    )
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    world.visit(Providers(companies, ScriptedModel()))
    assert 8 <= sum(count for call, count in companies.calls.items() if "enrich" in call) <= 16
    assert (the_run(world, run_id).status, the_run(world, run_id).items_failed) == ("pending", 0)


# By hand, as a worker does


def running(world: World, *, config_id: Any = None) -> queries.Lease:
    """A run that a worker of this test holds."""
    run_id = a_run(world.database, world.ours.manager, config_id=config_id)
    token = new_id("RunId")
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET status = 'running', lease_token = :token, started_at = app_now(), attempt = 1,"
        " lease_expires_at = app_now() + interval '120 s' WHERE id = :id RETURNING id",
        token=token,
        id=run_id,
    )
    return queries.Lease(run_id, token)


QUOTE = {
    "provider": "apollo",
    "operation": "enrich_company",
    "credits": 1,
    "dollars": "0",
    "payer": "tenant",
    "credential": "crd_ours",
    "perMinute": None,
    "countsItems": True,
    "platformCredits": None,
    "platformDollars": None,
}
CHARGED = {"dollars": "0", "tokensIn": 0, "tokensCached": 0, "tokensOut": 0, "tokensReasoning": 0}


def checkpoint(
    world: World,
    lease: queries.Lease,
    *,
    keys: Sequence[str] = (),
    settled: Sequence[Mapping[str, Any]] = (),
    news: Sequence[Mapping[str, Any]] = (),
    look: str = "SELECT 1 AS nothing",
    **quote: Any,
) -> tuple[list[str], queries.Answer, Any]:
    """One transaction of a worker's: what it booked, what it was told, and what `look` saw before the commit."""
    calls = [{"id": new_id("UsageEntryId"), "stepKey": key} for key in keys]
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        answered = queries.checkpoint(
            work.session,
            lease,
            queries.Written(
                settled=[{**CHARGED, **entry} for entry in settled], news=[dict(heard) for heard in news]
            ),
            calls=calls,
            quote={**QUOTE, **quote},
            current_step=None,
        )
        seen = work.session.execute(text(look)).one_or_none()
    answer = queries.answer(answered)
    return [] if answer.refusal else [call["id"] for call in calls], answer, seen


def test_a_call_of_a_cancelled_run_is_not_booked(world: World) -> None:
    lease = running(world)
    with world.database.enter(world.ours.manager) as work:
        start.cancel(work, lease.run_id)
    _, answer, _ = checkpoint(world, lease, keys=["a"])
    assert answer.cancel_requested
    assert rows(world.database, world.ours.manager, "SELECT id FROM usage_entries") == []


def test_a_refusal_books_nothing_and_says_what_fits(world: World) -> None:
    """Seen red with what a gate refused booked all the same."""
    config = a_config(world.database, world.ours.manager, limits={"hourly": 6})
    a_budget(world, monthly=5)
    lease = running(world, config_id=config)
    booked, answer, _ = checkpoint(world, lease, keys=list("abcdefgh"))
    assert (booked, answer.refusal and (answer.refusal.gate, answer.refusal.fits)) == ([], (Gate.CREDITS, 5))
    booked, answer, _ = checkpoint(world, lease, keys=list("abcde"), perMinute=3)
    assert answer.refusal is not None
    assert (answer.refusal.gate, answer.refusal.fits) == (Gate.RATE, 3)
    booked, answer, _ = checkpoint(world, lease, keys=list("abcde"), perMinute=5)
    assert (len(booked), answer.refusal) == (5, None)
    (counter,) = rows(world.database, world.ours.manager, "SELECT hour_items, day_items FROM limit_counters")
    assert (counter.hour_items, counter.day_items) == (5, 5)


def test_what_a_crash_leaves_stays_booked_until_it_is_known(world: World) -> None:
    """A call that nobody heard of again counts against the budget; settled later, with what it did cost."""
    lease = running(world)
    (first, _), _, _ = checkpoint(world, lease, keys=["a", "b"], credits=9)
    rows(
        world.database, world.ours.manager, "UPDATE agent_runs SET lease_expires_at = app_now() RETURNING id"
    )
    world.visit()
    (month,) = rows(world.database, world.ours.manager, "SELECT * FROM usage_months")
    assert (month.credits_spent, month.credits_reserved) == (18 + 4, 0)
    (entry,) = rows(
        world.database, world.ours.manager, "SELECT status FROM usage_entries WHERE id = :id", id=first
    )
    assert entry.status == "unknown"
    checkpoint(world, running(world), settled=[{"id": first, "status": "settled", "credits": 1}])
    (month,) = rows(world.database, world.ours.manager, "SELECT * FROM usage_months")
    assert month.credits_spent == 9 + 1 + 4
    the_books_agree(world)


# Races, on real connections

WORKERS = 50
IN_THE_MONTH = {
    unit: f"""
        SELECT {unit}_spent + {unit}_reserved AS booked, b.monthly_{unit} AS cap
        FROM usage_months m JOIN budgets b USING (customer_id)
    """  # noqa: S608 - constants
    for unit in ("credits", "dollars")
}
IN_THE_HOUR = "SELECT hour_items AS booked, 60 AS cap FROM limit_counters"


def crowd(
    world: World,
    database: Database,
    *,
    config_id: Any,
    look: str,
    per_minute: int | None = None,
    price: int | None = None,
    unit: str = "credits",
) -> list[Any]:
    """Fifty workers with connections of their own book, settle, release and lose calls of runs of their own.

    A call may cost 1 to 9 of the unit, or `price`. Returns what each saw after each booking, in the transaction that
    booked.
    """
    leases = [running(world, config_id=config_id) for _ in range(WORKERS)]
    barrier = threading.Barrier(WORKERS)
    seen: list[Any] = []
    failures: list[BaseException] = []
    theirs = copy(world)
    theirs.database = database

    def work(number: int) -> None:
        chance = random.Random(number)
        try:
            barrier.wait(60)
            for turn in range(4):
                keys = [f"item:{number}:{turn}:{n}" for n in range(chance.randint(1, 8))]
                most = chance.randint(1, 9) if price is None else price
                quote: dict[str, Any] = {
                    **({"credits": most} if unit == "credits" else {"credits": 0, "dollars": str(most)}),
                    "perMinute": per_minute,
                }
                booked, answer, saw = checkpoint(theirs, leases[number], keys=keys, look=look, **quote)
                if answer.refusal and answer.refusal.fits:
                    keys = keys[: answer.refusal.fits]
                    booked, answer, saw = checkpoint(theirs, leases[number], keys=keys, look=look, **quote)
                if booked:
                    seen.append((saw.booked, saw.cap, len(booked)))
                fates = [chance.choice(["settled", "released", "unknown"]) for _ in booked]
                settled = [
                    {
                        "id": entry,
                        "status": fate,
                        "credits": 0,
                        unit: int(fate == "settled" and price is None),
                    }
                    for entry, fate in zip(booked, fates, strict=True)
                ]
                checkpoint(theirs, leases[number], settled=settled)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return seen


@pytest.fixture
def many(world: World) -> Iterator[Database]:
    """The same database with a connection for each worker."""
    pool = create(world.database.settings.database_url, pool_size=WORKERS)
    yield replace(world.database, app=pool)
    pool.dispose()


@pytest.mark.parametrize("unit", ["credits", "dollars"])
def test_fifty_workers_never_overshoot_a_budget_that_changes_under_them(
    world: World, many: Database, unit: str
) -> None:
    """The cap goes down, below what is booked, and up again, many times. At the end nothing is left reserved.

    Seen red with the month's row read without its lock, with a cap that changes without holding the month, and with
    calls that are settled without letting go of what they had reserved.
    """
    caps = [60, 30, 120, 60, 180, 90, 240, 120, 300, 150]
    change_cap(world, unit, caps[0], version=0)
    done = threading.Event()
    made: list[int] = []
    failures: list[BaseException] = []

    def change_caps() -> None:
        try:
            while not done.wait(0.03):
                made.append(caps[(len(made) + 1) % len(caps)])
                change_cap(world, unit, made[-1], version=len(made))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    changing = threading.Thread(target=change_caps)
    changing.start()
    try:
        seen = crowd(world, many, config_id=None, look=IN_THE_MONTH[unit], unit=unit)
        for _ in range(4):  # on a busy machine a crowd may be through before the cap has changed
            if len({cap for _, cap, _ in seen}) > 1 and set(made) == set(caps):
                break
            seen += crowd(world, many, config_id=None, look=IN_THE_MONTH[unit], unit=unit)
    finally:
        done.set()
        changing.join()
    assert failures == []
    assert set(made) == set(caps), "the cap went neither down nor up"
    assert len(seen) > 10
    assert len({cap for _, cap, _ in seen}) > 1, "every call was booked under one cap"
    assert [(booked, cap) for booked, cap, _ in seen if booked > cap] == []
    (month,) = rows(world.database, world.ours.manager, "SELECT * FROM usage_months")
    assert (month.credits_reserved, month.dollars_reserved) == (0, 0)
    assert 0 < getattr(month, f"{unit}_spent") <= max(caps)
    the_books_agree(world)


def change_cap(world: World, unit: str, cap: int, *, version: int) -> None:
    with world.database.enter(world.ours.manager) as work:
        budgets.change(
            work,
            version=version,
            monthly_credits=cap if unit == "credits" else None,
            monthly_dollars=Decimal(cap) if unit == "dollars" else None,
        )


def test_fifty_workers_never_overshoot_a_limit(world: World, clock: Hands, many: Database) -> None:
    """Seen red with the limit's counter read without its lock."""
    config = a_config(world.database, world.ours.manager, limits={"hourly": 60})
    seen = crowd(world, replace(many, clock=clock), config_id=config, look=IN_THE_HOUR)
    assert [(booked, cap) for booked, cap, _ in seen if booked > cap] == []
    (counter,) = rows(world.database, world.ours.manager, "SELECT hour_items FROM limit_counters")
    assert counter.hour_items == sum(count for *_, count in seen) == 60
    the_books_agree(world)


def test_fifty_workers_never_overshoot_a_rate(world: World, clock: Hands, many: Database) -> None:
    """Nothing but the bucket's own lock keeps them apart. Seen red without it."""
    seen = crowd(
        world,
        replace(many, clock=clock),
        config_id=None,
        look="SELECT 0 AS booked, 0 AS cap",
        per_minute=70,
        price=0,
    )
    assert sum(count for *_, count in seen) == 70
    (bucket,) = all_buckets(world, "apollo:enrich_company")
    assert bucket.used == 70
