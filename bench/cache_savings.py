"""Five hundred companies enriched twice by the real engine, over HTTP, at a provider that keeps books of its own.

The first run pays for each; the second one finds every answer kept. `paid_calls_…` are the sandbox's word, not ours.
The sandbox answers at once, so the ratio says what remembering costs beside calls that take next to no time; a real
provider takes some hundred milliseconds for each.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.request import urlopen

from sqlalchemy import text

from bench.measuring import Report
from bench.tenant import Tenant, a_tenant, registered, ungated
from chalicelib.agents.base import AgentModel, Call, RunContext
from chalicelib.agents.lead_source import ENRICH
from chalicelib.domain.companies import CompanyAnswer
from chalicelib.domain.facts import company_at
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.services.runs.context import Providers
from local.postgres import throwaway
from local.processes import Program
from local.settings import APOLLO_KEY
from sandbox.world import build_world

COMPANIES: Final = 500
TENANTS: Final = 3  # each knows nothing at first

_AGENT: Final = "bench_cache"
_OUTCOME: Final = text("SELECT status, items_succeeded FROM agent_runs WHERE id = :run")


def measure() -> Report:
    with (
        throwaway(settings={}) as postgres,
        registered(_AGENT, _enrich_all),
        _sandbox() as url,
        closing(ApolloClient(APOLLO_KEY, f"{url}/api/v1")) as apollo,
    ):
        _domains()
        pairs = []
        for number in range(TENANTS):
            with a_tenant(postgres, f"bench_{number}") as tenant:
                pairs.append([_Enrichment.of(tenant, ungated(apollo), url) for _ in range(2)])
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Report(
        bench="cache_savings",
        ours=[run.seconds for run in second],
        theirs=[run.seconds for run in first],
        unit="s",
        reference="the same run before, when nothing was known",
        extras={
            "companies": COMPANIES,
            "paid_calls_first_time": max(run.paid for run in first),
            "paid_calls_second_time": max(run.paid for run in second),
            "calls_second_time": max(run.calls for run in second),
        },
    )


@dataclass(frozen=True, slots=True)
class _Enrichment:
    """One run over all of them: how long its visit took, and what the provider booked meanwhile."""

    seconds: float
    calls: int
    paid: int

    @classmethod
    def of(cls, tenant: Tenant, providers: Providers, url: str) -> "_Enrichment":
        """Raises AssertionError unless the run ends with every company."""
        calls, paid = _books(url)
        run_id = tenant.accept(_AGENT)
        started = time.perf_counter()
        tenant.visit(providers)
        seconds = time.perf_counter() - started
        with tenant.database.enter(tenant.manager) as work:
            row = work.session.execute(_OUTCOME, {"run": run_id}).one()
        if tuple(row) != ("completed", COMPANIES):
            raise AssertionError(f"The run is {row.status} with {row.items_succeeded} of {COMPANIES} items.")
        after = _books(url)
        return cls(seconds, after[0] - calls, after[1] - paid)


def _enrich_all(run: RunContext, _inputs: AgentModel, _config: AgentModel) -> None:
    run.map(
        _domains(),
        key=lambda domain: f"enrich:{domain}",
        work=_enriched,
        returns=CompanyAnswer,
        pays=ENRICH,
        keeps=company_at,
    )


def _enriched(call: Call, domain: str) -> CompanyAnswer:
    return CompanyAnswer(call.companies.enrich(call.caller, domain))


@cache
def _domains() -> list[str]:
    return [company.domain for company in build_world().companies[:COMPANIES]]


@contextmanager
def _sandbox() -> Iterator[str]:
    """The address of a sandbox in a process of its own."""
    with TemporaryDirectory() as directory:
        log_file = Path(directory) / "sandbox.log"
        program = Program("sandbox", ["-m", "sandbox", "--port", "0"], environ={}, log_file=log_file)
        try:
            yield str(program.wait()["url"])
        finally:
            program.stop()


def _books(url: str) -> tuple[int, int]:
    """Calls, and those that were paid for, by the provider's own ledger."""
    with urlopen(f"{url}/_control/ledger/totals") as answer:  # noqa: S310 - the sandbox we started
        totals = json.load(answer)["apollo"]
    return totals["calls"], totals["paid_calls"]
