"""What a run costs where a million runs lie in the tables, over what it costs with a hundredth of them.

A sample is all that one run asks of the database: it is accepted, claimed, does three paid steps and ends; then
a worker finds nothing more to claim, and somebody looks at the newest runs. Two databases on one server take
turns. Their rows are spread alike over fifty customers, of whom the one that is measured has the most.

`quiet_list` is beside the ratio: the newest runs of a customer who had many and has started none for a while,
so that everybody else's newer rows lie between the end of the table and theirs.

Where filling a million takes too long or the disk is short, fewer stand in; `rows` says how many.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import text

from bench.measuring import Report, in_turns
from bench.tenant import Tenant, a_tenant, registered, ungated
from chalicelib.agents.base import AgentModel, Call, RunContext
from chalicelib.agents.lead_source import ENRICH
from chalicelib.api.runs import RunListing, list_runs
from chalicelib.db.driver import create
from chalicelib.domain.access import Actor, Role
from chalicelib.domain.companies import Company
from chalicelib.domain.ids import CustomerId, new_id
from local.postgres import Postgres, throwaway
from tests.fakes.providers import ScriptedCompanies

MANY, FEW = 1_000_000, 10_000  # runs
STEPS_A_RUN: Final = 10
STEPS: Final = 3  # of a run that is measured
LISTED: Final = 20
TIMES: Final = 300
WARM_UP: Final = 30
QUIET_TIMES: Final = 20

_AGENT: Final = "bench_growth"
_CUSTOMERS: Final = 50
_CHUNK: Final = 25_000
_FILLERS: Final = 2
_LONGEST_FILL: Final = 240.0  # seconds
_ROOM_A_RUN: Final = 20_000  # bytes on disk: its steps, the indexes, the log, and as much again


def measure() -> Report:
    many = min(MANY, shutil.disk_usage(tempfile.gettempdir()).free // _ROOM_A_RUN)
    with throwaway(settings={}) as postgres, registered(_AGENT, _three_steps):
        started = time.perf_counter()
        with _filled(postgres, "many", many) as grown, _filled(postgres, "few", FEW) as young:
            filled = time.perf_counter() - started
            ours, theirs = in_turns(grown.sample, young.sample, runs=TIMES, warm_up=WARM_UP)
            quiet = in_turns(grown.quiet_sample, young.quiet_sample, runs=QUIET_TIMES)
            sizes = {name: _megabytes(postgres, name) for name in ("many", "few")}
    return Report(
        bench="run_cost_growth",
        ours=ours,
        theirs=theirs,
        unit="ms",
        reference=f"the same with {FEW:,} finished runs and {FEW * STEPS_A_RUN:,} steps, on the same server",
        extras={
            "rows": {"runs": grown.past, "steps": grown.past * STEPS_A_RUN},
            "database_mb": {"ours": sizes["many"], "theirs": sizes["few"]},
            "parts": {
                name: _compared(grown.parts[name][WARM_UP:], young.parts[name][WARM_UP:])
                for name in grown.parts
            },
            "quiet_list": _compared(*quiet),
            "fill_seconds": round(filled),
        },
    )


def _three_steps(run: RunContext, _inputs: AgentModel, _config: AgentModel) -> None:
    for number in range(STEPS):
        run.step(f"enrich:{number}", partial(_enriched, number), returns=Company, pays=ENRICH)


def _enriched(number: int, call: Call) -> Company:
    company = call.companies.enrich(call.caller, f"company-{number}.example")
    assert company is not None
    return company


@dataclass(slots=True)
class _Runs:
    """One database's runs, one at a time; how long each part took, in milliseconds."""

    tenant: Tenant
    quiet: Actor
    past: int  # runs that were there before
    parts: dict[str, list[float]] = field(default_factory=dict)

    def sample(self) -> float:
        before = {name: sum(times) for name, times in self.parts.items()}
        providers = ungated(ScriptedCompanies())
        run_id = self._timed("accept", lambda: self.tenant.accept(_AGENT))
        done = self._timed("claim_and_work", lambda: self.tenant.visit(providers))
        nothing = self._timed("claim_in_vain", lambda: self.tenant.visit(providers))
        listed = self._timed("list", partial(self._newest, self.tenant.manager))
        if (done, nothing, listed[:1], len(listed)) != ([run_id], [], [(run_id, "completed")], LISTED):
            raise AssertionError(f"The run {run_id} went otherwise: {done}, {nothing}, {listed[:1]}.")
        return sum(sum(times) - before.get(name, 0) for name, times in self.parts.items())

    def quiet_sample(self) -> float:
        started = time.perf_counter()
        if len(self._newest(self.quiet)) != LISTED:
            raise AssertionError("The quiet customer has no past.")
        return (time.perf_counter() - started) * 1000

    def _timed(self, part: str, act: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = act()
        self.parts.setdefault(part, []).append((time.perf_counter() - started) * 1000)
        return result

    def _newest(self, actor: Actor) -> list[tuple[str, str]]:
        with self.tenant.database.enter(actor) as work:
            page = list_runs(work, RunListing.model_validate({"limit": LISTED}))
        return [(run.id, run.status.value) for run in page.items]


@contextmanager
def _filled(postgres: Postgres, name: str, runs: int) -> Iterator[_Runs]:
    """A database with a past. Rows that are there already are not checked again; constraints stay as they are."""
    with a_tenant(postgres, name) as tenant:
        quiet = Actor(CustomerId(new_id("CustomerId")), None, Role.MANAGER)
        past = _fill(postgres, name, (tenant.manager, quiet), runs)
        for table in ("agent_runs", "agent_run_steps"):
            postgres.execute(f"VACUUM (ANALYZE) {table}", database=name)
        postgres.execute("CHECKPOINT")
        yield _Runs(tenant, quiet, past)


def _fill(postgres: Postgres, name: str, customers: tuple[Actor, Actor], runs: int) -> int:
    """How many runs there are now: as many as asked for, or as there was time for."""
    deadline = time.monotonic() + _LONGEST_FILL
    biggest, quiet = (actor.customer_id for actor in customers)
    engine = create(postgres.url(postgres.superuser, name), pool_size=_FILLERS)
    with engine.begin() as connection:
        connection.execute(_OTHERS, {"quiet": quiet, "others": _CUSTOMERS - 2})

    def fill(first: int) -> int:
        end = min(first + _CHUNK, runs)
        if time.monotonic() > deadline:
            return 0
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # no foreign-key checks
            connection.execute(
                _PAST,
                {
                    "biggest": biggest,
                    "quiet": quiet,
                    "first": first,
                    "last": end - 1,
                    "runs": runs,
                    "steps": STEPS_A_RUN,
                },
            )
        return end - first

    with ThreadPoolExecutor(_FILLERS) as pool:
        filled = sum(pool.map(fill, range(0, runs, _CHUNK)))
    engine.dispose()
    return filled


_OTHERS: Final = text(
    "INSERT INTO customers (id, name) SELECT CASE n WHEN 0 THEN :quiet ELSE new_id('cus') END, 'Customer ' || n"
    " FROM generate_series(0, CAST(:others AS int)) n"
)
_PAST: Final = text("""
    WITH tenants AS (
        SELECT array_agg(id ORDER BY id) AS ids FROM customers WHERE id NOT IN (:biggest, :quiet)
    ), born AS (  -- one after the other over the last thirty days
        SELECT n, now() - interval '30 days' * ((CAST(:runs AS float) - n) / CAST(:runs AS int)) AS moment
        FROM generate_series(CAST(:first AS int), CAST(:last AS int)) n
    ), made AS (
        INSERT INTO agent_runs (
            id, customer_id, agent_type, agent_version, status, trigger, input, output, config,
            approval_expiry_hours, items_processed, items_succeeded, items_total, attempt, progressed,
            queue_at, due_at, started_at, completed_at, created_at
        )
        SELECT
            'run_' || (  -- as new_id makes them, with a birthday of its own: 50 bits of time, 80 of chance
                SELECT string_agg(substr(
                    '0123456789abcdefghjkmnpqrstvwxyz',
                    ((floor(extract(epoch FROM b.moment) * 1000)::bigint >> (45 - 5 * i)) & 31)::int + 1, 1
                ), '' ORDER BY i) FROM generate_series(0, 9) i
            ) || left(md5(b.n::text), 16),
            CASE
                WHEN mod(b.n, 10) < 3 THEN :biggest
                WHEN mod(b.n, 10) < 6 AND b.n < CAST(:runs AS int) / 2 THEN :quiet
                ELSE t.ids[1 + mod(b.n, array_length(t.ids, 1))]
            END,
            (ARRAY['lead_source', 'email_drafter'])[1 + mod(b.n, 2)], '1',
            CASE WHEN mod(b.n, 20) = 0 THEN 'failed' WHEN mod(b.n, 50) = 1 THEN 'cancelled' ELSE 'completed' END,
            (ARRAY['manual', 'scheduled', 'event', 'api'])[1 + mod(b.n, 4)],
            '{}', '{"success": true, "errors": [], "approvalItemIds": []}', '{"industries": ["logistics"]}',
            72, 10, 10, 10, 1, true, b.moment, b.moment, b.moment, b.moment + interval '40 s', b.moment
        FROM born b, tenants t
        ORDER BY b.n
        RETURNING customer_id, id, created_at
    )
    INSERT INTO agent_run_steps
        (customer_id, run_id, key, status, input_hash, output, item, duration_ms, recorded_at)
    SELECT
        m.customer_id, m.id, 'enrich:company-' || i || '.example', 'succeeded', md5(m.id) || md5(m.id),
        '{"id": "org1", "name": "Company 1", "domain": "company-1.example", "industry": "logistics",
          "employee_count": 100, "city": "Hamburg", "country": "Germany"}',
        true, 150, m.created_at
    FROM made m, generate_series(1, CAST(:steps AS int)) i
""")


def _megabytes(postgres: Postgres, name: str) -> int:
    [[size]] = postgres.execute("SELECT pg_database_size(current_database())", database=name)
    return round(int(size) / 1_000_000)


def _compared(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return {
        "ours": round(statistics.median(ours), 3),
        "theirs": round(statistics.median(theirs), 3),
        "ratio": round(ratio, 3),
    }
