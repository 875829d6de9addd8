"""Cold starts as Lambda has them: from the process's start to its first answered event, from an unpacked package.

AWS's own runtime client runs the function, against our Runtime API. What Lambda does before (fetch the zip, boot a
machine) is not in the figures, and the processor is this machine's.
"""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from bench import packaged
from bench.installation import DATABASE, Installation, installed
from bench.measuring import Limit, Report, in_turns
from infra.emulator.function import Answer, Configuration, Function, unpack
from infra.package.trees import compile_tree
from local.aws import Aws, QueueNames
from local.people import PEOPLE
from local.processes import Program

TIMES: Final = 9

_LONG: Final = timedelta(seconds=300)  # a loaded machine is slow, not wrong
_QUEUES: Final = QueueNames(
    "bevyly-runs", "bevyly-runs-dead", "bevyly-relay", "bevyly-effects", "bevyly-events"
)
_RUNTIMES_OWN: Final = frozenset(
    {"boto3", "botocore", "s3transfer", "jmespath"}
)  # what Lambda's python3.13 brings


def vs_plain() -> Report:
    """The same code, packaged plainly by Chalice: no bytecode, nothing left out. Both bundle the same boto3."""
    with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name, installed() as installation:
        folder = Path(name)
        ours = unpack(packaged.ours(), folder / "ours")
        plain = unpack(packaged.plain(), folder / "plain")
        environ = installation.environ()
        mine, other = in_turns(
            _get(ours, environ, installation), _get(plain, environ, installation), runs=TIMES
        )
        worker, plain_worker = in_turns(
            _doorbell(ours, environ, installation), _doorbell(plain, environ, installation), runs=TIMES
        )
    of_worker = Report("", worker, plain_worker, "ms", "")
    return Report(
        bench="cold_start_vs_plain",
        ours=mine,
        theirs=other,
        unit="ms",
        reference="the same code packaged by `chalice package` alone; a signed-in GET",
        limit=Limit("ratio", 0.45),
        extras={
            "worker_ratio": round(of_worker.ratio, 3),
            "worker_ours": round(statistics.median(worker), 3),
            "worker_theirs": round(statistics.median(plain_worker), 3),
        },
    )


def vs_floor() -> Report:
    """An app that imports the same libraries, trimmed and precompiled too, and answers from one SELECT."""
    with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name, installed() as installation:
        folder = Path(name)
        ours = unpack(packaged.ours(), folder / "ours")
        least = packaged.floor(ours, folder / "floor")
        environ = {"DATABASE_URL": installation.all_seeing_url}
        mine, other = in_turns(
            _get(ours, installation.environ(), installation), _get(least, environ, installation), runs=TIMES
        )
    return Report(
        bench="cold_start_vs_floor",
        ours=mine,
        theirs=other,
        unit="ms",
        reference="Chalice + SQLAlchemy ORM + pg8000 + pydantic + boto3 imported, precompiled, one SELECT answered",
        limit=Limit("ratio", 1.5),
    )


def boto3_supply() -> Report:
    """boto3 bundled, beside boto3 as a runtime brings it, for a function that sends one SQS message.

    What AWS's image really holds beside the sources is not known here, so both cases are measured: the same version of
    boto3, whole, on a path behind the package, with bytecode (the ratio) and without (an extra).
    """
    with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name, installed() as installation:
        folder = Path(name)
        ours = unpack(packaged.ours(), folder / "ours")
        without = folder / "without"
        packaged.link(ours, without, without=_RUNTIMES_OWN)
        sources, compiled = folder / "sources", folder / "compiled"
        for site in (sources, compiled):
            packaged.runtimes_own(site, _RUNTIMES_OWN)
        compile_tree(compiled)
        with _aws(folder) as endpoint:
            environ = {**installation.environ(), "AWS_ENDPOINT_URL": endpoint}
            bundled = _message(ours, environ, installation)
            mine, other = in_turns(bundled, _message(without, environ, installation, compiled), runs=TIMES)
            again, bare = in_turns(bundled, _message(without, environ, installation, sources), runs=TIMES)
    return Report(
        bench="cold_start_boto3",
        ours=mine,
        theirs=other,
        unit="ms",
        reference="the same boto3, whole, with bytecode, on the runtime's path behind the package",
        extras={
            "ratio_without_bytecode": round(Report("", again, bare, "ms", "").ratio, 3),
            "ours_then": round(statistics.median(again), 3),
            "theirs_without_bytecode": round(statistics.median(bare), 3),
        },
    )


def _get(package: Path, environ: Mapping[str, str], installation: Installation) -> Callable[[], float]:
    def answered(answer: Answer) -> bool:
        return bool(answer.payload["statusCode"] == 200)  # noqa: PLR2004 - OK

    return _start(
        package, Configuration("app.app", timeout=_LONG, environ=environ), installation.event(), answered
    )


def _doorbell(package: Path, environ: Mapping[str, str], installation: Installation) -> Callable[[], float]:
    configuration = Configuration("app.execute_run", timeout=_LONG, environ=environ)
    return _start(package, configuration, _event("bevyly-runs", installation))


def _message(
    package: Path, environ: Mapping[str, str], installation: Installation, site: Path | None = None
) -> Callable[[], float]:
    configuration = Configuration("app.bury_run", timeout=_LONG, environ=environ)
    return _start(package, configuration, _event("bevyly-runs-dead", installation), site=site)


def _start(
    package: Path,
    configuration: Configuration,
    event: Any,
    answered: Callable[[Answer], bool] = lambda _: True,
    *,
    site: Path | None = None,
) -> Callable[[], float]:
    """A sample: a process of its own, from its start to its answer, in milliseconds."""

    def sample() -> float:
        with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name:
            log_file = Path(name) / "log"
            with Function(package, configuration, log_file=log_file, site=site) as function:
                answer = function.invoke(event)
                if not answer.ok or not answered(answer):
                    raise AssertionError(
                        f"{configuration.handler} of {package.name} answered {answer}:\n{function.log()}"
                    )
        return answer.since_start.total_seconds() * 1000

    return sample


def _event(queue: str, installation: Installation) -> dict[str, Any]:
    """A message about the customer, for whom nothing is to do."""
    ((customer,),) = installation.postgres.execute("SELECT id FROM customers", database=DATABASE)
    record = {
        "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
        "receiptHandle": "a-handle",
        "body": json.dumps({"customerId": customer}),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{queue}",
        "awsRegion": "eu-central-1",
    }
    return {"Records": [record]}


@contextmanager
def _aws(folder: Path) -> Iterator[str]:
    program = Program("AWS stand-in", ["-m", "local.aws"], environ={}, log_file=folder / "aws.log")
    try:
        endpoint = str(program.wait()["url"])
        Aws(endpoint).prepare(_QUEUES, "bevyly", PEOPLE)
        yield endpoint
    finally:
        program.stop()
