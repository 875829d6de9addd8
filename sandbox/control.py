"""The paths that belong to the sandbox itself: faults, ledger, credits, and the pages for a person.

Programs on this machine may use them, and the sandbox's own pages. Another web page may not: a form of its
would come from another origin, or under a name that is not this machine's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import parse_qsl

from sandbox import page_world
from sandbox.apollo import Apollo
from sandbox.faults import BadFault, Faults
from sandbox.ledger import Ledger
from sandbox.page import framed, link
from sandbox.page_calls import calls
from sandbox.page_home import home
from sandbox.presets import PRESETS
from sandbox.wire import Request, Response, json_response
from sandbox.world import World

FORM: Final = "application/x-www-form-urlencoded"
NUMBERS: Final = frozenset({"latency_ms", "status", "retry_after", "times", "account", "credits"})
LONGEST_NUMBER: Final = 9  # digits; a longer one stays text, which nothing takes for a number
MOST_CREDITS: Final = 10**9
LEDGER_FILTERS: Final = frozenset({"provider", "path", "call", "subject", "key_last4"})
THIS_MACHINE: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
READING: Final = frozenset({"GET", "HEAD"})
ELSEWHERE: Final = frozenset({"cross-site", "same-site"})  # another port is the same site, not ours


class Control:
    def __init__(self, world: World, ledger: Ledger, faults: Faults, apollo: Apollo) -> None:
        self._world, self._ledger, self._faults, self._apollo = world, ledger, faults, apollo
        routes: tuple[tuple[str, str, Callable[..., Response]], ...] = (
            ("GET", "/", lambda _: home(world, ledger, faults, apollo.accounts)),
            ("GET", "/companies", lambda request: page_world.companies(world, _query(request))),
            ("GET", r"/companies/(\w+)", self._company),
            ("GET", "/people", lambda request: page_world.people(world, _query(request))),
            ("GET", "/news", lambda request: page_world.news(world, _query(request))),
            ("GET", "/calls", lambda request: calls(ledger, _query(request))),
            ("GET", "/_control/faults", lambda _: json_response(200, faults.listed())),
            ("POST", "/_control/faults", self._add_fault),
            ("DELETE", "/_control/faults", self._clear_faults),
            ("POST", "/_control/faults/clear", self._clear_from_page),
            ("DELETE", r"/_control/faults/(\d{1,9})", self._remove_fault),
            ("POST", r"/_control/faults/(\d{1,9})/off", self._remove_from_page),
            ("POST", "/_control/hanging/clear", self._let_go),
            ("GET", "/_control/presets", lambda _: json_response(200, _presets())),
            ("POST", r"/_control/presets/([\w-]+)/(on|off)", self._preset),
            ("GET", "/_control/ledger", self._entries),
            ("GET", "/_control/ledger/totals", lambda _: json_response(200, ledger.totals())),
            ("DELETE", "/_control/ledger", self._reset_ledger),
            ("POST", "/_control/ledger/clear", self._reset_from_page),
            ("GET", "/_control/credits", lambda _: json_response(200, self._credits())),
            ("POST", "/_control/credits", self._grant),
            ("GET", "/_control/world", self._size),
        )
        self._routes = [(method, re.compile(path), handle) for method, path, handle in routes]

    def answer(self, request: Request) -> Response:
        if why := _why_not(request):
            return _refusal(request, 403, why)
        fitting = [
            (method, handle, match.groups())
            for method, path, handle in self._routes
            if (match := path.fullmatch(request.path))
        ]
        for method, handle, parts in fitting:
            if method == request.method:
                return handle(request, *parts)
        if fitting:
            known = " or ".join(sorted(method for method, *_ in fitting))
            return json_response(405, {"error": f"Use {known} here."})
        return json_response(404, {"error": f"There is nothing at {request.path}."})

    def _company(self, _request: Request, company_id: str) -> Response:
        found = page_world.company(self._world, company_id)
        return found or framed(
            "/companies", "No such company", link("/companies", "All companies"), status=404
        )

    def _add_fault(self, request: Request) -> Response:
        try:
            added = self._faults.add(_fault_form(request) if _is_form(request) else request.json)
        except BadFault as error:
            return _refusal(request, 422, str(error))
        return _back("/#faults") if _is_form(request) else json_response(201, added)

    def _clear_faults(self, _request: Request) -> Response:
        self._faults.clear()
        return json_response(200, [])

    def _clear_from_page(self, _request: Request) -> Response:
        """A page's form can only post."""
        self._faults.clear()
        return _back("/#faults")

    def _remove_fault(self, _request: Request, number: str) -> Response:
        if not self._faults.remove(int(number)):
            return json_response(404, {"error": f"No fault {number} is on."})
        return json_response(200, self._faults.listed())

    def _remove_from_page(self, _request: Request, number: str) -> Response:
        """One that has just spent itself is off too."""
        self._faults.remove(int(number))
        return _back("/#faults")

    def _let_go(self, _request: Request) -> Response:
        self._faults.let_go()
        return _back("/#faults")

    def _preset(self, request: Request, name: str, switch: str) -> Response:
        """On is on once: a second time changes nothing."""
        preset = PRESETS.get(name)
        if preset is None:
            return _refusal(request, 404, f"There is no preset {name}.")
        numbers = self._faults.numbers_of(preset.fault)
        if switch == "on" and not numbers:
            self._faults.add(dict(preset.content))
        if switch == "off":
            for number in numbers:
                self._faults.remove(number)
        return _back("/#faults") if _is_form(request) else json_response(200, self._faults.listed())

    def _entries(self, request: Request) -> Response:
        """All entries, or those that the query's `provider`, `path`, `call`… name."""
        wanted = {name: value for name, value in _query(request).items() if name in LEDGER_FILTERS}
        rows = [asdict(entry) for entry in self._ledger.entries()]
        return json_response(200, [row for row in rows if all(row[name] == wanted[name] for name in wanted)])

    def _reset_ledger(self, _request: Request) -> Response:
        self._ledger.reset()
        return json_response(200, self._ledger.totals())

    def _reset_from_page(self, _request: Request) -> Response:
        self._ledger.reset()
        return _back("/calls")

    def _credits(self) -> list[Mapping[str, Any]]:
        return [
            {
                "account": account.number,
                "key_last4": account.key[-4:],
                "used": account.used,
                "left": account.left,
                "calls": self._apollo.accounts.calls_of(account),
            }
            for account in self._apollo.accounts.listed()
        ]

    def _grant(self, request: Request) -> Response:
        """`{"key", "credits"}`, or `account` for its key: what that Apollo key has left from now on."""
        content: Any = _form(request) if _is_form(request) else request.json
        left = content.get("credits") if isinstance(content, dict) else None
        if not isinstance(left, int) or isinstance(left, bool) or not 0 <= left <= MOST_CREDITS:
            return _refusal(request, 422, "Give `key` and `credits`, a whole number of at least 0.")
        accounts = self._apollo.accounts
        number = content.get("account")
        found = accounts.find(str(content.get("key", ""))) if number is None else accounts.numbered(number)
        if found is None:
            return _refusal(request, 422, "That key is not one of the sandbox's.")
        accounts.set_left(found, left)
        return _back("/#keys") if _is_form(request) else json_response(200, {"credits": left})

    def _size(self, _request: Request) -> Response:
        world = self._world
        size = {"seed": world.seed, "companies": len(world.companies), "people": len(world.people)}
        return json_response(200, size)


def _why_not(request: Request) -> str | None:
    """Why this may not be answered: a web page of somebody else may have sent it."""
    host = request.headers.get("host", "")
    if host and re.sub(r":\d+$", "", host).lower() not in THIS_MACHINE:
        return "The sandbox answers under this machine's own names only: 127.0.0.1 or localhost."
    if request.method in READING:
        return None
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site") in ELSEWHERE or origin not in {None, f"http://{host}"}:
        return "The sandbox's switches cannot be used from another web page."
    return None


def _refusal(request: Request, status: int, why: str) -> Response:
    """In words: a page for a form, else JSON."""
    if _is_form(request):
        return framed("", "That did not work", why, " ", link("/", "Back"), status=status)
    return json_response(status, {"error": why})


def _presets() -> list[Mapping[str, Any]]:
    return [
        {"name": one.name, "title": one.title, "then": one.then, "fault": one.content}
        for one in PRESETS.values()
    ]


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query))


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith(FORM)


def _form(request: Request) -> dict[str, Any]:
    """The page's form: empty fields are not given, digits are numbers."""
    fields = parse_qsl(request.body.decode("utf-8", "replace"))
    return {name: _number(value) if name in NUMBERS else value for name, value in fields}


def _fault_form(request: Request) -> Mapping[str, Any]:
    """`operation` is one of the list's paths; a path that was typed in comes first."""
    fields = _form(request)
    operation = fields.pop("operation", None)
    return fields if operation is None else {"path": operation, **fields}


def _number(value: str) -> int | str:
    plain = value.strip()
    return int(plain) if plain.isascii() and plain.isdecimal() and len(plain) <= LONGEST_NUMBER else value


def _back(to: str) -> Response:
    return Response(303, b"", headers={"location": to})
