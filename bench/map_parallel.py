"""A run that maps over items whose provider takes its time, eight at once, against the best possible schedule.

Ours is a worker's whole visit, from the claim until the run is over and everything is recorded. The reference
is computed from the same times: the larger of their sum over eight and the longest of them. Eight slots cannot
do a sum of work in less than an eighth of it, nor a call in less than its own time, so no schedule is shorter,
not even one that knows the times beforehand; whether one as short as that exists does not matter. We know no
times beforehand, so part of the ratio is the end of the map, when fewer than eight calls are left.

Most of the rest is the commit that records a result before its slot is used again. The bound knows of no disk
and no neighbours on the machine, so `commit_ms` tells what the least of all writes took between the runs.
"""

import heapq
import math
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import text

from bench.measuring import Report, in_turns
from bench.tenant import Tenant, a_tenant, registered, ungated
from chalicelib.agents.base import AgentModel, Call, RunContext
from chalicelib.agents.lead_source import ENRICH
from chalicelib.domain.companies import Company
from chalicelib.domain.runs import IN_FLIGHT
from local.postgres import throwaway
from tests.fakes.providers import ScriptedCompanies

ITEMS: Final = 200
SHORTEST, LONGEST = 0.020, 0.400  # seconds
RUNS: Final = 11
COMMITS: Final = 20  # after each run
SEED: Final = 8

_AGENT: Final = "bench_map"
_DATABASE: Final = "bench"
_OUTCOME: Final = text(
    "SELECT r.status, r.items_succeeded, count(DISTINCT s.recorded_at) AS transactions"
    " FROM agent_runs r JOIN agent_run_steps s ON s.customer_id = r.customer_id AND s.run_id = r.id"
    " WHERE r.id = :run GROUP BY r.customer_id, r.id"
)
_LEAST: Final = text("UPDATE tenant_queues SET rung_at = rung_at WHERE customer_id = current_customer()")
_DOMAINS: Final = [f"company-{number}.example" for number in range(ITEMS)]


def measure() -> Report:
    with (
        throwaway(settings={}) as postgres,
        a_tenant(postgres, _DATABASE) as tenant,
        registered(_AGENT, _map),
    ):
        maps = _Maps(tenant)
        ours, theirs = in_turns(maps.ours, maps.best_possible, runs=RUNS)
    counted = maps.drawn[-RUNS:]
    return Report(
        bench="map_parallel",
        ours=ours,
        theirs=theirs,
        unit="ms",
        reference="a lower bound of every schedule on 8 slots: max(sum of the times / 8, the longest)",
        extras={
            "items": ITEMS,
            "concurrency": IN_FLIGHT,
            "times_ms": _spread([seconds for times in counted for seconds in times]),
            "over_longest_first": _median_ratio(ours, (_makespan(sorted(t, reverse=True)) for t in counted)),
            "over_given_order": _median_ratio(ours, map(_makespan, counted)),
            "commit_ms": round(statistics.median(maps.commits), 3),
            "transactions_with_results": statistics.median(maps.groups[-RUNS:]),
        },
    )


def _map(run: RunContext, _inputs: AgentModel, _config: AgentModel) -> None:
    run.map(_DOMAINS, key=lambda domain: f"enrich:{domain}", work=_enriched, returns=Company, pays=ENRICH)


def _enriched(call: Call, domain: str) -> Company:
    company = call.companies.enrich(call.caller, domain)
    assert company is not None
    return company


class _Maps:
    """Runs with times of their own, the same sequence of times in every process."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._random = random.Random(SEED)
        self.drawn: list[Sequence[float]] = []
        self.groups: list[int] = []
        self.commits: list[float] = []

    def ours(self) -> float:
        """Milliseconds of a visit that does all items."""
        times = [_long_tailed(self._random) for _ in range(ITEMS)]
        self.drawn.append(times)
        time_of = {f"enrich:{domain}": seconds for domain, seconds in zip(_DOMAINS, times, strict=True)}
        providers = ungated(ScriptedCompanies(before=lambda call: time.sleep(time_of[call])))
        run_id = self._tenant.accept(_AGENT)
        started = time.perf_counter()
        if self._tenant.visit(providers) != [run_id]:
            raise AssertionError("The worker did something else.")
        took = (time.perf_counter() - started) * 1000
        self.groups.append(self._transactions(run_id))
        self.commits += [self._commit() for _ in range(COMMITS)]
        return took

    def best_possible(self) -> float:
        """Milliseconds, by the times of the latest run."""
        times = self.drawn[-1]
        return max(sum(times) / IN_FLIGHT, *times) * 1000

    def _commit(self) -> float:
        started = time.perf_counter()
        with self._tenant.database.enter(self._tenant.manager) as work:
            work.session.execute(_LEAST)
        return (time.perf_counter() - started) * 1000

    def _transactions(self, run_id: str) -> int:
        """Those that recorded results. Raises AssertionError unless all items are done and the run is over."""
        with self._tenant.database.enter(self._tenant.manager) as work:
            row = work.session.execute(_OUTCOME, {"run": run_id}).one()
        if (row.status, row.items_succeeded) != ("completed", ITEMS):
            raise AssertionError(f"The run is {row.status} with {row.items_succeeded} of {ITEMS} items.")
        return int(row.transactions)


def _long_tailed(source: random.Random) -> float:
    """A log-normal time: 95 % lie between SHORTEST and LONGEST of their own accord, the others are cut to them."""
    middle = math.log(SHORTEST * LONGEST) / 2
    deviation = math.log(LONGEST / SHORTEST) / 4
    return min(max(source.lognormvariate(middle, deviation), SHORTEST), LONGEST)


def _makespan(times: Iterable[float]) -> float:
    """Milliseconds, when each in turn takes the slot that is free first, and nothing else takes time."""
    slots = [0.0] * IN_FLIGHT
    for seconds in times:
        heapq.heapreplace(slots, slots[0] + seconds)
    return max(slots) * 1000


def _spread(times: Sequence[float]) -> dict[str, int]:
    cuts = statistics.quantiles(times, n=100)
    named = {"least": min(times), "median": cuts[49], "p90": cuts[89], "most": max(times)}
    return {name: round(seconds * 1000) for name, seconds in named.items()}


def _median_ratio(ours: Sequence[float], theirs: Iterable[float]) -> float:
    return round(statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True)), 3)
