"""The emulator does to a function what Lambda does."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from infra.emulator.function import Configuration, Function
from infra.package.target import PYTHON

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.version_info[:2] != PYTHON,
        reason="The functions run on Python 3.13; the emulator starts only that.",
    ),
]

CODE = """
import os, sys, time

calls = []

def answer(event, context):
    calls.append(event)
    return {
        "calls": len(calls),
        "event": event,
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
        "left": context.get_remaining_time_in_millis(),
        "task_root": os.environ["LAMBDA_TASK_ROOT"],
        "home": os.environ.get("HOME"),
        "path": sys.path,
    }

def fail(event, context):
    raise ValueError("no such customer")

def sleep(event, context):
    print("it sleeps")
    time.sleep(event)
    return "awake"

def die(event, context):
    os._exit(3)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "code_of_mine.py").write_text(CODE)
    (folder / "broken.py").write_text("import a_library_that_was_left_out\n")
    return folder


@contextmanager
def running(package: Path, handler: str, **given: timedelta) -> Iterator[Function]:
    configuration = Configuration(handler, name="mine", **given)  # type: ignore[arg-type]
    with Function(package, configuration, log_file=package.parent / "log") as function:
        yield function


def test_a_handler_gets_its_event_and_context_and_keeps_what_it_holds(package: Path) -> None:
    with running(package, "code_of_mine.answer", timeout=timedelta(seconds=20)) as function:
        first, second = function.invoke({"a": "ä"}), function.invoke([])
    assert first.ok
    assert (first.payload["calls"], second.payload["calls"]) == (1, 2)
    assert first.payload["event"] == {"a": "ä"}
    assert first.payload["name"] == "mine"
    assert first.payload["arn"] == "arn:aws:lambda:eu-central-1:123456789012:function:mine"
    assert first.payload["request_id"] != second.payload["request_id"]
    assert 0 < second.payload["left"] <= 20_000
    assert second.took < first.took


def test_nothing_of_this_machines_shows(package: Path) -> None:
    with running(package, "code_of_mine.answer") as function:
        told = function.invoke({}).payload
    assert told["home"] is None
    assert told["path"][0] == told["task_root"] == str(package)
    assert [path for path in told["path"] if "site-packages" in path] == []


def test_an_error_comes_back_with_its_type_and_words(package: Path) -> None:
    with running(package, "code_of_mine.fail") as function:
        answer = function.invoke({})
        assert (answer.error_type, answer.error) == ("ValueError", "no such customer")
        assert "Traceback" in function.log()


def test_who_takes_too_long_is_killed_and_the_next_event_starts_anew(package: Path) -> None:
    with running(package, "code_of_mine.sleep", timeout=timedelta(seconds=1)) as function:
        answer = function.invoke(60)
        assert (answer.error_type, answer.error) == ("Sandbox.Timedout", "Task timed out after 1.00 seconds")
        assert function.invoke(0).payload == "awake"
        assert function.log().count("it sleeps") == 2


def test_a_process_that_ends_fails_its_event(package: Path) -> None:
    with running(package, "code_of_mine.die") as function:
        answer = function.invoke({})
    assert (answer.error_type, answer.error) == ("Runtime.ExitError", "The process ended with code 3.")


@pytest.mark.parametrize(
    ("handler", "error_type", "word"),
    [
        ("broken.handler", "Runtime.ImportModuleError", "a_library_that_was_left_out"),
        ("code_of_mine.nobody", "Runtime.HandlerNotFound", "nobody"),
        ("code_of_mine", "Runtime.MalformedHandlerName", "code_of_mine"),
    ],
)
def test_a_function_that_does_not_start_says_why(
    package: Path, handler: str, error_type: str, word: str
) -> None:
    with running(package, handler) as function:
        answer = function.invoke({})
    assert answer.error_type == error_type
    assert word in json.dumps(answer.error)
