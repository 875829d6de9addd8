"""One Work is one transaction of one actor.

The edge opens it, services use it, nobody else commits. Events, audit entries and the ring are gathered
and travel with the COMMIT; messages go out after it.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from chalicelib import tracing
from chalicelib.db.driver import Deferred, defer
from chalicelib.domain.access import Actor, Role
from chalicelib.domain.errors import NotSignedIn
from chalicelib.domain.events import LARGEST, Event
from chalicelib.domain.ids import CustomerId, UserId, new_id
from chalicelib.domain.ports import Signals
from chalicelib.settings import Settings

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime | None]
"""The moment a transaction should believe in; None for the database's own clock."""

ENTER = text("SELECT e.*, note_sinks(:sinks) FROM enter(:issuer, :subject, :fake_now) e")
ENTER_TENANT = text("SELECT enter_tenant(:customer, :fake_now), note_sinks(:sinks)")
"""What a trigger tells goes to the transaction's sinks."""
ENTER_SYSTEM = text("SELECT enter_system(:fake_now)")
FLUSH = text(
    "SELECT flush_work(:customer, :request, CAST(:entries AS jsonb), :sinks, CAST(:events AS jsonb), :rings)"
)
HURRY = text("SELECT hurry(:lock, :statement)")


@dataclass(slots=True)
class Work:
    """A transaction in progress: who acts, on which connection, at what moment."""

    connection: Connection
    actor: Actor
    settings: Settings
    moment: Callable[[], datetime]
    request_id: str | None = None
    events: list[Event] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    rings: bool = False
    rung: bool = False  # a stored function rang already; a message is owed
    emitted: bool = False  # a stored function emitted already
    effects_in: timedelta | None = None
    after: list[Callable[[], None]] = field(default_factory=list)  # best effort, once committed
    _session: Session | None = field(default=None, init=False, repr=False)

    @property
    def session(self) -> Session:
        """The transaction for who asks with the ORM. Made when it is first asked for."""
        if self._session is None:
            self._session = Session(self.connection, expire_on_commit=False, autoflush=False)
        return self._session

    @property
    def now(self) -> datetime:
        """The transaction's instant, by the database's clock."""
        return self.moment()

    def emit(self, event: Event) -> None:
        """Publish with this transaction, or not at all. Raises ValueError for an event over LARGEST."""
        if len(json.dumps(event.payload, ensure_ascii=False).encode()) > LARGEST:
            raise ValueError(f"{event.type} is larger than an event may be")
        self.events.append(event)

    def audit(self, action: str, target_id: str, **details: Any) -> None:
        """Say who did what to which object. Ids and field names only."""
        self.entries.append(
            {
                "id": new_id("AuditEntryId"),
                "user_id": self.actor.user_id,
                "action": action,
                "target_id": target_id,
                "details": details,
            }
        )

    def ring(self) -> None:
        """Have a worker look at this tenant after the commit."""
        self.rings = True

    def flush_session(self) -> None:
        """Write the ORM's changes."""
        if self._session is not None:
            self._session.flush()

    def close_session(self) -> None:
        """Let go of the ORM's objects, which stay readable. The transaction is over."""
        if self._session is not None:
            self._session.close()

    def flush(self) -> Deferred | None:
        """Queue what was gathered, to travel with the next flight. Returns the ring's handle, if it rings."""
        if not (self.entries or self.events or self.rings):
            return None
        flushed = defer(
            self.connection,
            FLUSH,
            {
                "customer": self.actor.customer_id,
                "request": self.request_id,
                "entries": json.dumps(self.entries),
                "sinks": list(self.settings.event_sinks),
                "events": json.dumps([_as_json(event) for event in self.events]),
                "rings": self.rings,
            },
        )
        ring = flushed if self.rings else None
        self.emitted |= bool(self.events)
        self.entries, self.events, self.rings = [], [], False
        return ring


def _as_json(event: Event) -> dict[str, Any]:
    trace = tracing.header()
    return {
        "type": event.type.value,
        "aggregateType": event.aggregate_type,
        "aggregateId": event.aggregate_id,
        "payload": event.payload,
        "causation": {"trace": trace, **event.causation} if trace else event.causation,
    }


@dataclass(frozen=True, slots=True)
class Database:
    """The two ways in: as a tenant (`begin`, `enter`), and across tenants to find work (`system`)."""

    app: Engine
    across: Engine
    settings: Settings
    signals: Signals
    clock: Clock = lambda: None

    @contextmanager
    def begin(self, issuer: str, subject: str, *, request_id: str | None = None) -> Iterator[Work]:
        """A signed-in person's transaction. One flight finds them, sets the tenant, and begins.

        Raises NotSignedIn for somebody who has no active user here.
        """

        def enter(connection: Connection) -> Work:
            given = {
                "issuer": issuer,
                "subject": subject,
                "fake_now": self._fake_now(),
                "sinks": self._sinks(),
            }
            person = connection.execute(ENTER, given).one_or_none()
            if person is None:
                raise NotSignedIn(
                    "No active user here belongs to this sign-in. Ask an administrator of your team.",
                    code="no_such_user",
                )
            actor = Actor(
                customer_id=CustomerId(person.customer_id),
                user_id=UserId(person.user_id),
                role=Role(person.role),
                name=person.name,
                email=person.email,
            )
            moment: datetime = person.moment
            return Work(connection, actor, self.settings, lambda: moment, request_id)

        with self._transaction(enter) as work:
            yield work

    @contextmanager
    def enter(self, actor: Actor, *, request_id: str | None = None) -> Iterator[Work]:
        """A tenant's transaction whose actor is known already; entering costs no flight of its own."""

        def enter(connection: Connection) -> Work:
            given = {"customer": actor.customer_id, "fake_now": self._fake_now(), "sinks": self._sinks()}
            entered = defer(connection, ENTER_TENANT, given)
            return Work(connection, actor, self.settings, lambda: _moment(entered), request_id)

        with self._transaction(enter) as work:
            yield work

    @contextmanager
    def _transaction(self, enter: Callable[[Connection], Work]) -> Iterator[Work]:
        """Commits what the caller did and gathered, then does what was to be done after that."""
        work: Work | None = None
        with self.app.connect() as connection:
            try:
                with connection.begin():
                    work = enter(connection)
                    yield work
                    ring = work.flush()
                    work.flush_session()
            finally:
                if work is not None:
                    work.close_session()
        self._after(work, ring)

    @contextmanager
    def anonymous(self) -> Iterator[Session]:
        """As bevyly_app in no tenant, where nothing is visible: what may be called before signing in."""
        with Session(self.app, expire_on_commit=False, autoflush=False) as session, session.begin():
            defer(session, ENTER_SYSTEM, {"fake_now": self._fake_now()})
            yield session

    @contextmanager
    def system(self) -> Iterator[Session]:
        """Across tenants, as bevyly_system: finds work and moves the outbox, nothing else."""
        with Session(self.across, expire_on_commit=False, autoflush=False) as session, session.begin():
            defer(session, ENTER_SYSTEM, {"fake_now": self._fake_now()})
            yield session

    def _fake_now(self) -> str:
        moment = self.clock()
        return "" if moment is None else moment.isoformat()

    def _sinks(self) -> str:
        return ",".join(self.settings.event_sinks)

    def _after(self, work: Work, ring: Deferred | None) -> None:
        customer_id = work.actor.customer_id
        if work.rung or (ring is not None and ring.one()[0]):
            self.signals.ring(customer_id)
        if work.emitted:
            self.signals.nudge_relay()
        if work.effects_in is not None:
            self.signals.nudge_effects(customer_id, delay=work.effects_in)
        for action in work.after:
            try:
                action()
            except Exception:
                logger.exception("an action after the commit failed; the sweep makes up for it")


def _moment(entered: Deferred) -> datetime:
    moment: datetime = entered.one()[0]
    return moment


def hurry(session: Session, *, lock: timedelta, statement: timedelta) -> None:
    """Have this transaction wait less than others do for a lock, and for a statement."""
    durations = {"lock": lock, "statement": statement}
    defer(
        session,
        HURRY,
        {name: f"{value // timedelta(milliseconds=1)}ms" for name, value in durations.items()},
    )
