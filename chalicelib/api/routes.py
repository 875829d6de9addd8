"""Where each noun's routes are declared. A noun is imported when one of its paths is asked for.

A function that starts for `GET /v1/runs` loads nothing of prompts, prices or keys, and one that starts for a queue
loads no route. Whoever reads the whole table (Chalice when it deploys, the local server) gets every noun.
"""

from collections import UserDict
from collections.abc import Iterable, Iterator
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Final

from chalice.app import Chalice, RouteEntry

if TYPE_CHECKING:
    from chalicelib.api.http import Context, Route

NOUNS: Final = {
    "accounts": ("crm",),
    "agent-types": ("agents",),
    "agents": ("agents", "estimates"),
    "approvals": ("approvals",),
    "auth": ("auth",),
    "budgets": ("budgets",),
    "contacts": ("crm",),
    "docs": ("docs",),
    "emails": ("crm",),
    "events": ("events",),
    "healthz": ("health",),
    "integrations": ("integrations",),
    "me": ("auth",),
    "openapi.json": ("docs",),
    "readyz": ("health",),
    "runs": ("runs",),
    "usage": ("usage",),
}
"""A path's first part after /v1/: the modules of this package that declare its routes."""

_MODULES: Final = tuple(sorted({module for modules in NOUNS.values() for module in modules}))


def register(app: Chalice, context: "Context | None" = None) -> None:
    """Give the app every route. Without a context, requests are answered with the process's own."""
    app.routes = _Table(app, context)  # type: ignore[assignment]  # a mapping is all that Chalice takes it for


def declared() -> "list[Route]":
    """Every route of every noun."""
    return [route for name in _MODULES for route in _declared_by(name)]


def _declared_by(name: str) -> "list[Route]":
    from chalicelib.api.http import ROUTES  # noqa: PLC0415 - an app that answers no request loads none of it

    module = f"chalicelib.api.{name}"
    try:
        import_module(module)
    except BaseException:
        # Half of its routes may be declared; the next import declares them again.
        ROUTES[:] = [route for route in ROUTES if route.handler.__module__ != module]
        raise
    return [route for route in ROUTES if route.handler.__module__ == module]


class _Table(UserDict[str, dict[str, RouteEntry]]):
    """Chalice's paths, and methods of each, filled as they are asked for."""

    def __init__(self, app: Chalice, context: "Context | None") -> None:
        super().__init__()
        self._app, self._context = app, context
        self._here: set[str] = set()
        self._lock = RLock()  # the local server asks from several threads; registering asks the table itself

    def __getitem__(self, path: str) -> dict[str, RouteEntry]:
        version, _, noun = path.strip("/").partition("/")
        self._bring(NOUNS.get(noun.partition("/")[0], ()) if version == "v1" else ())
        return self.data.setdefault(path, {})

    def __contains__(self, path: object) -> bool:
        self._bring(_MODULES)
        return path in self.data

    def __iter__(self) -> Iterator[str]:
        self._bring(_MODULES)
        return iter(self.data)

    def __len__(self) -> int:
        self._bring(_MODULES)
        return len(self.data)

    def _bring(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                if name not in self._here:
                    routes = _declared_by(name)
                    self._here.add(name)  # first, since registering asks the table
                    try:
                        self._register(routes)
                    except BaseException:
                        self._here.discard(name)
                        raise

    def _register(self, routes: "Iterable[Route]") -> None:
        from chalicelib.api import http  # noqa: PLC0415 - as above

        http.register(self._app, routes, self._context)
