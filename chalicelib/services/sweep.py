"""Every minute: what a lost message or a dead worker would leave lying, and what has been kept long enough.

Each part is safe to run twice at once, takes a batch of each tenant's at a time, and leaves time to the parts
after it.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chalicelib.db.queries import approvals
from chalicelib.db.queries import sweep as queries
from chalicelib.db.work import Database
from chalicelib.domain.access import engine_for
from chalicelib.domain.ids import CustomerId
from chalicelib.observability import Unit, measure
from chalicelib.services.approvals import effects
from chalicelib.services.outbox import Relay
from chalicelib.services.retention import Retention
from chalicelib.services.turns import hurry, in_turns

logger = logging.getLogger(__name__)

PATIENCE: Final = timedelta(seconds=60)
"""How long a ring may go unanswered before the sweep rings again."""
STALE: Final = timedelta(minutes=5)
"""A call that was booked so long ago and is nobody's is not being made any more: a lease and a call are shorter."""
MOST_RUNS: Final = 100
MOST_RESERVATIONS: Final = 500
FIGURES: Final = (
    "rung",
    "expiredLeases",
    "dueRetries",
    "overAge",
    "cancelled",
    "staleReservations",
    "applied",
    "expired",
    "stepOutputs",
    "outboxEvents",
    "idempotencyKeys",
    "signInAttempts",
    "triggerEvents",
    "scheduleFires",
    "published",
)

Enough = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Sweep:
    database: Database
    relay: Relay

    def every_minute(self, time_left: Callable[[], timedelta]) -> dict[str, int]:
        """Look after runs and reservations, apply, expire, clear, publish. Returns how many of each."""
        figures = Counter(dict.fromkeys(FIGURES, 0))
        parts: list[tuple[str, Callable[[Counter[str], Enough], None], int]] = [
            ("runs", self._runs, 35),
            ("reservations", self._reservations, 30),
            ("approvals", self._approvals, 20),
            ("retention", self._retention, 15),
        ]
        for name, part, seconds_for_the_rest in parts:
            try:
                part(figures, _until(time_left, timedelta(seconds=seconds_for_the_rest)))
            except Exception:
                logger.exception("a part of the sweep failed; the others go on", extra={"part": name})
        figures["published"] = self.relay.drain(time_left)
        self._measure()
        logger.info("swept", extra=dict(figures))
        return dict(figures)

    def _measure(self) -> None:
        """What alarms look at, each minute; see `infra/README.md`."""
        settings = self.database.settings
        with self.database.system() as session:
            now = queries.standing(
                session,
                limit=settings.agents_max_concurrent_runs,
                enabled=settings.agents_enabled,
                sinks=settings.event_sinks,
            )
        measure("OutboxLagSeconds", now.outbox_lag_seconds, Unit.SECONDS)
        measure("EventsParked", now.events_parked)
        measure("OldestDueRunSeconds", now.oldest_due_run_seconds, Unit.SECONDS)

    def _runs(self, figures: Counter[str], enough: Enough) -> None:
        settings = self.database.settings
        limit, enabled = settings.agents_max_concurrent_runs, settings.agents_enabled
        with self.database.system() as session:
            tenants = queries.tenants_to_visit(session, patience=PATIENCE, limit=limit, enabled=enabled)

        def once(tenant: str) -> bool:
            with self.database.enter(engine_for(CustomerId(tenant))) as work:
                hurry(work.session)
                row = queries.visit(
                    work.session,
                    patience=PATIENCE,
                    limit=limit,
                    enabled=enabled,
                    most=MOST_RUNS,
                    sinks=settings.event_sinks,
                )
                work.rung, work.emitted = bool(row.rings), bool(row.told)
            figures["rung"] += row.rings
            figures["expiredLeases"] += row.expired_leases
            figures["dueRetries"] += row.due_retries
            figures["overAge"] += row.over_age
            figures["cancelled"] += row.cancelled
            return MOST_RUNS in (row.expired_leases, row.over_age, row.cancelled)

        in_turns(tenants, once, enough=enough)

    def _reservations(self, figures: Counter[str], enough: Enough) -> None:
        with self.database.system() as session:
            tenants = queries.tenants_with_old_reservations(session, age=STALE)

        def once(tenant: str) -> bool:
            with self.database.enter(engine_for(CustomerId(tenant))) as work:
                hurry(work.session)
                stale = queries.forget_reservations(work.session, age=STALE, most=MOST_RESERVATIONS)
            figures["staleReservations"] += stale
            return stale == MOST_RESERVATIONS

        in_turns(tenants, once, enough=enough)

    def _approvals(self, figures: Counter[str], enough: Enough) -> None:
        with self.database.system() as session:
            tenants = approvals.tenants_with_work(session)

        def once(tenant: str) -> bool:
            customer_id = CustomerId(tenant)
            applied = effects.apply_some(self.database, customer_id, prepare=hurry)
            figures["applied"] += applied
            expired = effects.expire_due(self.database, customer_id, prepare=hurry)
            figures["expired"] += expired
            return applied == effects.BATCH or expired == effects.EXPIRE_BATCH

        in_turns(tenants, once, enough=enough)

    def _retention(self, figures: Counter[str], enough: Enough) -> None:
        Retention(self.database).clear(figures, enough=enough)


def _until(time_left: Callable[[], timedelta], rest: timedelta) -> Enough:
    return lambda: time_left() < rest
