"""Keyset pages: the rows after a place, and how many there are in all.

A list is ordered by columns that end in the id. The place is the last row's values of those columns. The
total is exact up to COUNT_TO and capped beyond.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from chalicelib.domain.errors import NotFound
from chalicelib.domain.ids import TenantScope

COUNT_TO: Final = 10_000

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Key:
    """One column of the order."""

    column: Any
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """A page's rows, the place after them (None at the end), and the total of the whole list."""

    rows: Sequence[Any]
    after: tuple[Any, ...] | None
    total: int
    capped: bool


def page(
    session: Session, query: Select[Any], *, order: Sequence[Key], after: Sequence[Any] | None, limit: int
) -> Slice:
    """One page of a filtered query, in one statement."""
    counted = select(func.count()).select_from(
        query.with_only_columns(order[-1].column).order_by(None).limit(COUNT_TO + 1).subquery()
    )
    columns = [key.column.label(f"place_{number}") for number, key in enumerate(order)]
    asked = query.add_columns(*columns, counted.scalar_subquery().label("total"))
    if after is not None:
        asked = asked.where(_beyond(order, after))
    asked = asked.order_by(*(key.column.desc() if key.descending else key.column.asc() for key in order))
    rows = session.execute(asked.limit(limit + 1)).all()
    total = int(rows[0].total) if rows else (session.scalar(counted) or 0 if after is not None else 0)
    shown = rows[:limit]
    width = len(order) + 1
    place = tuple(shown[-1][-width:-1]) if len(rows) > limit else None
    single = shown and len(shown[0]) == width + 1
    return Slice(
        rows=[row[0] if single else tuple(row)[:-width] for row in shown],
        after=place,
        total=min(total, COUNT_TO),
        capped=total > COUNT_TO,
    )


def _beyond(order: Sequence[Key], after: Sequence[Any]) -> ColumnElement[bool]:
    """Rows that come after the place, column by column."""
    ways = []
    for number, (key, value) in enumerate(zip(order, after, strict=True)):
        equal = [other.column == place for other, place in zip(order[:number], after[:number], strict=True)]
        ways.append(and_(*equal, key.column < value if key.descending else key.column > value))
    return or_(*ways)


def one(session: Session, model: type[Row], scope: TenantScope, row_id: str, noun: str) -> Row:
    """The tenant's row of this id, or NotFound (also for another tenant's)."""
    table: Any = model
    found = session.scalar(select(model).where(table.customer_id == scope, table.id == row_id))
    if found is None:
        raise NotFound(f"There is no such {noun}.")
    return found
