"""Signed-in routes on a real database, and how one gets signed in."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.api import auth, health
from chalicelib.api.http import ROUTES, SIGNED_IN, Answer, Context, Out, Reply, Request, answer, route
from chalicelib.api.parsing import In
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor, Permission, Role
from chalicelib.domain.errors import Conflict, NotSignedIn, Unavailable
from chalicelib.domain.ids import RunId, new_run_id
from chalicelib.domain.ports import Challenge, SignedIn
from chalicelib.integrations.oidc.verifier import Claims
from chalicelib.settings import Settings
from tests.conftest import World
from tests.fakes.signals import RememberedSignals


@dataclass(frozen=True, slots=True)
class TrustingVerifier:
    """The token is the subject."""

    def verify(self, token: str) -> Claims:
        return Claims("https://issuer.example", token)


@dataclass(slots=True)
class OneUserIssuer:
    """Knows rep@ours.example, whose password is "right"; "first" asks for a new one."""

    asked: int = 0
    revoked: list[str] = field(default_factory=list)
    is_out: bool = False

    def sign_in(self, email: str, password: str) -> SignedIn | Challenge:
        self.asked += 1
        if email != "rep@ours.example" or password not in {"right", "first"}:
            raise NotSignedIn("The e-mail or the password is wrong.", code="wrong_credentials")
        return (
            Challenge("a session of the issuer's")
            if password == "first"
            else SignedIn("access", 900, "refresh")
        )

    def answer_challenge(self, email: str, session: str, new_password: str) -> SignedIn:
        assert (email, session) == ("rep@ours.example", "a session of the issuer's")
        assert new_password
        return SignedIn("access", 900, "refresh")

    def refresh(self, refresh_token: str) -> SignedIn:
        if refresh_token != "refresh":
            raise NotSignedIn("Your sign-in has ended. Sign in again.", code="session_over")
        return SignedIn("next", 900, None)

    def sign_out(self, refresh_token: str) -> None:
        if self.is_out:
            raise Unavailable("Nobody can sign in just now.")
        self.revoked.append(refresh_token)


@dataclass(slots=True)
class Parts:
    """What `http.Context` asks for."""

    settings: Settings
    database: Database
    verifier: TrustingVerifier = field(default_factory=TrustingVerifier)
    issuer: OneUserIssuer = field(default_factory=OneUserIssuer)
    signals: Any = field(default_factory=RememberedSignals)
    integrations: Any = None  # no route of these tests asks for it


@pytest.fixture
def parts(world: World) -> Parts:
    return Parts(world.database.settings, world.database)


@pytest.fixture(autouse=True)
def _routes_of_this_test_only() -> Iterator[None]:
    before = list(ROUTES)
    yield
    ROUTES[:] = before


def send(
    parts: Parts,
    handler: Callable[..., Any],
    *,
    by: Actor | None = None,
    body: Any = None,
    path: dict[str, str] | None = None,
    source_ip: str = "192.0.2.1",
    **headers: str,
) -> Answer:
    declared = next(known for known in ROUTES if known.handler is handler)
    told = {
        "content-type": "application/json",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    if by is not None:
        told["authorization"] = f"Bearer {by.user_id}"
    raw = b"" if body is None else json.dumps(body).encode()
    request = Request(declared.method, path or {}, {}, told, raw, source_ip)
    return answer(declared, request, parts)


def data_of(told: Answer) -> Any:
    return json.loads(told.body)["data"]


def code_of(told: Answer) -> Any:
    return json.loads(told.body)["error"]["code"]


class CountOut(Out):
    count: int


class Count(In):
    by: int = 1


# The wrapper


def test_a_handler_works_inside_its_persons_tenant(world: World, parts: Parts) -> None:
    @route("GET", "/v1/customers", needs=Permission.AGENTS_READ, summary="")
    def customers(work: Work) -> CountOut:
        assert work.actor == world.ours.rep
        return CountOut(count=work.session.execute(text("SELECT count(*) FROM customers")).scalar_one())

    assert data_of(send(parts, customers, by=world.ours.rep)) == {"count": 1}


def test_a_permission_is_asked_for_before_anything_that_was_sent(world: World, parts: Parts) -> None:
    @route("POST", "/v1/counts/{run_id}", needs=Permission.AGENTS_WRITE, summary="")
    def count(work: Work, run_id: RunId, body: Count) -> CountOut:
        del work, run_id
        return CountOut(count=body.by)

    nonsense: Any = {"path": {"run_id": "x"}, "body": []}
    assert send(parts, count, by=world.ours.rep, **nonsense).status == 403
    assert send(parts, count, by=world.ours.manager, **nonsense).status == 404
    good: Any = {"path": {"run_id": new_run_id()}, "body": {"by": 2}}
    assert data_of(send(parts, count, by=world.ours.manager, **good)) == {"count": 2}


def test_somebody_disabled_is_not_signed_in(world: World, parts: Parts) -> None:
    with world.database.system() as session:
        session.execute(
            text("UPDATE users SET status = 'disabled' WHERE id = :id"), {"id": world.ours.rep.user_id}
        )
    told = send(parts, auth.me, by=world.ours.rep)
    assert (told.status, code_of(told)) == (401, "no_such_user")


def test_a_read_takes_three_flights(world: World, parts: Parts) -> None:
    def flights() -> int:
        with world.engines[0].connect() as borrowed:
            return int(borrowed.connection.dbapi_connection.flights)  # type: ignore[union-attr]

    send(parts, auth.me, by=world.ours.rep)
    before = flights()
    assert send(parts, auth.me, by=world.ours.rep).status == 200
    assert flights() - before == 3


def test_what_is_refused_leaves_nothing_behind(world: World, parts: Parts) -> None:
    @route("POST", "/v1/rename", needs=Permission.SETTINGS_WRITE, summary="")
    def rename(work: Work) -> None:
        work.session.execute(text("UPDATE customers SET name = 'Changed'"))
        work.audit("customer.renamed", work.actor.customer_id)
        raise Conflict("Somebody was quicker.")

    admin = world.ours.people[Role.ADMIN]
    assert send(parts, rename, by=admin).status == 409
    assert data_of(send(parts, auth.me, by=admin))["customer"]["name"] == "Ours"


def test_a_handler_with_slow_calls_gets_the_actor_and_no_transaction(world: World, parts: Parts) -> None:
    @route("POST", "/v1/slow", needs=Permission.AGENTS_WRITE, summary="")
    def slow(actor: Actor, context: Context) -> CountOut:
        assert world.engines[0].pool.checkedout() == 0  # type: ignore[attr-defined]
        with context.database.enter(actor) as work:
            return CountOut(count=work.session.execute(text("SELECT count(*) FROM customers")).scalar_one())

    assert send(parts, slow, by=world.ours.rep).status == 403
    assert data_of(send(parts, slow, by=world.ours.manager)) == {"count": 1}


def test_an_unchanged_answer_is_not_sent_again(world: World, parts: Parts) -> None:
    first = send(parts, auth.me, by=world.ours.rep)
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = send(parts, auth.me, by=world.ours.rep, if_none_match=known)
        assert (again.status, again.body, again.headers["ETag"]) == (304, "", tag)
    assert send(parts, auth.me, by=world.ours.rep, if_none_match='"other"').status == 200
    assert send(parts, auth.me, by=world.ours.manager, if_none_match=tag).status == 200


# Repeated writes


class Counter:
    """A write whose every execution shows, in the database and here."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails: Exception | None = None
        self.gate: Callable[[], None] = lambda: None

        @route(
            "POST", "/v1/counts/{run_id}", needs=SIGNED_IN("a test"), summary="", status=201, idempotent=True
        )
        def add(work: Work, run_id: RunId, body: Count) -> Reply[CountOut]:
            self.calls += 1
            work.audit("counted", run_id, by=body.by)
            self.gate()
            if self.fails is not None:
                raise self.fails
            return Reply(CountOut(count=self.calls))

        self.add = add


@pytest.fixture
def counter() -> Counter:
    return Counter()


RUN, OTHER_RUN = {"run_id": new_run_id()}, {"run_id": new_run_id()}


def counted(world: World) -> int:
    with world.database.enter(world.ours.manager) as work:
        found: int = work.session.execute(text("SELECT count(*) FROM audit_entries")).scalar_one()
    return found


def test_the_same_key_gets_the_same_answer(world: World, parts: Parts, counter: Counter) -> None:
    say: Any = {"by": world.ours.rep, "path": RUN, "body": {"by": 1}, "idempotency_key": "a key"}
    first, second = (send(parts, counter.add, **say) for _ in range(2))
    assert (
        (first.status, first.body)
        == (second.status, second.body)
        == (201, '{"success":true,"data":{"count":1}}')
    )
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert counter.calls == counted(world) == 1


@pytest.mark.parametrize(
    "other",
    [{"idempotency_key": "another"}, {"path": OTHER_RUN}, {"idempotency_key": None}],
    ids=["another key", "another object", "no key"],
)
def test_another_key_or_object_is_another_write(
    world: World, parts: Parts, counter: Counter, other: dict[str, Any]
) -> None:
    say: Any = {"by": world.ours.rep, "path": RUN, "body": {"by": 1}, "idempotency_key": "a key"}
    send(parts, counter.add, **say)
    again = {name: value for name, value in {**say, **other}.items() if value is not None}
    assert send(parts, counter.add, **again).status == 201
    assert counter.calls == 2


def test_a_key_is_its_persons_own(world: World, parts: Parts, counter: Counter) -> None:
    say: Any = {"path": RUN, "body": {"by": 1}, "idempotency_key": "a key"}
    for person in (world.ours.rep, world.ours.manager, world.theirs.rep):
        assert "Idempotency-Replayed" not in send(parts, counter.add, by=person, **say).headers
    assert counter.calls == 3


def test_another_body_under_the_same_key_is_refused(world: World, parts: Parts, counter: Counter) -> None:
    say: Any = {"by": world.ours.rep, "path": RUN, "idempotency_key": "a key"}
    send(parts, counter.add, body={"by": 1}, **say)
    told = send(parts, counter.add, body={"by": 2}, **say)
    assert (told.status, code_of(told)) == (422, "idempotency_mismatch")
    assert counter.calls == 1


def test_a_write_that_failed_may_be_tried_again(world: World, parts: Parts, counter: Counter) -> None:
    say: Any = {"by": world.ours.rep, "path": RUN, "body": {"by": 1}, "idempotency_key": "a key"}
    counter.fails = Conflict("Not now.")
    assert send(parts, counter.add, **say).status == 409
    counter.fails = None
    assert send(parts, counter.add, **say).status == 201
    assert counted(world) == 1


def test_while_the_first_is_at_work_the_second_is_told_to_wait(
    world: World, parts: Parts, counter: Counter
) -> None:
    say: Any = {"by": world.ours.rep, "path": RUN, "body": {"by": 1}, "idempotency_key": "a key"}
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go_on.wait(5)

    counter.gate = wait
    first = threading.Thread(target=send, args=(parts, counter.add), kwargs=say)
    first.start()
    assert inside.wait(5)
    told = send(parts, counter.add, **say)
    go_on.set()
    first.join()
    assert (told.status, code_of(told), told.headers["Retry-After"]) == (409, "still_running", "1")
    assert send(parts, counter.add, **say).headers["Idempotency-Replayed"] == "true"
    assert counter.calls == 1


# Signing in

RIGHT = {"email": "Rep@ours.example", "password": "right"}
WRONG = {"email": "rep@ours.example", "password": "wrong"}
OWN = "http://127.0.0.1:8000"


def test_signing_in_gives_a_token_and_a_cookie_that_no_script_reads(parts: Parts) -> None:
    told = send(parts, auth.login, body=RIGHT)
    assert data_of(told) == {"accessToken": "access", "expiresIn": 900}
    assert told.headers["Set-Cookie"] == (
        "bevyly_refresh=refresh; Path=/api/v1/auth; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure"
    )


def test_secure_is_left_off_in_the_local_stage_only(parts: Parts) -> None:
    parts.settings = replace(parts.settings, refresh_cookie_secure=False)
    assert "Secure" not in send(parts, auth.login, body=RIGHT).headers["Set-Cookie"]
    parts.settings = replace(parts.settings, stage="prod")
    assert send(parts, auth.login, body=RIGHT).status == 500


def test_a_wrong_password_and_nobody_get_the_same_answer(parts: Parts) -> None:
    wrong, nobody = (
        send(parts, auth.login, body={**WRONG, "email": email}) for email in (WRONG["email"], "x@y.example")
    )
    assert wrong.status == nobody.status == 401
    told = [{**json.loads(answered.body)["error"], "requestId": ""} for answered in (wrong, nobody)]
    assert told[0] == told[1]
    assert told[0]["code"] == "wrong_credentials"


def test_a_first_password_is_set_by_a_challenge(parts: Parts) -> None:
    asked = data_of(send(parts, auth.login, body={**RIGHT, "password": "first"}))
    assert asked["challenge"] == "new_password"
    answered = {"email": "rep@ours.example", "session": asked["session"], "newPassword": "mine"}
    told = send(parts, auth.challenge, body=answered)
    assert data_of(told)["accessToken"] == "access"
    assert "Set-Cookie" in told.headers


def test_after_ten_tries_an_email_has_to_wait_whoever_asks(parts: Parts) -> None:
    for nth in range(10):
        assert send(parts, auth.login, body=WRONG, source_ip=f"192.0.2.{nth}").status == 401
    told = send(parts, auth.login, body=RIGHT, source_ip="192.0.2.99")
    assert (told.status, told.headers["Retry-After"]) == (429, "900")
    assert parts.issuer.asked == 10


def test_an_address_has_to_wait_whomever_it_tries(parts: Parts) -> None:
    parts.settings = replace(parts.settings, sign_in_attempts_per_15_minutes=2)
    for nth in range(20):
        tried = {**WRONG, "email": f"person{nth}@ours.example"}
        assert send(parts, auth.login, body=tried, source_ip=f"2001:db8::{nth:x}").status == 401
    assert send(parts, auth.login, body=RIGHT, source_ip="2001:db8::ffff").status == 429
    assert send(parts, auth.login, body=RIGHT, source_ip="2001:db8:0:1::1").status == 200


def test_a_sign_in_that_succeeds_forgets_the_tries(parts: Parts) -> None:
    for _ in range(3):
        for _ in range(9):
            send(parts, auth.login, body=WRONG)
        assert send(parts, auth.login, body=RIGHT).status == 200


def test_addresses_and_emails_are_kept_as_hashes(world: World, parts: Parts) -> None:
    send(parts, auth.login, body=WRONG)
    with world.engines[0].connect() as borrowed:
        assert not borrowed.execute(
            text("SELECT has_table_privilege('sign_in_attempts', 'SELECT')")
        ).scalar_one()
    assert auth._hashed("email", "a") != auth._hashed("address", "a")
    assert len(auth._hashed("email", "rep@ours.example")) == 64


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", OWN + "/"])
def test_the_cookie_counts_from_our_own_pages_only(parts: Parts, origin: str | None) -> None:
    headers: Any = {"cookie": "bevyly_refresh=refresh"} | ({} if origin is None else {"origin": origin})
    assert send(parts, auth.refresh, **headers).status == 403
    assert send(parts, auth.logout, **headers).status == 403
    assert parts.issuer.revoked == []


def test_the_cookie_gets_the_next_token(parts: Parts) -> None:
    told = send(parts, auth.refresh, origin=OWN, cookie="a=b; bevyly_refresh=refresh")
    assert data_of(told) == {"accessToken": "next", "expiresIn": 900}
    assert "Set-Cookie" not in told.headers
    assert send(parts, auth.refresh, origin=OWN, cookie="bevyly_refresh=old").status == 401
    assert send(parts, auth.refresh, origin=OWN).status == 401


@pytest.mark.parametrize("is_out", [False, True], ids=["the issuer answers", "the issuer is out"])
def test_signing_out_clears_the_cookie_whatever_the_issuer_says(parts: Parts, *, is_out: bool) -> None:
    parts.issuer.is_out = is_out
    told = send(parts, auth.logout, origin=OWN, cookie="bevyly_refresh=refresh")
    assert told.status == 200
    assert "bevyly_refresh=; " in told.headers["Set-Cookie"]
    assert "Max-Age=0" in told.headers["Set-Cookie"]
    assert parts.issuer.revoked == ([] if is_out else ["refresh"])


def test_me_says_who_what_and_where(world: World, parts: Parts) -> None:
    rep = world.ours.rep
    assert data_of(send(parts, auth.me, by=rep)) == {
        "id": rep.user_id,
        "name": "Ours SALES_REP",
        "email": "sales_rep@ours.example",
        "role": "SALES_REP",
        "permissions": ["agents:read", "approvals:read", "approvals:write", "crm:read", "usage:read"],
        "customer": {
            "id": rep.customer_id,
            "name": "Ours",
            "plan": "starter",
            "timeZone": "UTC",
            "undoWindowSeconds": 0,
        },
    }


# Health


class CheckedSignals(RememberedSignals):
    def check(self) -> None:
        return None


class LostSignals(RememberedSignals):
    def check(self) -> None:
        raise ConnectionRefusedError


def test_ready_says_which_part_is_out(world: World, parts: Parts) -> None:
    parts.signals = CheckedSignals()
    assert data_of(send(parts, health.ready)) == {"status": "ok", "database": "ok", "queue": "ok"}
    parts.signals = LostSignals()
    told = send(parts, health.ready)
    assert told.status == 503
    assert json.loads(told.body)["error"]["details"] == {"database": "ok", "queue": "out"}
    assert "Retry-After" in told.headers
    assert send(parts, health.alive).status == 200
    del world
