"""SQS and EventBridge through a server that speaks AWS; nothing here needs an account."""

import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from chalicelib.domain.errors import Unavailable
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.ports import EventSink, OutgoingEvent, Signals
from chalicelib.integrations.aws.eventbridge import EventBridgeSink
from chalicelib.integrations.aws.session import client
from chalicelib.integrations.aws.signals import SqsSignals
from chalicelib.settings import Queues, Settings

ACME = CustomerId("cus_acme")
NUMBERS = count(1)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    assert server._server is not None
    server._server.server_close()  # moto leaves its socket open


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def settings(aws: str) -> Settings:
    """Queues and a bus of this test's own."""
    number = next(NUMBERS)
    environ = {
        "DATABASE_URL": "postgresql://x",
        "DATABASE_SYSTEM_URL": "postgresql://x",
        "OIDC_ISSUER": "x",
        "OIDC_JWKS_URL": "x",
        "OIDC_CLIENT_ID": "x",
        "AWS_ENDPOINT_URL": aws,
        "EVENT_BUS": f"bus-{number}",
    }
    queues = Queues(
        runs=f"runs-{number}",
        runs_dead="dead",
        relay=f"relay-{number}",
        effects=f"effects-{number}",
        events=f"events-{number}",
    )
    given = replace(Settings.from_environ(environ), queues=queues)
    for queue in (queues.runs, queues.relay, queues.effects):
        client("sqs", given).create_queue(QueueName=queue)
    client("events", given).create_event_bus(Name=given.event_bus)
    return given


def nowhere(settings: Settings) -> Settings:
    """The same, with nobody at the other end."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return replace(settings, aws_endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}")


def queue_url(settings: Settings, queue: str) -> str:
    url: str = client("sqs", settings).get_queue_url(QueueName=queue)["QueueUrl"]
    return url


def messages_in(settings: Settings, queue: str) -> list[Any]:
    answer = client("sqs", settings).receive_message(
        QueueUrl=queue_url(settings, queue), MaxNumberOfMessages=10, WaitTimeSeconds=0
    )
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def delayed_in(settings: Settings, queue: str) -> int:
    answer = client("sqs", settings).get_queue_attributes(
        QueueUrl=queue_url(settings, queue), AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessagesDelayed"])


# Signals


def test_each_signal_goes_to_its_queue(settings: Settings) -> None:
    signals: Signals = SqsSignals(settings)
    signals.ring(ACME)
    signals.nudge_relay()
    signals.nudge_effects(ACME, delay=timedelta())
    queues = settings.queues
    assert messages_in(settings, queues.runs) == [{"customerId": ACME}]
    assert messages_in(settings, queues.relay) == [{}]
    assert messages_in(settings, queues.effects) == [{"customerId": ACME}]


def test_a_delayed_signal_is_not_seen_before_its_time(settings: Settings) -> None:
    signals = SqsSignals(settings)
    signals.ring(ACME, delay=timedelta(minutes=15))
    signals.nudge_effects(ACME, delay=timedelta(milliseconds=1))
    assert messages_in(settings, settings.queues.runs) == []
    assert messages_in(settings, settings.queues.effects) == []
    assert delayed_in(settings, settings.queues.runs) == 1
    assert delayed_in(settings, settings.queues.effects) == 1


@pytest.mark.parametrize(
    ("delay", "seconds"), [(0, 0), (0.001, 1), (5, 5), (899.2, 900), (900, 900), (-30, 0)]
)
def test_a_delay_is_in_whole_seconds_and_never_short(settings: Settings, delay: float, seconds: int) -> None:
    asked: list[int] = []
    events = client("sqs", settings, hurried=True).meta.events

    def note(params: Any, **_: object) -> None:
        asked.append(json.loads(params["body"])["DelaySeconds"])

    events.register("before-call.sqs.SendMessage", note)
    try:
        SqsSignals(settings).nudge_effects(ACME, delay=timedelta(seconds=delay))
    finally:
        events.unregister("before-call.sqs.SendMessage", note)
    assert asked == [seconds]


def test_what_is_due_after_a_quarter_of_an_hour_is_left_to_the_sweep(settings: Settings) -> None:
    signals = SqsSignals(settings)
    signals.ring(ACME, delay=timedelta(minutes=15, microseconds=1))
    signals.nudge_effects(ACME, delay=timedelta(hours=24))
    assert delayed_in(settings, settings.queues.runs) == 0
    assert delayed_in(settings, settings.queues.effects) == 0


def test_a_queues_address_is_looked_up_once(settings: Settings) -> None:
    signals = SqsSignals(settings)
    asked: list[str] = []
    events = client("sqs", settings, hurried=True).meta.events
    note = _noter(asked)
    events.register("before-call.sqs", note)
    try:
        signals.ring(ACME)
        signals.ring(ACME)
    finally:
        events.unregister("before-call.sqs", note)
    assert asked == ["GetQueueUrl", "SendMessage", "SendMessage"]


def _noter(asked: list[str]) -> Any:
    def note(model: Any, **_: object) -> None:
        asked.append(model.name)

    return note


def test_nobody_at_the_other_end_delays_nobody(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    signals = SqsSignals(nowhere(settings))
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        signals.ring(ACME)
        signals.nudge_relay()
        signals.nudge_effects(ACME, delay=timedelta(seconds=5))
    assert time.monotonic() - started < 2
    assert [record.getMessage() for record in caplog.records] == ["signal not sent"] * 3
    assert vars(caplog.records[0])["customerId"] == ACME


def test_a_queue_that_does_not_answer_is_given_up_on_in_two_seconds(settings: Settings) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        deaf = replace(settings, aws_endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        SqsSignals(deaf).ring(ACME)
        assert time.monotonic() - started < 2


def test_a_missing_queue_is_no_failure_of_the_caller(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    signals = SqsSignals(replace(settings, queues=replace(settings.queues, runs="not-there")))
    with caplog.at_level(logging.WARNING):
        signals.ring(ACME)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_queue_made_anew_is_found_again(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    signals = SqsSignals(settings)
    signals.ring(ACME)
    sqs, queue = client("sqs", settings), settings.queues.runs
    sqs.delete_queue(QueueUrl=queue_url(settings, queue))
    with caplog.at_level(logging.WARNING):
        signals.ring(ACME)
    assert signals._urls == {}
    sqs.create_queue(QueueName=queue)
    signals.ring(ACME)
    assert messages_in(settings, queue) == [{"customerId": ACME}]


# Events


def an_event(number: int = 1, **fields: object) -> OutgoingEvent:
    cloud_event: Mapping[str, Any] = {
        "specversion": "1.0",
        "id": f"evt_{number}",
        "source": "bevyly.agents",
        "type": "agent.run.completed",
        "sequence": number,
        "data": {"runId": "run_1", "note": "Grüße"},
        **fields,
    }
    return OutgoingEvent(id=f"evt_{number}", customer_id=ACME, cloud_event=cloud_event)


def a_subscriber(settings: Settings) -> str:
    """A queue that hears all the bus says."""
    queue = f"heard-{settings.event_bus}"
    client("sqs", settings).create_queue(QueueName=queue)
    events = client("events", settings)
    events.put_rule(
        Name="all",
        EventBusName=settings.event_bus,
        EventPattern=json.dumps({"source": [settings.event_source]}),
    )
    arn = f"arn:aws:sqs:{settings.aws_region}:123456789012:{queue}"
    events.put_targets(Rule="all", EventBusName=settings.event_bus, Targets=[{"Id": "queue", "Arn": arn}])
    return queue


def test_an_event_arrives_whole_under_its_source_and_type(settings: Settings) -> None:
    heard = a_subscriber(settings)
    sink: EventSink = EventBridgeSink(settings)
    assert sink.name == "eventbridge"
    assert sink.publish([an_event()]) == [None]
    [message] = messages_in(settings, heard)
    assert (message["source"], message["detail-type"]) == (settings.event_source, "agent.run.completed")
    assert message["detail"] == an_event().cloud_event


def test_ten_events_go_in_one_call_and_more_in_several(settings: Settings) -> None:
    asked: list[str] = []
    events, note = client("events", settings).meta.events, _noter(asked)
    events.register("before-call.events", note)
    try:
        sink = EventBridgeSink(settings)
        assert sink.publish([an_event(number) for number in range(10)]) == [None] * 10
        assert asked == ["PutEvents"]
        assert sink.publish([an_event(number) for number in range(11)]) == [None] * 11
        assert asked == ["PutEvents"] * 3
    finally:
        events.unregister("before-call.events", note)


def test_ten_events_of_the_largest_size_do_not_burst_a_call(settings: Settings) -> None:
    asked: list[int] = []
    events = client("events", settings).meta.events

    def note(params: Any, **_: object) -> None:
        asked.append(len(params["body"]))

    events.register("before-call.events.PutEvents", note)
    try:
        large = [an_event(number, text="x" * 64_000) for number in range(10)]
        assert EventBridgeSink(settings).publish(large) == [None] * 10
    finally:
        events.unregister("before-call.events.PutEvents", note)
    assert len(asked) == 4
    assert max(asked) < 256 * 1024


def test_an_event_that_is_refused_says_why_and_the_others_go_out(settings: Settings) -> None:
    heard = a_subscriber(settings)
    taken, refused, also_taken = EventBridgeSink(settings).publish(
        [
            an_event(1),
            an_event(2, type=""),
            an_event(3),
        ]
    )
    assert taken is also_taken is None
    assert refused is not None
    assert refused.startswith("InvalidArgument: ")
    assert sorted(message["detail"]["id"] for message in messages_in(settings, heard)) == ["evt_1", "evt_3"]


def test_nothing_to_publish_is_no_call(settings: Settings) -> None:
    assert EventBridgeSink(nowhere(settings)).publish([]) == []


def test_a_bus_out_of_reach_is_unavailable(settings: Settings) -> None:
    with pytest.raises(Unavailable) as told:
        EventBridgeSink(nowhere(settings)).publish([an_event()])
    assert told.value.retry_after is not None
    assert told.value.__context__ is None


def test_a_bus_that_refuses_the_whole_call_is_unavailable(settings: Settings) -> None:
    events = client("events", settings).meta.events
    refusal = _refusal("ThrottlingException")
    events.register("before-call.events.PutEvents", refusal)
    try:
        with pytest.raises(Unavailable, match="ThrottlingException"):
            EventBridgeSink(settings).publish([an_event()])
    finally:
        events.unregister("before-call.events.PutEvents", refusal)


def _refusal(code: str) -> Any:
    def refuse(**_: object) -> None:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - only this one answer needs it

        raise ClientError({"Error": {"Code": code, "Message": "Rate exceeded"}}, "PutEvents")

    return refuse


# Clients


def test_a_client_is_made_once_for_each_endpoint(settings: Settings) -> None:
    assert client("sqs", settings) is client("sqs", replace(settings, log_level="DEBUG"))
    assert client("sqs", settings) is not client("sqs", settings, hurried=True)
    assert client("sqs", settings) is not client("sqs", nowhere(settings))


def test_importing_the_adapters_does_not_pay_for_boto3() -> None:
    code = (
        "import sys, chalicelib.integrations.aws.signals, chalicelib.integrations.aws.eventbridge;"
        "print([name for name in ('boto3', 'botocore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
