"""What the workers measure, as CloudWatch reads it from standard output."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import CredentialRejected
from chalicelib.domain.ports import OutgoingEvent
from chalicelib.observability import NAMESPACE
from chalicelib.services.outbox import Relay
from chalicelib.services.runs.context import Providers
from chalicelib.services.sweep import Sweep
from tests.builders import a_config, a_run, rows
from tests.conftest import MINUTE, World
from tests.fakes.providers import ScriptedCompanies, ScriptedModel


class Bus:
    """Takes every event, or none."""

    name = "eventbridge"

    def __init__(self, refuses: str | None = None) -> None:
        self.refuses = refuses

    def publish(self, events: list[OutgoingEvent]) -> list[str | None]:
        return [self.refuses] * len(events)


def measured(printed: str) -> list[dict[str, Any]]:
    """The metrics among what was printed: name, value, unit, and by which dimensions."""
    found = []
    for line in printed.splitlines():
        told = json.loads(line) if line.startswith("{") else {}
        for group in told.get("_aws", {}).get("CloudWatchMetrics", []):
            assert group["Namespace"] == NAMESPACE
            (dimensions,) = group["Dimensions"]
            assert set(dimensions) <= {"AgentType"}, "never by tenant"
            found += [
                {
                    "name": metric["Name"],
                    "value": sum(told[metric["Name"]]),
                    "unit": metric["Unit"],
                    **{name: told[name] for name in dimensions},
                }
                for metric in group["Metrics"]
            ]
    return found


def sweep(world: World, bus: Bus) -> None:
    Sweep(world.database, Relay(world.database, [bus])).every_minute(lambda: MINUTE)


def reject(_call: str) -> None:
    raise CredentialRejected("The key is no good.")


def test_runs_are_counted_as_they_end_in_all_and_by_agent_type(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    config = a_config(world.database, world.ours.manager)
    for _ in range(3):
        a_run(world.database, world.ours.manager, config_id=config, refresh=True)
    for _ in range(2):
        world.visit()
    world.visit(Providers(ScriptedCompanies(before=reject), ScriptedModel()))
    sweep(world, Bus())
    totals: Counter[tuple[str, str]] = Counter()
    for metric in measured(capsys.readouterr().out):
        totals[metric["name"], metric.get("AgentType", "")] += metric["value"]
    assert {key: value for key, value in totals.items() if key[0].startswith("Runs")} == {
        ("RunsCompleted", ""): 2,
        ("RunsCompleted", "lead_source"): 2,
        ("RunsFailed", ""): 1,
        ("RunsFailed", "lead_source"): 1,
    }


def test_each_minute_says_how_the_outbox_and_the_queue_stand(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bus that refuses, a run that nobody comes for, and an event that is parked.

    Seen red with the oldest run of a tenant whose slots are all taken counted, too.
    """
    config = a_config(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager, config_id=config)
    busy = a_config(world.database, world.theirs.manager)
    at_work, _ = (a_run(world.database, world.theirs.manager, config_id=busy) for _ in range(2))
    rows(world.database, world.theirs.manager, "UPDATE customers SET max_concurrent_runs = 1 RETURNING id")
    rows(
        world.database,
        world.theirs.manager,
        "UPDATE agent_runs SET status = 'running', lease_token = 'a token',"
        " lease_expires_at = app_now() + interval '10 minutes' WHERE id = :id RETURNING id",
        id=at_work,
    )
    rows(
        world.database,
        world.theirs.manager,
        "UPDATE agent_runs SET due_at = due_at - interval '1 hour' WHERE status = 'pending' RETURNING id",
    )
    rows(
        world.database,
        world.theirs.manager,
        "UPDATE event_deliveries SET status = 'parked' RETURNING event_id",
    )
    parked = len(
        rows(
            world.database,
            world.theirs.manager,
            "SELECT event_id FROM event_deliveries WHERE status = 'parked'",
        )
    )
    soon = datetime.now(UTC) + timedelta(seconds=90)  # noqa: TID251 - the database's clock is this machine's
    world.database = replace(world.database, clock=lambda: soon)
    sweep(world, Bus(refuses="It is full."))
    found = {metric["name"]: metric for metric in measured(capsys.readouterr().out)}
    assert 90 <= found["OutboxLagSeconds"]["value"] < 120
    assert found["OutboxLagSeconds"]["unit"] == "Seconds"
    assert 90 <= found["OldestDueRunSeconds"]["value"] < 120
    assert found["EventsParked"]["value"] == parked > 0


def test_a_system_in_order_measures_nothing_but_noughts(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(world, Bus())
    capsys.readouterr()
    sweep(world, Bus())
    found = {metric["name"]: metric["value"] for metric in measured(capsys.readouterr().out)}
    assert found == {"OutboxLagSeconds": 0, "EventsParked": 0, "OldestDueRunSeconds": 0}
