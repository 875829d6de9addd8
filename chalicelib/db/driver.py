"""pg8000 made safe and quick, plugged into SQLAlchemy's `postgresql+pg8000` dialect.

A *flight* is one write to the server and what it answers up to ReadyForQuery. Here a statement is one
flight, BEGIN travels with the first statement of its transaction, `defer`red statements with the next one,
and COMMIT with a `final` statement. Nothing is named on the server, so a transaction-mode pooler may sit
between. Everything is encoded before its first byte is sent; a connection that was interrupted half-way is
closed, because a later statement would read an earlier one's answer.

It does no AUTOCOMMIT, no COPY, no two-phase commit and no prepared statements.
"""

import functools
import ipaddress
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from struct import Struct
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import pg8000
from pg8000.converters import TIMESTAMPTZ, make_param, timestamptz_in
from pg8000.core import Context
from pg8000.dbapi import convert_paramstyle
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy import Connection as Borrowed
from sqlalchemy.engine import CursorResult, ExceptionContext, Result, Row
from sqlalchemy.engine.cursor import CursorFetchStrategy
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import Dialect, ExecuteStyle
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql import Executable, Insert
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.types import NullType

_BEGIN, _COMMIT, _ROLLBACK = "begin transaction", "commit", "rollback"
_PING = ";"  # what SQLAlchemy's dialect sends to see whether a connection lives
_FLUSH = "/* send what was deferred */"  # never sent itself

_FAILED = b"E"  # the transaction's status after an error
_READY, _COMPLETE, _EMPTY = b"Z", b"C", b"I"
_SILENT = frozenset({b"1", b"2", b"n"})  # parsed, bound, no data: nothing to do
_EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"
_DESCRIBE_AND_EXECUTE = b"D\0\0\0\x06P\0" + _EXECUTE
_SYNC = b"S\0\0\0\x04"
_NULL = b"\xff\xff\xff\xff"
_HEADER, _INT, _SHORT = Struct("!ci"), Struct("!i"), Struct("!H")

_WINDOW = 32 * 1024
"""Bytes that may follow a statement which is being answered: they fit the kernel's buffers, so that the two
ends never wait for each other."""
_TRUSTED_SECONDS = 5.0
"""Idle for less, a connection with a silent socket counts as alive without a round trip."""
_CACHED_LENGTH = 16 * 1024
_LOCK_REFUSED = ("55P03", "40P01")
_CHUNK = 64 * 1024
_AMAZON_ROOTS = Path(__file__).with_name("amazon_roots.pem")
_NAMED_OTHERWISE = (62, 64)  # OpenSSL's codes: a certificate for another host name, for another address
_EXPIRED = 10
_REFUSES_TLS = "Server refuses SSL"  # pg8000's words
_MOST_SHAPES = 512

_ERRORS: Mapping[str, type[Exception]] = MappingProxyType(
    {
        "0A": pg8000.NotSupportedError,
        "22": pg8000.DataError,
        "23": pg8000.IntegrityError,
        "40": pg8000.OperationalError,
        "53": pg8000.OperationalError,
        "55": pg8000.OperationalError,
        "57": pg8000.OperationalError,
        "58": pg8000.OperationalError,
        "XX": pg8000.InternalError,
    }
)


def create(
    url: str | URL,
    *,
    ssl_context: ssl.SSLContext | Literal[False] | None = None,
    ca_file: str | None = None,
    timeout: float | None = None,
    **options: Any,
) -> Engine:
    """An engine on this driver, by default with the pool of one that suits a function.

    Args:
        url: `postgresql+pg8000://…`.
        ssl_context: None decides by the host: no TLS on loopback (an address of it, or `localhost`), else
            `verifying_context()`. False elsewhere than on loopback is refused, whatever a name resolves to.
        ca_file: TLS that trusts these authorities alone, on loopback as well.
        timeout: seconds for one read or write on the socket. The server knows nothing of it and goes on:
            set `statement_timeout` too.
        options: as for `create_engine`; they win over the defaults here.
    """
    url = make_url(url)
    if ssl_context is None:
        plain = ca_file is None and _is_loopback(url.host)
        ssl_context = False if plain else verifying_context(ca_file)
    defaults = {
        "poolclass": QueuePool,
        "pool_size": 1,
        "max_overflow": 0,
        "pool_pre_ping": True,
        "hide_parameters": True,  # an error's text goes to the log
    }
    if options.get("poolclass", QueuePool) is not QueuePool:
        del defaults["pool_size"], defaults["max_overflow"]
    connect_args = {"ssl_context": ssl_context, "timeout": timeout, **options.pop("connect_args", {})}
    return install(create_engine(url, **{**defaults, **options}, connect_args=connect_args))


@functools.cache
def verifying_context(ca_file: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, with a host that its certificate names. One for all connections, as it takes long to make.

    Args:
        ca_file: a bundle of the authorities that may vouch for the server. None takes those in the package: Amazon's
            public ones, which sign RDS Proxy's certificates. An Aurora cluster's own are signed by others.

    Raises:
        ValueError: nobody can read certificates there.
    """
    place = ca_file or str(_AMAZON_ROOTS)
    try:
        context = ssl.create_default_context(cafile=place)
    except OSError as error:  # SSLError is one, too
        raise ValueError(
            f"{place} cannot be read as certificates ({error.strerror or error}). DATABASE_CA_FILE names a bundle of "
            "certificate authorities in PEM; it may be empty for RDS Proxy."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def install(engine: Engine) -> Engine:
    """Make an engine's new connections use this driver; its `connect_args` must hold an `ssl_context`."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "do_execute", _execute)
    event.listen(engine, "do_executemany", _executemany)
    event.listen(engine, "handle_error", _condemn_broken)
    return engine


Target = Session | Borrowed
"""What a statement is given to. A connection costs half of what a session on it does."""


def defer(target: Target, statement: Executable, params: Mapping[str, Any] | None = None) -> "Deferred":
    """Queue a statement for the next flight, before whatever that carries; COMMIT is a flight, too.

    It is encoded now and sent later: an error of the server comes from the statement that carried it, and
    its field "statement" says which one failed. ROLLBACK drops what is still queued. ORM entities come back
    as columns, and pending objects are not flushed.
    """
    borrowed = target.connection() if isinstance(target, Session) else target
    if isinstance(statement, TextClause) and borrowed.in_transaction():
        ready = _queue_text(borrowed, statement, params or {})
        if ready is not None:
            return ready
    if isinstance(statement, Insert):
        statement = statement.inline()  # nobody waits here for the new primary key
    deferred = Deferred(borrowed)
    borrowed.execute(statement, params, execution_options={"deferred": deferred})
    return deferred


def _queue_text(borrowed: Borrowed, statement: TextClause, params: Mapping[str, Any]) -> "Deferred | None":
    """`defer` without SQLAlchemy's execution, which takes longer than all the rest; it adds nothing to plain text.

    None where it would: typed parameters, a failure to be dressed as its own.
    """
    connection = borrowed.connection.dbapi_connection
    plain = _plain(statement, borrowed.dialect)
    if plain is None or not isinstance(connection, Connection):
        return None
    sql, names = plain
    try:
        step = connection.defer(connection.step(sql, [params[name] for name in names], aside=True))
    except Exception:  # noqa: BLE001 - nothing was queued; the long way meets it again
        return None
    deferred = Deferred(borrowed)
    deferred.queued_plainly(step)
    return deferred


@functools.lru_cache(maxsize=256)
def _plain(statement: TextClause, dialect: Dialect) -> tuple[str, tuple[str, ...]] | None:
    """A statement as the driver takes it, and its parameters' names in their order."""
    compiled = statement.compile(dialect=dialect)
    if compiled.post_compile_params or any(
        not isinstance(bind.type, NullType) or not bind.required for bind in compiled.binds.values()
    ):
        return None
    return compiled.string, tuple(compiled.positiontup or ())


def execute_and_commit(
    target: Target, statement: Executable, params: Mapping[str, Any] | None = None
) -> Result[Any]:
    """The transaction's last statement, with its COMMIT in the same flight.

    When it returns, the work is durable, and the target's own commit sends nothing. When the statement
    fails, the server skips the COMMIT. A further statement before the target's commit or rollback raises.
    A connection has to be within its own `with connection.begin()`, else a further statement begins anew.
    The same as the execution option `final=True` after a flush.
    """
    if isinstance(target, Session):
        target.flush()
    elif (done := _commit_with_text(target, statement, params or {})) is not None:
        return done
    return target.execute(statement, params, execution_options={"final": True})


def _commit_with_text(
    borrowed: Borrowed, statement: Executable, params: Mapping[str, Any]
) -> Result[Any] | None:
    """`execute_and_commit` without SQLAlchemy's execution, as `_queue_text` is `defer` without it; None likewise."""
    transaction = borrowed.get_transaction()
    if not isinstance(statement, TextClause) or transaction is None or borrowed.in_nested_transaction():
        return None
    if not transaction.is_active:  # it failed: what is queued now would travel with the next borrower's
        return None
    queued = _queue_text(borrowed, statement, params)
    if queued is None:
        return None
    transaction.commit()
    return queued.result()


def sqlstate(error: DBAPIError) -> str | None:
    """The server's five-letter code, such as "23505"; None when the error is not the server's."""
    return _field(error, "C")


def constraint(error: DBAPIError) -> str | None:
    """The name of the violated constraint, where the server names one."""
    return _field(error, "n")


def came_too_late(error: DBAPIError) -> bool:
    """Whether somebody else held a lock for longer than this transaction waits, or the two waited for each other."""
    return sqlstate(error) in _LOCK_REFUSED


def _field(error: DBAPIError, code: str) -> str | None:
    fields = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return fields.get(code) if isinstance(fields, dict) else None


class Deferred:
    """A statement that travels with the next flight. Asking for its outcome earlier sends it."""

    def __init__(self, borrowed: Borrowed) -> None:
        self._borrowed = borrowed
        self._cursor: Cursor | None = None
        self._context: DefaultExecutionContext | None = None
        self._step: _Step | None = None
        self._rows: Sequence[Row[Any]] | None = None

    @property
    def rows(self) -> Sequence[Row[Any]]:
        """Its rows; none for a statement that returns none."""
        if self._rows is None:
            step = self._landed()
            if step.columns is None:
                self._rows = []
            elif self._cursor is None or self._context is None:
                self._rows = self.result().all()
            else:
                self._cursor.show(step)
                result: CursorResult[Any] = CursorResult(
                    self._context, CursorFetchStrategy(), self._cursor.description
                )
                self._rows = result.all()
        return self._rows

    def result(self) -> Result[Any]:
        """The rows of a statement that was queued plainly, as the driver reads them; to be read once."""
        step = self._landed()
        keys = SimpleResultMetaData([column["name"] for column in step.columns or ()])
        return IteratorResult(keys, iter(step.rows or ()))

    @property
    def rowcount(self) -> int:
        """How many rows it touched or returned; -1 when the server does not say."""
        return int(self._landed().row_count)

    def one(self) -> Row[Any]:
        """Its only row; raises InvalidRequestError when there are none or several."""
        if len(self.rows) != 1:
            raise InvalidRequestError(f"The deferred statement gave {len(self.rows)} rows instead of one.")
        return self.rows[0]

    def queued(self, context: DefaultExecutionContext, cursor: "Cursor", step: "_Step") -> None:
        """The driver's half of `defer`."""
        self._context, self._cursor, self._step = context, cursor, step

    def queued_plainly(self, step: "_Step") -> None:
        """The same without a context: its rows come as the driver reads them."""
        self._step = step

    def _landed(self) -> "_Step":
        if self._step is not None and self._step.state == "queued":
            self._borrowed.exec_driver_sql(_FLUSH)
        if self._step is None or self._step.state != "done":
            raise InvalidRequestError("The deferred statement was not executed: its transaction failed.")
        return self._step


class _Step(Context):  # type: ignore[misc]  # pg8000 has no types
    """One statement of a flight, encoded; later its rows."""

    def __init__(self, statement: str, message: bytes, *, aside: bool) -> None:
        super().__init__(statement)
        self.message = message
        self.aside = aside  # not the one whose caller waits, so that an error has to name it
        self.state: Literal["queued", "done", "lost"] = "queued"


class Cursor(pg8000.Cursor):  # type: ignore[misc]  # pg8000 has no types
    """As pg8000's own, with everything about one statement in one flight."""

    _input_oids: Sequence[int]

    def execute(self, operation: str, args: Sequence[Any] = (), stream: object = None) -> "Cursor":
        return self.run(operation, args, stream=stream)

    def run(
        self, operation: str, args: Sequence[Any], *, final: bool = False, stream: object = None
    ) -> "Cursor":
        connection = self._open_connection()
        if stream is not None:
            raise pg8000.NotSupportedError("COPY is not supported.")
        if operation == _PING:
            connection.ping()
        elif operation == _FLUSH:
            connection.flush()
        elif not args and _may_be_several(operation):
            self.show(connection.run_script(operation, final=final))
        else:
            step = connection.step(operation, args, self._oids())
            connection.run_steps([step], final=final)
            self.show(step)
        return self

    def executemany(self, operation: str, param_sets: Iterable[Sequence[Any]]) -> "Cursor":
        return self.run_many(operation, param_sets)

    def run_many(
        self, operation: str, param_sets: Iterable[Sequence[Any]], *, final: bool = False
    ) -> "Cursor":
        """All of them in one flight, or as few as the buffers between us and the server allow."""
        connection, oids = self._open_connection(), self._oids()
        steps = [connection.step(operation, args, oids) for args in param_sets]
        connection.run_steps(steps, final=final)
        last = steps[-1] if steps else Context(None)
        counts = [step.row_count for step in steps]
        last.row_count = -1 if -1 in counts or not counts else sum(counts)
        self.show(last)
        return self

    def defer(self, operation: str, args: Sequence[Any]) -> _Step:
        connection = self._open_connection()
        return connection.defer(connection.step(operation, args, self._oids(), aside=True))

    def show(self, step: Context) -> None:
        """Let the fetch methods and `description` speak of this statement."""
        self._context = step
        self._row_iter = iter(step.rows or ())

    def _oids(self) -> tuple[int, ...]:
        oids, self._input_oids = tuple(self._input_oids), ()
        return oids

    def _open_connection(self) -> "Connection":
        connection = self._c
        if not isinstance(connection, Connection):
            raise pg8000.InterfaceError("Cursor closed")
        return connection


class Connection(pg8000.Connection):  # type: ignore[misc]  # pg8000 has no types
    """A session on the server. `flights` counts its round trips since it was opened."""

    _usock: Any
    _sock: Any
    _transaction_status: bytes | None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.broken = False
        self.flights = 0
        self._deferred: list[_Step] = []
        self._committed = False  # by a final statement; our caller has yet to say commit or rollback
        self._used_at = time.time()
        self._unread = b""  # what the server said after the last answer: notices, if anything
        self._shapes: dict[bytes, tuple[Any, Any]] = {}
        super().__init__(*args, **options)
        self.register_in_adapter(TIMESTAMPTZ, _instant)

    @property
    def autocommit(self) -> bool:
        return False

    @autocommit.setter
    def autocommit(self, wanted: bool) -> None:
        if wanted:
            raise pg8000.NotSupportedError(
                "AUTOCOMMIT is refused: behind a transaction-mode pooler it reads other clients' answers. "
                "Use an explicit transaction."
            )

    def cursor(self) -> Cursor:
        return Cursor(self)

    def commit(self) -> None:
        """One flight, with what was deferred; nothing when the transaction is over or never began.

        Raises:
            ProgrammingError: (25P02) the server rolled back instead, as the transaction had failed.
        """
        if self._committed:
            self._committed = False
        elif self._in_transaction or self._deferred:
            self._may_send()
            try:
                self._fly([*self._lead(), _turn(_COMMIT)])
            except Exception:
                self._end_after_failed_commit()
                raise
        elif self.broken:
            self._may_send()

    def _end_after_failed_commit(self) -> None:
        """Roll back where what travelled with the COMMIT failed: who commits takes the transaction to be over."""
        with suppress(pg8000.Error, OSError):
            self.rollback()

    def rollback(self) -> None:
        """One flight; nothing when there is nothing to undo. A closed connection was rolled back by that."""
        self._drop_deferred()
        self._committed = False
        if self._in_transaction and not self.broken:
            self._fly([_turn(_ROLLBACK)])

    def close(self) -> None:
        self._drop_deferred()
        if not self.broken:
            super().close()

    def step(
        self, operation: str, args: Sequence[Any] = (), oids: tuple[int, ...] = (), *, aside: bool = False
    ) -> _Step:
        """Encode one statement; nothing is sent.

        Raises:
            DataError: a text holds a character that PostgreSQL cannot store.
        """
        sql = _numbered(operation) if args else operation
        parse = _parse if len(sql) < _CACHED_LENGTH else _parse.__wrapped__
        return _Step(sql, parse(sql, oids, self._client_encoding) + self._bind(args), aside=aside)

    def run_steps(self, steps: Sequence[_Step], *, final: bool) -> None:
        """Send what was deferred and these, opening the transaction if needed; `final` ends it, too."""
        self._may_send()
        commit = [_turn(_COMMIT)] if final else []
        self._fly([*self._lead(), *steps, *commit])
        self._committed = final

    def run_script(self, sql: str, *, final: bool) -> _Step:
        """Statements separated by semicolons, without parameters: only the simple protocol takes them."""
        self._may_send()
        lead = self._lead()
        if lead:
            self._fly(lead)
        step = _Step(sql, _message(b"Q", _text(sql, self._client_encoding)), aside=False)
        self._exchange(step.message, [step])
        if final:
            self._fly([_turn(_COMMIT)])
        self._committed = final
        return step

    def defer(self, step: _Step) -> _Step:
        self._may_send()
        self._deferred.append(step)
        return step

    def flush(self) -> None:
        """Send what was deferred, if anything."""
        if self._deferred:
            self.run_steps([], final=False)

    def ping(self) -> None:
        """See that the server is there; without a round trip when it was there a moment ago."""
        self._may_send()
        fresh = abs(time.time() - self._used_at) < _TRUSTED_SECONDS
        if not fresh or select.select([self._usock], [], [], 0)[0]:
            self._exchange(_SYNC, [])

    def execute_unnamed(
        self, statement: str, vals: Sequence[Any] = (), oids: Sequence[int] = (), stream: object = None
    ) -> _Step:
        """What the inherited methods call; as it stands, without BEGIN."""
        if stream is not None:
            raise pg8000.NotSupportedError("COPY is not supported.")
        self._may_send()
        sql = _parse(statement, tuple(oids), self._client_encoding)
        step = _Step(statement, sql + self._bind(vals), aside=False)
        self._fly([step])
        return step

    def execute_simple(self, statement: str) -> _Step:
        self._may_send()
        step = _Step(statement, _message(b"Q", _text(statement, self._client_encoding)), aside=False)
        self._exchange(step.message, [step])
        return step

    def prepare_statement(self, *_: object, **__: object) -> NoReturn:
        raise pg8000.NotSupportedError("Prepared statements are not supported: a pooler may sit between.")

    def tpc_begin(self, _xid: object) -> NoReturn:
        raise pg8000.NotSupportedError("Two-phase commit is not supported.")

    def handle_COMMAND_COMPLETE(self, data: bytes, context: _Step) -> None:  # noqa: N802  pg8000's name
        words = data[:-1].split(b" ")
        if words[0] == b"ROLLBACK" and not context.statement.lstrip().lower().startswith(
            (_ROLLBACK, "abort")
        ):
            message = "The transaction had failed, so the server rolled it back instead."
            context.error = pg8000.DatabaseError({"S": "ERROR", "C": "25P02", "M": message})
        if words[-1].isdigit():
            context.row_count = int(words[-1]) + max(context.row_count, 0)

    def handle_ROW_DESCRIPTION(self, data: bytes, context: _Step) -> None:  # noqa: N802  pg8000's name
        known = self._shapes.get(data)
        if known is None:
            super().handle_ROW_DESCRIPTION(data, context)
            if len(self._shapes) == _MOST_SHAPES:
                self._shapes.clear()
            self._shapes[data] = (context.columns, context.input_funcs)
        else:
            context.columns, context.input_funcs = known
            context.rows = [] if context.rows is None else context.rows

    def register_in_adapter(self, oid: int, in_func: Any) -> None:
        self._shapes.clear()
        super().register_in_adapter(oid, in_func)

    def _may_send(self) -> None:
        if self._usock is None:
            raise pg8000.InterfaceError("connection is closed")
        if self._committed:
            raise pg8000.ProgrammingError(
                "The transaction was committed together with its final statement: nothing may follow it."
            )

    def _bind(self, args: Sequence[Any]) -> bytes:
        """Bind for the unnamed statement, all as text, then Describe and Execute."""
        parts = [b"\0\0\0\0", _SHORT.pack(len(args))]
        for value in args:
            text = value if type(value) is str else make_param(self.py_types, value)
            if text is None:
                parts.append(_NULL)
            else:
                encoded = _encoded(text, self._client_encoding)
                parts += (_INT.pack(len(encoded)), encoded)
        parts.append(b"\0\0")
        return _message(b"B", b"".join(parts)) + _DESCRIBE_AND_EXECUTE

    def _lead(self) -> list[_Step]:
        """What travels before the next statement: BEGIN and what was deferred."""
        if self._transaction_status == _FAILED:
            self._drop_deferred()  # the server would refuse them, and with them a ROLLBACK TO SAVEPOINT
        begin = [] if self._in_transaction else [_turn(_BEGIN)]
        deferred, self._deferred = self._deferred, []
        return begin + deferred

    def _drop_deferred(self) -> None:
        for step in self._deferred:
            step.state = "lost"
        self._deferred = []

    def _fly(self, steps: Sequence[_Step]) -> None:
        try:
            for flight in _flights(steps):
                self._exchange(b"".join([step.message for step in flight]) + _SYNC, flight)
        finally:
            for step in steps:
                if step.state == "queued":
                    step.state = "lost"

    def _exchange(self, message: bytes, steps: Sequence[_Step]) -> None:
        """Write, read to the end, then raise what the server said. Interrupted in between, it closes."""
        self.flights += 1
        try:
            self._usock.sendall(message)
            self._receive(steps)
        except OSError as error:
            self._break()
            late = isinstance(error, TimeoutError)
            raise pg8000.InterfaceError(
                f"network error: {'no answer in time' if late else error}; the connection is closed"
            ) from error
        except BaseException:
            self._break()
            raise
        self._used_at = time.time()
        for step in steps:
            if step.error is not None:
                raise _error_of(step) from None

    def _receive(self, steps: Sequence[_Step]) -> None:
        place, last = 0, len(steps) - 1
        step = steps[0] if steps else Context(_PING)
        data, at = self._unread, 0
        while True:
            while len(data) < at + _HEADER.size:
                data, at = data[at:] + self._read_some(), 0
            code, length = _HEADER.unpack_from(data, at)
            end = at + 1 + length
            if len(data) < end:
                data, at, end = data[at:] + self._read(end - len(data)), 0, end - at
            if code not in _SILENT:
                self.message_types[code](data[at + _HEADER.size : end], step)
            at = end
            if code == _READY:
                self._unread = data[at:]
                return
            if code in (_COMPLETE, _EMPTY) and steps and step.error is None:
                step.state = "done"
                place = min(place + 1, last)
                step = steps[place]

    def _read_some(self) -> bytes:
        """What is there, at least a byte: usually the whole answer."""
        data: bytes = self._sock.read1(_CHUNK)
        if not data:
            raise ConnectionResetError("the server ended the session")
        return data

    def _read(self, size: int) -> bytes:
        data: bytes = self._sock.read(size)
        if len(data) < size:
            raise ConnectionResetError("the server ended the session")
        return data

    def _break(self) -> None:
        """Close at once. The shutdown comes first: a file object on the socket keeps it open else."""
        self.broken = True
        usock, self._usock = self._usock, None
        sock, self._sock = self._sock, None
        self._drop_deferred()
        with suppress(OSError):
            usock.shutdown(socket.SHUT_RDWR)
        with suppress(OSError, ValueError):
            sock.close()
        with suppress(OSError):
            usock.close()


def _turn(sql: str) -> _Step:
    """A statement that begins or ends a transaction. It takes nothing and returns nothing."""
    return _Step(sql, _turn_message(sql), aside=True)


@functools.cache
def _turn_message(sql: str) -> bytes:
    return _parse(sql, (), "ascii") + _message(b"B", b"\0\0" + b"\0\0" * 3) + _EXECUTE


def _flights(steps: Sequence[_Step]) -> Iterator[list[_Step]]:
    """Usually one. Cut where more would follow a statement already being answered than buffers hold."""
    flight: list[_Step] = []
    behind, answering = 0, False
    for step in steps:
        behind += len(step.message) if answering else 0
        if behind > _WINDOW:
            yield flight
            flight, behind = [], 0
        flight.append(step)
        answering = answering or step.statement != _BEGIN
    if flight:
        yield flight


def _error_of(step: _Step) -> Exception:
    """The server's complaint as the class that its SQLSTATE asks for."""
    fields: dict[str, str] = step.error.args[0]
    if step.aside:
        fields["statement"] = step.statement
    kind: type[Exception] = _ERRORS.get(fields.get("C", "")[:2], pg8000.ProgrammingError)
    return kind(fields)


@functools.lru_cache(maxsize=512)
def _numbered(operation: str) -> str:
    """`%s` as `$1`, `$2` …; pg8000 looks at each character, so once a statement is enough."""
    return str(convert_paramstyle("format", operation, ())[0])


@functools.lru_cache(maxsize=512)
def _parse(sql: str, oids: tuple[int, ...], encoding: str) -> bytes:
    types = b"".join(_INT.pack(0 if oid == -1 else oid) for oid in oids)
    return _message(b"P", b"\0" + _text(sql, encoding) + _SHORT.pack(len(oids)) + types)


def _message(code: bytes, data: bytes) -> bytes:
    return _HEADER.pack(code, len(data) + 4) + data


def _text(text: str, encoding: str) -> bytes:
    return _encoded(text, encoding) + b"\0"


def _encoded(text: str, encoding: str) -> bytes:
    try:
        encoded = text.encode(encoding)
    except UnicodeEncodeError as error:
        # Without a cause: the original holds the whole text.
        raise pg8000.DataError(
            f"A text holds U+{ord(text[error.start]):04X}, which cannot be encoded."
        ) from None
    if b"\0" in encoded:
        raise pg8000.DataError("A text holds the character NUL, which PostgreSQL cannot store.")
    return encoded


def _may_be_several(sql: str) -> bool:
    return ";" in sql.rstrip().rstrip(";")


def _instant(text: str) -> Any:
    """A timestamptz. The stock converter goes by strptime, ten times as slow; it keeps what only it can read."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return timestamptz_in(text)


def _connect(_dialect: object, _record: object, args: list[Any], options: dict[str, Any]) -> Connection:
    context, host = options.get("ssl_context"), options.get("host")
    if not _verifies(context) and not (context is False and _is_loopback(host)):
        raise ValueError("ssl_context must be a verifying SSLContext, or False on a loopback address.")
    place = f"{host}:{options.get('port', 5432)}"
    try:
        return Connection(*args, **options)
    except ssl.SSLError as error:
        raise pg8000.InterfaceError(_untrusted(place, error)) from error
    except pg8000.InterfaceError as error:
        if error.args != (_REFUSES_TLS,):
            raise
        raise pg8000.InterfaceError(
            f"The database at {place} offers no TLS, and without it nothing is sent. Switch it on at the server, "
            "or look at what stands between: it may have taken TLS away."
        ) from None


def _verifies(context: object) -> bool:
    return (
        isinstance(context, ssl.SSLContext)
        and context.verify_mode == ssl.CERT_REQUIRED
        and context.check_hostname
        and context.minimum_version >= ssl.TLSVersion.TLSv1_2
    )


def _untrusted(place: str, error: ssl.SSLError) -> str:
    """What is wrong with the server's TLS, and what to do."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"No TLS with the database at {place}: {error.reason or error}. It has to speak TLS 1.2 or newer."
        )
    if error.verify_code in _NAMED_OTHERWISE:
        todo = "Put the name that the certificate has into the URL: the endpoint itself, not an address or an alias."
    elif error.verify_code == _EXPIRED:
        todo = "Renew the server's certificate; if it is newer than that, set this machine's clock."
    else:
        todo = (
            "If it is the right server, let DATABASE_CA_FILE name a file with its authorities: Amazon RDS's "
            "global-bundle.pem for a cluster of Aurora, the system's bundle for a public one, nothing for RDS Proxy."
        )
    return f"The database at {place} is not trusted: {error.verify_message}. {todo}"


def _execute(
    cursor: Any, statement: str, parameters: Sequence[Any], context: DefaultExecutionContext | None
) -> Literal[True] | None:
    options: Mapping[str, Any] = context.execution_options if context is not None else {}
    deferred, final = options.get("deferred"), options.get("final", False)
    if context is None or (deferred is None and not final):
        return None
    if not isinstance(cursor, Cursor) or context.execute_style is not ExecuteStyle.EXECUTE:
        raise InvalidRequestError("Only a single, unstreamed statement can be deferred or final.")
    if deferred is not None:
        deferred.queued(context, cursor, cursor.defer(statement, parameters))
    else:
        _refuse_in_savepoint(context)
        cursor.run(statement, parameters, final=True)
    return True


def _executemany(
    cursor: Any, statement: str, parameters: Iterable[Sequence[Any]], context: DefaultExecutionContext
) -> Literal[True] | None:
    if "deferred" in context.execution_options:
        raise InvalidRequestError("Only a single statement can be deferred.")
    if not context.execution_options.get("final"):
        return None
    _refuse_in_savepoint(context)
    cursor.run_many(statement, parameters, final=True)
    return True


def _refuse_in_savepoint(context: DefaultExecutionContext) -> None:
    if context.root_connection.in_nested_transaction():
        raise InvalidRequestError("A statement inside a savepoint cannot be final.")


def _condemn_broken(context: ExceptionContext) -> None:
    """Whatever went wrong (a signal, say): a broken connection does not go back to the pool."""
    borrowed = context.connection
    if borrowed is None or borrowed.closed or borrowed.invalidated:
        return
    if getattr(borrowed.connection.dbapi_connection, "broken", False):
        context.is_disconnect = True


def _is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
