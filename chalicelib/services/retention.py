"""What is kept for a time only goes: a batch of each kind at a time, from the minute's sweep.

Audit entries are never touched, nor are an aggregate's sequences, nor parked events.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy.orm import Session

from chalicelib.db.queries import retention as queries
from chalicelib.db.work import Database
from chalicelib.services.turns import hurry, in_turns
from chalicelib.settings import Settings

BATCH: Final = 1000

Clear = Callable[[Session], int]


@dataclass(frozen=True, slots=True)
class Retention:
    database: Database

    def clear(self, figures: Counter[str], *, enough: Callable[[], bool]) -> None:
        """Count in `figures` what went, by kind. Safe to run twice at once; what somebody holds is left."""
        kinds = _kinds(self.database.settings)

        def once(kind: str) -> bool:
            with self.database.system() as session:
                hurry(session)
                gone = kinds[kind](session)
            figures[kind] += gone
            return gone == BATCH

        in_turns(kinds, once, enough=enough)


def _kinds(settings: Settings) -> Mapping[str, Clear]:
    keep = timedelta(days=settings.retention_trigger_days)
    fresh = max(settings.provider_facts_fresh_days, settings.provider_searches_fresh_days)
    return {
        "idempotencyKeys": partial(queries.idempotency_keys, most=BATCH),
        "signInAttempts": partial(queries.sign_in_attempts, most=BATCH),
        "outboxEvents": partial(
            queries.outbox, keep=timedelta(days=settings.retention_outbox_days), most=BATCH
        ),
        "stepOutputs": partial(
            queries.step_outputs, keep=timedelta(days=settings.retention_step_output_days), most=BATCH
        ),
        "triggerEvents": partial(queries.trigger_events, keep=keep, most=BATCH),
        "scheduleFires": partial(queries.schedule_fires, keep=keep, most=BATCH),
        "providerFacts": partial(queries.provider_facts, keep=timedelta(days=fresh), most=BATCH),
    }
