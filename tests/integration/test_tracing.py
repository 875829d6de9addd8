"""One trace from the request to the provider's call, as the X-Ray daemon hears it."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib import settings, tracing
from chalicelib.domain.ids import new_id
from chalicelib.services.triggers import react, told_by
from local.postgres import Postgres
from tests.builders import a_config, a_run, rows
from tests.conftest import World
from tests.integration.http_world import Api, an_api

ROOT = "1-6b0a1a2b-89fc0f632fcc7e77494acf61"


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


@dataclass(slots=True)
class Daemon:
    """What a daemon hears on its port."""

    socket: socket.socket

    def heard(self) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = []
        self.socket.settimeout(0.2)
        while True:
            try:
                datagram = self.socket.recv(65_535)
            except TimeoutError:
                return documents
            first, _, document = datagram.partition(b"\n")
            assert json.loads(first) == {"format": "json", "version": 1}
            documents.append(json.loads(document))


@pytest.fixture
def sampling(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Sets how many traces of our own are sent, in percent."""

    def sample(percent: int) -> None:
        monkeypatch.setenv("TRACE_SAMPLE_PERCENT", str(percent))
        settings.trace_sample_percent.cache_clear()

    yield sample
    monkeypatch.undo()
    settings.trace_sample_percent.cache_clear()


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, sampling: Callable[[int], None]) -> Iterator[Daemon]:
    """Hears all there is, unless a test says otherwise."""
    sampling(100)
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.bind(("127.0.0.1", 0))
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mouth.connect(ear.getsockname())
    monkeypatch.setattr(tracing, "_daemon", lambda: mouth)
    with ear, mouth:
        yield Daemon(ear)


def test_a_request_its_run_the_wait_each_step_and_each_call_are_one_trace(api: Api, daemon: Daemon) -> None:
    """Seen red with the pool's threads left without the run's place: the calls were traces of their own."""
    manager = api.world.ours.manager
    config = a_config(api.world.database, manager)
    daemon.heard()
    answered = api.send(
        "POST", "/v1/runs", manager, body={"configId": config}, headers={"X-Amzn-Trace-Id": f"Root={ROOT}"}
    )
    run_id = answered.json()["data"]["id"]
    api.world.visit()
    spans = [span for span in daemon.heard() if span["trace_id"] == ROOT]
    by_id = {span["id"]: span for span in spans}
    told = api.send("GET", f"/v1/runs/{run_id}", manager).json()["data"]
    assert told["traceId"] == ROOT
    request, run = (next(span for span in spans if span["name"] == name) for name in ("POST /v1/runs", "run"))
    assert "type" not in request
    assert run["parent_id"] == request["id"]
    assert run["annotations"] == {"run_id": run_id, "agent_type": "lead_source", "attempt": 1}
    assert [span["parent_id"] for span in spans if span["name"] == "queue"] == [run["id"]]
    calls = [span for span in spans if span.get("namespace") == "remote"]
    steps = [by_id[call["parent_id"]] for call in calls]
    assert sorted(step["annotations"]["step"] for step in steps) == [
        "enrich:company-0.example",
        "enrich:company-1.example",
        "enrich:company-2.example",
        "search:1",
    ]
    assert {step["parent_id"] for step in steps} == {run["id"]}
    assert {call["name"] for call in calls} == {"apollo"}
    entries = rows(api.world.database, manager, "SELECT id FROM usage_entries")
    assert {call["annotations"]["entry_id"] for call in calls} == {entry.id for entry in entries}


def test_what_an_event_starts_is_part_of_the_trace_that_caused_it(world: World, daemon: Daemon) -> None:
    """A person's request causes an event, and the event a run."""
    drafter = a_config(
        world.database,
        world.ours.manager,
        agent_type="email_drafter",
        config={"productValue": "We save you time.", "senderName": "Ada", "senderTitle": "CEO"},
        event_types=["crm.contact.created"],
    )
    event_id = new_id("EventId")
    told = f"Root={ROOT};Parent=00f067aa0ba902b7;Sampled=1"
    rows(
        world.database,
        world.ours.manager,
        "INSERT INTO outbox_events (id, customer_id, event_type, aggregate_type, aggregate_id, sequence, payload,"
        " causation) VALUES (:id, :customer, 'crm.contact.created', 'contact', 'con_1', 1, '{}',"
        " jsonb_build_object('trace', CAST(:trace AS text))) RETURNING id",
        id=event_id,
        customer=world.ours.customer_id,
        trace=told,
    )
    body = json.dumps({"detail": {"id": event_id, "customerid": world.ours.customer_id}})
    for event in [told_by(body)]:
        react(world.database, event)
    (run,) = rows(
        world.database,
        world.ours.manager,
        "SELECT causation FROM agent_runs WHERE agent_config_id = :config",
        config=drafter,
    )
    assert run.causation["trace"] == told


def test_nothing_is_sent_of_a_trace_that_is_not_sampled(daemon: Daemon) -> None:
    with tracing.request("GET /v1/me", f"Root={ROOT};Sampled=0"), tracing.span("a part"):
        assert tracing.header() == f"Root={ROOT};Parent={tracing.here().span_id};Sampled=0"  # type: ignore[union-attr]
    assert daemon.heard() == []


def test_a_run_that_nobody_asked_for_begins_a_trace_of_its_own(world: World, daemon: Daemon) -> None:
    runs = [a_run(world.database, world.ours.manager) for _ in range(2)]
    found = rows(world.database, world.ours.manager, "SELECT id, causation FROM agent_runs")
    places = {run.id: tracing.Place.of(run.causation["trace"]) for run in found}
    assert len({place.trace_id for place in places.values() if place}) == len(runs)


@pytest.mark.parametrize(("percent", "of_a_thousand"), [(0, 0), (5, 50), (50, 500), (100, 1000)])
def test_so_many_of_a_hundred_traces_are_sampled_by_their_ids(percent: int, of_a_thousand: int) -> None:
    ids = [f"1-6b0a1a2b-{(2 * nth + 1) * 2**31 // 1000:08x}77494acf61d1e2f3" for nth in range(1000)]
    assert sum(tracing.is_sampled(each, percent) for each in ids) == of_a_thousand


@pytest.mark.parametrize("percent", [0, 100])
def test_a_run_of_nobodys_request_is_told_or_not_from_beginning_to_end(
    world: World, daemon: Daemon, sampling: Callable[[int], None], percent: int
) -> None:
    """Its own trace's beginning decides, whatever the worker's setting is later. Seen red with every trace sampled."""
    sampling(percent)
    run_id = a_run(world.database, world.ours.manager)
    sampling(100 - percent)
    daemon.heard()
    world.visit()
    (run,) = rows(world.database, world.ours.manager, "SELECT status, causation FROM agent_runs")
    place = tracing.Place.of(run.causation["trace"])
    assert place is not None
    assert (run.status, place.sampled) == ("completed", percent == 100)
    spans = [span for span in daemon.heard() if span["trace_id"] == place.trace_id]
    told = [span["annotations"]["run_id"] for span in spans if span["name"] == "run"]
    assert told == ([run_id] if percent == 100 else [])
    assert bool(spans) == (percent == 100)


@pytest.mark.parametrize("told", ["", "Root=x", "Root=1-abc", "nonsense;;=", None])
def test_a_header_that_is_none_begins_a_trace(daemon: Daemon, told: str | None) -> None:
    with tracing.request("GET /v1/me", told):
        pass
    (span,) = daemon.heard()
    assert tracing.Place.of(f"Root={span['trace_id']}") is not None


def test_a_failure_is_marked_and_goes_on_its_way(daemon: Daemon) -> None:
    with pytest.raises(ZeroDivisionError), tracing.request("GET /v1/me", None), tracing.span("a part"):
        raise ZeroDivisionError
    part, whole = daemon.heard()
    assert part["fault"]
    assert whole["fault"]
    assert part["parent_id"] == whole["id"]


def test_a_deaf_daemon_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    gone.connect(("127.0.0.1", 9))
    monkeypatch.setattr(tracing, "_daemon", lambda: gone)
    with gone:
        for _ in range(3):
            with tracing.request("GET /v1/me", None):
                pass
