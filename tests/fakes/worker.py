"""A worker in a process of its own, which kills itself at a named point: `python -m tests.fakes.worker`.

Its providers append each call to a file before they answer, as a provider's own books would.
"""

import argparse
import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from chalicelib import faults
from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.services.approvals.effects import apply_due
from chalicelib.services.outbox import Relay
from chalicelib.services.runs.context import Providers
from chalicelib.services.runs.execute import Engine
from chalicelib.settings import Settings
from tests.fakes.providers import ScriptedCompanies, ScriptedModel
from tests.fakes.signals import RememberedSignals


class Sink:
    """Appends each event to the books."""

    name = "eventbridge"

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        for event in events:
            self._write(f"{event.cloud_event['subject']} {event.cloud_event['sequence']}")
        return [None] * len(events)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=["run", "apply", "relay"])
    parser.add_argument("--settings", required=True)
    parser.add_argument("--customer", required=True)
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--companies", type=int, default=12)
    parser.add_argument("--die-at")
    parser.add_argument("--nth", type=int, default=1)
    given = parser.parse_args()

    def write(line: str) -> None:
        with given.books.open("a") as books:
            books.write(line + "\n")

    if given.die_at:
        _die_at(faults.Point(given.die_at), given.nth)
    settings = Settings.from_environ(json.loads(given.settings))
    database = Database(
        create(settings.database_url), create(settings.database_system_url), settings, RememberedSignals()
    )
    customer_id = CustomerId(given.customer)
    if given.job == "apply":
        apply_due(database, customer_id)
    elif given.job == "relay":
        Relay(database, [Sink(write)]).drain(lambda: timedelta(minutes=5))
    else:
        providers = Providers(ScriptedCompanies(given.companies, before=write), ScriptedModel())
        engine = Engine(database, lambda _customer: providers)
        while engine.visit(customer_id, lambda: timedelta(minutes=5)) is not None:
            pass


def _die_at(point: faults.Point, nth: int) -> None:
    """SIGKILL at the nth time the point is reached: nothing is cleaned up, nothing is told."""
    left = iter(range(nth - 1, -1, -1))

    def hook(reached: faults.Point) -> None:
        if reached is point and next(left, -1) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    faults.install(hook)


if __name__ == "__main__":
    main()
