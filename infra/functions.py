"""The Lambda functions of app.py, with what .chalice/config.json says of each. Templates and checks follow them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from chalice.app import Chalice, ScheduledEventConfig, SQSEventConfig
from chalice.config import Config

from chalicelib.settings import Queues

ROOT: Final = Path(__file__).parents[1]
API_HANDLER: Final = "api_handler"
"""What chalice calls the function that answers HTTP; its name in AWS ends with the stage."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function at one stage."""

    name: str
    timeout_seconds: int
    queue: str | None = None  # a field of Queues
    maximum_concurrency: int | None = None  # of its queue; None: no limit
    scheduled: bool = False  # a clock calls it, each minute

    @property
    def words(self) -> str:
        """`execute_run` as templates spell it: `ExecuteRun`."""
        return words(self.name)

    def deployed_name(self, stage: str) -> str:
        """As chalice names it in AWS, and Lambda its log group."""
        base = f"bevyly-agents-{stage}"
        return base if self.name == API_HANDLER else f"{base}-{self.name}"


def words(name: str) -> str:
    return "".join(part.title() for part in name.split("_"))


def of_app(app: Chalice, stage: str, *, config: Path = ROOT / ".chalice/config.json") -> list[Function]:
    """Every function that `chalice deploy --stage` makes of the app, which has its queues' default names."""
    on_disk = json.loads(config.read_text(encoding="utf-8"))
    fields = {name: field for field, name in asdict(Queues.from_environ({})).items()}

    def timeout(name: str) -> int:
        # Chalice asks AWS for 60 s where nothing is said.
        said = Config(chalice_stage=stage, function_name=name, config_from_disk=on_disk).lambda_timeout
        return int(said or 60)

    def of_source(source: Any) -> Function:
        if not isinstance(source, SQSEventConfig):
            clock = isinstance(source, ScheduledEventConfig)
            return Function(source.name, timeout(source.name), scheduled=clock)
        limit = source.maximum_concurrency
        return Function(
            source.name, timeout(source.name), queue=fields[source.queue], maximum_concurrency=limit
        )

    return [
        *([Function(API_HANDLER, timeout(API_HANDLER))] if app.routes else []),
        *map(of_source, app.event_sources),
        *(Function(each.name, timeout(each.name)) for each in app.pure_lambda_functions),
    ]
