"""The wrapper around every view, with handlers that need nobody signed in."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pg8000
import pytest
from chalice.app import Chalice
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chalicelib.api import http
from chalicelib.api.http import (
    PUBLIC,
    ROUTES,
    SIGNED_IN,
    Answer,
    Out,
    Page,
    Raw,
    Reply,
    Request,
    answer,
    register,
    route,
)
from chalicelib.api.parsing import In
from chalicelib.db.work import Work
from chalicelib.domain import errors
from chalicelib.domain.access import Permission
from chalicelib.domain.ids import AccountId, RunId, new_run_id
from chalicelib.settings import MissingSetting
from tests.fakes.nobody import Nobody

OPEN = PUBLIC("a test")


class Echo(In):
    some_text: str = ""


class EchoOut(Out):
    some_text: str
    seen_at: datetime | None = None


def send(
    handler: Any, path: dict[str, str] | None = None, context: Nobody | None = None, **given: Any
) -> Answer:
    declared = next(known for known in ROUTES if known.handler is handler)
    return answer(declared, Request(declared.method, path or {}, **given), context or Nobody())  # type: ignore[arg-type]


def data_of(told: Answer) -> Any:
    return json.loads(told.body)["data"]


def error_of(told: Answer) -> Any:
    body = json.loads(told.body)
    assert body["success"] is False
    return body["error"]


@pytest.fixture(autouse=True)
def _routes_of_this_test_only() -> Iterator[None]:
    before = list(ROUTES)
    yield
    ROUTES[:] = before


def failing(error: BaseException) -> Any:
    @route("GET", "/v1/fail", needs=OPEN, summary="")
    def fail() -> EchoOut:
        raise error

    return fail


# What is sent


def test_an_answer_stands_in_the_envelope_with_camel_case_names_and_times_in_utc() -> None:
    @route("GET", "/v1/echo", needs=OPEN, summary="", status=202)
    def echo() -> EchoOut:
        return EchoOut(some_text="ü", seen_at=datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))))

    told = send(echo)
    assert told.status == 202
    assert told.body == '{"success":true,"data":{"someText":"ü","seenAt":"2030-01-01T00:00:00Z"}}'


def test_every_answer_has_the_headers_of_ours() -> None:
    for told in (send(failing(errors.NotFound("x")), request_id="request-1"),):
        assert told.headers["X-Request-Id"] == "request-1"
        assert told.headers["Content-Type"] == "application/json"
        assert told.headers["Cache-Control"] == "no-store"
        assert told.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_says_where_the_next_one_begins() -> None:
    @route("GET", "/v1/many", needs=OPEN, summary="")
    def many() -> Page[EchoOut]:
        return Page([EchoOut(some_text="a")], limit=1, total=10_000, next_cursor="next", total_is_capped=True)

    @route("GET", "/v1/none", needs=OPEN, summary="")
    def none() -> Page[EchoOut]:
        return Page([], limit=1, total=0)

    body = json.loads(send(many).body)
    assert body["pagination"] == {"limit": 1, "total": 10_000, "totalIsCapped": True, "nextCursor": "next"}
    assert send(none).body == (
        '{"success":true,"data":[],"pagination":{"limit":1,"total":0,"nextCursor":null}}'
    )


def test_nothing_is_null_and_204_has_no_body() -> None:
    @route("POST", "/v1/nothing", needs=OPEN, summary="")
    def nothing() -> None:
        return None

    @route("DELETE", "/v1/nothing", needs=OPEN, summary="", status=204)
    def gone() -> None:
        return None

    assert send(nothing).body == '{"success":true,"data":null}'
    assert (send(gone).status, send(gone).body) == (204, "")


def test_a_reply_has_headers_and_a_raw_body_its_own_type() -> None:
    @route("POST", "/v1/reply", needs=OPEN, summary="")
    def reply() -> Reply[EchoOut]:
        return Reply(EchoOut(some_text="a"), headers={"Set-Cookie": "a=b"}, status=201)

    @route("GET", "/v1/raw", needs=OPEN, summary="", produces="text/csv")
    def raw() -> Raw:
        return Raw("a,b\n", "text/csv", {"Cache-Control": "public"})

    assert (send(reply).status, send(reply).headers["Set-Cookie"]) == (201, "a=b")
    told = send(raw)
    assert (told.body, told.headers["Content-Type"], told.headers["Cache-Control"]) == (
        "a,b\n",
        "text/csv",
        "public",
    )


# What is said


def test_paths_bodies_and_queries_arrive_parsed() -> None:
    run_id = new_run_id()

    @route("POST", "/v1/echoes/{run_id}", needs=OPEN, summary="")
    def echo(run_id: RunId, body: Echo, query: Echo) -> EchoOut:
        return EchoOut(some_text=f"{run_id} {body.some_text} {query.some_text}")

    told = send(
        echo,
        {"run_id": run_id},
        query={"someText": ["c"]},
        headers={"content-type": "application/json"},
        raw=b'{"someText": "b"}',
    )
    assert data_of(told)["someText"] == f"{run_id} b c"


def test_a_malformed_id_gets_the_answer_of_one_that_nobody_has() -> None:
    @route("GET", "/v1/echoes/{run_id}", needs=OPEN, summary="")
    def echo(run_id: RunId) -> EchoOut:
        raise AssertionError(run_id)

    told = send(echo, {"run_id": "run_1"})
    assert (told.status, error_of(told)["code"]) == (404, "not_found")


def test_a_body_may_be_optional() -> None:
    @route("POST", "/v1/perhaps", needs=OPEN, summary="")
    def perhaps(body: Echo | None) -> EchoOut:
        return EchoOut(some_text="none" if body is None else body.some_text)

    assert data_of(send(perhaps))["someText"] == "none"
    assert send(perhaps, raw=b"{}").status == 415


def test_a_query_where_none_is_taken_is_refused() -> None:
    @route("GET", "/v1/plain", needs=OPEN, summary="")
    def plain() -> None:
        return None

    told = send(plain, query={"debug": ["1"]})
    assert (told.status, error_of(told)["details"]) == (422, {"pointer": "debug"})


# What fails


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.Malformed("x"), 400, {}),
        (errors.NotSignedIn("x"), 401, {"WWW-Authenticate": "Bearer"}),
        (errors.NotPermitted("x"), 403, {}),
        (errors.NotFound("x"), 404, {}),
        (errors.Conflict("x"), 409, {}),
        (errors.TooLarge("x"), 413, {}),
        (errors.UnsupportedMediaType("x"), 415, {}),
        (errors.Invalid("x"), 422, {}),
        (errors.LimitReached("x", retry_after=timedelta(seconds=90.2)), 429, {"Retry-After": "91"}),
        (errors.LimitReached("x"), 429, {"Retry-After": "60"}),
        (errors.Refused("x"), 502, {}),
        (errors.ProviderBusy("x", retry_after=timedelta(milliseconds=1)), 503, {"Retry-After": "1"}),
        (errors.Unavailable("x"), 503, {"Retry-After": "5"}),
    ],
)
def test_each_refusal_has_its_status(error: errors.AppError, status: int, headers: dict[str, str]) -> None:
    told = send(failing(error))
    assert told.status == status
    assert {name: told.headers.get(name) for name in ("WWW-Authenticate", "Retry-After")} == {
        "WWW-Authenticate": None,
        "Retry-After": None,
        **headers,
    }
    assert error_of(told)["code"] == error.code


def test_a_refusal_says_what_it_knows() -> None:
    told = send(failing(errors.Conflict("Anna decided.", details={"by": "Anna"})), request_id="request-1")
    assert error_of(told) == {
        "code": "conflict",
        "message": "Anna decided.",
        "details": {"by": "Anna"},
        "requestId": "request-1",
    }


def test_a_bug_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    told = send(failing(RuntimeError("password=hunter2")), request_id="request-1")
    assert told.status == 500
    assert error_of(told)["code"] == "internal"
    assert "hunter2" not in told.body
    assert any(record.exc_info and vars(record)["request_id"] == "request-1" for record in caplog.records)


def test_an_answer_that_json_cannot_hold_is_a_bug_and_not_an_escape() -> None:
    @route("GET", "/v1/odd", needs=OPEN, summary="")
    def odd() -> EchoOut:
        return EchoOut(some_text="\ud800")

    assert send(odd).status == 500


def of_the_server(state: str, kind: type[DBAPIError] = ProgrammingError) -> DBAPIError:
    return kind("SELECT secret", {}, pg8000.ProgrammingError({"C": state, "M": "secret"}))


@pytest.mark.parametrize(
    "error",
    [
        *(of_the_server(state) for state in ("57P01", "57P02", "57P03", "25P03", "08006", "53300")),
        *(of_the_server(state) for state in ("55P03", "57014", "40001", "40P01")),
        OperationalError("x", {}, pg8000.OperationalError({"C": "57P01"})),
        DBAPIError("x", {}, pg8000.InterfaceError("network error"), connection_invalidated=True),
        DBAPIError("x", {}, pg8000.InterfaceError("Can't create a connection")),
        PoolTimeout("QueuePool limit"),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_a_database_that_is_out_or_busy_is_503(error: Exception) -> None:
    told = send(failing(error))
    assert told.status == 503
    assert int(told.headers["Retry-After"]) >= 1
    assert "secret" not in told.body


def test_a_statement_that_is_wrong_is_a_bug() -> None:
    assert send(failing(of_the_server("42601"))).status == 500


# Declaring


def test_a_route_without_a_permission_does_not_import() -> None:
    def handler() -> None: ...

    for needs in (None, "agents:read", PUBLIC(""), PUBLIC("  ")):
        with pytest.raises(TypeError, match="permission"):
            route("GET", "/v1/x", needs=needs, summary="")(handler)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        route("GET", "/v1/x", summary="")(handler)  # type: ignore[call-arg]


def _two(run_id: RunId, account_id: AccountId) -> None: ...
def _number(run_id: int) -> None: ...
def _untold(run_id: RunId): ...  # type: ignore[no-untyped-def]  # noqa: ANN202
def _work(work: Work) -> None: ...
def _plain() -> None: ...
def _one(run_id: RunId) -> None: ...
def _dict(body: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("method", "path", "handler", "options"),
    [
        ("GET", "/v1/x/{run_id}", _two, {}),
        ("GET", "/v1/x/{run_id}", _number, {}),
        ("GET", "/v1/x/{run_id}", _untold, {}),
        ("GET", "/v1/x/{run_id}", _plain, {}),
        ("GET", "/v1/x/", _plain, {}),
        ("GET", "/x", _plain, {}),
        ("GET", "/v1/x", _work, {}),
        ("POST", "/v1/x", _dict, {}),
        ("POST", "/v1/x", _plain, {"idempotent": True}),
        ("GET", "/v1/x", _work, {"idempotent": True, "needs": SIGNED_IN("a test")}),
    ],
)
def test_a_route_that_does_not_add_up_does_not_import(
    method: Any, path: str, handler: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        route(method, path, **{"needs": OPEN, "summary": "", **options})(handler)


def test_no_route_is_declared_twice_or_names_a_place_in_two_ways() -> None:
    route("GET", "/v1/x/{run_id}", needs=OPEN, summary="")(_one)
    with pytest.raises(TypeError, match="twice"):
        route("GET", "/v1/x/{run_id}", needs=OPEN, summary="")(_one)

    def other(item: RunId) -> None:
        del item

    with pytest.raises(TypeError, match="differently"):
        route("POST", "/v1/x/{item}/stop", needs=OPEN, summary="")(other)


def test_a_signed_in_route_asks_for_a_token_before_anything_else() -> None:
    @route("POST", "/v1/closed", needs=Permission.AGENTS_WRITE, summary="")
    def closed(work: Work, body: Echo) -> None:
        raise AssertionError(work, body)

    for headers in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer "}):
        assert send(closed, headers=headers, raw=b"{").status == 401


# Requests


def event(**changes: Any) -> dict[str, Any]:
    """As API Gateway sends it."""
    return {
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": "/v1/echo",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "headers": {"Content-Type": "application/json"},
        "pathParameters": None,
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": '{"someText": "a"}',
        "isBase64Encoded": False,
        **changes,
    }


def through_chalice(**changes: Any) -> dict[str, Any]:
    @route("POST", "/v1/echo", needs=OPEN, summary="")
    def echo(body: Echo, request: Request) -> EchoOut:
        return EchoOut(some_text=f"{body.some_text} {request.source_ip}")

    app = Chalice("test")
    register(app, [ROUTES[-1]])
    answered: dict[str, Any] = app(event(**changes), None)
    return answered


@pytest.fixture
def _without_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_own_context", Nobody)


@pytest.mark.usefixtures("_without_context")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"body": "eyJzb21lVGV4dCI6ICJhIn0=", "isBase64Encoded": True}, 200),
        ({"body": b'{"someText": "a"}'}, 200),
        ({"body": None}, 400),
        ({"body": "\ud800"}, 400),
        ({"body": "x", "isBase64Encoded": True}, 400),
        ({"headers": None}, 415),
        ({"headers": {"content-type": "text/plain"}}, 415),
        ({"multiValueQueryStringParameters": {"a": ["1", "2"]}}, 422),
    ],
)
def test_through_chalice_nothing_escapes(changes: dict[str, Any], status: int) -> None:
    answered = through_chalice(**changes)
    assert answered["statusCode"] == status
    assert json.loads(answered["body"])["success"] is (status == 200)


@pytest.mark.usefixtures("_without_context")
def test_the_request_id_is_api_gateways_unless_a_safe_one_was_sent() -> None:
    assert through_chalice()["headers"]["X-Request-Id"] == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"


@pytest.mark.parametrize(
    ("sent", "gateways", "used"),
    [
        ("mine-12345", "theirs-12345", "mine-12345"),
        ("a b\r\nset-cookie: x", "theirs-12345", "theirs-12345"),
        ("x" * 65, "theirs-12345", "theirs-12345"),
        (None, "theirs-12345", "theirs-12345"),
    ],
)
def test_a_sent_request_id_counts_where_it_is_a_short_safe_word(
    sent: str | None, gateways: str, used: str
) -> None:
    assert http._request_id(sent, gateways) == used


def test_a_request_without_any_id_gets_one() -> None:
    assert http._request_id("<script>", None) != http._request_id(None, None)


SECRET = "the edge's secret"


@pytest.mark.parametrize(
    ("headers", "viewer"),
    [
        ({"x-forwarded-for": "203.0.113.9"}, "192.0.2.1"),
        ({"x-forwarded-for": "203.0.113.9", "x-bevyly-edge": "guess"}, "192.0.2.1"),
        ({"x-bevyly-viewer": "203.0.113.9"}, "192.0.2.1"),
        ({"x-bevyly-viewer": "203.0.113.9", "x-bevyly-edge": SECRET}, "203.0.113.9"),
        ({"x-bevyly-viewer": "2001:db8::1", "x-bevyly-edge": SECRET}, "2001:db8::1"),
        ({"x-forwarded-for": "forged, 203.0.113.9, 192.0.2.1", "x-bevyly-edge": SECRET}, "203.0.113.9"),
        ({"x-forwarded-for": "203.0.113.9", "x-bevyly-edge": SECRET}, "203.0.113.9"),
        (
            {"x-bevyly-viewer": "nonsense", "x-forwarded-for": "203.0.113.9", "x-bevyly-edge": SECRET},
            "203.0.113.9",
        ),
        ({"cloudfront-viewer-address": "198.51.100.1:4711", "x-bevyly-edge": SECRET}, "192.0.2.1"),
        ({"x-forwarded-for": "nonsense", "x-bevyly-edge": SECRET}, "192.0.2.1"),
        ({"x-bevyly-edge": SECRET}, "192.0.2.1"),
        ({"x-bevyly-edge": "é"}, "192.0.2.1"),
    ],
)
def test_the_viewers_address_is_believed_of_cloudfront_only(headers: dict[str, str], viewer: str) -> None:
    request = Request("GET", headers=headers, source_ip="192.0.2.1")
    assert request.viewer_address([SECRET]) == viewer
    assert request.viewer_address(["the next one", SECRET]) == viewer
    assert request.viewer_address([]) == "192.0.2.1"


def past_the_edge(headers: dict[str, str], only: str = "true") -> Answer:
    """What API Gateway's own address answers."""

    @route("GET", "/v1/echo", needs=OPEN, summary="")
    def echo() -> EchoOut:
        return EchoOut(some_text="here")

    return send(echo, context=Nobody(EDGE_SECRET=f"{SECRET}, the next one", EDGE_ONLY=only), headers=headers)


@pytest.mark.parametrize("headers", [{}, {"x-bevyly-edge": "guess"}, {"x-bevyly-edge": ""}])
def test_whoever_comes_past_the_edge_is_told_where_to_ask(headers: dict[str, str]) -> None:
    """Seen red without the check, and with an empty word taken for a secret."""
    told = past_the_edge(headers)
    error = json.loads(told.body)["error"]
    assert (told.status, error["code"]) == (403, "not_by_the_edge")
    assert "/api" in error["message"]
    assert SECRET not in told.body


@pytest.mark.parametrize("secret", [SECRET, "the next one"])
def test_the_edge_may_say_either_secret_while_it_is_changed(secret: str) -> None:
    assert past_the_edge({"x-bevyly-edge": secret}).status == 200


def test_nobody_can_be_asked_for_a_secret_that_is_not_there() -> None:
    with pytest.raises(MissingSetting, match="EDGE_ONLY=true needs EDGE_SECRET"):
        Nobody(EDGE_ONLY="true")


def test_an_installation_may_leave_the_other_address_open() -> None:
    assert past_the_edge({}, only="false").status == 200


def test_cookies_are_read_one_by_one() -> None:
    request = Request("GET", headers={"cookie": 'a=1; broken; b=x=y; c="; d=\x01'})
    assert [request.cookie(name) for name in "abcde"] == ["1", "x=y", '"', None, None]


def test_an_instant_without_a_zone_is_never_shown() -> None:
    with pytest.raises(ValueError, match="zone"):
        EchoOut(some_text="", seen_at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
    assert EchoOut(some_text="", seen_at=datetime(2030, 1, 1, tzinfo=UTC)).seen_at is not None
