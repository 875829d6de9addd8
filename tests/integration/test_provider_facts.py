"""Nobody pays twice: what a provider told one run serves the tenant's later ones, and those who ask the same share a call."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.tenant import registered
from chalicelib.agents.base import AgentModel, Call, Proposal, RunContext
from chalicelib.agents.lead_source import ENRICH, PAGE
from chalicelib.api.runs import get_run
from chalicelib.db.queries import facts as queries
from chalicelib.domain.companies import Company, CompanyAnswer
from chalicelib.domain.content import LeadImport
from chalicelib.domain.errors import ProviderBusy, ProviderFailed
from chalicelib.domain.facts import LARGEST, FactKind, Keeps, by_email, by_id, by_page, company_at
from chalicelib.domain.ids import AgentConfigId, RunId
from chalicelib.domain.money import Charge
from chalicelib.domain.providers import Caller
from chalicelib.domain.runs import IN_FLIGHT, TRIES, Trigger
from chalicelib.faults import Point
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from local.postgres import Postgres
from sandbox.server import Sandbox
from tests.builders import a_config, a_run, rows
from tests.conftest import World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedCompanies, ScriptedModel
from tests.fakes.worker import Job, Nursery

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
JUST = timedelta(seconds=1)


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(START)
    world.database = replace(world.database, clock=hands)
    return hands


def ours(world: World, sql: str, **parameters: Any) -> list[Any]:
    return rows(world.database, world.ours.manager, sql, **parameters)


def done(world: World, providers: Providers | ScriptedCompanies, run_id: RunId) -> Any:
    """The run, once it is over."""
    if isinstance(providers, ScriptedCompanies):
        providers = Providers(providers, ScriptedModel())
    world.settle(providers)
    (run,) = ours(world, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    assert run.status == "completed", run.error
    return run


def steps(world: World, run_id: str) -> dict[str, Any]:
    return {
        row.key: row for row in ours(world, "SELECT * FROM agent_run_steps WHERE run_id = :id", id=run_id)
    }


def let_all_expire(world: World) -> None:
    """Nobody decided: the CRM knows none of the companies, and they are proposed again."""
    ours(world, "UPDATE approval_items SET status = 'expired' RETURNING id")


def many(world: World, **config: Any) -> AgentConfigId:
    return a_config(world.database, world.ours.manager, config={"locations": ["Germany"], **config})


# A lead source, run again and again


def test_three_runs_ask_for_each_page_and_each_company_once(world: World) -> None:
    """By the provider's own books. The second begins in the middle of a page, the third crosses into the next.

    Seen red with `keeps` left out of the search.
    """
    config = a_config(
        world.database, world.ours.manager, config={"employeeCount": {"min": 1}, "batchSize": 10}
    )
    with Sandbox() as sandbox, closing(ApolloClient("sandbox-apollo-key", sandbox.apollo_url)) as apollo:
        providers = Providers(apollo, ScriptedModel())
        runs = [
            done(world, providers, a_run(world.database, world.ours.manager, config_id=config))
            for _ in range(3)
        ]
        books = sandbox.ledger.entries()
    assert [run.items_succeeded for run in runs] == [10, 10, 10]
    leads = [row.dedupe_key for row in ours(world, "SELECT dedupe_key FROM approval_items")]
    assert len(set(leads)) == len(leads) == 30
    asked = Counter((entry.path, entry.request_hash) for entry in books)
    assert set(asked.values()) == {1}
    paths = Counter(entry.path.rpartition("/api/v1/")[2] for entry in books)
    assert paths == {"mixed_companies/search": 2, "organizations/enrich": 30}
    assert [run.output["remembered"] for run in runs] == [0, 1, 1]


def test_pages_that_are_known_do_not_count(world: World) -> None:
    """`maxPages` is what a run pays for. Seen red with every page counted: the second run found nothing."""
    companies = ScriptedCompanies(total=4 * PAGE)
    config = many(world, batchSize=PAGE, maxPages=1)
    found = [
        done(world, companies, a_run(world.database, world.ours.manager, config_id=config)).output["found"]
        for _ in range(3)
    ]
    assert found == [PAGE, PAGE, PAGE]
    assert [companies.calls[f"search:{page}"] for page in (1, 2, 3, 4)] == [1, 1, 1, 0]


def test_a_resumed_run_counts_the_pages_it_paid_for_as_before(world: World) -> None:
    """The third run walks two known pages and is sent back at the first it pays for.

    Seen red without looking up which steps of earlier slices were remembered.
    """
    companies = ScriptedCompanies(total=5 * PAGE)
    config = many(world, batchSize=2 * PAGE, maxPages=2)
    done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    busy = iter([True])

    def before(call: str) -> None:
        if call == "search:4" and next(busy, False):
            raise ProviderBusy("Apollo is busy.", retry_after=timedelta())

    companies.before = before
    run = done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    assert (run.attempt, run.output["found"]) == (2, 2 * PAGE)
    assert [companies.calls[f"search:{page}"] for page in (1, 2, 3, 4, 5)] == [1, 1, 1, 2, 0]


def test_other_filters_are_another_search(world: World) -> None:
    """Seen red with the profile left out of the key."""
    companies = ScriptedCompanies()
    for country in ("Germany", "France"):
        config = a_config(world.database, world.ours.manager, config={"locations": [country], "batchSize": 3})
        done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    assert companies.calls["search:1"] == 2


def test_an_answer_from_memory_says_so_and_how_old_it_is(world: World, clock: Hands) -> None:
    """In the step, as the API shows it, and in the proposal that a person decides on.

    Seen red with `keeps` left out of the enrichment, without the mark in the checkpoint, and without `remembered` in the
    evidence.
    """
    companies = ScriptedCompanies()
    config = many(world)
    first = done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    asked = steps(world, first.id)
    assert {step.remembered_at for step in asked.values()} == {None}
    let_all_expire(world)
    clock.forward(3 * DAY)
    before = dict(companies.calls)
    second = done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    assert dict(companies.calls) == before
    assert ours(world, "SELECT id FROM usage_entries WHERE run_id = :id", id=second.id) == []
    assert second.output["remembered"] == 4
    with world.database.enter(world.ours.manager) as work:
        shown = {step.key: step.remembered_at for step in get_run(work, second.id).steps}
    assert shown == {
        "search:1": START,
        "known:1": None,
        **{f"enrich:company-{n}.example": START for n in range(3)},
    }
    items = ours(world, "SELECT context FROM approval_items WHERE agent_run_id = :id", id=second.id)
    assert len(items) == 3
    for item in items:
        assert datetime.fromisoformat(item.context["remembered"].pop("fetchedAt")) == START
        assert item.context["remembered"] == {"provider": "apollo", "kind": "company"}
        assert datetime.fromisoformat(item.context["sources"][0]["fetchedAt"]) == START


def test_a_replay_from_the_start_is_answered_from_memory(world: World) -> None:
    companies = ScriptedCompanies()
    first = done(world, companies, a_run(world.database, world.ours.manager))
    let_all_expire(world)
    with world.database.enter(world.ours.manager) as work:
        again = start.replay(work, first.id, from_checkpoints=False)
    run = done(world, companies, RunId(again.id))
    assert run.items_succeeded == 3
    assert set(companies.calls.values()) == {1}


def test_a_replay_from_checkpoints_knows_which_steps_were_remembered(world: World) -> None:
    """Seen red with the column left out of what is copied."""
    companies = ScriptedCompanies()
    config = many(world, batchSize=1)
    done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    second = done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    with world.database.enter(world.ours.manager) as work:
        again = start.replay(work, second.id, from_checkpoints=True)
    assert steps(world, second.id)["search:1"].remembered_at is not None
    assert (
        steps(world, again.id)["search:1"].remembered_at == steps(world, second.id)["search:1"].remembered_at
    )


# For how long, for whom


def test_an_answer_serves_for_thirty_days(world: World, clock: Hands) -> None:
    """Seen red with the age not asked."""
    companies = ScriptedCompanies(total=1)
    done(world, companies, a_run(world.database, world.ours.manager))
    for passed, calls in ((30 * DAY - JUST, 1), (JUST, 2)):
        let_all_expire(world)
        clock.forward(passed)
        done(world, companies, a_run(world.database, world.ours.manager))
        assert companies.calls == {"search:1": calls, "enrich:company-0.example": calls}


def test_searches_have_a_time_of_their_own(world: World, clock: Hands) -> None:
    """Seen red with one setting for both."""
    companies = ScriptedCompanies(total=1)
    world = world.with_settings(provider_searches_fresh_days=2)
    done(world, companies, a_run(world.database, world.ours.manager))
    let_all_expire(world)
    clock.forward(2 * DAY)
    done(world, companies, a_run(world.database, world.ours.manager))
    assert companies.calls == {"search:1": 2, "enrich:company-0.example": 1}


def test_zero_days_is_off(world: World) -> None:
    """Nothing is kept, and nothing that was kept is taken. Seen red with answers kept in any case."""
    companies = ScriptedCompanies(total=1)
    done(world, companies, a_run(world.database, world.ours.manager))
    off = world.with_settings(provider_facts_fresh_days=0, provider_searches_fresh_days=0)
    kept = ours(world, "SELECT id FROM provider_facts ORDER BY id")
    let_all_expire(world)
    done(off, companies, a_run(world.database, world.ours.manager))
    assert companies.calls == {"search:1": 2, "enrich:company-0.example": 2}
    assert ours(world, "SELECT id FROM provider_facts ORDER BY id") == kept


class Ignorant(ScriptedCompanies):
    """Knows names and nothing else."""

    def enrich(self, caller: Caller, domain: str) -> Company | None:
        self._called(caller, f"enrich:{domain}")
        return None


def test_that_a_provider_knows_nothing_is_believed_for_a_week(world: World, clock: Hands) -> None:
    """And as kept as the rest within it. Seen red with one age for both."""
    companies = Ignorant(total=1)
    done(world, companies, a_run(world.database, world.ours.manager))
    for passed, calls in ((7 * DAY - JUST, 1), (JUST, 2)):
        let_all_expire(world)
        clock.forward(passed)
        run = done(world, companies, a_run(world.database, world.ours.manager))
        assert run.items_succeeded == 1
        assert companies.calls == {"search:1": 1, "enrich:company-0.example": calls}


def test_tenants_do_not_share(world: World) -> None:
    companies = ScriptedCompanies(total=1)
    providers = Providers(companies, ScriptedModel())
    for tenant in (world.ours, world.theirs):
        a_run(world.database, tenant.manager)
        world.visit(providers, tenant)
    assert companies.calls == {"search:1": 2, "enrich:company-0.example": 2}
    kept = [
        rows(world.database, t.manager, "SELECT DISTINCT customer_id FROM provider_facts")
        for t in (world.ours, world.theirs)
    ]
    assert [[row.customer_id for row in found] for found in kept] == [
        [world.ours.customer_id],
        [world.theirs.customer_id],
    ]


def test_a_refresh_asks_anew_and_the_new_answer_serves_from_then_on(world: World, clock: Hands) -> None:
    """Seen red with `refresh` not handed on, and with the oldest answer taken."""
    companies = ScriptedCompanies(total=1)
    done(world, companies, a_run(world.database, world.ours.manager))
    let_all_expire(world)
    clock.forward(DAY)
    done(world, companies, a_run(world.database, world.ours.manager, refresh=True))
    assert companies.calls == {"search:1": 2, "enrich:company-0.example": 2}
    let_all_expire(world)
    clock.forward(DAY)
    third = done(world, companies, a_run(world.database, world.ours.manager))
    assert companies.calls == {"search:1": 2, "enrich:company-0.example": 2}
    assert steps(world, third.id)["search:1"].remembered_at == START + DAY


def test_an_answer_of_an_old_shape_is_asked_for_again(
    world: World, postgres: Postgres, database_name: str
) -> None:
    """Seen red with the answer taken as it is: the run failed."""
    companies = ScriptedCompanies(total=1)
    done(world, companies, a_run(world.database, world.ours.manager))
    let_all_expire(world)
    postgres.execute("UPDATE provider_facts SET value = '{\"what\": 1}'", database=database_name)
    run = done(world, companies, a_run(world.database, world.ours.manager))
    assert run.items_succeeded == 1
    assert companies.calls == {"search:1": 2, "enrich:company-0.example": 2}


# Gates


def test_what_is_remembered_passes_no_gate(world: World) -> None:
    """The agent's day is full with the first run. Three of the second's four cost nothing, and are done all the same.

    Seen red with the calls booked before memory is asked.
    """
    companies = ScriptedCompanies(total=4)
    config = a_config(
        world.database,
        world.ours.manager,
        config={"locations": ["Germany"], "batchSize": 3},
        limits={"daily": 3},
    )
    done(world, companies, a_run(world.database, world.ours.manager, config_id=config))
    let_all_expire(world)
    run = done(world, companies, a_run(world.database, world.ours.manager, config_id=config, limit=4))
    assert run.items_succeeded == 3
    assert run.output["stoppedBy"] == "daily_limit"
    assert companies.calls["enrich:company-3.example"] == 0


# A crash


@pytest.mark.parametrize(
    ("point", "nth"), [(Point.AFTER_CALL, 6), (Point.BEFORE_CHECKPOINT, 6), (Point.BEFORE_END, 1)]
)
def test_a_crash_leaves_an_answer_with_its_step_or_neither(
    world: World, nursery: Nursery, tmp_path: Path, point: Point, nth: int
) -> None:
    """And the worker after it keeps them all. Seen red with the answers written in a transaction of their own."""
    books = tmp_path / "books"
    books.touch()
    config = many(world, batchSize=12)
    a_run(world.database, world.ours.manager, config_id=config)
    job = Job("run", world.ours.customer_id, books, companies=12, die_at=point, nth=nth)
    assert nursery.work(world.database.settings, job).code == -signal.SIGKILL
    assert kept(world) == paid_steps(world)
    ours(world, "UPDATE agent_runs SET lease_expires_at = app_now() RETURNING id")
    assert nursery.work(world.database.settings, replace(job, die_at=None)).code == 0
    assert kept(world) == paid_steps(world)
    assert len(kept(world)) == 13


def kept(world: World) -> list[Any]:
    found = ours(world, "SELECT value, fetched_at FROM provider_facts ORDER BY fetched_at, value")
    return [tuple(row) for row in found]


def paid_steps(world: World) -> list[Any]:
    found = ours(
        world,
        "SELECT output, recorded_at FROM agent_run_steps WHERE key NOT LIKE 'known%' ORDER BY recorded_at, output",
    )
    return [tuple(row) for row in found]


# Those who ask the same in one run


@dataclass(slots=True)
class Desk:
    """An agent of the test's own, that enriches what it is given, and the provider that it asks."""

    domains: Sequence[str]
    anew: bool = False
    companies: ScriptedCompanies = field(default_factory=ScriptedCompanies)

    def run(self, run: RunContext, _inputs: AgentModel, _config: AgentModel) -> None:
        run.map(
            list(enumerate(self.domains)),
            key=lambda item: f"item:{item[0]:03}",
            work=lambda call, item: CompanyAnswer(call.companies.enrich(call.caller, plain(item[1]))),
            returns=CompanyAnswer,
            pays=ENRICH,
            keeps=lambda item: company_at(item[1], anew=self.anew),
            propose=lambda item, answer: lead(item[0], answer.company),
        )


def plain(domain: str) -> str:
    return domain.lower().removeprefix("www.").rstrip(".")


def lead(number: int, company: Company | None) -> Proposal:
    assert company is not None
    return Proposal(
        content=LeadImport(name=company.name, domain=company.domain),
        title=f"{number}",
        dedupe_key=f"item:{number}",
        evidence={},
    )


@contextmanager
def at_work(world: World, desk: Desk) -> Iterator[Callable[[], RunId]]:
    """Accepts a run of this agent."""

    def accept() -> RunId:
        with world.database.enter(world.ours.manager) as work:
            run = start.start(work, agent_type="desk", config_id=None, inputs={}, trigger=Trigger.MANUAL)
        return RunId(run.id)

    with registered("desk", desk.run):
        yield accept


SPELLED = ["company-1.example", "WWW.company-1.example", "company-2.example", "Company-1.Example."]


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("days", [0, 30])
def test_those_who_ask_the_same_share_one_call(world: World, days: int, *, anew: bool) -> None:
    """Each is recorded and proposes for itself. Seen red with every item its own first one."""
    world = world.with_settings(provider_facts_fresh_days=days)
    desk = Desk(SPELLED, anew=anew)
    with at_work(world, desk) as accept:
        run = done(world, desk.companies, accept())
    assert desk.companies.calls == {"enrich:company-1.example": 1, "enrich:company-2.example": 1}
    assert (run.items_succeeded, run.items_total) == (4, 4)
    items = ours(world, "SELECT title, content, context FROM approval_items ORDER BY title")
    assert [item.content["domain"] for item in items] == [f"company-{n}.example" for n in (1, 1, 2, 1)]
    assert all("remembered" not in item.context for item in items)
    remembered = {key: step.remembered_at is not None for key, step in steps(world, run.id).items()}
    assert remembered == {"item:000": False, "item:001": True, "item:002": False, "item:003": True}


def test_those_who_ask_the_same_count_once_towards_a_limit(world: World) -> None:
    desk = Desk(SPELLED)
    with at_work(world, desk) as accept:
        run = done(world, desk.companies, accept())
    entries = ours(
        world, "SELECT step_key, status, credits FROM usage_entries WHERE run_id = :id ORDER BY 1", id=run.id
    )
    assert [tuple(entry) for entry in entries] == [("item:000", "settled", 1), ("item:002", "settled", 1)]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ProviderFailed("Apollo could not read this domain.", code="bad_request"),
            "Apollo could not read this domain.",
        ),
        (ZeroDivisionError(), "This item could not be worked on: something unexpected was in it."),
    ],
)
def test_those_who_ask_the_same_share_its_failure(world: World, error: Exception, words: str) -> None:
    """Seen red with the others left to ask for themselves."""
    desk = Desk(SPELLED)

    def before(call: str) -> None:
        if call == "enrich:company-1.example":
            raise error

    desk.companies.before = before
    with at_work(world, desk) as accept:
        run = done(world, desk.companies, accept())
    assert desk.companies.calls["enrich:company-1.example"] == 1
    assert (run.items_succeeded, run.items_failed) == (1, 3)
    assert {step.error for step in steps(world, run.id).values()} == {None, words}
    assert len(kept(world)) == 1


def test_those_who_ask_the_same_wait_together_for_a_provider_in_trouble(world: World, clock: Hands) -> None:
    """One try each time, and at last one failure for all. Seen red with the others called in the first's place."""
    desk = Desk(SPELLED)

    def before(call: str) -> None:
        if call == "enrich:company-1.example":
            raise ProviderBusy("Apollo is out of order.", code="provider_trouble")

    desk.companies.before = before
    providers = Providers(desk.companies, ScriptedModel())
    with at_work(world, desk) as accept:
        run_id = accept()
        world.visit(providers)
        assert set(steps(world, run_id)) == {"item:002"}
        for _ in range(TRIES):
            clock.forward(timedelta(hours=1))
            world.visit(providers)
    (run,) = ours(world, "SELECT * FROM agent_runs WHERE id = :id", id=run_id)
    assert (run.status, run.items_failed) == ("completed", 3)
    assert desk.companies.calls == {"enrich:company-1.example": TRIES, "enrich:company-2.example": 1}


def test_those_who_ask_the_same_follow_from_what_an_earlier_slice_recorded(world: World) -> None:
    """A slice ends with the first one's call; only some of the others are recorded with it. Nothing is kept, so the
    run's own record is all there is.

    Seen red without the record looked at: the second slice asked again.
    """
    world = world.with_settings(provider_facts_fresh_days=0)
    desk = Desk(["company-1.example"] * 120)
    seconds = [0.0]

    def before(_call: str) -> None:
        seconds[0] += 1000

    desk.companies.before = before
    providers = Providers(desk.companies, ScriptedModel())
    engine = replace(world.engine(providers), clock=lambda: seconds[0])
    with at_work(world, desk) as accept:
        run_id = accept()
        engine.visit(world.ours.customer_id, lambda: timedelta(minutes=5))
        assert 1 <= len(steps(world, run_id)) < 120
        run = done(world, desk.companies, run_id)
    assert run.items_succeeded == 120
    assert desk.companies.calls == {"enrich:company-1.example": 1}


def test_hundreds_are_recorded_from_memory_in_few_transactions(world: World) -> None:
    """And a person who cancels meanwhile is heard: each is a checkpoint."""
    desk = Desk([f"company-{n}.example" for n in range(120)])
    with at_work(world, desk) as accept:
        done(world, desk.companies, accept())
        before = dict(desk.companies.calls)
        second = done(world, desk.companies, accept())
    assert dict(desk.companies.calls) == before
    assert second.items_succeeded == 120
    moments = Counter(step.recorded_at for step in steps(world, second.id).values())
    assert 3 <= len(moments) <= 6
    assert max(moments.values()) <= 60


def test_an_answer_that_another_run_got_meanwhile_is_taken_instead_of_a_call(world: World) -> None:
    """A is in its first calls while B asks for everything. What A books after that is given back, and not called.

    Seen red without the look in the transaction that books.
    """
    domains = [f"company-{n}.example" for n in range(IN_FLIGHT + 4)]
    a_is_calling, b_is_done = threading.Event(), threading.Event()
    desk = Desk(domains)

    def wait_for_b(_call: str) -> None:
        a_is_calling.set()
        assert b_is_done.wait(20)

    of_a, of_b = ScriptedCompanies(before=wait_for_b), ScriptedCompanies()
    with at_work(world, desk) as accept:
        run_a = accept()
        worker = threading.Thread(target=lambda: world.visit(Providers(of_a, ScriptedModel())))
        worker.start()
        assert a_is_calling.wait(20)
        accept()
        world.visit(Providers(of_b, ScriptedModel()))
        b_is_done.set()
        worker.join(20)
    (run,) = ours(world, "SELECT * FROM agent_runs WHERE id = :id", id=run_a)
    assert (run.status, run.items_succeeded) == ("completed", len(domains))
    assert sum(of_b.calls.values()) == len(domains)
    assert sum(of_a.calls.values()) == IN_FLIGHT
    books = Counter(
        row.status for row in ours(world, "SELECT status FROM usage_entries WHERE run_id = :id", id=run_a)
    )
    assert books == {"settled": IN_FLIGHT, "released": 4}
    (month,) = ours(world, "SELECT credits_spent, credits_reserved FROM usage_months")
    assert tuple(month) == (len(domains) + IN_FLIGHT, 0)


# People


@dataclass(frozen=True, slots=True)
class Person:
    """As a provider matches it."""

    id: str
    email: str
    note: str = ""


@dataclass(slots=True)
class Matcher:
    """An agent that asks for people by what is given of them."""

    asked: Sequence[Mapping[str, str]] = ()
    note: str = ""
    calls: int = 0

    def run(self, run: RunContext, _inputs: AgentModel, _config: AgentModel) -> None:
        run.step(
            "page",
            self._people,
            returns=list[Person],
            keeps=Keeps(
                "apollo",
                FactKind.PEOPLE_SEARCH,
                (by_page({"title": "CTO"}, page=1, per_page=25),),
                also_under=lambda people: [by_id(person.id) for person in people],
            ),
        )
        run.map(
            list(self.asked),
            key=lambda given: f"match:{given}",
            work=lambda call, _given: self._match(call),
            returns=Person,
            pays=ENRICH,
            keeps=lambda given: Keeps(
                "apollo",
                FactKind.PERSON,
                tuple((by_id if name == "id" else by_email)(value) for name, value in given.items()),
                also_under=lambda person: [by_id(person.id), by_email(person.email)],
            ),
            concurrency=1,
        )

    def _people(self, _call: Call) -> list[Person]:
        return [self._person(), Person("p2", "bob@company.example")]

    def _match(self, call: Call) -> Person:
        self.calls += 1
        call.caller.meter.add(Charge(credits=1))
        return self._person()

    def _person(self) -> Person:
        return Person("p1", "ada@company.example", self.note)


@contextmanager
def matching(world: World, matcher: Matcher) -> Iterator[Callable[[], Any]]:
    def once() -> Any:
        with world.database.enter(world.ours.manager) as work:
            run = start.start(work, agent_type="matcher", config_id=None, inputs={}, trigger=Trigger.MANUAL)
        return done(world, ScriptedCompanies(), RunId(run.id))

    with registered("matcher", matcher.run):
        yield once


def test_a_person_is_found_by_the_id_and_by_the_address(world: World) -> None:
    """Within the run, as soon as the answer says the address, and in the next one. Seen red without `also_under`."""
    matcher = Matcher([{"id": "p1"}, {"email": "Ada@Company.example"}])
    with matching(world, matcher) as once:
        once()
        assert matcher.calls == 1
        matcher.asked = [{"email": "ada@company.example"}, {"id": "p1", "email": "nobody@company.example"}]
        once()
    assert matcher.calls == 1


def test_no_address_stands_in_a_key(world: World) -> None:
    with matching(world, Matcher([{"email": "ada@company.example"}])) as once:
        once()
    keys = [row.key for row in ours(world, "SELECT key FROM provider_fact_keys")]
    assert len(keys) == 5
    assert not [key for key in keys if "ada" in key or "@" in key]


@pytest.mark.parametrize("known_by", [by_id("p1"), by_email("ADA@company.example")])
def test_a_person_can_be_forgotten(world: World, known_by: str) -> None:
    """Every answer about them, whatever it is found under, and the searches that show them; nobody else's.

    Seen red with searches left out of the kinds.
    """
    matcher = Matcher([{"id": "p1"}])
    keys = [known_by, by_id("p1")]
    with matching(world, matcher) as once:
        once()
        companies = ScriptedCompanies(total=1)
        done(world, companies, a_run(world.database, world.ours.manager))
        with world.database.enter(world.theirs.manager) as work:
            assert queries.erase(work.session, work.actor.scope, keys) == 0
        with world.database.enter(world.ours.manager) as work:
            assert queries.erase(work.session, work.actor.scope, keys) == 2
        assert [row.kind for row in ours(world, "SELECT kind FROM provider_facts ORDER BY kind")] == [
            "company",
            "company_search",
        ]
        assert len(ours(world, "SELECT key FROM provider_fact_keys")) == 3
        once()
    assert matcher.calls == 2


@pytest.mark.parametrize(("length", "kept"), [(LARGEST - 200, 2), (LARGEST + 1, 0)])
def test_an_answer_that_is_too_large_is_not_kept(world: World, length: int, kept: int) -> None:
    """Seen red without the limit."""
    matcher = Matcher([{"id": "p1"}], note="x" * length)
    with matching(world, matcher) as once:
        once()
        once()
    assert matcher.calls == (1 if kept else 2)
    assert len(ours(world, "SELECT id FROM provider_facts")) == kept
