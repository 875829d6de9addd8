"""What statements read, by the server's own account: rows, not time, so that a busy machine says the same."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, text

from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor, engine_for


@dataclass(frozen=True, slots=True)
class Reads:
    """The sum of some statements."""

    rows: int  # that came out of tables and indexes, whether or not they were needed
    thrown_away: int  # that a filter removed, in addition
    buffers: int  # pages of 8 KB, of tables and indexes, from memory or not


def reads_of(database: Database, actor: Actor, do: Callable[[Work], object]) -> Reads:
    """What the tenant's statements in `do` read. Vacuum and analyze the tables first.

    No table is read from end to end, as if it held many more tenants.
    """
    said: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    event.listen(database.app, "before_cursor_execute", note)
    try:
        with database.enter(engine_for(actor.customer_id)) as work:
            do(work)
    finally:
        event.remove(database.app, "before_cursor_execute", note)
    nodes, buffers = [], 0
    for statement, parameters in said:
        if statement.split()[0] in {"SELECT", "WITH"} and " FROM " in " ".join(statement.split()):
            plan = _explained(database, actor, statement, parameters)
            nodes += [node for node in _nodes(plan) if "Relation Name" in node]
            buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert nodes, "nothing was asked"
    return Reads(
        rows=sum(int(node["Actual Rows"] * node["Actual Loops"]) for node in nodes),
        thrown_away=sum(
            int(
                (node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
                * node["Actual Loops"]
            )
            for node in nodes
        ),
        buffers=buffers,
    )


def _explained(database: Database, actor: Actor, statement: str, parameters: Any) -> Any:
    """The statement's plan, as it went."""
    with database.enter(engine_for(actor.customer_id)) as work:
        work.session.execute(text("SET LOCAL enable_seqscan = off"))
        found = work.session.connection().exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
        )
        told = found.scalar_one()
    (plan,) = json.loads(told) if isinstance(told, str) else told
    return plan["Plan"]


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)
