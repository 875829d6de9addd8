"""The driver's promises, seen from outside: flights are counted on the wire, beside stock pg8000's."""

import signal
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pg8000
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Uuid,
    bindparam,
    cast,
    create_engine,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy import Column as Col
from sqlalchemy import String as Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidRequestError, ProgrammingError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from chalicelib.db import driver
from local.postgres import OWNER, Postgres, throwaway
from tests.fakes.flight_counter import FlightCounter

TABLES = MetaData()
TEAMS = Table("teams", TABLES, Col("id", Integer, primary_key=True), Col("name", Text, unique=True))
MEMBERS = Table(
    "members",
    TABLES,
    Col("id", Integer, primary_key=True),
    Col("team_id", ForeignKey("teams.id", name="members_team_fk", deferrable=True)),
    Col("age", Integer, CheckConstraint("age >= 0", name="members_age_check")),
)


class Model(DeclarativeBase):
    metadata = TABLES


class Team(Model):
    __table__ = TEAMS
    id: Mapped[int]
    name: Mapped[str]


class Note(Model):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with throwaway() as server:
        server.create_database("template")
        engine = driver.create(server.url(OWNER, "template"))
        TABLES.create_all(engine)
        engine.dispose()
        yield server


@pytest.fixture(scope="module")
def url(server: Postgres) -> str:
    server.create_database("driver", "template")
    return server.url(OWNER, "driver")


@pytest.fixture
def proxy(server: Postgres) -> Iterator[FlightCounter]:
    with FlightCounter(server.port) as proxy:
        yield proxy


@pytest.fixture
def ours(url: str, proxy: FlightCounter) -> Iterator[Engine]:
    engine = driver.create(make_url(url).set(port=proxy.port))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM members; DELETE FROM teams; DELETE FROM notes"))
        connection.execute(text("INSERT INTO teams VALUES (1, 'first')"))
    proxy.reset()
    yield engine
    engine.dispose()


@pytest.fixture
def stock(url: str, proxy: FlightCounter, ours: Engine) -> Iterator[Engine]:
    engine = create_engine(
        make_url(url).set(port=proxy.port), connect_args={"ssl_context": False}, pool_size=1
    )
    engine.connect().close()
    proxy.reset()
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(ours: Engine) -> sessionmaker[Session]:
    return sessionmaker(ours)


def wire(connection: Connection) -> driver.Connection:
    found = connection.connection.dbapi_connection
    assert isinstance(found, driver.Connection)
    return found


def names(engine: Engine) -> Sequence[str]:
    with engine.connect() as connection:
        return connection.execute(select(TEAMS.c.name).order_by(TEAMS.c.id)).scalars().all()


# Flights


def test_begin_a_statement_and_commit_are_two_flights_where_stock_needs_seven(
    ours: Engine, stock: Engine, proxy: FlightCounter
) -> None:
    def flights(engine: Engine) -> int:
        proxy.reset()
        with engine.begin() as connection:
            assert connection.execute(select(TEAMS.c.name).where(TEAMS.c.id == 1)).scalar_one() == "first"
        return proxy.flights

    assert (flights(ours), flights(stock)) == (2, 7)


def test_a_statement_inside_a_transaction_is_one_flight_with_or_without_parameters(
    ours: Engine, proxy: FlightCounter
) -> None:
    with ours.begin() as connection:
        connection.execute(text("SELECT 1"))
        proxy.reset()
        connection.execute(text("SELECT 1"))
        assert proxy.flights == 1
        connection.execute(text("SELECT :n"), {"n": "1"})
        assert proxy.flights == 2


def test_a_transaction_without_a_statement_sends_nothing(
    sessions: sessionmaker[Session], proxy: FlightCounter
) -> None:
    with sessions.begin() as session:
        session.connection()
    with sessions() as session:
        session.connection()
        session.rollback()
    assert proxy.flights == 0


def test_rollback_is_one_flight(ours: Engine, proxy: FlightCounter) -> None:
    with ours.connect() as connection:
        connection.execute(text("INSERT INTO teams VALUES (2, 'second')"))
        proxy.reset()
        connection.rollback()
    assert proxy.flights == 1
    assert names(ours) == ["first"]


def test_deferred_statements_travel_with_the_next_one_in_order(
    sessions: sessionmaker[Session], proxy: FlightCounter
) -> None:
    with sessions.begin() as session:
        one = driver.defer(session, text("SELECT set_config('app.x', :x, true)"), {"x": "one"})
        two = driver.defer(session, text("SELECT current_setting('app.x') || '-two' AS x"))
        assert proxy.flights == 0
        assert session.execute(text("SELECT current_setting('app.x')")).scalar_one() == "one"
        assert proxy.flights == 1
        assert one.one()[0] == "one"
        assert two.rows[0].x == "one-two"
        assert proxy.flights == 1


EVERY_KIND = text(
    "SELECT CAST(:word AS text) AS word, CAST(:number AS int) AS number, CAST(:wait AS interval) AS wait,"
    " CAST(:nothing AS text) AS nothing, CAST(:words AS text[]) AS words, CAST(:flag AS boolean) AS flag,"
    " CAST(:object AS jsonb) AS object, TIMESTAMPTZ '2026-01-02 03:04:05+00' AS moment"
)
PARAMETERS = {
    "word": "Grüße, 100 %",
    "number": 7,
    "wait": timedelta(minutes=2),
    "nothing": None,
    "words": ["a", "b"],
    "flag": True,
    "object": '{"a": [1]}',
}


def test_plain_text_says_the_same_deferred_as_executed(sessions: sessionmaker[Session]) -> None:
    """Deferred, it goes past SQLAlchemy's execution. Seen red with the parameters in another order."""
    with sessions.begin() as session:
        deferred = driver.defer(session, EVERY_KIND, PARAMETERS)
        executed = session.execute(EVERY_KIND, PARAMETERS).one()
    assert deferred.one() == executed
    assert deferred.one()._asdict() == executed._asdict()
    assert deferred.rowcount == 1


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        (bindparam("given", type_=JSONB), {"a": 1}, {"a": 1}),
        (bindparam("given", value="a default"), "another", "another"),
    ],
)
def test_text_with_a_parameter_of_its_own_kind_is_deferred_as_sqlalchemy_has_it(
    sessions: sessionmaker[Session], parameter: Any, value: object, said: object
) -> None:
    statement = text("SELECT :given AS given").bindparams(parameter)
    with sessions.begin() as session:
        deferred = driver.defer(session, statement, {"given": value})
    assert deferred.one().given == said


def test_a_list_of_any_length_is_deferred_as_sqlalchemy_has_it(sessions: sessionmaker[Session]) -> None:
    statement = text("SELECT name FROM teams WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))
    with sessions.begin() as session:
        deferred = driver.defer(session, statement, {"ids": [1, 2, 3]})
    assert deferred.one().name == "first"


@pytest.mark.parametrize("parameters", [{"word": "\ud800"}, {"word": "a\0b"}, {}])
def test_text_that_cannot_be_deferred_fails_as_it_does_when_executed(
    sessions: sessionmaker[Session], parameters: dict[str, str]
) -> None:
    statement = text("SELECT CAST(:word AS text)")
    with sessions() as session, pytest.raises(StatementError) as executed:
        session.execute(statement, parameters)
    with sessions() as session, pytest.raises(type(executed.value)) as deferred:
        driver.defer(session, statement, parameters)
    assert str(deferred.value) == str(executed.value)


def test_an_answer_of_any_size_is_read_to_its_end(sessions: sessionmaker[Session]) -> None:
    """Around the size of a read, and rows that lie across two."""
    with sessions.begin() as session:
        for size in (65_500, 65_536, 65_560, 200_000):
            rows = session.execute(
                text("SELECT repeat('x', CAST(:size AS int)), n FROM generate_series(1, 3) n"), {"size": size}
            ).all()
            assert [(len(row[0]), row[1]) for row in rows] == [(size, 1), (size, 2), (size, 3)]
        many = session.execute(text("SELECT n, repeat('y', n % 50) FROM generate_series(1, 20000) n")).all()
        assert [row[0] for row in many] == list(range(1, 20_001))
        assert session.execute(text("SELECT 1")).scalar_one() == 1


def test_reading_a_deferred_statement_early_sends_it(
    sessions: sessionmaker[Session], proxy: FlightCounter
) -> None:
    with sessions.begin() as session:
        one = driver.defer(session, select(TEAMS.c.name))
        assert one.one().name == "first"
        assert proxy.flights == 1


def test_deferred_statements_travel_with_the_commit_and_are_readable_afterwards(
    sessions: sessionmaker[Session], ours: Engine, proxy: FlightCounter
) -> None:
    with sessions.begin() as session:
        added = driver.defer(session, insert(TEAMS), {"id": 2, "name": "second"})
        returned = driver.defer(session, insert(TEAMS).returning(TEAMS.c.name), {"id": 3, "name": "third"})
    assert proxy.flights == 1
    assert (added.rowcount, added.rows, returned.one().name) == (1, [], "third")
    assert names(ours) == ["first", "second", "third"]


def test_rollback_drops_what_was_deferred(sessions: sessionmaker[Session], proxy: FlightCounter) -> None:
    with sessions() as session:
        added = driver.defer(session, insert(TEAMS), {"id": 2, "name": "second"})
        session.rollback()
    assert proxy.flights == 0
    with pytest.raises(InvalidRequestError, match="not executed"):
        _ = added.rows


def test_a_tenant_a_statement_and_the_commit_are_one_flight_where_stock_needs_ten(
    sessions: sessionmaker[Session], stock: Engine, proxy: FlightCounter
) -> None:
    tenant = text("SELECT set_config('app.customer_id', :id, true)")
    rename = update(TEAMS).where(TEAMS.c.id == 1).values(name="renamed").returning(TEAMS.c.name)
    with sessions.begin() as session:
        driver.defer(session, tenant, {"id": "c1"})
        assert driver.execute_and_commit(session, rename).scalar_one() == "renamed"
    ours_took = proxy.flights
    proxy.reset()
    with Session(stock) as session, session.begin():
        session.execute(tenant, {"id": "c1"})
        assert session.execute(rename).scalar_one() == "renamed"
    assert (ours_took, proxy.flights) == (1, 10)


def test_a_final_statement_is_durable_before_the_session_commits(
    sessions: sessionmaker[Session], server: Postgres
) -> None:
    with sessions() as session:
        session.add(Note(id=1, body="pending objects go first"))
        team = driver.execute_and_commit(session, select(Team).where(Team.id == 1)).scalar_one()
        assert server.execute("SELECT body FROM notes", database="driver") == [["pending objects go first"]]
        assert team.name == "first"


def test_a_final_statement_that_fails_commits_nothing(sessions: sessionmaker[Session], ours: Engine) -> None:
    with pytest.raises(DBAPIError, match="23505"), sessions.begin() as session:
        driver.defer(session, insert(TEAMS), {"id": 2, "name": "second"})
        driver.execute_and_commit(session, insert(TEAMS), {"id": 3, "name": "first"})
    assert names(ours) == ["first"]


def test_a_commit_that_fails_inside_a_final_flight_raises(
    sessions: sessionmaker[Session], ours: Engine
) -> None:
    with (
        pytest.raises(DBAPIError, match="members_team_fk") as caught,
        sessions.begin() as session,
    ):
        driver.defer(session, text("SET CONSTRAINTS ALL DEFERRED"))
        driver.execute_and_commit(session, insert(MEMBERS), {"id": 1, "team_id": 99, "age": 1})
    assert "'statement': 'commit'" in str(caught.value.orig)
    with ours.connect() as connection:
        assert connection.execute(select(MEMBERS)).all() == []


def test_nothing_may_follow_a_final_statement_until_the_transaction_is_closed(
    sessions: sessionmaker[Session], ours: Engine
) -> None:
    with sessions() as session:
        driver.execute_and_commit(session, text("INSERT INTO teams VALUES (2, 'second')"))
        with pytest.raises(ProgrammingError, match="nothing may follow"):
            session.execute(text("INSERT INTO teams VALUES (3, 'third')"))
        session.rollback()
        session.execute(text("INSERT INTO teams VALUES (4, 'fourth')"))
        session.commit()
    assert names(ours) == ["first", "second", "fourth"]


def test_a_statement_inside_a_savepoint_cannot_be_final(sessions: sessionmaker[Session]) -> None:
    with sessions() as session, session.begin_nested(), pytest.raises(InvalidRequestError, match="savepoint"):
        driver.execute_and_commit(session, text("SELECT 1"))


INSERT_TEAM = text("INSERT INTO teams VALUES (:id, :name) RETURNING id, name")


def test_plain_text_and_its_commit_on_a_connection_are_one_flight(
    ours: Engine, proxy: FlightCounter, server: Postgres
) -> None:
    """Seen red with the commit left to the block's end."""
    with ours.connect() as connection, connection.begin():
        driver.defer(connection, text("SELECT set_config('app.customer_id', :id, true)"), {"id": "c1"})
        row = driver.execute_and_commit(connection, INSERT_TEAM, {"id": 2, "name": "second"}).one()
        assert (row.id, row.name) == (2, "second")
        assert server.execute("SELECT name FROM teams WHERE id = 2", database="driver") == [["second"]]
    assert proxy.flights == 1


def test_plain_text_on_a_connection_that_fails_commits_nothing(ours: Engine) -> None:
    """And the connection is fit for the next one. Seen red without the rollback after a commit that failed."""
    with pytest.raises(DBAPIError, match="23505") as caught, ours.connect() as connection, connection.begin():
        driver.defer(connection, INSERT_TEAM, {"id": 2, "name": "second"})
        driver.execute_and_commit(connection, INSERT_TEAM, {"id": 3, "name": "first"})
    assert driver.sqlstate(caught.value) == "23505"
    assert names(ours) == ["first"]


def test_a_commit_that_carries_a_failure_leaves_a_connection_fit_for_the_next(ours: Engine) -> None:
    """Here SQLAlchemy rolls back, in the test before nobody but us does."""
    with pytest.raises(DBAPIError, match="23505"), ours.connect() as connection, connection.begin():
        driver.defer(connection, INSERT_TEAM, {"id": 3, "name": "first"})
    assert names(ours) == ["first"]


def test_what_was_refused_is_not_left_for_who_borrows_the_connection_next(ours: Engine) -> None:
    """Seen red without the question whether the transaction is active: their COMMIT made it durable."""
    with ours.connect() as connection, connection.begin():
        with pytest.raises(DBAPIError, match="23505"):
            driver.execute_and_commit(connection, INSERT_TEAM, {"id": 3, "name": "first"})
        with pytest.raises(InvalidRequestError):
            driver.execute_and_commit(connection, INSERT_TEAM, {"id": 4, "name": "leftover"})
    with ours.begin() as connection:
        connection.execute(text("SELECT 1"))
    assert names(ours) == ["first"]


def test_nothing_may_follow_plain_text_that_committed(ours: Engine) -> None:
    """Else it would be in a transaction that nobody commits."""
    with ours.connect() as connection, connection.begin():
        driver.execute_and_commit(connection, INSERT_TEAM, {"id": 2, "name": "second"})
        with pytest.raises(InvalidRequestError, match="closed transaction"):
            connection.execute(INSERT_TEAM, {"id": 3, "name": "third"})
        with pytest.raises(InvalidRequestError, match="closed transaction"):
            driver.defer(connection, INSERT_TEAM, {"id": 4, "name": "fourth"})
    assert names(ours) == ["first", "second"]


def test_plain_text_on_a_connection_inside_a_savepoint_cannot_be_final(ours: Engine) -> None:
    """Seen red without the question whether there is a savepoint."""
    with (
        ours.connect() as connection,
        connection.begin(),
        connection.begin_nested(),
        pytest.raises(InvalidRequestError, match="savepoint"),
    ):
        driver.execute_and_commit(connection, text("SELECT 1"))


def test_a_savepoint_rolled_back_leaves_the_rest(sessions: sessionmaker[Session], ours: Engine) -> None:
    with sessions.begin() as session:
        driver.defer(session, insert(TEAMS), {"id": 2, "name": "second"})
        with pytest.raises(DBAPIError, match="23505"), session.begin_nested():
            session.execute(insert(TEAMS), {"id": 3, "name": "first"})
    assert names(ours) == ["first", "second"]


def test_what_was_deferred_after_an_error_does_not_keep_a_savepoint_from_rolling_back(
    sessions: sessionmaker[Session], ours: Engine
) -> None:
    with sessions.begin() as session:
        savepoint = session.begin_nested()
        with pytest.raises(DBAPIError, match="23505"):
            session.execute(insert(TEAMS), {"id": 3, "name": "first"})
        refused = driver.defer(session, text("SELECT 1"))
        savepoint.rollback()
        session.execute(insert(TEAMS), {"id": 2, "name": "second"})
    assert names(ours) == ["first", "second"]
    with pytest.raises(InvalidRequestError, match="not executed"):
        refused.one()


def test_executemany_is_one_flight_where_stock_needs_three_a_row(
    ours: Engine, stock: Engine, proxy: FlightCounter
) -> None:
    rename = update(TEAMS).where(TEAMS.c.id == bindparam("of")).values(name=bindparam("to"))

    def flights(engine: Engine) -> int:
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
            proxy.reset()
            done = connection.execute(
                rename, [{"of": number, "to": f"team {number}"} for number in range(50)]
            )
            assert done.rowcount == 1
            return proxy.flights

    assert (flights(ours), flights(stock)) == (1, 150)


def test_insert_many_values_gives_each_row_its_own_key(ours: Engine, proxy: FlightCounter) -> None:
    rows = [{"id": number, "name": f"team {number}"} for number in range(100, 200)]
    with ours.begin() as connection:
        keys = connection.execute(insert(TEAMS).returning(TEAMS.c.id, sort_by_parameter_order=True), rows)
        assert keys.scalars().all() == list(range(100, 200))
    assert proxy.flights == 2


def test_the_connection_counts_the_flights_that_the_wire_sees(ours: Engine, proxy: FlightCounter) -> None:
    with ours.begin() as connection:
        before = wire(connection).flights
        driver.defer(connection, text("SELECT 1"))
        connection.execute(text("SELECT 2"))
        connection.execute(text("SELECT 3; SELECT 4"))
        assert wire(connection).flights - before == proxy.flights == 2


def test_a_flight_too_large_for_the_buffers_is_cut_before_both_ends_wait(
    url: str, proxy: FlightCounter
) -> None:
    engine = driver.create(make_url(url).set(port=proxy.port), timeout=5)
    with Session(engine) as session:
        many = driver.defer(session, text("SELECT repeat('x', 20000000) AS x"))
        size = session.execute(text("SELECT length(:x)"), {"x": "y" * 20_000_000}).scalar_one()
        assert (len(many.one().x), size) == (20_000_000, 20_000_000)
        session.execute(
            text("SELECT repeat('x', 100000), CAST(:n AS integer)").execution_options(),
            [{"n": number} for number in range(300)],
        )
    engine.dispose()


# Errors


def test_an_error_in_a_deferred_statement_comes_from_its_carrier_and_names_it(
    sessions: sessionmaker[Session], ours: Engine
) -> None:
    with sessions() as session:
        driver.defer(session, insert(TEAMS), {"id": 2, "name": "second"})
        failing = driver.defer(session, insert(TEAMS), {"id": 3, "name": "first"})
        with pytest.raises(DBAPIError) as caught:
            session.execute(text("SELECT 1"))
        assert driver.sqlstate(caught.value) == "23505"
        assert driver.constraint(caught.value) == "teams_name_key"
        assert "INSERT INTO teams" in str(caught.value.orig)
        with pytest.raises(InvalidRequestError, match="not executed"):
            failing.one()
        session.rollback()
    assert names(ours) == ["first"]


def test_committing_a_failed_transaction_raises(ours: Engine) -> None:
    """The server answers COMMIT with the tag ROLLBACK, which is no error on the wire."""
    with ours.connect() as connection:
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1/0"))
        with pytest.raises(DBAPIError) as caught:
            connection.commit()
        assert driver.sqlstate(caught.value) == "25P02"


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("INSERT INTO teams VALUES (2, 'first')", "23505"),
        ("INSERT INTO members VALUES (1, 99, 1)", "23503"),
        ("INSERT INTO members VALUES (1, 1, -1)", "23514"),
        ("SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)", "57014"),
        ("SELECT no_such_column", "42703"),
    ],
)
def test_an_error_carries_the_servers_code(ours: Engine, statement: str, state: str) -> None:
    with ours.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text(statement))
    assert driver.sqlstate(caught.value) == state


def test_a_row_locked_by_another_and_a_lost_race_carry_the_servers_code(ours: Engine, url: str) -> None:
    other = driver.create(url)
    with ours.connect() as first, other.connect() as second:
        first.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        first.execute(select(TEAMS))
        second.execute(update(TEAMS).values(name="theirs"))
        with pytest.raises(DBAPIError) as locked:
            first.execute(select(TEAMS).with_for_update(nowait=True))
        first.rollback()
        first.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        first.execute(select(TEAMS))
        second.commit()
        with pytest.raises(DBAPIError) as lost:
            first.execute(update(TEAMS).values(name="ours"))
    assert (driver.sqlstate(locked.value), driver.sqlstate(lost.value)) == ("55P03", "40001")
    other.dispose()


@pytest.mark.parametrize("character", ["\ud800", "\0"])
def test_a_text_that_cannot_be_sent_leaves_the_connection_in_step(
    ours: Engine, proxy: FlightCounter, character: str
) -> None:
    with ours.connect() as connection:
        connection.execute(text("SELECT 1"))
        proxy.reset()
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("SELECT :x"), {"x": f"before{character}after"})
        assert isinstance(caught.value.orig, pg8000.DataError)
        assert "before" not in str(caught.value.orig)
        assert proxy.flights == 0
        assert [connection.execute(text(f"SELECT {n}")).scalar_one() for n in range(3)] == [0, 1, 2]


def test_the_stock_driver_answers_later_statements_wrongly_after_such_a_text(stock: Engine) -> None:
    """Why the driver encodes first. When this fails, stock pg8000 has been mended."""
    with stock.connect() as connection:
        connection.execute(text("SELECT 1"))
        with pytest.raises(UnicodeEncodeError):
            connection.execute(text("SELECT :x"), {"x": "\ud800"})
        answers: list[object] = []
        for number in range(3):
            try:
                answers.append(connection.execute(text(f"SELECT {number}, :n"), {"n": "n"}).all())
            except Exception as error:  # noqa: BLE001  any of them is a wrong answer
                answers.append(type(error).__name__)
        connection.invalidate()
    assert answers != [[(number, "n")] for number in range(3)]


# Broken connections


class Interrupted(Exception):
    pass


def test_a_signal_in_mid_flight_discards_the_connection(url: str) -> None:
    """Without the pool's ping, which would find the closed connection too, later."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    engine = driver.create(url, pool_pre_ping=False)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted), engine.begin() as connection:
            connection.execute(text("SELECT 'before'"))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            connection.execute(text("SELECT pg_sleep(1), 'stale'"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 'fresh'")).scalar_one() == "fresh"
    engine.dispose()


def test_an_answer_that_does_not_come_in_time_is_a_disconnect(url: str) -> None:
    engine = driver.create(url, timeout=0.15)
    with pytest.raises(InterfaceError, match="no answer in time") as caught, engine.begin() as connection:
        connection.execute(text("SELECT pg_sleep(1)"))
    assert caught.value.connection_invalidated
    assert driver.sqlstate(caught.value) is None
    with engine.begin() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_a_broken_connection_refuses_later_use(url: str) -> None:
    engine = driver.create(url, timeout=0.1)
    raw = engine.raw_connection()
    cursor = raw.cursor()
    with pytest.raises(pg8000.InterfaceError, match="network error"):
        cursor.execute("SELECT pg_sleep(1)")
    for use in (lambda: cursor.execute("SELECT 1"), raw.commit):
        with pytest.raises(pg8000.InterfaceError, match="connection is closed"):
            use()
    raw.close()
    engine.dispose()


def test_a_killed_session_is_replaced_before_the_next_transaction(
    sessions: sessionmaker[Session], server: Postgres
) -> None:
    def kill_sessions() -> None:
        server.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = 'driver'"
        )

    with sessions.begin() as session:
        session.execute(text("SELECT 1"))
    kill_sessions()
    with sessions.begin() as session:
        session.execute(text("SELECT 1"))
        kill_sessions()
        with pytest.raises(DBAPIError) as caught:
            session.execute(text("SELECT 1"))
        assert caught.value.connection_invalidated
        session.rollback()
    with sessions.begin() as session:
        assert session.execute(text("SELECT 2")).scalar_one() == 2


def test_an_idle_connection_is_asked_whether_it_lives_and_a_fresh_one_is_not(
    ours: Engine, proxy: FlightCounter
) -> None:
    with ours.connect() as connection:
        raw = wire(connection)
    raw._used_at = time.time() - 60
    ours.connect().close()
    assert proxy.flights == 1
    ours.connect().close()
    assert proxy.flights == 1


# What is refused


def test_autocommit_is_refused(ours: Engine) -> None:
    with ours.connect() as connection, pytest.raises(pg8000.NotSupportedError, match="explicit transaction"):
        connection.execution_options(isolation_level="AUTOCOMMIT")


def test_prepared_statements_copy_and_two_phase_commit_are_refused(ours: Engine) -> None:
    with ours.connect() as connection:
        raw = wire(connection)
        for use in (
            lambda: raw.prepare("SELECT 1").run(),
            lambda: raw.tpc_begin((0, "x", "")),
            lambda: raw.cursor().execute("COPY teams FROM STDIN", stream=["1\tx\n"]),
        ):
            with pytest.raises(pg8000.NotSupportedError):
                use()


# The same answers as the stock driver

VALUES: list[tuple[str, Any, Any]] = [
    ("integer", Integer(), 42),
    ("bigint", BigInteger(), -(2**62)),
    ("numeric", Numeric(), Decimal("12345678901234567890.123456789")),
    ("text", Text(), 'é "quoted" \\ \n \U0001f600 %s $1 :x'),
    ("empty text", Text(), ""),
    ("bool", Boolean(), True),
    ("timestamptz", DateTime(timezone=True), datetime(2024, 2, 29, 12, 30, 1, 250000, tzinfo=UTC)),
    ("jsonb", JSONB(), {"a": [1, None, "é"], "b": {"c": 1.5}}),
    ("integers", ARRAY(Integer), [1, None, 3]),
    ("texts", ARRAY(Text), ["a", 'b "c", d', "", "NULL"]),
    ("uuid", Uuid(), UUID("01890a5d-ac96-774b-bcce-b302099a8057")),
    ("bytea", LargeBinary(), bytes(range(256))),
    ("interval", Interval(), timedelta(days=400, seconds=3, microseconds=5)),
    ("null", Text(), None),
]


@pytest.mark.parametrize(("name", "type_", "value"), VALUES, ids=[name for name, *_ in VALUES])
def test_a_value_comes_back_as_with_the_stock_driver(
    ours: Engine, stock: Engine, name: str, type_: Any, value: Any
) -> None:
    def back(engine: Engine) -> tuple[object, ...]:
        with engine.connect() as connection:
            row = connection.execute(select(cast(bindparam("x", value, type_=type_), type_))).one()
            return (*row, *map(type, row))

    assert back(ours) == back(stock)
    assert back(ours)[0] == value


RAW: list[tuple[str, tuple[object, ...]]] = [
    ("SELECT 1, 'a', NULL, now() > '2020-01-01', '{1,2}'::int[], '[1]'::jsonb, '1 day'::interval", ()),
    ("SELECT %s::int AS a, %s::text AS b", (1, "x")),
    ("SELECT '100%%', %s::int %% 3 -- what? 5%%\n", (5,)),
    ("SELECT * FROM teams WHERE false", ()),
    ("SELECT * FROM generate_series(1, %s::int) AS n", (5000,)),
    ("INSERT INTO teams SELECT n, n::text FROM generate_series(10, 12) AS n RETURNING id, name", ()),
    ("INSERT INTO teams SELECT n, n::text FROM generate_series(%s::int, 12) AS n", (10,)),
    ("UPDATE teams SET name = 'x' WHERE id = %s", (1,)),
    ("DELETE FROM teams WHERE id = %s", (77,)),
    ("CREATE TEMPORARY TABLE scratch (n int)", ()),
    ("SELECT 1; SELECT 2", ()),
    ("DO $$ BEGIN PERFORM 1; END $$", ()),
    ("SELECT ';'", ()),
    ("SELECT a.*, b.* FROM (SELECT 1 AS n) a, (SELECT 2 AS n) b", ()),
    ("SELECT", ()),
]


@pytest.mark.parametrize(("sql", "args"), RAW)
def test_a_cursor_reports_what_the_stock_one_does(
    ours: Engine, stock: Engine, sql: str, args: tuple[object, ...]
) -> None:
    def report(engine: Engine) -> tuple[object, ...]:
        raw = engine.raw_connection()
        cursor = raw.cursor()
        try:
            cursor.execute(sql, args)
            return cursor.description, cursor.rowcount, cursor.fetchall() if cursor.description else None
        finally:
            raw.rollback()
            raw.close()

    assert report(ours) == report(stock)


def test_rows_streamed_by_a_server_side_cursor_arrive(ours: Engine) -> None:
    with ours.connect() as connection:
        rows = connection.execution_options(stream_results=True, max_row_buffer=10).execute(
            text("SELECT generate_series(1, 55)")
        )
        assert list(rows.scalars()) == list(range(1, 56))


def test_orm_objects_are_written_and_read(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        session.add_all([Note(body=f"note {number}") for number in range(20)])
    with sessions() as session:
        assert len(session.scalars(select(Note).where(Note.body.like("note 1%"))).all()) == 11


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-23 00:38:01.123456+00",
        "2026-11-23 00:38:01+00",
        "2026-11-23 00:38:01.5+05:45",
        "1883-01-01 12:00:00+00",
        "infinity",
        "-infinity",
        "0044-03-15 12:00:00+00 BC",
        "294276-01-01 00:00:00+00",
    ],
)
def test_an_instant_is_read_as_the_stock_driver_reads_it(ours: Engine, stock: Engine, written: str) -> None:
    """Ours reads the usual spelling faster; the odd ones it leaves to the stock converter."""
    statement = text("SELECT CAST(CAST(:written AS text) AS timestamptz)")
    said = []
    for engine in (ours, stock):
        with engine.begin() as connection:
            said.append(connection.execute(statement, {"written": written}).scalar_one())
    assert said[0] == said[1]
    assert type(said[0]) is type(said[1])
