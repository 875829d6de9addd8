"""Schedules start runs: each slot once, whatever the ticks do.

`next_due_at` advances by compare-and-set in the transaction that starts the run and says what became of
each slot. After downtime one run stands for all the slots that were missed.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from chalicelib.db.models.agent import AgentConfig
from chalicelib.db.queries import schedules as queries
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import engine_for
from chalicelib.domain.errors import AppError
from chalicelib.domain.ids import AgentConfigId, CustomerId
from chalicelib.domain.runs import Trigger
from chalicelib.domain.schedules import Outcome, check, due_slots, following
from chalicelib.faults import Point, reach
from chalicelib.services.runs import start

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500
MOST_SLOTS: Final = 5000
"""Slots told one by one after a downtime; older ones are counted with the first of these."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    database: Database

    def tick(self) -> dict[str, int]:
        """Start what is due. Safe to run twice at once, and late."""
        if not self.database.settings.agents_scheduler_enabled:
            return {"due": 0, "started": 0}
        with self.database.system() as session:
            due = queries.due(session, most=MOST_AT_ONCE)
        started = 0
        for row in due:
            try:
                started += self._fire(CustomerId(row.customer_id), AgentConfigId(row.id))
            except Exception:
                logger.exception(
                    "a schedule could not fire; the others go on", extra={"agent_config_id": row.id}
                )
        return {"due": len(due), "started": started}

    def _fire(self, customer_id: CustomerId, config_id: AgentConfigId) -> bool:
        with self.database.enter(engine_for(customer_id)) as work:
            saved = queries.hold(work.session, work.actor.scope, config_id)
            if saved is None or saved.schedule is None or saved.next_due_at is None:
                return False
            reach(Point.BEFORE_SLOT_COUNTS)
            return _fire(work, saved, saved.schedule, saved.next_due_at)


def _fire(work: Work, saved: AgentConfig, schedule: str, first: datetime) -> bool:
    missed = due_slots(schedule, saved.time_zone, first=first, now=work.now, most=MOST_SLOTS)
    after = following(schedule, saved.time_zone, after=work.now, count=1)
    if not queries.advance(
        work.session, work.actor.scope, saved.id, seen=first, to=after[0] if after else None
    ):
        return False
    run_id, why_not = _start(work, saved, slot=missed[-1], covers=len(missed))
    queries.record(work.session, work.actor.scope, saved.id, _fires(missed, run_id, why_not))
    return run_id is not None


def _start(work: Work, saved: AgentConfig, *, slot: datetime, covers: int) -> tuple[str | None, str | None]:
    """The slot's run, or the reason why there is none."""
    active = queries.active_run(work.session, work.actor.scope, saved.id)
    if active is not None:
        return None, f"The last run was still active ({active})."
    try:
        run = start.start(
            work,
            agent_type=None,
            config_id=AgentConfigId(saved.id),
            inputs={},
            trigger=Trigger.SCHEDULED,
            slot=start.Slot(slot, covers),
        )
    except AppError as refused:
        return None, refused.message
    return run.id, None


def _fires(missed: list[datetime], run_id: str | None, why_not: str | None) -> list[dict[str, Any]]:
    earlier = Outcome.COALESCED if run_id else Outcome.SKIPPED
    latest = Outcome.STARTED if run_id else Outcome.SKIPPED
    return [
        {
            "slot_at": slot.isoformat(),
            "outcome": (latest if slot == missed[-1] else earlier).value,
            "covers": len(missed) if slot == missed[-1] and run_id else 1,
            "run_id": run_id,
            "reason": why_not,
        }
        for slot in missed
    ]


def plan(work: Work, *, schedule: str | None, time_zone: str, enabled: bool) -> dict[str, Any]:
    """What a configuration stores of its schedule: one spelling, and the next slot counted from now.

    Raises Invalid for a schedule that is no good.
    """
    if schedule is None:
        return {"schedule": None, "next_due_at": None}
    least = timedelta(minutes=work.settings.agents_minimum_schedule_minutes)
    normal = check(schedule, time_zone, now=work.now, least=least)
    due = following(normal, time_zone, after=work.now, count=1)[0] if enabled else None
    return {"schedule": normal, "next_due_at": due}
