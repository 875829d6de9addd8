"""A batch of messages: each is done, whatever becomes of the others."""

import json
from types import SimpleNamespace

import pytest

from chalicelib.services.triggers import Told, told_by
from chalicelib.workers.runs import each_once


def batch(*bodies: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(body=body) for body in bodies]


def test_what_several_messages_name_is_done_once() -> None:
    """Seen red with each message done for itself."""
    done: list[int] = []
    each_once(batch("1", "2", "1"), int, done.append)
    assert done == [1, 2]


def test_a_message_that_nobody_can_read_keeps_no_other_from_being_done() -> None:
    """It fails the batch in the end, and goes to the dead letters. Seen red with all read first."""
    done: list[int] = []
    with pytest.raises(ValueError, match="invalid literal"):
        each_once(batch("1", "no number", "2"), int, done.append)
    assert done == [1, 2]


def test_a_failure_keeps_no_other_from_being_done() -> None:
    """Seen red with the first failure raised at once."""
    done: list[int] = []

    def do(number: int) -> None:
        if number == 1:
            raise RuntimeError("the database is away")
        done.append(number)

    with pytest.raises(RuntimeError, match="away"):
        each_once(batch("1", "2", "3"), int, do)
    assert done == [2, 3]


def test_an_event_is_read_out_of_the_bus_envelope() -> None:
    body = json.dumps({"detail": {"customerid": "cus_1", "id": "evt_1", "type": "x"}})
    assert told_by(body) == Told("cus_1", "evt_1")  # type: ignore[arg-type]  # ids of a test


@pytest.mark.parametrize("body", ["", "{}", "[]", "7", '{"detail": 7}', '{"detail": {"id": "evt_1"}}'])
def test_what_is_no_event_of_ours_is_refused(body: str) -> None:
    """Seen red with the KeyError let through."""
    with pytest.raises(ValueError, match=r"."):
        told_by(body)
