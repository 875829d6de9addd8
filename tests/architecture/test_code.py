"""Lists that have to agree with each other: files, registries, queues, settings, errors, revisions."""

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from typing import Any, Final

import pytest
from alembic.script import ScriptDirectory
from chalice.app import SQSEventConfig

import chalicelib
from chalicelib.agents import registry
from chalicelib.api.problems import STATUS, status_of
from chalicelib.db.models import every
from chalicelib.domain import errors
from chalicelib.domain.errors import AppError
from chalicelib.settings import Queues, Settings
from migrations import runner
from tests.architecture import ROOT

NOT_READ_BY_THE_APP: Final = {"DATABASE_OWNER_URL": "local/databases.py"}
"""What `.env.example` names beside the app's own settings, and who reads it."""

SLOW_TO_IMPORT: Final = ("openai", "boto3", "botocore.session", "moto", "httpx", "httpx2", "jwt", "cryptography",
                         "local", "sandbox", "tests", "alembic")  # fmt: skip
"""What a function that answers a GET must not pay for when it starts."""


# Agents


def test_every_agent_has_a_file_and_every_file_is_registered() -> None:
    """Seen red with a file beside the others that the registry does not know."""
    files = {path.stem for path in (ROOT / "chalicelib/agents").glob("*.py")}
    assert files - {"__init__", "base", "registry"} == set(registry.AGENTS)


@pytest.mark.parametrize("agent_type", registry.AGENTS)
def test_an_agents_file_bears_its_types_name(agent_type: str) -> None:
    module = importlib.import_module(f"chalicelib.agents.{agent_type}")
    assert module.AGENT is registry.AGENTS[agent_type]
    assert module.AGENT.type == agent_type


@pytest.mark.parametrize("agent_type", registry.AGENTS)
def test_an_agent_that_pays_says_what_it_expects_to_pay(agent_type: str) -> None:
    """Else an estimate would call its runs free. Seen red with one agent's `expects` left out."""
    source = (ROOT / f"chalicelib/agents/{agent_type}.py").read_text(encoding="utf-8")
    assert ("pays=" in source) == ("expects=" in source)


def test_a_fault_in_an_agents_module_is_not_told_as_an_unknown_type() -> None:
    """It is ours, not the user's. Seen red with `find` catching what the import raises."""
    program = """
import sys
from chalicelib.agents import registry
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.endswith("lead_source"):
            raise KeyError("a constant")
sys.meta_path.insert(0, Finder())
assert "lead_source" in registry.AGENTS
try:
    registry.find("lead_source")
except KeyError:
    print("said")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["said"]


# Queues


def queues_in_app() -> dict[str, str]:
    """Queue by entry point."""
    from app import app  # noqa: PLC0415 - its import is what is looked at

    return {
        source.handler_string: str(source.queue)
        for source in app.event_sources
        if isinstance(source, SQSEventConfig)
    }


def test_every_queue_of_app_py_is_one_that_settings_name_and_each_has_its_reader() -> None:
    """Seen red with another queue's name written out in app.py."""
    listening = queues_in_app()
    assert len(listening) == len(set(listening.values())), "two functions read one queue"
    assert set(listening.values()) == set(dataclasses.asdict(Queues.from_environ({})).values())


def test_the_queues_names_come_from_the_environment_and_differ() -> None:
    named = dataclasses.asdict(Queues.from_environ({}))
    assert len(set(named.values())) == len(named)
    renamed = Queues.from_environ({f"{name.upper()}_QUEUE": f"other-{name}" for name in named})
    assert dataclasses.asdict(renamed) == {name: f"other-{name}" for name in named}


# Entry points


def test_handlers_of_events_stand_in_app_py_under_names_of_its_own() -> None:
    """Of one in a Blueprint, Lambda imports the Blueprint's module and not app.py, which has what comes first.

    Seen red with a Blueprint's `lambda_function` registered.
    """
    from app import app  # noqa: PLC0415 - its import is what is looked at

    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    declared = {
        f"app.{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    sources: list[Any] = [*app.event_sources, *app.pure_lambda_functions]
    assert {source.handler_string for source in sources} == declared
    assert {source.handler_string for source in sources} == {f"app.{source.name}" for source in sources}
    assert [
        path.name for path in (ROOT / "chalicelib").rglob("*.py") if "Blueprint" in path.read_text("utf-8")
    ] == []


def test_chalice_is_never_told_how_long_to_keep_logs() -> None:
    """It would make a group `…-api_handler`, which nothing writes to; infra/templates has all groups, and their days.

    Seen red with `log_retention_in_days` at one function of one stage.
    """
    assert "log_retention_in_days" not in (ROOT / ".chalice/config.json").read_text(encoding="utf-8")


# Revisions


def test_the_migrations_have_one_head() -> None:
    """Seen red with a second revision on top of the first."""
    script = ScriptDirectory.from_config(runner.config("postgresql+pg8000://nobody@127.0.0.1/nothing"))
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1


# Errors


def error_classes() -> list[type[AppError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return [kind for _, kind in found if issubclass(kind, AppError) and kind is not AppError]


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_class_has_a_status_of_its_own_or_of_its_kind(kind: type[AppError]) -> None:
    """Seen red with a new class straight under AppError."""
    assert status_of(kind) != 500
    assert 400 <= status_of(kind) <= 503


def test_the_status_table_names_no_class_twice_or_from_elsewhere() -> None:
    assert set(STATUS) <= set(error_classes())
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes)), "two classes have one code"


def test_the_tree_drawn_in_the_errors_docstring_is_the_classes() -> None:
    """Names, places and statuses. Seen red with Conflict drawn as 410."""
    ancestors: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│ ]*)[├└]─ (\w+)(?: +(\d{3}))?", line)
        if match:
            depth = len(match[1]) // 3
            ancestors = [*ancestors[:depth], match[2]]
            kind = getattr(errors, match[2])
            parent = getattr(errors, ancestors[-2]) if depth else AppError
            assert kind.__bases__ == (parent,), match[2]
            if match[3]:
                assert status_of(kind) == int(match[3]), match[2]
    assert ancestors


# Settings


class Remembering(dict[str, str]):
    """An environment that knows what it was asked for."""

    asked: set[str]

    def get(self, name: str, default: Any = None) -> Any:
        self.asked = {*getattr(self, "asked", ()), name}
        return super().get(name, default)


def example() -> dict[str, str]:
    """What .env.example says."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    names = [name for name, _, _ in pairs]
    assert len(names) == len(set(names)), "a setting is named twice"
    return {name: value.partition("  #")[0].strip() for name, _, value in pairs}


def test_the_example_names_every_setting_that_is_read_and_no_other() -> None:
    """Seen red with EDGE_SECRET left out of the file, and with a line for a setting that is no more."""
    environ = Remembering(example())
    Settings.from_environ(environ)
    assert example().keys() - NOT_READ_BY_THE_APP.keys() == environ.asked
    for name, reader in NOT_READ_BY_THE_APP.items():
        assert name in (ROOT / reader).read_text(encoding="utf-8")


def test_the_examples_values_are_the_defaults() -> None:
    """Seen red with another OPENAI_MAX_TOKENS in the file."""
    required = {
        name: value
        for name, value in example().items()
        if name.startswith("OIDC_") or name in {"DATABASE_URL", "DATABASE_SYSTEM_URL"}
    }
    assert Settings.from_environ(example()) == Settings.from_environ(required)


def test_no_secret_shows_when_settings_are_printed() -> None:
    """Seen red with `repr=False` left out of one of them."""
    secrets = {
        name: f"canary-{name}"
        for name in example()
        if re.search(r"SECRET|API_KEY|DATABASE\w*_URL", name) and name not in NOT_READ_BY_THE_APP
    }
    assert len(secrets) >= 6
    shown = repr(Settings.from_environ({**example(), **secrets}))
    assert [name for name, value in secrets.items() if value in shown] == []


# Imports


def imported_by(statement: str) -> set[str]:
    """The modules a fresh interpreter holds after a statement."""
    program = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_importing_the_app_loads_no_provider_no_aws_and_nothing_of_this_machine() -> None:
    """Seen red with `import boto3` at the top of bootstrap.py, and with `import jwt` at the top of api/runs.py."""
    loaded = imported_by("import app; list(app.app.routes)")
    assert {"chalicelib.workers.runs", "chalicelib.api.runs"} <= loaded
    assert [name for name in SLOW_TO_IMPORT if name in loaded] == []


def test_a_function_of_a_queue_loads_no_route() -> None:
    """Seen red with `routes.declared()` in app.py."""
    loaded = imported_by("import app")
    assert {name for name in loaded if name.startswith("chalicelib.api.")} == {"chalicelib.api.routes"}


def test_a_request_loads_its_own_noun_only() -> None:
    """Seen red with agents imported by the registry, with `every` imported by api/http.py, and with the whole
    table brought for one path.
    """
    loaded = imported_by("import app; assert app.app.routes['/v1/runs/{run_id}'].keys() == {'GET'}")
    brought = {name for name in loaded if name.startswith("chalicelib.")}
    not_its_own = ("agents.lead_source", "agents.prompts", "api.agents", "api.openapi", "db.models.crm",
                   "db.models.edge", "services.estimates", "services.integrations")  # fmt: skip
    assert "chalicelib.api.runs" in brought
    assert [name for name in not_its_own if f"chalicelib.{name}" in brought] == []


@pytest.mark.parametrize(
    "name",
    sorted({path.stem for path in (ROOT / "chalicelib/db/models").glob("*.py")} - {"__init__", "base"}),
)
def test_a_module_of_tables_brings_those_that_its_foreign_keys_lead_to(name: str) -> None:
    """Else a flush in a function that loaded no more would fail. Seen red with fact.py's import of agent left out."""
    imported_by(
        f"from chalicelib.db.models import {name}\n"
        "from chalicelib.db.models.base import Base\n"
        "assert Base.metadata.sorted_tables"
    )


def test_every_module_of_tables_is_known_to_every() -> None:
    """Seen red with `fact` left out of every.py."""
    modules = {path.stem for path in (ROOT / "chalicelib/db/models").glob("*.py")}
    assert modules - {"__init__", "base", "every"} == modules & vars(every).keys()


def test_no_module_of_the_product_loads_a_provider_or_aws_when_imported() -> None:
    """Seen red with `import openai` at the top of an agent."""
    names: list[Any] = [found.name for found in pkgutil.walk_packages(chalicelib.__path__, "chalicelib.")]
    assert len(names) > 50
    loaded = imported_by(
        "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names)
    )
    assert [name for name in ("openai", "boto3", "moto") if name in loaded] == []
