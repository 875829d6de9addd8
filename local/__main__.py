"""`python -m local`: the whole product on this machine until Ctrl-C."""

import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from local.processes import ROOT, StackError

if TYPE_CHECKING:
    from local.runner import Runner


def main() -> int:
    begun = time.monotonic()
    given = _arguments()
    terminal = sys.stdout

    def say(words: str) -> None:
        print(words, file=terminal, flush=True)

    _interrupt_once()
    runner = None
    try:
        say("Starting Bevyly Agents")
        runner = _runner(given, say)
        runner.start()
        say(_welcome(runner, time.monotonic() - begun))
        if given.ready_line:
            say(json.dumps({"url": runner.info["url"], "pid": os.getpid()}))
        while True:
            time.sleep(0.5)
            runner.check()
    except KeyboardInterrupt:
        say("\nStopping")
        return 0
    except StackError as error:
        say(f"\n{error}")
        return 1
    except Exception:  # noqa: BLE001 - a bug of ours: say all that helps to find it
        say(f"\n{traceback.format_exc()}\nThe logs are in {given.directory}.")
        return 1
    finally:
        if runner is not None:
            runner.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument(
        "--directory", type=Path, default=ROOT / ".local", help="data and logs; default .local"
    )
    parser.add_argument(
        "--port", type=int, default=None, help="default 8000 or, if taken, a free one; 0: free"
    )
    parser.add_argument(
        "--ready-line", action="store_true", help="say on one line of JSON when it is ready, for programs"
    )
    return parser.parse_args()


def _runner(given: argparse.Namespace, say: Callable[[str], None]) -> "Runner":
    from local.runner import Runner  # noqa: PLC0415 - a second of imports, in which Ctrl-C is heard, too

    environ = dict(os.environ)  # noqa: TID251 - the developer's own; the app's is made from it
    return Runner(given.directory, environ, port=given.port, say=say)


def _interrupt_once() -> None:
    """Ctrl-C and SIGTERM stop in order; while we stop, more of them change nothing."""
    told = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not told.is_set():
            told.set()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _welcome(runner: "Runner", seconds: float) -> str:
    info = runner.info
    people = [
        f"  {person['customer']:<18} {person['role']:<9} {person['email']:<27} {person['password']}"
        for person in info["people"]
    ]
    lines = [
        f"Ready in {seconds:.1f} s",
        "",
        f"  Console   {info['url']}",
        f"  API docs  {info['api']}/docs",
        f"  Sandbox   {info['sandbox'] or 'not needed: real keys'}",
        f"  Logs      {runner.directory}/*.log",
        "",
        "Who can sign in:",
        *people,
        "",
        "Real providers instead of the sandbox: OPENAI_API_KEY=… APOLLO_API_KEY=… make run",
        f"Begin anew: stop, then delete {runner.directory}. Ctrl-C stops.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # everything is stopped; a worker thread that is stuck in a call must not hold us
