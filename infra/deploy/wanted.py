"""What `chalice deploy` would make of a staging folder, in its own words. `python -m infra.deploy.wanted STAGE`, in it.

In a process of its own: the folder's app.py and chalicelib are imported, not this tree's, with the stage's environment.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from infra.deploy.cloud import DeployError
from infra.functions import ROOT

_MOST_WORDS: Final = 2000


@dataclass(frozen=True, slots=True)
class Function:
    """A Lambda function."""

    resource: str  # chalice's name of it: `execute_run`
    name: str  # in AWS
    handler: str
    runtime: str
    timeout: int
    memory: int
    environment: Mapping[str, str]
    role: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    reserved: int | None
    traced: bool
    architecture: str

    def __repr__(self) -> str:
        return f"Function({self.name!r})"  # its environment holds secrets


@dataclass(frozen=True, slots=True)
class Mapped:
    """A queue that wakes a function."""

    resource: str
    function: str  # in AWS
    queue: str
    batch: int
    maximum_concurrency: int | None

    @property
    def response_types(self) -> tuple[str, ...]:
        """Of a batch the handler may report which messages failed. Where that is not said, AWS deletes those too."""
        return ("ReportBatchItemFailures",) if self.batch > 1 else ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A clock that wakes a function."""

    resource: str
    function: str
    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """All of it. There is an API, or there is none."""

    functions: tuple[Function, ...]
    mappings: tuple[Mapped, ...]
    rules: tuple[Rule, ...]
    api: str | None  # chalice's name of it
    api_stage: str
    compressed_from: int | None  # bytes of an answer; None: API Gateway compresses none
    traced: bool


def read(stage_folder: Path, stage: str) -> Wanted:
    """Of a staging folder whose config.json is rendered.

    Raises:
        DeployError: app.py cannot be imported, or the configuration is not one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "infra.deploy.wanted", stage],
        cwd=stage_folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DeployError(f"chalice cannot read the package: {done.stderr.strip()[-_MOST_WORDS:]}")
    said = json.loads(done.stdout)
    return Wanted(
        tuple(
            Function(
                **{
                    **each,
                    "subnets": tuple(each["subnets"]),
                    "security_groups": tuple(each["security_groups"]),
                }
            )
            for each in said["functions"]
        ),
        tuple(Mapped(**each) for each in said["mappings"]),
        tuple(Rule(**each) for each in said["rules"]),
        said["api"],
        said["api_stage"],
        said["compressed_from"],
        said["traced"],
    )


def environment() -> dict[str, str]:
    """For what runs in a staging folder: this process's, with the tools of this tree within reach."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: TID251 - handed on


def _said(stage: str) -> dict[str, Any]:
    from chalice.cli.factory import CLIFactory  # noqa: PLC0415 - chalice's own way to read a project
    from chalice.deploy import models  # noqa: PLC0415
    from chalice.deploy.appgraph import ApplicationGraphBuilder  # noqa: PLC0415

    environ = os.environ  # noqa: TID251 - where chalice puts the stage's settings before it imports app.py
    config = CLIFactory(str(Path.cwd()), environ=environ).create_config_obj(chalice_stage_name=stage)
    resources = ApplicationGraphBuilder().build(config, stage).resources
    functions: dict[str, Function] = {}

    def function(model: Any) -> str:
        functions[model.resource_name] = Function(
            resource=model.resource_name,
            name=model.function_name,
            handler=model.handler,
            runtime=model.runtime,
            timeout=model.timeout or 60,
            memory=model.memory_size or 128,
            environment=model.environment_variables,
            role=getattr(model.role, "role_arn", ""),
            subnets=tuple(model.subnet_ids),
            security_groups=tuple(model.security_group_ids),
            reserved=model.reserved_concurrency,
            traced=bool(model.xray),
            architecture=model.architecture,
        )
        return str(model.function_name)

    mappings, rules, api = [], [], None
    for each in resources:
        if isinstance(each, models.LambdaFunction):
            function(each)
        elif isinstance(each, models.SQSEventSource):
            woken = function(each.lambda_function)
            mappings.append(
                Mapped(each.resource_name, woken, str(each.queue), each.batch_size, each.maximum_concurrency)
            )
        elif isinstance(each, models.ScheduledEvent):
            woken = function(each.lambda_function)
            rules.append(Rule(each.resource_name, woken, each.rule_name, each.schedule_expression))
        elif isinstance(each, models.RestAPI):
            function(each.lambda_function)
            api = each.resource_name
        else:
            raise SystemExit(f"{type(each).__name__} is not known to infra/deploy.")
    return {
        "functions": [asdict(each) for each in functions.values()],
        "mappings": [asdict(each) for each in mappings],
        "rules": [asdict(each) for each in rules],
        "api": api,
        "api_stage": config.api_gateway_stage,
        "compressed_from": config.minimum_compression_size,
        "traced": bool(config.xray_enabled),
    }


if __name__ == "__main__":
    print(json.dumps(_said(sys.argv[1])))
