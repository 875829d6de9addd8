"""A batch of messages: each is done, whatever becomes of the others, and what failed is told by its id."""

import json
import logging

import pytest
from chalice.app import SQSEvent

from chalicelib.domain.ids import new_id
from chalicelib.services.triggers import Told, told_by
from chalicelib.workers.runs import Failures, customer_of, each_once
from local.poller import reported


def batch(*bodies: str) -> SQSEvent:
    """Messages `m1`, `m2`, … as Lambda hands them to app.py."""
    records = [
        {"messageId": f"m{number}", "receiptHandle": "r", "body": body}
        for number, body in enumerate(bodies, start=1)
    ]
    return SQSEvent({"Records": records}, None)


def failed(*message_ids: str) -> Failures:
    return {"batchItemFailures": [{"itemIdentifier": each} for each in message_ids]}


def test_what_several_messages_name_is_done_once() -> None:
    """Seen red with each message done for itself."""
    done: list[int] = []
    assert each_once(batch("1", "2", "1"), int, done.append) == failed()
    assert done == [1, 2]


def test_a_message_that_nobody_can_read_comes_again_alone() -> None:
    done: list[int] = []
    assert each_once(batch("1", "no number", "2"), int, done.append) == failed("m2")
    assert done == [1, 2]


def test_a_message_of_whatever_form_keeps_no_other_from_being_done() -> None:
    """Seen red with ValueError alone: so deep a body is none."""
    wanted = json.dumps({"customerId": new_id("CustomerId")})
    done: list[str] = []
    assert each_once(batch("[" * 100_000, wanted), customer_of, done.append) == failed("m1")
    assert len(done) == 1


def test_what_fails_comes_again_alone_with_all_that_name_it(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def do(number: int) -> None:
        if number == 1:
            raise RuntimeError("the database is away")
        done.append(number)

    assert each_once(batch("1", "2", "1", "3"), int, do) == failed("m1", "m3")
    assert done == [2, 3]
    (line,) = caplog.records
    assert (line.levelno, line.message) == (logging.ERROR, "a message of a batch failed")
    assert line.__dict__["message_ids"] == ["m1", "m3"]


def test_when_all_fail_lambda_counts_an_error() -> None:
    """Function errors ring an alarm, reported messages do not."""

    def do(_: int) -> None:
        raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError, match="away"):
        each_once(batch("1", "2"), int, do)
    with pytest.raises(ValueError, match="no number"):
        each_once(batch("no number"), int, do)


@pytest.mark.parametrize("said", [None, {}, "", {"batchItemFailures": None}, failed()])
def test_an_answer_without_failures_is_a_batch_that_is_done(said: object) -> None:
    assert reported(said, {"m1", "m2"}) == set()


def test_a_reported_message_alone_has_failed() -> None:
    assert reported(failed("m2"), {"m1", "m2"}) == {"m2"}


@pytest.mark.parametrize(
    "said",
    [
        failed("m1", "m3"),
        failed(""),
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"messageId": "m1"}]},
        {"batchItemFailures": ["m1"]},
        {"batchItemFailures": "m1"},
        "done",
    ],
)
def test_after_an_answer_that_names_no_message_of_the_batch_all_have_failed(said: object) -> None:
    """So AWS documents it. Seen red with the names that are there taken, and the others left."""
    assert reported(said, {"m1", "m2"}) == {"m1", "m2"}


def test_an_event_is_read_out_of_the_bus_envelope() -> None:
    body = json.dumps({"detail": {"customerid": "cus_1", "id": "evt_1", "type": "x"}})
    assert told_by(body) == Told("cus_1", "evt_1")  # type: ignore[arg-type]  # ids of a test


@pytest.mark.parametrize("body", ["", "{}", "[]", "7", '{"detail": 7}', '{"detail": {"id": "evt_1"}}'])
def test_what_is_no_event_of_ours_is_refused(body: str) -> None:
    """Seen red with the KeyError let through."""
    with pytest.raises(ValueError, match=r"."):
        told_by(body)
