"""The paths that belong to the sandbox itself: faults, ledger, credits, and the page for a person."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import parse_qsl

from sandbox.apollo import Apollo
from sandbox.faults import BadFault, Faults
from sandbox.ledger import Ledger
from sandbox.page import page
from sandbox.wire import HTML, Request, Response, json_response, text_response
from sandbox.world import World

FORM: Final = "application/x-www-form-urlencoded"
NUMBERS: Final = frozenset({"latency_ms", "status", "retry_after", "times"})
LEDGER_FILTERS: Final = frozenset({"provider", "path", "call", "subject", "key_last4"})


class Control:
    def __init__(self, world: World, ledger: Ledger, faults: Faults, apollo: Apollo) -> None:
        self._world, self._ledger, self._faults, self._apollo = world, ledger, faults, apollo
        self._routes: Mapping[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "/"): self._page,
            ("GET", "/_control/faults"): lambda _: json_response(200, self._faults.listed()),
            ("POST", "/_control/faults"): self._add_fault,
            ("DELETE", "/_control/faults"): self._clear_faults,
            ("POST", "/_control/faults/clear"): self._clear_from_page,
            ("GET", "/_control/ledger"): self._entries,
            ("GET", "/_control/ledger/totals"): lambda _: json_response(200, self._ledger.totals()),
            ("DELETE", "/_control/ledger"): self._reset_ledger,
            ("POST", "/_control/credits"): self._grant,
            ("GET", "/_control/world"): self._size,
        }

    def answer(self, request: Request) -> Response:
        route = self._routes.get((request.method, request.path))
        if route is not None:
            return route(request)
        known = {method for method, path in self._routes if path == request.path}
        if known:
            return json_response(405, {"error": f"Use {' or '.join(sorted(known))} here."})
        return json_response(404, {"error": f"There is nothing at {request.path}."})

    def _page(self, _request: Request) -> Response:
        return text_response(200, page(self._world, self._ledger, self._faults.listed()), HTML)

    def _add_fault(self, request: Request) -> Response:
        try:
            added = self._faults.add(_form(request) if _is_form(request) else request.json)
        except BadFault as error:
            return json_response(422, {"error": str(error)})
        return _back() if _is_form(request) else json_response(201, added)

    def _clear_faults(self, _request: Request) -> Response:
        self._faults.clear()
        return json_response(200, [])

    def _clear_from_page(self, _request: Request) -> Response:
        """A page's form can only post."""
        self._faults.clear()
        return _back()

    def _entries(self, request: Request) -> Response:
        """All entries, or those that the query's `provider`, `path`, `call`… name."""
        wanted = {name: value for name, value in parse_qsl(request.query) if name in LEDGER_FILTERS}
        rows = [asdict(entry) for entry in self._ledger.entries()]
        return json_response(200, [row for row in rows if all(row[name] == wanted[name] for name in wanted)])

    def _reset_ledger(self, _request: Request) -> Response:
        self._ledger.reset()
        return json_response(200, self._ledger.totals())

    def _grant(self, request: Request) -> Response:
        """`{"key", "credits"}`: what that Apollo key has left from now on."""
        content: Any = request.json
        left = content.get("credits") if isinstance(content, dict) else None
        if not isinstance(left, int) or isinstance(left, bool) or left < 0:
            return json_response(422, {"error": "Give `key` and `credits`, a whole number of at least 0."})
        if not self._apollo.accounts.grant(str(content.get("key", "")), left):
            return json_response(422, {"error": "That key is not one of the sandbox's."})
        return json_response(200, {"credits": left})

    def _size(self, _request: Request) -> Response:
        world = self._world
        size = {"seed": world.seed, "companies": len(world.companies), "people": len(world.people)}
        return json_response(200, size)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith(FORM)


def _form(request: Request) -> Mapping[str, Any]:
    """The page's form: empty fields are not given, digits are numbers."""
    fields = parse_qsl(request.body.decode("utf-8", "replace"))
    return {name: int(value) if name in NUMBERS and value.isdecimal() else value for name, value in fields}


def _back() -> Response:
    return Response(303, b"", headers={"location": "/"})
