"""From a slice of the database to a page of the API."""

from collections.abc import Callable
from typing import Any, TypeVar

from chalicelib.api.http import Page
from chalicelib.api.pages import Keyset
from chalicelib.db.pages import Slice

Item = TypeVar("Item")


def page_of(keyset: Keyset[Any], found: Slice, *, limit: int, item: Callable[[Any], Item]) -> Page[Item]:
    return Page(
        items=[item(row) for row in found.rows],
        limit=limit,
        total=found.total,
        next_cursor=None if found.after is None else keyset.write(found.after),
        total_is_capped=found.capped,
    )
