"""Bad input over HTTP: each gets the 4xx it deserves and says where, and the server goes on.

What a cron, a time zone, a provider's address or a CSV file may do wrong belongs to the routes that take one.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from chalicelib.api.http import Route
from chalicelib.api.pages import Listing
from chalicelib.domain.access import Actor, Role
from local.postgres import Postgres
from tests.builders import a_config, an_item, rows
from tests.integration.http_world import (
    DECLARED,
    Api,
    an_account,
    an_api,
    body_of,
    code_of,
    data_of,
    error_of,
    name_of,
    path_of,
    path_to,
)

WITH_BODY = [declared for declared in DECLARED if declared.body is not None]
LISTS = [
    declared for declared in DECLARED if declared.query is not None and issubclass(declared.query, Listing)
]
MOST: Final = 256 * 1024


@pytest.fixture(scope="module")
def api(postgres: Postgres) -> Iterator[Api]:
    with an_api(postgres) as made:
        yield made


@pytest.fixture(autouse=True)
def _goes_on(api: Api) -> Iterator[None]:
    """After each test the server answers, and its database connections are in step."""
    yield
    assert api.send("GET", "/v1/healthz").status_code == 200
    for actor in (api.ours.rep, api.theirs.rep):
        assert data_of(api.send("GET", "/v1/me", actor))["id"] == actor.user_id


def admin(api: Api) -> Actor:
    return api.ours.people[Role.ADMIN]


def refusal(
    api: Api, declared: Route, *, headers: dict[str, str] | None = None, **sent: Any
) -> tuple[int, str | None]:
    """Status and pointer of what must be a refusal."""
    said = api.send(declared.method, path_of(declared, {}), admin(api), headers=headers, **sent)
    assert 400 <= said.status_code < 500, said.text
    return said.status_code, error_of(said).get("details", {}).get("pointer")


def required(declared: Route, field: str) -> bool:
    schema = declared.body.model_json_schema(by_alias=True) if declared.body else {}
    return field in schema.get("required", ())


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


MALFORMED: Final = {
    "empty": b"",
    "no JSON": b"hello",
    "half a document": b'{"version": 1',
    "two documents": b"{} {}",
    "a trailing comma": b'{"version": 1,}',
    "single quotes": b"{'version': 1}",
    "invalid UTF-8": b'{"version": "\xff\xfe"}',
    "Latin-1": '{"name": "Müller"}'.encode("latin-1"),
    "an overlong NUL": b'{"name": "\xc0\x80"}',
    "UTF-16": json.dumps({"version": 1}).encode("utf-16"),
    "UTF-16 without a mark": json.dumps({"version": 1}).encode("utf-16-le"),
    "UTF-32": json.dumps({"version": 1}).encode("utf-32"),
    "a byte order mark": b'\xef\xbb\xbf{"version": 1}',
    "a raw half of a surrogate pair": b'{"name": "\xed\xa0\x80"}',
    "a number of 5,000 digits": b'{"version": ' + b"9" * 5000 + b"}",
    "depth 33": nested(33),
    "depth 5,000 of objects": nested(5000),
    "depth 5,000 of lists": b'{"version": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "depth 100,000 never closed": b"[" * 100_000,
    "NaN": b'{"version": NaN}',
    "Infinity": b'{"version": -Infinity}',
    "duplicate keys": b'{"version": 1, "version": 2}',
    "duplicate keys further down": b'{"version": 1, "config": {"a": 1, "a": 1}}',
    "a NUL byte alone": b"\0",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_strict_json_is_400_on_every_route_with_a_body(api: Api, raw: bytes) -> None:
    """Seen red with `object_pairs_hook` left out, and with `_check_depth`."""
    for declared in WITH_BODY:
        if raw or not declared.body_optional:
            assert refusal(api, declared, raw=raw) == (400, None), name_of(declared)


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"text"', b"1", b"true", b"[{}]"])
def test_a_document_that_is_no_object_is_422_at_its_root(api: Api, raw: bytes) -> None:
    for declared in WITH_BODY:
        assert refusal(api, declared, raw=raw) == (422, ""), name_of(declared)


@pytest.mark.parametrize("declared", WITH_BODY, ids=name_of)
def test_a_field_of_a_wrong_type_is_422_where_it_stands(api: Api, declared: Route) -> None:
    """Seen red with `strict` taken from the model of what comes in."""
    for field, right in body_of(declared).items():
        nearly: dict[type, list[Any]] = {
            int: ["1", 1.0, 1.5, True],
            float: ["1.5", True],
            bool: ["true", 1, 1.5],
            str: [1, 1.5, None],
            dict: [[{}], 1.5],
            list: [{}, 1.5],
        }
        for wrong in ([["x"]], *nearly[type(right)]):
            if wrong is None and not required(declared, field):
                continue
            status, pointer = refusal(api, declared, body={**body_of(declared), field: wrong})
            assert status == 422, (field, wrong)
            assert pointer is not None
            assert pointer.startswith(f"/{field}"), (field, wrong)


@pytest.mark.parametrize("declared", WITH_BODY, ids=name_of)
def test_a_field_that_nobody_asked_for_is_422_where_it_stands(api: Api, declared: Route) -> None:
    """Seen red with `extra="ignore"` in the model of what comes in."""
    for field in ("customerId", "customer_id", "status", "role", "id", "__proto__", "a/b~c"):
        escaped = field.replace("~", "~0").replace("/", "~1")
        assert refusal(api, declared, body={**body_of(declared), field: "ADMIN"}) == (422, f"/{escaped}")


def test_a_body_of_more_than_256_kb_is_413_on_every_route_with_one(api: Api) -> None:
    """Seen red with MOST_BYTES ten times as large."""
    for declared in WITH_BODY:
        whole = json.dumps(body_of(declared)).encode()
        assert refusal(api, declared, raw=whole + b" " * (MOST + 1 - len(whole))) == (413, None)
        fits = api.send(
            declared.method,
            path_of(declared, {}),
            admin(api),
            raw=whole + b" " * (MOST - len(whole)),
        )
        assert fits.status_code not in {400, 413}, name_of(declared)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/xml", "application/octet-stream", "application/json; charset=utf-16", "application/jsonp", "json", ";"],
)  # fmt: skip
def test_a_body_of_another_type_is_415_on_every_route_with_one(api: Api, content_type: str) -> None:
    for declared in WITH_BODY:
        sent = {"Content-Type": content_type}
        assert refusal(api, declared, body=body_of(declared), headers=sent) == (415, None)


@pytest.mark.parametrize(
    "content_type", ["Application/JSON; charset=utf-8", "application/json;charset=UTF-8", "APPLICATION/JSON"]
)
def test_json_by_another_spelling_is_json(api: Api, content_type: str) -> None:
    agent = {"agentType": "lead_source", "name": "An agent", "config": {"industries": ["logistics"]}}
    said = api.send("POST", "/v1/agents", admin(api), body=agent, headers={"Content-Type": content_type})
    assert said.status_code == 201


UNSTORABLE: Final = {"NUL": "a\0b", "a lone surrogate": "a\ud800b", "another": "\udfff"}


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_nul_and_lone_surrogates_are_422_wherever_they_stand_in_a_body(api: Api, text: str) -> None:
    """Seen red with `_check_values` left out."""
    config_id = a_config(api.world.database, api.ours.manager)
    item_id = an_item(api.world.database, api.ours.manager)
    account_id = an_account(api.world, api.ours)
    agent = {"agentType": "lead_source", "name": "n", "config": {"industries": ["logistics"]}}
    lead = {"name": "Ltd", "domain": "a.example"}
    for method, path, body, pointer in (
        ("POST", "/v1/agents", {**agent, "name": text}, "/name"),
        ("POST", "/v1/agents", {**agent, "config": {"industries": ["a", text]}}, "/config/industries/1"),
        ("POST", "/v1/agents", {**agent, "config": {text: 1}}, "/config"),
        ("POST", "/v1/agents", {**agent, "ownerId": text}, "/ownerId"),
        ("PATCH", f"/v1/agents/{config_id}", {"version": 1, "name": text}, "/name"),
        ("POST", "/v1/runs", {"configId": config_id, "input": {"a": [{"b": text}]}}, "/input/a/0/b"),
        ("POST", "/v1/runs", {"configId": text}, "/configId"),
        ("POST", "/v1/contacts", {"accountId": account_id, "firstName": text, "lastName": "x"}, "/firstName"),
        ("POST", f"/v1/approvals/{item_id}/reject", {"version": 1, "reason": text}, "/reason"),
        ("POST", f"/v1/approvals/{item_id}/approve", {"version": 1, "editedContent": {**lead, "name": text}},
         "/editedContent/name"),
        ("POST", "/v1/approvals/bulk/reject", {"items": [{"id": text, "version": 1}]}, "/items/0/id"),
        ("POST", "/v1/auth/login", {"email": f"{text}@b.example", "password": "x"}, "/email"),
    ):  # fmt: skip
        said = api.send(method, path, admin(api), body=body)
        assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, pointer), path


@pytest.mark.parametrize("text", ["%00", "a%00", "%ED%A0%80", "%FF", "%C0%80"])
def test_nul_and_what_is_no_utf_8_are_refused_in_queries_and_paths(api: Api, text: str) -> None:
    """Seen red with `check_text` left out of `query_of`: a NUL is a 500."""
    for declared in LISTS:
        assert declared.query is not None
        path = path_to(api, declared, api.ours)
        for name, known in declared.query.model_fields.items():
            said = api.send("GET", path, admin(api), query=f"{known.alias or name}={text}")
            if said.status_code == 200:  # read as the replacement character, which PostgreSQL can store
                assert "00" not in text
                assert data_of(said) == []
            else:
                assert (said.status_code, code_of(said)) == (422, "invalid")
        assert refusal(api, declared, query=f"{text}=1")[0] == 422
    for declared in DECLARED:
        for kind in declared.path_kinds:
            path = declared.path.replace("{" + kind + "}", text)
            said = api.send(declared.method, path, admin(api), body=body_of(declared))
            assert said.status_code in {404, 422}, (path, said.text)


@pytest.mark.parametrize(
    "name", ["a\r\nBcc: all@them.example", "a\nb", "a\rb", "a\u2028b", "a\u0085b", "a\tb"]
)
def test_a_line_break_in_a_name_or_a_subject_is_422(api: Api, name: str) -> None:
    agent = {"agentType": "lead_source", "name": name, "config": {"industries": ["logistics"]}}
    said = api.send("POST", "/v1/agents", admin(api), body=agent)
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "/name")
    contact = {"accountId": an_account(api.world, api.ours), "firstName": "Ada", "lastName": name}
    said = api.send("POST", "/v1/contacts", admin(api), body=contact)
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "/lastName")
    item_id = an_item(api.world.database, api.ours.manager)
    rows(
        api.world.database,
        api.ours.manager,
        "UPDATE approval_items SET item_type = 'email_draft' WHERE id = :id RETURNING id",
        id=item_id,
    )
    edited = {"version": 1, "editedContent": {"subject": f"Hello {name}", "body": "Dear Ada"}}
    said = api.send("POST", f"/v1/approvals/{item_id}/approve", admin(api), body=edited)
    assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, "/editedContent/subject")


@pytest.mark.parametrize("limit", ["-1", "0", "101", "1" + "0" * 30, "1.0", "1e1", "+1", "%2010", "", "ten", "0x10",
                                   "%D9%A1", "01", "null", "true"])  # fmt: skip
def test_a_limit_that_is_none_is_422_on_every_list(api: Api, limit: str) -> None:
    """Seen red with `_integer` reading what Python's `int` does, and with no upper bound."""
    for declared in LISTS:
        assert refusal(api, declared, query=f"limit={limit}") == (422, "limit"), name_of(declared)


def test_limits_of_1_and_100_are_fine_on_every_list(api: Api) -> None:
    for declared in LISTS:
        path = path_to(api, declared, api.ours)
        for limit in (1, 100):
            said = api.send("GET", path, admin(api), query=f"limit={limit}")
            assert said.json()["pagination"]["limit"] == limit


def test_a_repeated_or_unknown_parameter_is_422_on_every_route_that_reads(api: Api) -> None:
    """Seen red with the last value winning."""
    for declared in LISTS:
        assert refusal(api, declared, query="limit=1&limit=1") == (422, "limit"), name_of(declared)
    for declared in DECLARED:
        if declared.method == "GET" and not declared.path_kinds:
            assert refusal(api, declared, query="debug=1") == (422, "debug"), name_of(declared)


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


FORGED: Final = {
    "empty": "",
    "no base64": "a",
    "no base64 at all": "%F0%9F%A6%8A",
    "base64 of no JSON": base64.urlsafe_b64encode(b"hello").decode(),
    "base64 of no UTF-8": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "a list of nothing": cursor(),
    "no values": cursor("approvals", []),
    "another list's": cursor("nobodys", ["x"]),
    "deep": base64.urlsafe_b64encode(b"[" * 700).decode(),
    "long": "A" * 5000,
    "a null": cursor("approvals", None),
    "a NUL": cursor("approvals", [1, "2030-01-01T00:00:00Z", "a\0b"]),
    "half a surrogate pair": cursor("agents", ["\ud800"]),
    "NaN": base64.urlsafe_b64encode(b'["approvals",[NaN,"2030-01-01T00:00:00Z","x"]]').decode(),
    "a rank beyond integers": cursor("approvals", [2**31, "2030-01-01T00:00:00Z", "x"]),
    "a position beyond bigint": cursor("events", [2**63]),
    "a fraction": cursor("events", [1.5]),
    "infinity": cursor("approvals", [1, "infinity", "x"]),
    "the year 10000": cursor("approvals", [1, "10000-01-01T00:00:00Z", "x"]),
    "the year 0": cursor("approvals", [1, "0000-01-01T00:00:00Z", "x"]),
    "an instant without a zone": cursor("approvals", [1, "2030-01-01T00:00:00", "x"]),
    "seconds since 1970": cursor("approvals", [1, 0, "x"]),
    "one value too many": cursor("agents", ["x", "y"]),
    "one value too few": cursor("runs", ["2030-01-01T00:00:00Z"]),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_a_forged_cursor_is_422_on_every_list(api: Api, forged: str) -> None:
    """Seen red with `_is_storable` left out: a rank beyond PostgreSQL's integers is a 500."""
    for declared in LISTS:
        assert refusal(api, declared, query=f"cursor={forged}") == (422, "cursor"), name_of(declared)


def test_a_filter_that_names_nothing_is_422_and_one_that_finds_nothing_an_empty_list(api: Api) -> None:
    for path, query, pointer in (
        ("/v1/approvals", "status=Pending", "status"),
        ("/v1/approvals", "priority=", "priority"),
        ("/v1/approvals", "itemType=x", "itemType"),
        ("/v1/runs", "status=done", "status"),
        ("/v1/runs", "status=failed,done", "status"),
        ("/v1/runs", "status=", "status"),
        ("/v1/runs", "trigger=clock", "trigger"),
        ("/v1/runs", "createdFrom=yesterday", "createdFrom"),
        ("/v1/runs", "createdFrom=2030-01-31", "createdFrom"),
        ("/v1/runs", "createdTo=2030-01-31T09:00:00", "createdTo"),
        ("/v1/runs", "createdTo=1893456000", "createdTo"),
        ("/v1/agents/stats", "days=0", "days"),
        ("/v1/agents/stats", "days=366", "days"),
        ("/v1/agents/stats", "days=1.5", "days"),
        ("/v1/approvals", "ownerId=" + "x" * 37, "ownerId"),
        ("/v1/accounts", "search=" + "x" * 101, "search"),
    ):
        said = api.send("GET", path, admin(api), query=query)
        assert (said.status_code, error_of(said)["details"]["pointer"]) == (422, pointer)
    for path, query in (
        ("/v1/accounts", "search=%25"),
        ("/v1/contacts", "search=_%5C"),
        ("/v1/runs", "configId=%27"),
        ("/v1/runs", "createdFrom=2030-01-31T09:00:00Z&createdTo=2030-01-30T09:00:00%2B02:00"),
    ):
        assert data_of(api.send("GET", path, admin(api), query=query)) == []


@pytest.mark.parametrize(
    "value",
    ["x" * 20_000, "Bearer " + "x" * 9000, "Bearer é", "Bearer \x80\xff", "bearer a.b.c", "Bearer a b c"],
)
def test_an_authorization_header_of_any_kind_is_401(api: Api, value: str) -> None:
    said = api.client.get("/v1/me", headers={b"Authorization": value.encode("latin-1")})
    assert (said.status_code, said.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_an_address_or_a_method_that_is_not_there_is_told_so(api: Api) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/runs", 405),
        ("DELETE", "/v1/approvals", 405),
        ("POST", "/v1/me", 405),
    ):
        said = api.send(method, path, admin(api))
        assert said.status_code == status, (method, path)
        error_of(said)
