"""Whether the process lives, and whether the parts it cannot do without answer."""

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

from sqlalchemy import text

from chalicelib.api.http import PUBLIC, Context, Out, route
from chalicelib.domain.errors import Unavailable

State = Literal["ok", "out", "unchecked"]


@runtime_checkable
class Reachable(Protocol):
    """Signals that can say whether their queue is there."""

    def check(self) -> None:
        """Raises whatever keeps the queue from being reached."""


class AliveOut(Out):
    status: Literal["ok"] = "ok"


class ReadyOut(Out):
    status: Literal["ok"] = "ok"
    database: State
    queue: State


@route("GET", "/v1/healthz", needs=PUBLIC("load balancers have no account"), summary="The process is alive")
def alive() -> AliveOut:
    return AliveOut()


@route(
    "GET",
    "/v1/readyz",
    needs=PUBLIC("load balancers have no account"),
    summary="The database and the queue answer",
    raises=(Unavailable,),
)
def ready(context: Context) -> ReadyOut:
    """503 while one of them does not; `details` says which."""
    database, queue = _state(lambda: _ask_database(context)), _queue_state(context)
    if "out" in {database, queue}:
        raise Unavailable(
            "A part of the service is out.", code="not_ready", details={"database": database, "queue": queue}
        )
    return ReadyOut(database=database, queue=queue)


def _ask_database(context: Context) -> None:
    with context.database.anonymous() as session:
        session.execute(text("SELECT 1"))


def _queue_state(context: Context) -> State:
    signals: Any = context.signals
    return _state(signals.check) if isinstance(signals, Reachable) else "unchecked"


def _state(check: Callable[[], Any]) -> State:
    try:
        check()
    except Exception:  # noqa: BLE001 - whatever it is, the part does not answer
        return "out"
    return "ok"
