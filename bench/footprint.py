"""What one run of the lead source over 25 companies leaves behind, from its start to its published events.

`python -m bench.footprint` prints one JSON line; docs/cost.md reckons with it. Nothing is compared, so it is none of
the benchmarks. Providers are scripted, each call 0.4 s long; a manager approves every proposal in one request.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any, Final

from bench.counting import Counters, logged
from bench.tenant import FUNCTION_LEFT, Tenant, a_tenant, ungated
from chalicelib.domain.approvals import Decision
from chalicelib.domain.companies import CompanyPage, CompanyStub, IdealCustomer
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.domain.providers import Caller
from chalicelib.services.approvals import effects
from chalicelib.services.approvals.decide import Verdict, decide
from chalicelib.services.outbox import Relay
from local.postgres import Postgres, throwaway
from tests.builders import A_PROFILE, a_config, a_run, rows
from tests.fakes.providers import ScriptedCompanies
from tests.fakes.signals import RememberedSignals

COMPANIES: Final = 25
CALL_SECONDS: Final = 0.4
RUNS: Final = 20
_DATABASE: Final = "footprint"
_NO_UNDO: Final = "UPDATE approval_items SET effective_at = app_now() WHERE applied_at IS NULL RETURNING 1"
_TABLES: Final = (
    "SELECT c.relname::text, pg_total_relation_size(c.oid)::bigint FROM pg_class c"
    " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
)


class NewEachTime(ScriptedCompanies):
    """Each run finds companies that nobody has seen: nothing is remembered, nothing is in the CRM."""

    first = 0

    def search(self, caller: Caller, profile: IdealCustomer, *, page: int, per_page: int) -> CompanyPage:  # noqa: ARG002
        self._called(caller, f"search:{page}")
        numbers = range(self.first, self.first + self.total)
        stubs = tuple(CompanyStub(f"org{n}", f"Company {n}", f"company-{n}.example") for n in numbers)
        return CompanyPage(stubs, page, 1, self.total)


class Sink:
    """Takes every event."""

    name = "eventbridge"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        self.sizes += [len(json.dumps(event.cloud_event)) for event in events]
        return [None] * len(events)


def main() -> None:
    with throwaway(settings={}) as postgres, a_tenant(postgres, _DATABASE) as made:
        settings = dataclasses.replace(
            made.database.settings, provider_facts_fresh_days=0, provider_searches_fresh_days=0
        )
        tenant = Tenant(dataclasses.replace(made.database, settings=settings), made.manager)
        providers = NewEachTime(total=COMPANIES, before=lambda _call: time.sleep(CALL_SECONDS))
        config = a_config(tenant.database, tenant.manager, config={**A_PROFILE, "batchSize": COMPANIES})
        _one(tenant, config, providers)  # warm
        with logged(postgres, _DATABASE) as log:
            log.reset()
            _one(tenant, config, providers)
            statements = sum(log.statements().values())
        before, size, wal = _standing(postgres)
        used = _processor_seconds(postgres)
        told = [_one(tenant, config, providers) for _ in range(RUNS)]
        tenant.database.app.dispose()  # a session's counts arrive when it ends
        tenant.database.across.dispose()
        time.sleep(1.5)
        used = _processor_seconds(postgres) - used
        after, size_after, wal_after = _standing(postgres)
        counted = after.minus(before)
    mean = {key: round(sum(each[key] for each in told) / RUNS, 2) for key in told[0]}
    print(
        json.dumps(
            {
                "companies": COMPANIES,
                "statements": statements,
                "databaseProcessorSeconds": round(used / RUNS, 3),
                "commits": round(counted.commits / RUNS, 1),
                "walSyncs": round(counted.wal_syncs / RUNS, 1),
                "walKilobytes": round((wal_after - wal) / RUNS / 1000, 1),
                "tableKilobytes": round((sum(size_after.values()) - sum(size.values())) / RUNS / 1000, 1),
                "ofWhich": {
                    name: round((bytes_after - size[name]) / RUNS / 1000, 1)
                    for name, bytes_after in size_after.items()
                    if bytes_after - size[name] > RUNS * 5000
                },
                **mean,
            }
        )
    )


def _one(tenant: Tenant, config: Any, providers: NewEachTime) -> dict[str, float]:
    database, signals = tenant.database, RememberedSignals()
    database = dataclasses.replace(database, signals=signals)
    tenant = Tenant(database, tenant.manager)
    providers.first += COMPANIES
    run_id = a_run(database, tenant.manager, config_id=config)
    started = time.perf_counter()
    visits = 0
    while tenant.visit(ungated(providers)):
        visits += 1
    worked = time.perf_counter() - started
    items = rows(
        database,
        tenant.manager,
        "SELECT id, version FROM approval_items WHERE agent_run_id = :run",
        run=run_id,
    )
    started = time.perf_counter()
    with database.enter(tenant.manager) as work:
        decide(work, [Verdict(row.id, row.version) for row in items], Decision.APPROVE)
    decided = time.perf_counter() - started
    rows(
        database,
        tenant.manager,
        "UPDATE approval_items SET effective_at = app_now() WHERE applied_at IS NULL RETURNING 1",
    )
    effects.apply_due(database, tenant.manager.customer_id)
    sink = Sink()
    started = time.perf_counter()
    published = Relay(database, [sink]).drain(lambda: FUNCTION_LEFT)
    relayed = time.perf_counter() - started
    return {
        "visits": visits,
        "workerSeconds": worked,
        "proposals": len(items),
        "approveSeconds": decided,
        "doorbells": len(signals.rings),
        "relayNudges": signals.relays,
        "effectNudges": len(signals.effects),
        "events": published,
        "eventBytes": sum(sink.sizes) / max(1, len(sink.sizes)),
        "relaySeconds": relayed,
    }


def _processor_seconds(postgres: Postgres) -> float:
    """What the server and its sessions have used, those that ended included."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(stat.parent.name) == postgres.pid:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postgres.pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _standing(postgres: Postgres) -> tuple[Counters, dict[str, int], int]:
    size = {name: int(found) for name, found in postgres.execute(_TABLES, database=_DATABASE)}
    wal = postgres.execute("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint")[0][0]
    return Counters.of(postgres, _DATABASE), size, int(wal)


if __name__ == "__main__":
    main()
