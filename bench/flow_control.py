"""What every gate together costs: eight calls are reserved, not made, and settled, in two transactions of a worker.

The agent has limits, the tenant a budget and the key a rate, none of them reached. The reference is the same two
transactions with nothing to book: they fence, renew the lease and commit, as a worker does in any case.

`overshoot` is of fifty workers at once, who each reserve as much as they can of one budget: credits booked above it.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import make_url, text

from bench.measuring import Report, in_turns, p99
from bench.tenant import Tenant, a_tenant, registered
from chalicelib.agents.base import AgentModel, RunContext
from chalicelib.db.driver import create
from chalicelib.db.queries import runs as queries
from chalicelib.domain.access import engine_for
from chalicelib.domain.ids import AgentConfigId, RunId, new_id
from chalicelib.domain.runs import IN_FLIGHT, Trigger
from chalicelib.services import agents, budgets
from chalicelib.services.runs import start
from local.postgres import throwaway
from tests.fakes.flight_counter import FlightCounter

RUNS: Final = 400
WARM_UP: Final = 40
WORKERS: Final = 50
TURNS: Final = 8
PLENTY: Final = 1_000_000
CAP: Final = 1000  # of the fifty; they ask for three times as much

_AGENT: Final = "bench_flow"
_DATABASE: Final = "bench"
_BOOKED: Final = text("SELECT credits_reserved + credits_spent AS booked, credits_reserved FROM usage_months")
_HOLD: Final = text(
    "UPDATE agent_runs SET status = 'running', lease_token = :token, attempt = 1, started_at = app_now(),"
    " lease_expires_at = app_now() + interval '1 hour' WHERE id = :id"
)
_QUOTE: Final = {
    "provider": "apollo",
    "operation": "enrich_company",
    "credits": 1,
    "dollars": "0",
    "payer": "platform",
    "credential": "platform",
    "perMinute": PLENTY,
    "countsItems": True,
    "platformCredits": PLENTY,
    "platformDollars": None,
}


def measure() -> Report:
    with (
        throwaway(settings={}) as postgres,
        a_tenant(postgres, _DATABASE) as tenant,
        registered(_AGENT, _nothing),
    ):
        worker = _Worker(tenant, _held(tenant, _saved(tenant)))
        _cap(tenant, version=0, most=PLENTY)
        ours, theirs = in_turns(worker.reserve_and_settle, worker.fence_twice, runs=RUNS, warm_up=WARM_UP)
        flights = _flights(worker, postgres.port)
        overshoot = _overshoot(tenant)
    return Report(
        bench="flow_control",
        ours=ours,
        theirs=theirs,
        unit="ms",
        reference="the same two transactions of a worker with nothing to book",
        extras={
            "calls": IN_FLIGHT,
            "flights": flights,
            "ours_p99": round(p99(ours), 3),
            "workers": WORKERS,
            "overshoot": overshoot,
        },
    )


def _nothing(_run: RunContext, _inputs: AgentModel, _config: AgentModel) -> None:
    """Is never run: the benchmark holds the runs itself."""


@dataclass(slots=True)
class _Worker:
    """Holds one run."""

    tenant: Tenant
    lease: queries.Lease
    booked: int = 0

    def reserve_and_settle(self) -> float:
        """Milliseconds for both."""
        started = time.perf_counter()
        self.settle(self.reserve(IN_FLIGHT))
        return (time.perf_counter() - started) * 1000

    def fence_twice(self) -> float:
        started = time.perf_counter()
        self._checkpoint()
        self._checkpoint()
        return (time.perf_counter() - started) * 1000

    def reserve(self, calls: int) -> list[str]:
        """The entries of the calls that were booked: all, or as many as fit."""
        rows = [
            {"id": new_id("UsageEntryId"), "stepKey": f"item:{self.booked + number}"}
            for number in range(calls)
        ]
        refusal = self._checkpoint(calls=rows).refusal
        if refusal is not None:
            return self.reserve(refusal.fits) if refusal.fits else []
        self.booked += calls
        return [row["id"] for row in rows]

    def settle(self, entries: Sequence[str]) -> None:
        charged = {"tokensIn": 0, "tokensCached": 0, "tokensOut": 0, "tokensReasoning": 0, "dollars": "0"}
        self._checkpoint(
            settled=[{**charged, "id": entry, "status": "settled", "credits": 1} for entry in entries]
        )

    def _checkpoint(self, **said: Any) -> queries.Answer:
        written = queries.Written(settled=said.get("settled", []))
        with self.tenant.database.enter(engine_for(self.tenant.manager.customer_id)) as work:
            answered = queries.checkpoint(
                work.session,
                self.lease,
                written,
                calls=said.get("calls", []),
                quote=_QUOTE,
                current_step=None,
            )
        return queries.answer(answered)


def _saved(tenant: Tenant) -> AgentConfigId:
    """An agent with limits it never reaches."""
    with tenant.database.enter(tenant.manager) as work:
        limits = {"hourly": PLENTY, "daily": PLENTY}
        return AgentConfigId(agents.create(work, agent_type=_AGENT, name="Flow", config={}, limits=limits).id)


def _held(tenant: Tenant, config_id: AgentConfigId) -> queries.Lease:
    """A run that somebody works on."""
    token = new_id("RunId")
    with tenant.database.enter(tenant.manager) as work:
        run = start.start(work, agent_type=None, config_id=config_id, inputs={}, trigger=Trigger.MANUAL)
        work.session.execute(_HOLD, {"id": run.id, "token": token})
        return queries.Lease(RunId(run.id), token)


def _cap(tenant: Tenant, *, version: int, most: int) -> None:
    with tenant.database.enter(tenant.manager) as work:
        budgets.change(work, version=version, monthly_credits=most, monthly_dollars=None)


def _flights(worker: _Worker, port: int) -> int:
    """Round trips of one reserving and one settling transaction, BEGIN to COMMIT, as a proxy sees them."""
    with FlightCounter(port) as counter, _through(worker, counter.port) as counted:
        counted.reserve_and_settle()
        counter.reset()
        counted.reserve_and_settle()
        return counter.flights


@contextmanager
def _through(worker: _Worker, port: int) -> Any:
    """The same worker on a connection of its own through a port."""
    database = worker.tenant.database
    url = make_url(database.settings.database_url).set(port=port).render_as_string(hide_password=False)
    app = create(url)
    try:
        yield replace(worker, tenant=replace(worker.tenant, database=replace(database, app=app)))
    finally:
        app.dispose()


def _overshoot(tenant: Tenant) -> int:
    """Credits that fifty workers on connections of their own booked above what was left of the budget."""
    with tenant.database.enter(tenant.manager) as work:
        before = work.session.execute(_BOOKED).scalar_one()
    _cap(tenant, version=1, most=before + CAP)
    config_id = _saved(tenant)
    app = create(tenant.database.settings.database_url, pool_size=WORKERS)
    crowd = replace(tenant, database=replace(tenant.database, app=app))
    workers = [_Worker(crowd, _held(tenant, config_id)) for _ in range(WORKERS)]
    barrier = threading.Barrier(WORKERS)

    def work_on(worker: _Worker) -> None:
        barrier.wait()
        for _ in range(TURNS):
            worker.settle(worker.reserve(IN_FLIGHT))

    threads = [threading.Thread(target=work_on, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.dispose()
    with tenant.database.enter(tenant.manager) as work:
        booked, reserved = work.session.execute(_BOOKED).one()
    if reserved or booked - before < CAP:
        raise AssertionError(f"{reserved} credits are left reserved, {booked - before} of {CAP} were booked.")
    return int(booked - before - CAP)
