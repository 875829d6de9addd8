"""Chalice's table of routes, filled as its paths are asked for."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from chalice.app import Chalice
from chalice.deploy.validate import validate_routes

from chalicelib.api import routes
from local.processes import ROOT

PATHS: Final = {declared.path for declared in routes.declared()}


@pytest.fixture
def table() -> Any:
    app = Chalice("test")
    routes.register(app)
    return app.routes


def test_a_path_is_there_without_anybody_having_read_the_table(table: Any) -> None:
    """Seen red with `_bring` left out of `__getitem__`."""
    assert table["/v1/runs"].keys() == {"GET", "POST"}
    assert table["/v1/agents/{config_id}/estimate"].keys() == {"POST"}


def test_who_reads_the_table_finds_every_path(table: Any) -> None:
    """As `chalice deploy` does. Seen red with `_bring` left out of `__iter__`."""
    assert set(table) == PATHS
    validate_routes(table)


def test_the_length_is_that_of_the_whole_table(table: Any) -> None:
    """Chalice asks whether there is any route at all. Seen red with `_bring` left out of `__len__`."""
    assert len(table) == len(PATHS)


def test_a_path_that_nobody_asked_for_yet_is_in_the_table(table: Any) -> None:
    """Seen red with `_bring` left out of `__contains__`."""
    assert "/v1/usage" in table
    assert "/v1/nobody" not in table


@pytest.mark.parametrize("path", ["/v2/runs", "/v1/nobody", "/", "runs", "/v1"])
def test_a_path_that_nobody_declared_has_no_methods(table: Any, path: str) -> None:
    """Chalice answers 405 then, as it does with its own table."""
    assert table[path] == {}


@pytest.fixture
def _threads_that_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_that_change_often")
def test_threads_that_ask_at_the_same_time_all_find_the_whole_noun() -> None:
    """The local server has many. Seen red without the lock: two registered the same route, which Chalice refuses."""
    for _ in range(20):
        app = Chalice("test")
        routes.register(app)
        start = threading.Barrier(8)

        def ask(app: Chalice = app, start: threading.Barrier = start) -> int:
            start.wait()
            return len(app.routes["/v1/approvals"]) + len(app.routes["/v1/approvals/{item_id}"])

        with ThreadPoolExecutor(8) as pool:
            found = [asked.result() for asked in [pool.submit(ask) for _ in range(8)]]
        assert set(found) == {2}


def test_a_noun_whose_import_fails_half_way_can_be_imported_later() -> None:
    """Seen red with the half of its routes kept: it was declared twice from then on."""
    program = """
import sys, types
from chalice.app import Chalice
from chalicelib.api import http, routes
from chalicelib.api.http import PUBLIC, Out, route
fails = [True]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "chalicelib.api.halved":
            import importlib.machinery
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        def handler() -> Out: ...
        handler.__module__ = module.__name__
        route("GET", "/v1/halved", needs=PUBLIC("it is a test"), summary="")(handler)
        if fails.pop():
            fails.append(False)
            raise OSError("no more files")
        fails.append(False)
sys.meta_path.insert(0, Finder())
routes.NOUNS["halved"] = ("halved",)
app = Chalice("test")
routes.register(app)
try:
    app.routes["/v1/halved"]
except OSError:
    print("said")
print(list(app.routes["/v1/halved"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["said", "['GET']"]


def test_a_noun_that_does_not_import_says_so_each_time() -> None:
    """Rather than to answer 405 from then on. Seen red with the noun noted as here before it is imported."""
    program = """
from chalice.app import Chalice
from chalicelib.api import routes
routes.NOUNS["broken"] = ("no_such_module",)
app = Chalice("test")
routes.register(app)
for _ in range(2):
    try:
        app.routes["/v1/broken"]
    except ImportError:
        print("said")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["said", "said"]
