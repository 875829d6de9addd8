"""A cold start: from a process's start to its first signed-in answer.

Both children run the same interpreter with warm bytecode caches. Ours also fetches the issuer's keys, checks
the token and enters the tenant; the reference does none of that.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

from bench.first_answer import ANSWERED
from bench.installation import RUNS, Installation, installed
from bench.measuring import Report, in_turns
from local.processes import ROOT

TIMES: Final = 15
MOST_PACKAGES: Final = 8

_REFERENCE: Final = "bench.reference.first_select"


def measure() -> Report:
    with installed() as installation:
        event = json.dumps(installation.event())
        ours = _Start("app", installation.environ(), event)
        theirs = _Start(_REFERENCE, {"DATABASE_URL": installation.all_seeing_url}, event)
        mine, other = in_turns(ours.sample, theirs.sample, runs=TIMES)
        imports = _milliseconds_by_package(installation, event)
    if "openai" in ours.loaded:
        raise AssertionError("A function that answers GET /v1/runs has imported openai.")
    return Report(
        bench="import_app",
        ours=mine,
        theirs=other,
        unit="ms",
        reference="Chalice + SQLAlchemy ORM + pg8000 + pydantic + boto3 imported, one SELECT answered",
        extras={
            "openai_imported": False,
            "boto3_imported": "boto3" in ours.loaded,
            "httpx_imported": "httpx" in ours.loaded,
            "imports_ms": imports,
        },
    )


class _Start:
    """A child that starts, answers once and ends."""

    def __init__(self, module: str, environ: Mapping[str, str], event: str) -> None:
        self._module, self._environ, self._event = module, environ, event
        self.loaded: set[str] = set()  # packages, after the last answer

    def sample(self) -> float:
        """Milliseconds until its answer is heard; how it ends does not count."""
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "bench.first_answer", self._module],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(self._event + "\n")
            child.stdin.flush()
            answer = next((line for line in child.stdout if line.startswith(ANSWERED)), "")
            took = (time.perf_counter() - started) * 1000
            told = json.loads(answer.removeprefix(ANSWERED) or "{}")
            if told != {"status": 200, "rows": RUNS}:
                raise AssertionError(f"{self._module} answered {told or 'nothing'}.")
            self.loaded = set(json.loads(child.stdout.readline()))
        return took


def _milliseconds_by_package(installation: Installation, event: str) -> dict[str, float]:
    """The packages that ours spends most on importing, itself included; measuring makes them slower."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bench.first_answer", "app"],
        cwd=ROOT,
        env=installation.environ(),
        input=event + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    spent: Counter[str] = Counter()
    for line in told.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if line.startswith("import time:") and own.strip().isdigit():
            spent[rest.rpartition("|")[2].strip().partition(".")[0]] += int(own)
    return {name: round(microseconds / 1000, 1) for name, microseconds in spent.most_common(MOST_PACKAGES)}
