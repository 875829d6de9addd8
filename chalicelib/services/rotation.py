"""Rotation: every envelope's data key under the current wrapping key. The keys inside are not touched, nor seen.

Each row is one compare-and-set on its envelope, so two rotations at once and one that is killed half-way leave rows
that open, under the old key or the new one. Whoever starts again goes on with what is left.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from chalicelib.db.queries import integrations as queries
from chalicelib.db.work import Database
from chalicelib.domain.access import engine_for
from chalicelib.domain.errors import Unavailable
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.secrets import Place, SealBroken, Vault
from chalicelib.faults import Point, reach

logger = logging.getLogger(__name__)

BATCH: Final = 200
"""Tenants found at a time."""

FIGURES: Final = ("tenants", "rewrapped", "current", "changed", "failed")


@dataclass(frozen=True, slots=True)
class Rotation:
    database: Database
    vault: Vault

    def rotate(self, *, after: str = "", enough: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Re-wrap what is not under the current key. Tenants come in the order of their ids, from behind `after`.

        Returns counts: `rewrapped`; `current` already; `changed` by somebody else meanwhile, which seals anew under
        the current key; `failed`, which do not open. `next` is None when all is done, else what to give as `after`
        to go on; `stopped` says why it is not done.
        """
        figures: Counter[str] = Counter(dict.fromkeys(FIGURES, 0))
        stopped = None
        while stopped is None:
            with self.database.system() as session:
                tenants = queries.tenants_after(session, after, most=BATCH)
            if not tenants:
                return self._told(figures, None, None)
            for tenant in tenants:
                if enough():
                    stopped = "out of time"
                    break
                try:
                    self._tenant(CustomerId(tenant), figures)
                except Unavailable as out:
                    stopped = out.message
                    break
                after = tenant
        return self._told(figures, after, stopped)

    def _tenant(self, customer_id: CustomerId, figures: Counter[str]) -> None:
        actor = engine_for(customer_id)
        with self.database.enter(actor) as work:
            rows = queries.sealed(work.session, actor.scope)
        for row in rows:
            try:
                new = self.vault.rewrap(row.credentials, Place(customer_id, row.provider, row.id))
            except SealBroken:
                logger.error("a saved key does not open", extra={"credential_id": row.id})  # noqa: TRY400
                figures["failed"] += 1
                continue
            if new == row.credentials:
                figures["current"] += 1
                continue
            reach(Point.BEFORE_REWRAP)
            with self.database.enter(actor) as work:
                replaced = queries.replace_envelope(
                    work.session, actor.scope, row.id, seen=row.credentials, new=new
                )
            reach(Point.AFTER_REWRAP)
            figures["rewrapped" if replaced else "changed"] += 1
        figures["tenants"] += 1

    @staticmethod
    def _told(figures: Counter[str], after: str | None, stopped: str | None) -> dict[str, Any]:
        told = {**figures, "next": after, "stopped": stopped}
        logger.info("keys re-wrapped", extra=told)
        return told
