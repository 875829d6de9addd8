"""The description holds together, says what each route needs, and is served as committed."""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from chalicelib.api import docs, openapi, routes
from chalicelib.api.http import PUBLIC, ROUTES, Out, Page, Raw, Reply, Request, answer, route
from chalicelib.api.pages import Listing
from chalicelib.api.parsing import Big, In
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import LimitReached
from chalicelib.domain.ids import RunId, new_run_id
from tests.fakes.nobody import Nobody

REAL = tuple(routes.declared())


class Colour(StrEnum):
    RED = "red"


class Search(Listing):
    colours: tuple[Colour, ...] = ()
    is_open: bool | None = Field(None, description="Only open ones.")


class Change(In):
    version: int
    size: Big


class RunOut(Out):
    run_id: RunId
    parent: "RunOut | None" = None


@pytest.fixture(autouse=True)
def _three_routes() -> Iterator[None]:
    before = list(ROUTES)
    ROUTES[:] = []

    @route("GET", "/v1/runs", needs=Permission.AGENTS_READ, summary="List")
    def listed(work: Work, query: Search) -> Page[RunOut]:
        raise NotImplementedError

    @route(
        "POST",
        "/v1/runs/{run_id}",
        needs=Permission.AGENTS_WRITE,
        summary="Change",
        status=202,
        idempotent=True,
    )
    def change(work: Work, run_id: RunId, body: Change) -> Reply[RunOut]:
        """What it does."""
        raise NotImplementedError

    @route(
        "POST",
        "/v1/colours/{colour}",
        needs=PUBLIC("a test"),
        summary="Import",
        consumes="text/csv",
        produces="text/csv",
        raises=(LimitReached,),
    )
    def imported(colour: Colour, request: Request) -> Raw:
        raise NotImplementedError

    @route("DELETE", "/v1/runs/{run_id}", needs=Permission.AGENTS_DELETE, summary="Delete", status=204)
    def delete(work: Work, run_id: RunId) -> None:
        raise NotImplementedError

    yield
    ROUTES[:] = before


def operation(method: str, path: str) -> Any:
    return openapi.document(ROUTES)["paths"][path][method]


def parameters(method: str, path: str) -> dict[str, Any]:
    return {given["name"]: given for given in operation(method, path).get("parameters", [])}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("real", [False, True], ids=["three routes", "the real routes"])
def test_every_reference_leads_somewhere_and_every_name_is_unique(*, real: bool) -> None:
    routes = REAL if real else ROUTES
    described = openapi.document(routes)
    assert described["openapi"].startswith("3.1")
    models = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(references(described)) <= models
    names = [each["operationId"] for path in described["paths"].values() for each in path.values()]
    assert len(names) == len(set(names)) == len(routes)


def test_every_place_in_a_path_is_described() -> None:
    for path, methods in openapi.document(ROUTES)["paths"].items():
        for each in methods.values():
            said = {given["name"] for given in each.get("parameters", []) if given["in"] == "path"}
            assert said == set(re.findall(r"{(\w+)}", path))


def test_an_operation_says_what_it_needs() -> None:
    closed, public = operation("get", "/v1/runs"), operation("post", "/v1/colours/{colour}")
    assert (closed["x-permission"], closed["security"]) == ("agents:read", [{"bearer": []}])
    assert (public["x-open"], public["security"]) == ({"kind": "public", "reason": "a test"}, [])
    assert {"401", "403"} <= closed["responses"].keys()
    assert not {"401", "403"} & public["responses"].keys()


def test_what_goes_wrong_is_described_as_a_problem() -> None:
    responses = operation("post", "/v1/runs/{run_id}")["responses"]
    assert set(responses) == {"202", "400", "401", "403", "404", "409", "413", "415", "422", "503", "default"}
    assert responses["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    assert "429" in operation("post", "/v1/colours/{colour}")["responses"]


def test_answers_stand_in_the_envelope() -> None:
    schema = operation("get", "/v1/runs")["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["success", "data", "pagination"]
    assert schema["properties"]["data"]["items"]["$ref"].endswith("/RunOut")
    assert "304" in operation("get", "/v1/runs")["responses"]
    assert operation("delete", "/v1/runs/{run_id}")["responses"]["204"] == {"description": "No Content"}
    assert "text/csv" in operation("post", "/v1/colours/{colour}")["responses"]["200"]["content"]


def test_parameters_are_described_as_they_are_read() -> None:
    given = parameters("get", "/v1/runs")
    assert (given["limit"]["schema"]["minimum"], given["limit"]["schema"]["maximum"]) == (1, 100)
    assert given["colours"]["explode"] is False
    assert given["isOpen"]["schema"] == {"type": "boolean"}
    assert given["isOpen"]["description"] == "Only open ones."
    assert "Idempotency-Key" not in given
    assert "Idempotency-Key" in parameters("post", "/v1/runs/{run_id}")
    assert parameters("post", "/v1/colours/{colour}")["colour"]["schema"]["enum"] == ["red"]
    run_id = parameters("post", "/v1/runs/{run_id}")["run_id"]["schema"]
    assert re.fullmatch(run_id["pattern"], new_run_id())
    assert re.fullmatch(run_id["pattern"], run_id["examples"][0])


def test_the_bounds_of_integers_are_told() -> None:
    change = openapi.document(ROUTES)["components"]["schemas"]["Change"]
    assert change["properties"]["version"]["maximum"] == 2**31 - 1
    assert change["properties"]["size"]["maximum"] == 2**63 - 1
    assert change["additionalProperties"] is False
    assert set(change["required"]) == {"version", "size"}


def test_the_same_routes_give_the_same_text_in_any_order() -> None:
    first = openapi.text_of(openapi.document(ROUTES))
    assert openapi.text_of(openapi.document(reversed(ROUTES))) == first


def test_the_file_is_written_and_checked(tmp_path: Path) -> None:
    place = tmp_path / "openapi.json"
    assert openapi.main(["--check", str(place)]) == 1
    assert openapi.main([str(place)]) == 0
    assert openapi.main(["--check", str(place)]) == 0
    place.write_text(place.read_text().replace("Bevyly", "Bevily"))
    assert openapi.main(["--check", str(place)]) == 1
    assert openapi.main([]) == 2


def served(handler: Any) -> Any:
    route("GET", "/v1/served", needs=PUBLIC("a test"), summary="")(handler)
    return answer(ROUTES[-1], Request("GET"), Nobody())  # type: ignore[arg-type]


def test_the_description_is_served_without_the_envelope() -> None:
    told = served(docs.openapi)
    assert told.headers["Content-Type"] == "application/json"
    assert json.loads(told.body)["openapi"].startswith("3.1")


def test_the_page_needs_nothing_but_itself() -> None:
    told = served(docs.docs)
    assert told.headers["Content-Type"].startswith("text/html")
    policy = told.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[\w+/]+=*'", policy)) == 2
    assert not re.search(r"https?://|<link|<img|\ssrc=|\sstyle=|\son\w+=|\n\s*<script [^>]", told.body)
