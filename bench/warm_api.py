"""A warm function: a signed-in GET of twenty runs, handed over by the Runtime API, beside one bare SELECT."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench import packaged
from bench.installation import installed
from bench.measuring import Report, in_turns, p99
from infra.emulator.function import Configuration, Function, unpack

TIMES: Final = 1000
WARM_UP: Final = 100


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name, installed() as installation:
        folder = Path(name)
        package = unpack(packaged.ours(), folder / "ours")
        least = packaged.floor(package, folder / "floor")
        event = installation.event()
        mine = Configuration("app.app", environ=installation.environ())
        other = Configuration("app.app", environ={"DATABASE_URL": installation.all_seeing_url})
        with (
            Function(package, mine, log_file=folder / "ours.log") as ours,
            Function(least, other, log_file=folder / "floor.log") as theirs,
        ):
            took, theirs_took = in_turns(
                _sample(ours, event), _sample(theirs, event), runs=TIMES, warm_up=WARM_UP
            )
    return Report(
        bench="warm_api",
        ours=took,
        theirs=theirs_took,
        unit="ms",
        reference="an app on the same parts that answers from one SELECT, under the same emulator",
        extras={
            "p50": round(statistics.median(took), 3),
            "p99": round(p99(took), 3),
            "theirs_p99": round(p99(theirs_took), 3),
        },
    )


def _sample(function: Function, event: Any) -> Callable[[], float]:
    def sample() -> float:
        answer = function.invoke(event)
        if not answer.ok or answer.payload["statusCode"] != 200:  # noqa: PLR2004 - OK
            raise AssertionError(f"The answer was {answer}.")
        return answer.took.total_seconds() * 1000

    return sample
