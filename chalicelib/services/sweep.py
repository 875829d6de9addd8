"""Every minute: what a lost message would leave lying. Each part is safe to run twice at once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chalicelib.db.queries import approvals, runs
from chalicelib.db.work import Database
from chalicelib.domain.access import engine_for
from chalicelib.domain.ids import CustomerId
from chalicelib.services.approvals.effects import apply_due, expire_due
from chalicelib.services.outbox import Relay

logger = logging.getLogger(__name__)

PATIENCE: Final = timedelta(seconds=60)
"""How long a ring may go unanswered before the sweep rings again."""


@dataclass(frozen=True, slots=True)
class Sweep:
    database: Database
    relay: Relay

    def every_minute(self, time_left: Callable[[], timedelta]) -> dict[str, int]:
        """Ring, apply, expire, publish. Returns how many of each."""
        rung = self._ring()
        with self.database.system() as session:
            tenants = approvals.tenants_with_work(session)
        applied = expired = 0
        for tenant in tenants:
            if time_left() < timedelta(seconds=20):
                logger.warning("the sweep is out of time; the next one goes on")
                break
            try:
                applied += apply_due(self.database, CustomerId(tenant))
                expired += expire_due(self.database, CustomerId(tenant))
            except Exception:
                logger.exception(
                    "a tenant could not be swept; the others go on", extra={"customer_id": tenant}
                )
        published = self.relay.drain(time_left)
        figures = {"rung": rung, "applied": applied, "expired": expired, "published": published}
        logger.info("swept", extra=figures)
        return figures

    def _ring(self) -> int:
        settings = self.database.settings
        limit = settings.agents_max_concurrent_runs
        with self.database.system() as session:
            tenants = runs.tenants_with_due_runs(
                session, patience=PATIENCE, limit=limit, enabled=settings.agents_enabled
            )
        rung = 0
        for tenant in tenants:
            try:
                with self.database.enter(engine_for(CustomerId(tenant))) as work:
                    work.rung = runs.ring_again(work.session, limit=limit, patience=PATIENCE)
                rung += work.rung
            except Exception:
                logger.exception(
                    "a tenant could not be rung; the others go on", extra={"customer_id": tenant}
                )
        return rung
