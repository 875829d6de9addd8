"""The engine's children: `python -m bench.engine_child accept|work READ_END WRITE_END …`.

`accept` starts runs as the API's handler does, one `begin` of a signed-in person each. `work` answers the
doorbell through the entry point `app.execute_run`, with the event that Lambda gives it. Both know one more
agent than the product: three steps that do nothing, or wait as long as a call would.
"""

import argparse
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, Final

from app import execute_run
from bench.doorbell import Doorbell, DoorbellSignals, answer
from bench.installation import ISSUER
from bench.watching import Watch
from chalicelib.agents import registry
from chalicelib.agents.base import Agent, AgentModel, Category, RunContext
from chalicelib.bootstrap import context
from chalicelib.domain.ids import RunId
from chalicelib.services.runs.start import start
from local.invocation import Context

STEPS: Final = 3


class Nothing(AgentModel):
    """No setting at all."""


class Pause(AgentModel):
    """How long each step takes."""

    seconds: float = 0.0


def three_steps(run: RunContext, inputs: Pause, _config: Nothing) -> None:
    """Each is committed before the next one begins."""
    run.note(beganAt=time.time())
    for number in range(STEPS):
        run.step(f"step:{number}", lambda _call, number=number: _step(inputs, number), returns=int)  # type: ignore[misc]


def _step(inputs: Pause, number: int) -> int:
    if inputs.seconds:
        time.sleep(inputs.seconds)
    return number


NO_OP: Final = Agent(
    type="no_op",
    name="No-op",
    description="Three steps.",
    icon="circle",
    category=Category.PROSPECTING,
    version="1",
    config=Nothing,
    input=Pause,
    run=three_steps,
    requires_approval=False,
)


def accept(signals: DoorbellSignals, watch_url: str, at_once: int) -> None:
    """Answer `accept` (so many runs, of these people in turns), `once` and `post`; `go_on` never ends."""
    database = context().database
    watch = Watch(watch_url)

    def start_one(subject: str, seconds: float = 0.0) -> RunId:
        with database.begin(ISSUER, subject) as work:
            return RunId(start(work, agent_type=NO_OP.type, config_id=None, inputs={"seconds": seconds}).id)

    for asked in _asked():
        if asked["do"] == "accept":
            people = itertools.islice(itertools.cycle(asked["people"]), asked["runs"])
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(start_one, people))
            _say({})
        elif asked["do"] == "once":  # from the first byte of the acceptance to the run's end
            began = time.perf_counter()
            run_id = start_one(asked["person"])
            watch.until(f"SELECT completed_at IS NOT NULL FROM agent_runs WHERE id = '{run_id}'")  # noqa: S608 - ours
            _say({"ms": (time.perf_counter() - began) * 1000})
        elif asked["do"] == "post":  # when was it accepted?
            run_id = start_one(asked["person"], asked["seconds"])
            _say({"run": run_id, "acceptedAt": signals.rang_at})
        elif asked["do"] == "go_on":
            _say({})
            while True:
                start_one(asked["person"], asked["seconds"])
                time.sleep(asked["every"])


def work(doorbell: Doorbell, at_once: int) -> None:
    """As many threads as messages may be at work in this process; ends when nobody asks any more."""
    handed = Context("execute_run", threading.Event())
    for _ in range(at_once):
        threading.Thread(target=answer, args=(doorbell, _handle, handed), daemon=True).start()
    for _ in _asked():
        pass


def _handle(event: dict[str, Any], handed: Context) -> None:
    try:
        execute_run(event, handed)
    except Exception:
        print("a message failed", file=sys.stderr, flush=True)
        raise


def _asked() -> Iterator[dict[str, Any]]:
    _say({"ready": True})
    for line in sys.stdin:
        yield json.loads(line)


def _say(what: dict[str, Any]) -> None:
    _answers.write(json.dumps(what) + "\n")
    _answers.flush()


_answers = sys.stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["accept", "work"])
    parser.add_argument("ends", type=int, nargs=2)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--watch-url", default="")
    given = parser.parse_args()
    _keep_the_wire_clean()
    registry.AGENTS = MappingProxyType({**registry.AGENTS, NO_OP.type: NO_OP})
    doorbell = Doorbell(*given.ends)
    signals = DoorbellSignals(doorbell)
    vars(context())["signals"] = signals  # in the place of the one that would speak to SQS
    if given.role == "accept":
        accept(signals, given.watch_url, given.at_once)
    else:
        work(doorbell, given.at_once)


def _keep_the_wire_clean() -> None:
    """The app's own log goes to standard output, too; here it goes to the log file."""
    global _answers  # noqa: PLW0603 - the wire is this process's own
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


if __name__ == "__main__":
    main()
