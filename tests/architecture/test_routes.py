"""Every route says what it needs, and is described."""

import re
from typing import Any, Final

import pytest

from chalicelib.api import routes
from chalicelib.api.http import ROUTES, Exempt, Out, Route, route
from chalicelib.api.openapi import document, text_of
from chalicelib.domain.access import GRANTS, OWN_ONLY, Permission, Role
from tests.architecture import ROOT

DECLARED: Final = tuple(routes.declared())

WHO_MAY_WHAT: Final = """
| permission | ADMIN | MANAGER | SALES_REP | VIEWER |
|---|---|---|---|---|
| agents:read, approvals:read, crm:read, usage:read | ✓ | ✓ | ✓ | ✓ |
| agents:write, agents:execute, crm:write, rules:write | ✓ | ✓ | | |
| approvals:write | ✓ | ✓ | own items | |
| integrations:read, events:read, users:read | ✓ | ✓ | | |
| agents:delete, integrations:write, budgets:write, users:write, settings:write, events:replay, webhooks:write, audit:read | ✓ | | | |
"""
"""The design's own table, word for word: a change of grants has to be made here, too, by somebody who means it."""


def name_of(declared: Route) -> str:
    return f"{declared.method} {declared.path}"


def drawn() -> dict[tuple[str, str], str]:
    """What the table says of each permission and role: ✓, own items, or nothing."""
    lines = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in WHO_MAY_WHAT.strip().splitlines()
    ]
    roles = lines[0][1:]
    return {
        (permission, role): cell
        for permissions, *cells in lines[2:]
        for permission in permissions.split(", ")
        for role, cell in zip(roles, cells, strict=True)
    }


def test_the_grants_are_the_designs() -> None:
    """Seen red with CRM_WRITE given to the sales representatives."""
    granted = {
        (permission.value, role.value): "own items"
        if permission in OWN_ONLY.get(role, frozenset())
        else "✓"
        if permission in GRANTS[role]
        else ""
        for permission in Permission
        for role in Role
    }
    assert granted == drawn()


@pytest.mark.parametrize("declared", DECLARED, ids=name_of)
def test_a_route_states_a_permission_or_a_reason_why_not(declared: Route) -> None:
    if isinstance(declared.needs, Exempt):
        assert declared.needs.kind in {"public", "signed_in", "signature"}
        assert len(declared.needs.reason.split()) >= 3, "a reason is a sentence"
    else:
        assert declared.needs in Permission


@pytest.mark.parametrize(
    "needs", [None, "agents:read", "PUBLIC", Exempt("public", ""), Exempt("public", " ")]
)
def test_a_route_that_states_neither_does_not_import(needs: Any) -> None:
    """Seen red with the first flaw left out of `_flaw`."""
    before = list(ROUTES)
    with pytest.raises(TypeError, match="it states no permission"):

        @route("GET", "/v1/nameless", needs=needs, summary="")
        def nameless() -> Out:
            return Out()

    assert before == ROUTES


def test_every_module_that_declares_routes_is_among_the_nouns() -> None:
    """Seen red with `events` left out of NOUNS."""
    declaring = {
        path.stem
        for path in (ROOT / "chalicelib/api").glob("*.py")
        if re.search(r"^@route\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert declaring == {module for modules in routes.NOUNS.values() for module in modules}


def test_a_module_is_named_for_each_first_part_of_its_paths_and_for_no_other() -> None:
    """Seen red with `me` left out of NOUNS, and with `crm` named for `runs`, too."""
    found: dict[str, set[str]] = {}
    for declared in DECLARED:
        module = declared.handler.__module__.rpartition(".")[2]
        found.setdefault(declared.path.split("/")[2], set()).add(module)
    assert found == {noun: set(modules) for noun, modules in routes.NOUNS.items()}


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return document(DECLARED)


@pytest.mark.parametrize("declared", DECLARED, ids=name_of)
def test_a_route_is_described_with_what_it_needs(description: dict[str, Any], declared: Route) -> None:
    """Seen red with the description built of the routes that need a permission only."""
    described = description["paths"][declared.path][declared.method.lower()]
    if isinstance(declared.needs, Permission):
        assert described["x-permission"] == declared.needs.value
    else:
        assert described["x-open"] == {"kind": declared.needs.kind, "reason": declared.needs.reason}
    assert described["security"] == ([{"bearer": []}] if declared.is_signed_in else [])
    assert described["summary"].strip()


def test_the_app_serves_what_is_declared_and_nothing_else() -> None:
    """Seen red with a view put on the app itself."""
    from app import app  # noqa: PLC0415 - its import is what is looked at

    served = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert served == {(declared.method, declared.path) for declared in DECLARED}


def test_a_repeatable_post_takes_an_idempotency_key() -> None:
    """A POST that makes or decides something may be sent twice by a client that lost the answer; those that
    are the same twice by nature are listed with their reason.
    """
    same_twice = {
        "POST /v1/agents/{config_id}/estimate": "it changes nothing",
        "POST /v1/approvals/{item_id}/revert": "its version moves on",
        "POST /v1/events/{event_id}/redeliver": "what is no longer parked is refused",
        "POST /v1/integrations/{provider}/verify": "the provider is asked anew",
        "POST /v1/runs/{run_id}/cancel": "what is over is refused",
    }
    without = {
        name_of(declared)
        for declared in DECLARED
        if declared.method == "POST" and declared.is_signed_in and not declared.idempotent
    }
    assert without == same_twice.keys()


def test_the_committed_description_is_current() -> None:
    """`make check` says how to write it. Seen red with one summary changed."""
    committed = ROOT / "docs/openapi.json"
    assert committed.read_text(encoding="utf-8") == text_of(document(DECLARED))
