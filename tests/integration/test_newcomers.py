"""Letting people in: who is there already is found again, whoever else tries at the same time."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib import bootstrap
from chalicelib.db.driver import create
from chalicelib.domain.access import Role, engine_for
from chalicelib.domain.errors import Conflict, Invalid, NotFound
from chalicelib.domain.integrations import Plan
from chalicelib.domain.newcomers import Newcomer, NewCustomer
from chalicelib.services.newcomers import Newcomers, Registered
from chalicelib.workers import newcomers as worker
from local.postgres import Postgres
from tests.builders import rows, wait_until_somebody_waits
from tests.conftest import World

SAID: dict[str, Any] = {
    "email": "Ann.O-Brien@Acme.example",
    "name": "Ann O'Brien",
    "role": "ADMIN",
    "customer": {"name": "Acme", "timeZone": "Europe/Berlin", "plan": "growth"},
}
ANN = "2f0d6c1e-ann"
ISSUER = "https://issuer.example"


def said(**changes: Any) -> dict[str, Any]:
    """What an operator says of Ann, otherwise in this; None takes a field away."""
    return {name: value for name, value in {**SAID, **changes}.items() if value is not None}


def somebody(**changes: Any) -> Newcomer:
    return Newcomer.of(said(**changes))


def everybody(world: World) -> list[Any]:
    with world.database.system() as session:
        return list(
            session.execute(
                text(
                    "SELECT c.id AS customer_id, c.name AS customer, c.time_zone, c.plan, u.id AS user_id, u.email,"
                    " u.name, u.role, u.status, u.issuer, u.subject"
                    " FROM customers c LEFT JOIN users u ON u.customer_id = c.id"
                    " WHERE c.name NOT IN ('Ours', 'Theirs') ORDER BY u.id"
                )
            )
        )


@pytest.fixture
def newcomers(world: World) -> Newcomers:
    return Newcomers(world.database)


def test_a_new_customer_and_its_first_person_are_made_together(world: World, newcomers: Newcomers) -> None:
    made = newcomers.register(somebody(), ANN)
    assert (made.made_customer, made.made_user) == (True, True)
    (row,) = everybody(world)
    assert tuple(row) == (
        made.customer_id,
        "Acme",
        "Europe/Berlin",
        "growth",
        made.user_id,
        "ann.o-brien@acme.example",
        "Ann O'Brien",
        "ADMIN",
        "active",
        ISSUER,
        ANN,
    )
    with world.database.begin(ISSUER, ANN) as work:
        assert (work.actor.customer_id, work.actor.role) == (made.customer_id, Role.ADMIN)


def test_an_entry_says_that_an_operator_did_it(world: World, newcomers: Newcomers) -> None:
    """Seen red without the right to write one."""
    made = newcomers.register(somebody(), ANN)
    with world.database.enter(engine_for(made.customer_id)) as work:
        entries = work.session.execute(
            text("SELECT action, target_id, user_id, details FROM audit_entries ORDER BY id")
        ).all()
    assert [tuple(each) for each in entries] == [
        ("customer.created", made.customer_id, None, {"by": "operator"}),
        ("user.created", made.user_id, None, {"by": "operator", "role": "ADMIN"}),
    ]


@pytest.mark.parametrize("action", ["approval.approved", "user.deleted"])
def test_the_system_role_writes_no_other_entries(world: World, action: str) -> None:
    """Seen red with a policy that lets everything through."""
    with (
        pytest.raises(Exception, match="row-level security"),
        world.database.system() as session,
    ):
        session.execute(
            text(
                "INSERT INTO audit_entries (id, customer_id, action, target_id)"
                " VALUES ('aud_1', :customer, :action, 'x')"
            ),
            {"customer": world.ours.customer_id, "action": action},
        )


@pytest.mark.parametrize("column", ["user_id", "request_id", "created_at"])
def test_an_entry_of_the_system_role_is_nobodys_and_of_now(world: World, column: str) -> None:
    """Seen red with leave to fill every column."""
    with (
        pytest.raises(Exception, match="permission denied"),
        world.database.system() as session,
    ):
        session.execute(
            text(
                f"INSERT INTO audit_entries (id, customer_id, action, target_id, {column})"  # noqa: S608
                " VALUES ('aud_1', :customer, 'user.created', 'x', NULL)"
            ),
            {"customer": world.ours.customer_id},
        )


def test_one_more_person_comes_to_a_customer_that_is_there(world: World, newcomers: Newcomers) -> None:
    ours = world.ours.customer_id
    made = newcomers.register(somebody(customer=None, customerId=ours, role="SALES_REP"), ANN)
    assert made == Registered(ours, made.user_id, made_customer=False, made_user=True)
    (row,) = rows(
        world.database,
        world.ours.manager,
        "SELECT name, role FROM users WHERE id = :id",
        id=made.user_id,
    )
    assert tuple(row) == ("Ann O'Brien", "SALES_REP")
    assert everybody(world) == []


def test_the_same_again_finds_what_is_there_and_changes_nothing(world: World, newcomers: Newcomers) -> None:
    """Said with the customer's name, or with the id it has got. Seen red without the look by sign-in."""
    made = newcomers.register(somebody(), ANN)
    before = everybody(world)
    found = replace(made, made_customer=False, made_user=False)
    assert newcomers.register(somebody(), ANN) == found
    assert newcomers.register(somebody(customer=None, customerId=made.customer_id), ANN) == found
    assert everybody(world) == before


DIFFERENT: dict[str, dict[str, Any]] = {
    "the role is ADMIN, not VIEWER": {"role": "VIEWER"},
    "the e-mail address is ann.o-brien@acme.example, not bo@acme.example": {"email": "bo@acme.example"},
    "the name is Ann O'Brien, not Bo": {"name": "Bo"},
    "the customer's name is Acme, not Other": {"customer": {**SAID["customer"], "name": "Other"}},
    "its time zone is Europe/Berlin, not UTC": {"customer": {"name": "Acme", "plan": "growth"}},
    "its plan is growth, not starter": {"customer": {"name": "Acme", "timeZone": "Europe/Berlin"}},
}


@pytest.mark.parametrize("words", DIFFERENT)
def test_a_sign_in_that_is_there_otherwise_is_refused_with_what_is_there(
    world: World, newcomers: Newcomers, words: str
) -> None:
    made = newcomers.register(somebody(), ANN)
    before = everybody(world)
    with pytest.raises(Conflict) as refused:
        newcomers.register(somebody(**DIFFERENT[words]), ANN)
    assert f"{made.user_id} at {made.customer_id} already: {words}. Nothing is changed." in str(refused.value)
    assert everybody(world) == before


def test_a_sign_in_at_another_customer_is_refused(world: World, newcomers: Newcomers) -> None:
    made = newcomers.register(somebody(), ANN)
    ours = world.ours.customer_id
    with pytest.raises(Conflict, match=f"the customer is {made.customer_id}, not {ours}"):
        newcomers.register(somebody(customer=None, customerId=ours), ANN)


def test_who_is_disabled_is_not_let_in_by_asking_again(
    world: World, newcomers: Newcomers, postgres: Postgres, database_name: str
) -> None:
    newcomers.register(somebody(), ANN)
    postgres.execute(f"UPDATE users SET status = 'disabled' WHERE subject = '{ANN}'", database=database_name)  # noqa: S608
    with pytest.raises(Conflict, match="the status is disabled, not active"):
        newcomers.register(somebody(), ANN)


def test_a_second_customer_of_the_same_name_is_not_made_by_mistake(
    world: World, newcomers: Newcomers
) -> None:
    """As it would be for a second person, or for the right address after a wrong one."""
    made = newcomers.register(somebody(), ANN)
    other = somebody(email="bo@acme.example", customer={"name": "ACME"})
    for refuse in (lambda: newcomers.look(other), lambda: newcomers.register(other, "bo")):
        with pytest.raises(Conflict, match=f"{made.customer_id}. For one more person there, say that id"):
            refuse()
    assert len(everybody(world)) == 1


@pytest.mark.parametrize("at", ["the same customer", "a new customer"])
def test_an_address_whose_account_was_made_anew_is_refused(
    world: World, newcomers: Newcomers, at: str
) -> None:
    made = newcomers.register(somebody(), ANN)
    where = (
        {"customer": None, "customerId": made.customer_id}
        if at == "the same customer"
        else {"customer": {"name": "Another"}}
    )
    with pytest.raises(Conflict, match=f"is that of {made.user_id} at {made.customer_id}"):
        newcomers.register(somebody(**where), "another-account")
    assert len(everybody(world)) == 1


def test_a_customer_that_is_not_there_is_said(newcomers: Newcomers) -> None:
    nobody = somebody(customer=None, customerId="cus_01k00000000000000000000000")
    for refuse in (lambda: newcomers.look(nobody), lambda: newcomers.register(nobody, ANN)):
        with pytest.raises(NotFound, match="There is no customer cus_01k"):
            refuse()


def test_a_look_makes_nothing(world: World, newcomers: Newcomers) -> None:
    newcomers.look(somebody())
    assert everybody(world) == []


# At the same time


class Undone(Exception):
    """The first of two gives up."""


@pytest.mark.parametrize("first", ["commits", "gives up", "is another person"])
def test_two_at_once_make_one_customer_and_one_person(world: World, newcomers: Newcomers, first: str) -> None:
    """The second stands at the first one's sign-in until that is decided; its own customer goes with it.

    Seen red with the customer made in a transaction of its own, and without the second look.
    """
    second = somebody(role="VIEWER") if first == "is another person" else somebody()
    with ThreadPoolExecutor(1) as pool, suppress(Undone), world.database.system() as session:
        made = newcomers._make(session, somebody(), ANN)
        rival = pool.submit(newcomers.register, second, ANN)
        wait_until_somebody_waits(world.database)
        if first == "gives up":
            raise Undone
    if first == "is another person":
        assert isinstance(rival.exception(), Conflict)
    else:
        found = rival.result()
        assert found.made_user is (first == "gives up")
        assert (found.user_id == made.user_id) is (first == "commits")
    assert len(everybody(world)) == 1


def test_many_at_once_make_one(world: World, newcomers: Newcomers) -> None:
    """Seen red with the look by sign-in before the look at what is in the way."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: newcomers.register(somebody(), ANN), range(24)))
    assert len({(each.customer_id, each.user_id) for each in made}) == 1
    assert [each.made_user for each in made].count(True) == 1
    assert len(everybody(world)) == 1


# What is said


WRONG: dict[str, dict[str, Any]] = {
    "The person's e-mail address is missing.": {"email": ""},
    "'ann' is no e-mail address: one @": {"email": "ann"},
    "'a b@acme.example' is no e-mail address": {"email": "a b@acme.example"},
    "'a\\x1b[31m@acme.example' is no e-mail address": {"email": "a\x1b[31m@acme.example"},
    f"'{'İ' * 64}@{'İ' * 180}' is no e-mail address": {
        "email": f"{'İ' * 64}@{'İ' * 180}"
    },  # 490 in lower case
    "254 characters at most": {"email": f"{'a' * 60}@{'b' * 189}.example"},
    "The person's name is missing.": {"name": " "},
    "The person's name is one line of 255 characters at most.": {"name": "a" * 256},
    "The person's name is one line": {"name": "Ann\nO'Brien"},
    "The role is missing: ADMIN, MANAGER, SALES_REP, VIEWER.": {"role": None},
    "There is no role 'OWNER'. Roles are ADMIN, MANAGER": {"role": "OWNER"},
    "Say one customer": {"customer": None},
    "the name of a new one, or the id": {"customerId": "cus_01k00000000000000000000000"},
    "'acme' is no customer's id.": {"customer": None, "customerId": "acme"},
    "The customer's name is missing.": {"customer": {"timeZone": "UTC"}},
    "There is no time zone 'Europe/Acme'.": {"customer": {"name": "Acme", "timeZone": "Europe/Acme"}},
    "There is no plan 'gold'. Plans are starter, growth.": {"customer": {"name": "Acme", "plan": "gold"}},
    "A new customer has name, plan, timeZone, and nothing else.": {"customer": {"name": "A", "size": 3}},
    "Nobody knows what nickname is.": {"nickname": "Annie"},
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(words: str) -> None:
    with pytest.raises(Invalid) as refused:
        somebody(**WRONG[words])
    assert words in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        Newcomer.of({"email": "x", "role": "BOSS", "customer": {"timeZone": "Mars", "plan": "gold"}})
    for each in ("no e-mail", "person's name", "no role", "customer's name", "no time zone", "no plan"):
        assert each in str(refused.value)


def test_a_new_customer_lives_by_utc_and_is_a_starter_unless_said() -> None:
    customer = somebody(customer={"name": " Acme ", "timeZone": "", "plan": ""}).customer
    assert customer == NewCustomer("Acme", "UTC", Plan.STARTER)


@pytest.mark.parametrize("subject", ["", "x" * 256, "a\0b", 7])
def test_a_subject_that_is_none_is_refused(newcomers: Newcomers, subject: Any) -> None:
    with pytest.raises(Invalid, match="subject"):
        newcomers.register(somebody(), subject)


# The operator's function


def call(world: World, monkeypatch: pytest.MonkeyPatch, event: Any) -> Any:
    """As Lambda calls it; what it answers has to be JSON."""
    from app import add_person  # noqa: PLC0415 - the entry point itself

    parts = bootstrap.Context(world.database.settings)
    vars(parts).update(database=world.database)
    monkeypatch.setattr(worker, "context", lambda: parts)
    return json.loads(json.dumps(add_person(event, None)))


def test_the_operators_function_looks_and_then_registers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(world, monkeypatch, SAID) == {}
    assert everybody(world) == []
    told = call(world, monkeypatch, {**SAID, "subject": ANN})
    (row,) = everybody(world)
    assert told == {
        "customerId": row.customer_id,
        "userId": row.user_id,
        "madeCustomer": True,
        "madeUser": True,
    }


def test_a_refusal_is_an_answer_and_names_nobody_in_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    call(world, monkeypatch, {**SAID, "subject": ANN})
    told = call(world, monkeypatch, {**SAID, "role": "VIEWER", "subject": ANN})
    assert told["refused"]["code"] == "registered_otherwise"
    assert "the role is ADMIN, not VIEWER" in told["refused"]["message"]
    assert [record.levelname for record in caplog.records] == ["INFO"] * 2
    logged = " ".join(str(vars(record)) for record in caplog.records).lower()
    assert not [each for each in ("brien", "acme.example") if each in logged]


def test_what_fails_inside_is_told_without_the_inside(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lambda hands a raised error's text to whoever invoked. Seen red with the error raised as it is."""
    gone = create("postgresql+pg8000://bevyly_system:a-password@127.0.0.1:1/secret_name")
    broken = World(replace(world.database, across=gone), world.signals, world.engines)
    with pytest.raises(worker.NotRegisteredError) as failed:
        call(broken, monkeypatch, {**SAID, "subject": ANN})
    assert (
        str(failed.value)
        == "Nobody is registered: the function failed with InterfaceError. Its log says more."
    )
    assert failed.value.__suppress_context__
    assert "a-password" not in caplog.text
