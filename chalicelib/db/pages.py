"""Keyset pages: the rows after a place, and how many there are in all.

A list is ordered by columns that end in the id. The place is the last row's values of those columns. The
total is exact up to COUNT_TO and capped beyond.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
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

    @property
    def direction(self) -> Any:
        return self.column.desc() if self.descending else self.column.asc()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A text column and the values that are wanted of it."""

    column: Any
    values: Sequence[str]


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
    counted = _count(query.with_only_columns(order[-1].column).order_by(None))
    columns = [key.column.label(f"place_{number}") for number, key in enumerate(order)]
    asked = query.add_columns(*columns, counted.scalar_subquery().label("total"))
    if after is not None:
        asked = asked.where(_beyond(order, after))
    asked = asked.order_by(*(key.direction for key in order))
    return _slice(session, asked.limit(limit + 1), counted, order=order, after=after, limit=limit)


def page_across(
    session: Session,
    query: Select[Any],
    *,
    where: Sequence[ColumnElement[bool]],
    across: Sequence[AnyOf],
    order: Sequence[Key],
    after: Sequence[Any] | None,
    limit: int,
) -> Slice:
    """One page of the rows of `query` for which `where` holds and each column of `across` has a wanted value.

    An index in which these columns stand before the order's is sought once for each combination of values. So
    nothing is read to be thrown away: not deep in the list, and not where few rows are what is wanted.
    """
    arrays = [
        func.unnest(literal(list(wanted.values), ARRAY(String)))
        .table_valued("value")
        .render_derived(f"every_{number}")
        for number, wanted in enumerate(across)
    ]
    held = [wanted.column == array.c.value for wanted, array in zip(across, arrays, strict=True)]
    combined: Any = arrays[0]
    for array in arrays[1:]:
        combined = combined.join(array, true())

    def of_each(seek: Select[Any]) -> Select[Any]:
        """What a seek finds for every combination."""
        each = seek.where(*where, *held).correlate(*arrays).lateral("each")
        return select(*each.c).select_from(combined.join(each, true()))

    labels = [key.column.label(f"place_{number}") for number, key in enumerate(order)]
    seek = query.with_only_columns(*labels).order_by(*(key.direction for key in order)).limit(limit + 1)
    found = of_each(seek if after is None else seek.where(_beyond(order, after)))
    keys = found.order_by(*_directions(found.selected_columns, order)).limit(limit + 1).subquery("keys")

    counted = _count(of_each(query.with_only_columns(literal_column("1").label("one")).limit(COUNT_TO + 1)))
    asked = query.join(keys, order[-1].column == list(keys.c)[-1])
    asked = asked.add_columns(*keys.c, counted.scalar_subquery().label("total"))
    asked = asked.order_by(*_directions(keys.c, order))
    return _slice(session, asked, counted, order=order, after=after, limit=limit)


def _directions(columns: Iterable[Any], order: Sequence[Key]) -> list[Any]:
    """The order by columns that are the keys' by another name."""
    return [Key(column, key.descending).direction for column, key in zip(columns, order, strict=True)]


def _count(query: Select[Any]) -> Select[Any]:
    return select(func.count()).select_from(query.limit(COUNT_TO + 1).subquery())


def _slice(
    session: Session,
    asked: Select[Any],
    counted: Select[Any],
    *,
    order: Sequence[Key],
    after: Sequence[Any] | None,
    limit: int,
) -> Slice:
    """What was asked for: `limit + 1` rows that end in their places and the total."""
    rows = session.execute(asked).all()
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
    """Rows that come after the place. Where all columns go the same way it is one comparison, which an index seeks."""
    if len({key.descending for key in order}) == 1:
        here = tuple_(*(literal(value, key.column.type) for key, value in zip(order, after, strict=True)))
        place = tuple_(*(key.column for key in order))
        return place < here if order[0].descending else place > here
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
